"""llama.cpp's engines as pods of a real node: a running request moves with its KV cache.

Covered: the carrier that the webhook puts beside each engine, as the chart sets it up, under the
*restricted* profile, of the engine's user; a request that is moved by an eviction and
back by a deleted pod, token by token what an undisturbed run says, both times copied; folders that
are empty afterwards. Not covered: NetworkPolicy (nothing here enforces it), several nodes, several
gateways (their slots collide), folders that the webhook makes (tests/serving/test_slot_carriers).
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest

from e2e.controlplane.realnode import product
from e2e.engines import environments, tiny_model
from e2e.on_real_node import installed, values
from e2e.serving import pods
from e2e.serving.crowd import crowd
from e2e.serving.test_evictions import evict
from fairstow.serving.slot_carriers import SIDECAR
from tests.gateway.gateways import MODEL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.controlplane.realnode.cluster import RealCluster

pytestmark = [pytest.mark.real_node, pytest.mark.full]

CHAT = "chat-slots"
TOKENS = 1500
PARTS = (
    "e2e/__init__.py",
    "e2e/engines/__init__.py",
    "e2e/engines/llama_cpp_program.py",
    "e2e/engines/tiny_model.py",
    "fairstow/__init__.py",
    "fairstow/gateway/__init__.py",
    "fairstow/gateway/engines/__init__.py",
    "fairstow/gateway/engines/vocabulary.py",
)
DOCKERFILE = f"""
ARG BASE
FROM ${{BASE}}
RUN apt-get update -q && apt-get install -qy --no-install-recommends libgomp1
RUN python3 -m venv /opt/llama && /opt/llama/bin/pip install -q {" ".join(environments.LLAMA_CPP)}
COPY app /app
ENV PYTHONPATH=/app
RUN /opt/llama/bin/python -m e2e.engines.llama_cpp_program write /app/tiny.gguf 256 8 4096
"""


@pytest.fixture(scope="module")
def image(real_cluster: RealCluster, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image with llama.cpp's server and a tiny model, on the node."""
    context = tmp_path_factory.mktemp("image") / "llama-cpp"
    for part in PARTS:
        copy = context / "app" / part
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(environments.ROOT / part, copy)
    (context / "Dockerfile").write_text(DOCKERFILE)
    name, archive = product.image_of(context)
    real_cluster.node.load(archive)
    return name


def pool() -> dict[str, Any]:
    made = pods.pool(CHAT)
    made["spec"]["engines"]["type"] = "LlamaCpp"
    return made


def engines(cluster: RealCluster, image: str) -> dict[str, Any]:
    """Two engines, slow enough for their requests to be caught in the middle."""
    made = pods.engines(cluster, CHAT, 2)
    spec = made["spec"]["template"]["spec"]
    spec["securityContext"] |= {"runAsUser": 1000, "runAsGroup": 1000}
    del spec["securityContext"]["fsGroup"]
    (container,) = spec["containers"]
    key = {"name": f"{pods.POOL}-engines", "key": "key"}
    container |= {
        "image": image,
        "command": ["/opt/llama/bin/python", "-m", "e2e.engines.llama_cpp_program", "serve"],
        "args": [
            *("--model=/app/tiny.gguf", f"--alias={MODEL}", "--host=0.0.0.0"),
            *(f"--port={pods.PORT}", "--api-key=$(KEY)", "--slot-save-path=/slots"),
            *("--grammar=root ::= [a-z ]*", "--ctx-size=4096"),
        ],
        "env": [{"name": "KEY", "valueFrom": {"secretKeyRef": key}}],
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"cpu": "300m"}},
        "volumeMounts": [{"name": "slots", "mountPath": "/slots"}],
    }
    folder = {"medium": "Memory", "sizeLimit": "256Mi"}
    spec["volumes"] = [{"name": "slots", "emptyDir": folder}]
    return made


@pytest.fixture(scope="module")
def site(
    real_cluster: RealCluster, image: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RealCluster]:
    tokenizer = tiny_model.write(tmp_path_factory.mktemp("tiny")) / "tokenizer.json"
    gateway = pods.gateway(CHAT) | {
        "replicas": 1,
        "args": ["--tokenizer=/tokenizer/tokenizer.json"],
        "volumes": [{"name": "tokenizer", "configMap": {"name": "tokenizer"}}],
        "volumeMounts": [{"name": "tokenizer", "mountPath": "/tokenizer"}],
    }
    off = {"enabled": False}
    chosen = values(real_cluster, scheduler=off, extender=off, gateways=[gateway])
    real_cluster.apply([pods.restricted(CHAT, drained=True)])
    file = f"--from-file={tokenizer}"
    real_cluster.kubectl("-n", CHAT, "create", "configmap", "tokenizer", file)
    with installed(real_cluster, chosen, CHAT):
        made = engines(real_cluster, image)
        pods.served(real_cluster, CHAT, pool(), made, gateways=1)
        yield real_cluster


def test_a_running_request_moves_with_its_memory(site: RealCluster) -> None:
    undisturbed = answer(site)
    assert answer(site, "evict") == undisturbed
    assert answer(site, "delete") == undisturbed
    outcomes = [each["outcome"] for each in pods.status(site, CHAT)["migrations"]]
    assert outcomes == ["Copied", "Copied"]
    for name in pods.names(site, CHAT):
        left = site.kubectl("-n", CHAT, "exec", name, "-c", "engine", "--", "ls", "/slots")
        assert left == ""


def answer(site: RealCluster, how: str = "") -> str:
    """Return what a client hears while its request's pod goes, if it does."""
    base, network = pods.address(site, CHAT), site.network
    asked = {"temperature": 0, "extra_body": {"ignore_eos": True}}
    with crowd(base, pods.CLIENT_KEY, network, count=1, tokens=TOKENS, **asked) as clients:
        clients.speaking(50)
        if how:
            name = site.wait(lambda: running(site), "the engine that runs it to be known")
            if how == "evict":
                site.wait(lambda: not evict(site, CHAT, name), "the eviction", timeout=120)
            else:
                site.kubectl("-n", CHAT, "delete", "pod", name, "--timeout=150s", timeout=160)
            assert clients.running(), "it ended too early"
        (said,) = clients.ended()
    pods.rolled_out(site, CHAT)
    pods.ready(site, CHAT, engines=2, gateways=1)
    return said


def running(site: RealCluster) -> str:
    """The pod of the engine with a request, "" if none is known to have one."""
    found = pods.status(site, CHAT).get("engines", ())
    return next((each["pod"] for each in found if each["running"]), "")


def test_the_carrier_is_a_sidecar_of_the_engines_user(site: RealCluster) -> None:
    for name in pods.names(site, CHAT):
        spec = site.get("-n", CHAT, "pod", name)["spec"]
        (carrier,) = [each for each in spec["initContainers"] if each["name"] == SIDECAR]
        assert carrier["restartPolicy"] == "Always"
        assert carrier["resources"]["limits"]["memory"] == "384Mi"
        assert carrier["securityContext"]["runAsUser"] == 1000
