"""What a new pod of an engine is given: `fairstow.serving.engine_pods`, case by case.

Not covered: that kubelets wait for it (e2e/serving/test_pods.py), the helper itself
(tests/gateway/test_pod_helper.py).
"""

from __future__ import annotations

from typing import Any

import pytest

from fairstow.api import ServingPool
from fairstow.cluster.review import MalformedError, Reply
from fairstow.serving.engine_pods import HELPER, PORT, admit
from tests.serving.admitting import applied, reviewed


def pool(name: str = "llama", app: str = "llama", **spec: Any) -> ServingPool:
    engines = {"selector": {"matchLabels": {"app": app}}} | spec.pop("engines", {})
    meta = {"name": name, "namespace": "chat"}
    return ServingPool.model_validate(
        {"metadata": meta, "spec": {"engines": engines, "drainDeadline": "2m"} | spec}
    )


def pod(*, app: str = "llama", container: dict[str, Any] | None = None, **spec: Any) -> Any:
    main = {"name": "engine", "image": "vllm"} | (container or {})
    return {
        "metadata": {"generateName": "llama-", "labels": {"app": app}},
        "spec": {"containers": [main]} | spec,
    }


def admitted(obj: Any, *pools: ServingPool, namespace: str = "chat") -> Reply:
    return admit(reviewed(obj, namespace), pools or (pool(),), "fairstow:1", "token")


def patched(obj: Any, *pools: ServingPool) -> dict[str, Any]:
    """The pod's spec as the API server would make it."""
    spec: dict[str, Any] = applied(obj, admitted(obj, *pools).patch)["spec"]
    return spec


def test_the_engine_asks_the_helper_before_it_stops_and_has_the_time() -> None:
    spec = patched(pod())
    engine, helper = spec["containers"]
    ask = engine["lifecycle"]["preStop"]["httpGet"]
    assert (ask["path"], ask["port"]) == ("/drained", PORT)
    assert ask["httpHeaders"] == [{"name": "Authorization", "value": "Bearer token"}]
    assert helper["lifecycle"] == engine["lifecycle"]
    assert helper["args"][:2] == ["--engine=http://127.0.0.1:8000", "--adapter=vllm"]
    assert helper["args"][-1] == "--bound=120"
    assert spec["terminationGracePeriodSeconds"] == 120 + 30


def test_what_the_pod_says_itself_stays() -> None:
    post = {"exec": {"command": ["true"]}}
    whole = pod(container={"lifecycle": {"postStart": post}}, terminationGracePeriodSeconds=90)
    spec = patched(whole)
    assert spec["containers"][0]["lifecycle"]["postStart"] == post
    assert spec["terminationGracePeriodSeconds"] == 120 + 90


def test_a_grace_of_zero_is_one() -> None:
    assert patched(pod(terminationGracePeriodSeconds=0))["terminationGracePeriodSeconds"] == 120


def test_the_engine_is_the_container_with_the_pools_port() -> None:
    two = pod()
    serving = {"name": "server", "ports": [{"containerPort": 9000}]}
    two["spec"]["containers"].append(serving)
    spec = patched(two, pool(engines={"port": 9000}))
    first, second, _ = spec["containers"]
    assert ("lifecycle" in first, "lifecycle" in second) == (False, True)


def test_the_helper_gets_the_engines_key_from_its_secret() -> None:
    spec = patched(pod(), pool(engines={"apiKey": {"name": "keys", "key": "engine"}}))
    (_, key) = spec["containers"][1]["env"]
    assert key["valueFrom"]["secretKeyRef"] == {"name": "keys", "key": "engine", "optional": True}


def test_once_is_enough() -> None:
    done = pod()
    done["spec"] = patched(done)
    assert admitted(done) == Reply()


@pytest.mark.parametrize(
    ("obj", "namespace"),
    [(pod(app="web"), "chat"), (pod(), "elsewhere"), ({"metadata": {}}, "chat"), ({}, "chat")],
)
def test_other_pods_are_left_alone(obj: Any, namespace: str) -> None:
    assert admitted(obj, namespace=namespace) == Reply()


@pytest.mark.parametrize(
    ("obj", "kind", "why"),
    [
        (pod(), "OpenAI", "type OpenAI don't say whether they are busy"),
        (pod(container={"lifecycle": {"preStop": {"sleep": {}}}}), "VLLM", "preStop of its own"),
        (pod(hostNetwork=True), "VLLM", "would be its node's"),
        (pod(restartPolicy="Never"), "VLLM", "its restartPolicy is Never"),
    ],
)
def test_who_cant_be_helped_is_told(obj: Any, kind: str, why: str) -> None:
    reply = admitted(obj, pool(engines={"type": kind}))
    assert reply.patch == ()
    assert why in reply.warnings[0]


@pytest.mark.parametrize("containers", ["x", [1], [{"ports": "all"}], [{"lifecycle": []}]])
def test_a_malformed_pod_is_called_so(containers: Any) -> None:
    with pytest.raises(MalformedError, match="spec is malformed"):
        admitted(pod() | {"spec": {"containers": containers}})


def test_a_pod_of_a_namespace_has_one_helper() -> None:
    spec = patched(pod(), pool("b", engines={"port": 1}), pool("a"))
    assert [each["name"] for each in spec["containers"]] == ["engine", HELPER]
    assert spec["containers"][1]["args"][0] == "--engine=http://127.0.0.1:8000"
