"""The example of a pool with vLLM (docs/examples): an API server takes it, and its parts fit.

Not covered: that vLLM runs so on a GPU; its flags are those of e2e/engines, where it runs on a CPU.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import yaml

from e2e.crds import install_crds
from e2e.engines.vllm import ARGUMENTS, TRANSFER
from e2e.helm import rendered
from fairstow.api import ServingPool
from fairstow.cluster import review
from fairstow.serving.engine_pods import admit
from fairstow.serving.instances import instances

if TYPE_CHECKING:
    from e2e.controlplane.client import Cluster

pytestmark = pytest.mark.e2e

FOLDER = Path(__file__).parents[2] / "docs" / "examples"
Json = dict[str, Any]


@pytest.fixture(scope="module")
def example() -> dict[str, Json]:
    objects = yaml.safe_load_all((FOLDER / "vllm.yaml").read_text())
    return {f"{each['kind']}/{each['metadata']['name']}": each for each in objects}


def engine(example: dict[str, Json]) -> Json:
    template = example["Deployment/llama"]["spec"]["template"]
    meta = template["metadata"] | {"name": "llama-0", "namespace": "chat", "uid": "1"}
    return {**template, "metadata": meta}


def test_an_api_server_takes_every_object(
    cluster: Cluster, namespace: str, example: dict[str, Json]
) -> None:
    install_crds(cluster)
    objects = [
        {**o, "metadata": o["metadata"] | {"namespace": namespace}} for o in example.values()
    ]
    listing = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    strictly = ("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-")
    said = cluster.kubectl(*strictly, stdin=listing)
    assert said.count("serverside-applied") == len(objects)


def test_gateways_find_engines_that_can_do_everything(example: dict[str, Json]) -> None:
    pool = ServingPool.model_validate(example["ServingPool/llama"])
    (found,) = instances([engine(example)], [])
    assert (found.priorities, found.weights) == (True, "llama-3.1-8b-r1")
    (container,) = engine(example)["spec"]["containers"]
    assert pool.spec.engines.port in [port["containerPort"] for port in container["ports"]]
    given = {word.partition("=")[0] for word in container["args"]}
    assert {"--enable-scale-out", "--scheduling-policy"} <= given & {
        word.partition("=")[0] for word in ARGUMENTS
    }
    transfer = container["args"][-1].partition("=")[2]
    assert json.loads(transfer) == TRANSFER | {"kv_buffer_device": "cuda"}


def test_engines_drain_before_they_end(example: dict[str, Json]) -> None:
    request = {
        "uid": "1",
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "operation": "CREATE",
        "namespace": "chat",
        "object": engine(example),
    }
    body = {"apiVersion": review.VERSION, "kind": "AdmissionReview", "request": request}
    pool = ServingPool.model_validate(example["ServingPool/llama"])
    reply = admit(review.read(msgspec.json.encode(body)), [pool], "fairstow", "token")
    assert (bool(reply.patch), reply.warnings) == (True, ())


def test_the_charts_gateway_gets_the_keys_and_through_to_the_engines(
    example: dict[str, Json],
) -> None:
    values = yaml.safe_load((FOLDER / "vllm-values.yaml").read_text())
    (gateway,) = values["gateways"]
    pool = example["ServingPool/llama"]
    meta = pool["metadata"]
    assert (gateway["namespace"], gateway["pool"]) == (meta["namespace"], meta["name"])
    spec = pool["spec"]
    assert set(gateway["secrets"]) == {spec["engines"]["apiKey"]["name"], spec["tenants"]["name"]}
    for which in (spec["engines"]["apiKey"], spec["tenants"]):
        assert which["key"] in example[f"Secret/{which['name']}"]["stringData"]
    (deployment,) = [
        each
        for each in rendered(values)
        if each["metadata"]["name"] == "fairstow-gateway-llama" and each["kind"] == "Deployment"
    ]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    http, _ = example["NetworkPolicy/llama-engines"]["spec"]["ingress"]
    (source,) = http["from"]
    assert source["podSelector"]["matchLabels"].items() <= labels.items()
    assert http["ports"][0]["port"] == spec["engines"]["port"]
