"""What a new pod is given beside it: `fairstow.semantic_cache.injection`, case by case.

The patch is applied as an API server does (RFC 6902). Not covered: that kubelets start it and that
clients are answered by it (e2e/test_chart.py), the sidecar itself (tests/cache_sidecar).
"""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import pytest

from fairstow.api import SemanticCache
from fairstow.cluster import review
from fairstow.cluster.review import MalformedError, Reply
from fairstow.semantic_cache.injection import (
    ADMIN_PORT,
    INJECTED,
    REFUSED,
    SIDECAR,
    admit,
)
from fairstow.semantic_cache.pod_upstream import ADDRESS, OWN, PORT

UPSTREAM = "http://llama.chat.svc/v1"
_READY = {
    "type": "Ready",
    "status": "True",
    "lastTransitionTime": "2026-01-01T00:00:00Z",
    "reason": "CacheReady",
    "message": "",
}
VALUE_FROM = {"secretKeyRef": {"name": "llm", "key": "url"}}


def cache(name: str = "answers", *, ready: bool = True, app: str = "web", **spec: Any) -> Any:
    whole = {"selector": {"matchLabels": {"app": app}}, "upstream": UPSTREAM} | spec
    return SemanticCache.model_validate(
        {
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {key: value for key, value in whole.items() if value is not None},
            "status": {"conditions": [_READY if ready else _READY | {"status": "False"}]},
        }
    )


SERVER = cache(placement="Server", enginePort=8000, upstream=None)


def pod(*, app: str = "web", container: dict[str, Any] | None = None, **spec: Any) -> Any:
    main = {"name": "main", "image": "web"} | (container or {})
    return {
        "metadata": {"generateName": "web-", "labels": {"app": app}},
        "spec": {"serviceAccountName": "web", "containers": [main]} | spec,
    }


def with_env(*env: dict[str, Any]) -> Any:
    return pod(container={"env": list(env)})


def admitted(obj: Any, *caches: SemanticCache, namespace: str = "shop") -> Reply:
    request = {
        "uid": "1",
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "operation": "CREATE",
        "namespace": namespace,
        "object": obj,
    }
    body = {"apiVersion": review.VERSION, "kind": "AdmissionReview", "request": request}
    asked = review.read(msgspec.json.encode(body))
    return admit(asked, caches or (cache(),), "fairstow:1")


def patched(obj: Any, *caches: SemanticCache) -> dict[str, Any]:
    """The pod as the API server would make it."""
    made: dict[str, Any] = copy.deepcopy(obj)
    for each in admitted(obj, *caches).patch:
        *way, last = each["path"].split("/")[1:]
        at: Any = made
        for part in way:
            at = at[int(part)] if isinstance(at, list) else at[part]
        value = copy.deepcopy(each["value"])
        if isinstance(at, list):
            at.insert(len(at) if last == "-" else int(last), value)
        else:
            at[last] = value
    return made


def sidecar(obj: Any, *caches: SemanticCache) -> dict[str, Any]:
    found: dict[str, Any] = patched(obj, *caches)["spec"]["initContainers"][0]
    assert found["name"] == SIDECAR
    return found


def given(made: dict[str, Any]) -> dict[str, tuple[str, str, str]]:
    """By its file: kind, name and key of what the sidecar is given."""
    volumes = {each["name"]: each for each in made["spec"]["volumes"]}
    return {
        item["path"]: (kind, source["name"], item["key"])
        for each in volumes[f"{SIDECAR}-given"]["projected"]["sources"]
        for kind, source in each.items()
        for item in source["items"]
    }


def files(container: dict[str, Any]) -> set[str]:
    """The given files that its arguments name."""
    values = (each.partition("=")[2] for each in container["args"])
    return {value.rpartition("/")[2] for value in values if value.startswith("/cache/given/")}


def env(container: dict[str, Any]) -> dict[str, Any]:
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container["env"]}


def refusal(obj: Any, *caches: SemanticCache) -> str:
    """Why a pod is left alone: warned of, annotated, and not otherwise touched."""
    reply = admitted(obj, *caches)
    (warning,) = reply.warnings
    (note,) = reply.patch
    assert note["path"] == "/metadata/annotations"
    assert note["value"][REFUSED] in warning
    return warning


def test_a_client_gets_a_native_sidecar_and_its_address() -> None:
    made = patched(pod())
    found = sidecar(pod())
    assert found["restartPolicy"] == "Always"
    assert f"--listen=127.0.0.1:{PORT}" in found["args"]
    assert "--workload=shop/web" in found["args"]
    assert env(found)["FAIRSTOW_CACHE_UPSTREAM"] == UPSTREAM
    assert "--upstream=$(FAIRSTOW_CACHE_UPSTREAM)" in found["args"]
    assert env(made["spec"]["containers"][0]) == {ADDRESS: OWN}
    assert made["metadata"]["labels"] == {"app": "web", INJECTED: "answers"}


def test_it_waits_for_nothing_but_its_port_and_keeps_a_pod_guaranteed_and_restricted() -> None:
    found = sidecar(pod())
    assert found["startupProbe"]["httpGet"] == {
        "path": "/healthz",
        "port": ADMIN_PORT,
        "scheme": "HTTPS",
    }
    assert "readinessProbe" not in found
    assert found["resources"]["requests"] == found["resources"]["limits"]
    security = found["securityContext"]
    assert security["runAsNonRoot"]
    assert security["readOnlyRootFilesystem"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}


def test_every_mount_has_its_volume_and_nothing_of_other_caches() -> None:
    ca = cache(upstreamCa={"name": "authorities", "key": "ca.pem"})
    made = patched(pod(volumes=[{"name": "own", "emptyDir": {}}]), ca)
    volumes = {each["name"]: each for each in made["spec"]["volumes"]}
    found = made["spec"]["initContainers"][0]
    mounted = {each["name"] for each in found["volumeMounts"]}
    assert mounted == volumes.keys() - {"own"}
    assert given(made) == {
        "cache.yaml": ("configMap", "fairstow-cache-answers", "cache.yaml"),
        "admin": ("secret", "fairstow-cache-answers", "admin"),
        "metrics": ("secret", "fairstow-cache-answers", "metrics"),
        "tls.crt": ("secret", "fairstow-cache-answers", "tls.crt"),
        "tls.key": ("secret", "fairstow-cache-answers", "tls.key"),
        "upstream-ca.crt": ("configMap", "authorities", "ca.pem"),
    }
    assert files(found) <= given(made).keys()
    assert {"--data=/cache/data", f"--data-bytes={3 << 28}"} <= set(found["args"])
    assert "volumeMounts" not in made["spec"]["containers"][0]


REDIS = {
    "redis": {
        "url": "rediss://redis:6380/0",
        "user": "answers",
        "password": {"name": "redis", "key": "password"},
        "ca": {"name": "redis-ca"},
    },
    "encryptionKeys": {"name": "answers-keys", "key": "keys"},
}


def test_a_shared_store_is_the_caches_own_prefix_and_its_secrets_are_files() -> None:
    made = patched(pod(), cache(store=REDIS))
    found = made["spec"]["initContainers"][0]
    assert {
        "--store=rediss://redis:6380/0",
        "--store-user=answers",
        "--store-prefix=fairstow-cache:shop:answers",
    } <= set(found["args"])
    assert not any(each.startswith("--data") for each in found["args"])
    assert files(found) <= given(made).keys()
    assert given(made)["store-password"] == ("secret", "redis", "password")
    assert given(made)["store-ca.crt"] == ("configMap", "redis-ca", "ca.crt")
    assert given(made)["keys"] == ("secret", "answers-keys", "keys")


def test_who_shares_answers_asks_one_server() -> None:
    shared = cache(store=REDIS)
    same = with_env({"name": ADDRESS, "value": UPSTREAM})
    assert sidecar(same, shared)
    for other in ({"value": "http://b/v1"}, {"valueFrom": VALUE_FROM}):
        assert "answers are shared" in refusal(with_env({"name": ADDRESS, **other}), shared)


def test_it_comes_before_the_pods_own_init_containers_which_reach_it_too() -> None:
    first, second = patched(pod(initContainers=[{"name": "warm-up"}]))["spec"]["initContainers"]
    assert (first["name"], second["name"]) == (SIDECAR, "warm-up")
    assert env(second) == {ADDRESS: OWN}


def test_where_the_pod_led_before_goes_before_the_caches_upstream() -> None:
    own = {"name": ADDRESS, "value": "https://llm.example/openai/v1"}
    found = patched(with_env({"name": "A", "value": "1"}, own, {"name": "B", "value": "2"}))
    assert env(found["spec"]["initContainers"][0])["FAIRSTOW_CACHE_UPSTREAM"] == own["value"]
    assert list(env(found["spec"]["containers"][0]).items()) == [
        ("A", "1"), (ADDRESS, OWN), ("B", "2"),
    ]  # fmt: skip


def test_a_container_that_asks_another_server_is_not_led() -> None:
    own = {"name": "main", "env": [{"name": ADDRESS, "value": "https://llm.example/v1"}]}
    silent = {"name": "other", "env": [{"name": "OPENAI_API_KEY", "value": "key"}]}
    for known in (cache(), cache(upstream=None)):
        found = patched(pod(container=own, initContainers=[silent]), known)
        assert env(found["spec"]["containers"][0]) == {ADDRESS: OWN}
        assert env(found["spec"]["initContainers"][1]) == {"OPENAI_API_KEY": "key"}
    same = cache(upstream="https://llm.example/v1")
    found = patched(pod(container=own, initContainers=[silent]), same)
    assert env(found["spec"]["initContainers"][1])[ADDRESS] == OWN


def from_map(name: str, **more: str) -> dict[str, Any]:
    return {"configMapRef": {"name": name}, **more}


def test_an_address_that_may_come_by_env_from_is_known_once_the_pod_starts() -> None:
    several = [from_map("all"), {"secretRef": {"name": "llm"}}, from_map("other", prefix="OPENAI_")]
    made = patched(pod(container={"envFrom": several}))
    found = made["spec"]["initContainers"][0]
    assert env(made["spec"]["containers"][0]) == {ADDRESS: OWN}
    names = [each.partition("=")[2] for each in found["args"] if "upstream-variable" in each]
    assert env(found)["FAIRSTOW_CACHE_UPSTREAM"] == UPSTREAM
    assert [env(found)[name] for name in names] == [
        {"configMapKeyRef": {"name": "all", "key": ADDRESS, "optional": True}},
        {"secretKeyRef": {"name": "llm", "key": ADDRESS, "optional": True}},
        {"configMapKeyRef": {"name": "other", "key": "BASE_URL", "optional": True}},
    ]


def test_env_from_that_cannot_name_an_address_changes_nothing() -> None:
    for source in (from_map("db", prefix="DB_"), from_map("all", prefix=ADDRESS)):
        assert not any(
            "upstream-variable" in each
            for each in sidecar(pod(container={"envFrom": [source]}))["args"]
        )
    said = {"env": [{"name": ADDRESS, "value": UPSTREAM}], "envFrom": [from_map("all")]}
    assert not any("upstream-variable" in each for each in sidecar(pod(container=said))["args"])


def test_whose_address_is_not_seen_is_not_led_to_anothers() -> None:
    unseen = {"name": "other", "envFrom": [from_map("all")]}
    own = {"env": [{"name": ADDRESS, "value": UPSTREAM}]}
    made = patched(pod(container=own, initContainers=[unseen]))
    assert "env" not in made["spec"]["initContainers"][1]
    silent = patched(pod(initContainers=[unseen]))["spec"]
    assert "env" not in silent["containers"][0]
    assert env(silent["initContainers"][1]) == {ADDRESS: OWN}
    alike = patched(pod(container={"envFrom": [from_map("all")]}, initContainers=[unseen]))["spec"]
    assert env(alike["containers"][0]) == env(alike["initContainers"][1]) == {ADDRESS: OWN}
    different = pod(container={"envFrom": [from_map("b")]}, initContainers=[unseen])
    assert "different sources (envFrom)" in refusal(different)
    alone = pod(container={"envFrom": [from_map("all")]})
    assert "what envFrom holds isn't seen" in refusal(alone, cache(upstream=None))


def test_a_reason_is_short() -> None:
    long = with_env({"name": ADDRESS, "value": f"http://llm/{'v2' * 5_000}"})
    (note,) = admitted(long).patch
    assert len(note["value"][REFUSED]) < 300


def test_an_address_from_a_secret_is_taken_from_there() -> None:
    found = sidecar(with_env({"name": ADDRESS, "valueFrom": VALUE_FROM}), cache(upstream=None))
    assert env(found)["FAIRSTOW_CACHE_UPSTREAM"] == VALUE_FROM


def test_proxies_hold_for_the_sidecar_and_not_for_the_way_to_it() -> None:
    proxy = {"name": "HTTPS_PROXY", "value": "http://proxy:3128"}
    plain = {"name": "http_proxy", "value": "http://proxy:3128"}
    around = {"name": "no_proxy", "value": ".svc"}
    found = patched(with_env(proxy, plain, around))
    assert env(found["spec"]["containers"][0])["no_proxy"] == ".svc,127.0.0.1"
    said = env(found["spec"]["initContainers"][0])
    assert said["HTTPS_PROXY"] == "http://proxy:3128"
    assert said["no_proxy"] == ".svc"
    bare = patched(with_env(plain))["spec"]["containers"][0]
    assert env(bare)["NO_PROXY"] == "127.0.0.1"


def test_before_an_engine_it_listens_for_others_and_tells_them_by_their_keys() -> None:
    made = patched(pod(), SERVER)
    found = made["spec"]["initContainers"][0]
    assert f"--listen=0.0.0.0:{PORT}" in found["args"]
    assert not any(each.startswith("--workload") for each in found["args"])
    assert env(found)["FAIRSTOW_CACHE_UPSTREAM"] == "http://127.0.0.1:8000"
    assert PORT in {each["containerPort"] for each in found["ports"]}
    assert "env" not in made["spec"]["containers"][0]


def test_once_is_enough() -> None:
    assert admitted(patched(pod())) == Reply()


@pytest.mark.parametrize(
    ("obj", "namespace"),
    [(pod(app="db"), "shop"), (pod(), "elsewhere"), ({"metadata": {}}, "shop"), ({}, "shop")],
)
def test_other_pods_are_left_alone(obj: Any, namespace: str) -> None:
    assert admitted(obj, namespace=namespace) == Reply()


def test_of_several_caches_the_first_by_name_has_the_pod() -> None:
    made = patched(pod(), cache("b"), cache("a"))
    assert made["metadata"]["labels"][INJECTED] == "a"


def test_a_pod_starts_without_a_sidecar_that_couldnt() -> None:
    reply = admitted(pod(), cache(ready=False))
    assert reply.patch == ()
    assert "answers isn't ready yet" in reply.warnings[0]


@pytest.mark.parametrize(
    ("obj", "why"),
    [
        (pod(hostNetwork=True), "hostNetwork"),
        (pod(os={"name": "windows"}), "windows"),
        (pod(container={"ports": [{"containerPort": PORT}]}), f"port {PORT}"),
        (pod(initContainers=[{"name": "a", "ports": [{"containerPort": PORT}]}]), f"port {PORT}"),
        (with_env({"name": ADDRESS, "value": "http://llm/v2"}), "ends in /v1"),
        (with_env({"name": ADDRESS, "value": "http://u:p@llm/v1"}), "ends in /v1"),
        (with_env({"name": ADDRESS, "value": "http://$(HOST)/v1"}), "ends in /v1"),
        (with_env({"name": ADDRESS, "value": OWN}), "ends in /v1"),
        (
            with_env(
                {
                    "name": ADDRESS,
                    "valueFrom": {"configMapKeyRef": {"name": "a", "key": "b", "optional": True}},
                }
            ),
            "optional",
        ),
        (
            with_env(
                {"name": "HTTP_PROXY", "value": "http://proxy"},
                {"name": "NO_PROXY", "valueFrom": VALUE_FROM},
            ),
            "NO_PROXY of container main",
        ),
        (
            pod(
                container={"env": [{"name": ADDRESS, "value": UPSTREAM}]},
                initContainers=[
                    {"name": "other", "env": [{"name": ADDRESS, "value": "http://b/v1"}]}
                ],
            ),
            "differently",
        ),
    ],
)
def test_a_pod_that_doesnt_fit_runs_as_it_is_and_says_why(obj: Any, why: str) -> None:
    assert why in refusal(obj)


def test_nowhere_to_pass_requests_on_to() -> None:
    assert "spec.upstream" in refusal(pod(), cache(upstream=None))


@pytest.mark.parametrize(
    "obj", [{"metadata": 1}, {"spec": {"containers": 1}}, {"spec": {"os": []}}]
)
def test_what_isnt_a_pod_is_refused(obj: Any) -> None:
    with pytest.raises(MalformedError):
        admitted(obj)
