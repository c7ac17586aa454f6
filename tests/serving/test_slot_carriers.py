"""What a new pod of a llama.cpp engine is given: `fairstow.serving.slot_carriers`, case by case.

Covered: the folder (named in every way, in a volume of the pod's, made), resources, label, whom
gateways find, once is enough, who is left alone and who is told why. Not covered: the carrier
itself (test_slot_carrier.py), that pods run so (e2e/serving/test_slots.py).
"""

from __future__ import annotations

from typing import Any

import pytest

from fairstow.api import ServingPool
from fairstow.cluster.review import MalformedError, Reply
from fairstow.serving.engine_pods import ENGINE_KEY
from fairstow.serving.instances import instances
from fairstow.serving.slot_carriers import CARRIED, DEFAULT_MIB, PORT, SIDECAR, admit
from tests.serving.admitting import applied, reviewed

KEY = {"name": "keys", "key": "engine"}
LIMITED = {"limits": {"cpu": "4", "memory": "8Gi"}}
MOUNT = {"name": "slots", "mountPath": "/slots"}


def pool(**engines: Any) -> ServingPool:
    chosen = {"selector": {"matchLabels": {"app": "llama"}}, "type": "LlamaCpp", "apiKey": KEY}
    return ServingPool.model_validate(
        {
            "metadata": {"name": "llama", "namespace": "chat"},
            "spec": {"engines": chosen | {"port": 8080} | engines},
        }
    )


def pod(volume: dict[str, Any] | None = None, **container: Any) -> dict[str, Any]:
    """A pod; with a volume it is where slots are saved."""
    main = {"name": "engine", "args": ["--slots", "--slot-save-path=/slots"]} | container
    spec: dict[str, Any] = {"containers": [main], "securityContext": {"runAsUser": 1000}}
    if volume is not None:
        main.setdefault("volumeMounts", [MOUNT])
        spec["volumes"] = [{"name": "slots"} | volume]
    return {"metadata": {"generateName": "llama-", "labels": {"app": "llama"}}, "spec": spec}


def admitted(obj: Any, of: ServingPool | None = None, namespace: str = "chat") -> Reply:
    return admit(reviewed(obj, namespace), [of or pool()], "fairstow:1")


def patched(obj: Any) -> dict[str, Any]:
    return applied(obj, admitted(obj).patch)


def carrier(obj: Any) -> dict[str, Any]:
    found: dict[str, Any] = patched(obj)["spec"]["initContainers"][0]
    return found


def test_the_carrier_shares_the_folder_and_shows_the_engines_key() -> None:
    found = carrier(pod({"emptyDir": {"medium": "Memory", "sizeLimit": "3Gi"}}))
    assert found["restartPolicy"] == "Always"
    assert found["volumeMounts"] == [MOUNT]
    assert found["args"] == [
        *("--engine=http://127.0.0.1:8080", "--folder=/slots"),
        *(f"--port={PORT}", "--most=3072"),
    ]
    (key,) = found["env"]
    assert key["name"] == ENGINE_KEY
    assert key["valueFrom"]["secretKeyRef"] == KEY | {"optional": False}
    assert found["securityContext"]["runAsNonRoot"] is True
    assert found["startupProbe"]["tcpSocket"]["port"] == PORT


def test_gateways_find_it_and_policies_select_it() -> None:
    made = patched(pod({"emptyDir": {}}))
    assert made["metadata"]["labels"] == {"app": "llama", CARRIED: "llama"}
    running = made | {"metadata": made["metadata"] | {"uid": "1", "name": "llama-1"}}
    (instance,) = instances([running], [])
    assert instance.carrier == PORT


@pytest.mark.parametrize(
    "container",
    [
        {"args": ["--slot-save-path", "/slots/"]},
        {"command": ["llama-server", "--slot-save-path=/slots"], "args": ["--slots"]},
        {"command": ["sh", "-c"], "args": ["exec llama-server --slot-save-path '/slots' --slots"]},
    ],
)
def test_the_folder_is_found_however_it_is_named(container: dict[str, Any]) -> None:
    assert "--folder=/slots" in carrier(pod({"emptyDir": {}}, **container))["args"]


def test_the_nearest_mount_above_the_folder_is_shared() -> None:
    mounts = [
        {"name": "data", "mountPath": "/"},
        {"name": "slots", "mountPath": "/slots/", "subPath": "kv"},
        {"name": "data", "mountPath": "/slots-of-others"},
    ]
    args = ["--slot-save-path=/slots/here"]
    found = carrier(pod({"emptyDir": {}}, args=args, volumeMounts=mounts))
    assert found["volumeMounts"] == [mounts[1]]
    assert "--folder=/slots/here" in found["args"]


def test_a_pod_that_is_selected_by_what_it_lacks_may_have_no_labels() -> None:
    lacks = {"matchExpressions": [{"key": "other", "operator": "DoesNotExist"}]}
    obj = pod({"emptyDir": {}})
    del obj["metadata"]["labels"]
    made = applied(obj, admitted(obj, pool(selector=lacks)).patch)
    assert made["metadata"]["labels"] == {CARRIED: "llama"}


def test_an_engine_without_a_volume_gets_one_in_memory() -> None:
    spec = patched(pod())["spec"]
    (volume,) = spec["volumes"]
    size = f"{DEFAULT_MIB}Mi"
    assert volume == {"name": SIDECAR, "emptyDir": {"medium": "Memory", "sizeLimit": size}}
    (engine,) = spec["containers"]
    assert engine["volumeMounts"] == spec["initContainers"][0]["volumeMounts"]
    assert engine["volumeMounts"] == [{"name": SIDECAR, "mountPath": "/slots"}]


def test_what_the_pod_has_besides_stays() -> None:
    obj = pod(volumeMounts=[{"name": "model", "mountPath": "/model"}])
    obj["spec"] |= {"volumes": [{"name": "model"}], "initContainers": [{"name": "fetch"}]}
    spec = patched(obj)["spec"]
    assert [each["name"] for each in spec["initContainers"]] == [SIDECAR, "fetch"]
    assert [each["name"] for each in spec["volumes"]] == ["model", SIDECAR]
    mounts = spec["containers"][0]["volumeMounts"]
    assert [each["mountPath"] for each in mounts] == ["/model", "/slots"]


@pytest.mark.parametrize(
    ("volume", "limit"),
    [
        ({"medium": "Memory", "sizeLimit": "2Gi"}, 2048 + 128),
        ({"medium": "Memory"}, DEFAULT_MIB + 128),
        ({"sizeLimit": "2Gi"}, 128),
    ],
)
def test_files_in_memory_count_as_the_carriers(volume: dict[str, Any], limit: int) -> None:
    found = carrier(pod({"emptyDir": volume}))["resources"]
    assert found["requests"] == {"cpu": "50m", "memory": "128Mi"}
    assert found["limits"] == {"memory": f"{limit}Mi"}


@pytest.mark.parametrize(
    ("resources", "stays"),
    [
        (LIMITED, True),
        (LIMITED | {"requests": LIMITED["limits"]}, True),
        (LIMITED | {"requests": {"cpu": "1", "memory": "8Gi"}}, False),
        ({"limits": {"memory": "8Gi"}}, False),
    ],
)
def test_a_pod_whose_resources_are_guaranteed_stays_so(
    resources: dict[str, Any], stays: bool
) -> None:
    found = carrier(pod({"emptyDir": {"sizeLimit": "1Gi"}}, resources=resources))["resources"]
    assert (found["requests"] == found["limits"]) is stays


def test_once_is_enough() -> None:
    assert admitted(patched(pod())) == Reply()
    own = pod()
    ports = [{"name": "fairstow-slots", "containerPort": 8448}]
    own["spec"]["containers"].append({"name": "mine", "ports": ports})
    assert admitted(own) == Reply()


def test_other_pods_are_left_alone() -> None:
    assert admitted(pod(), namespace="elsewhere") == Reply()
    assert admitted(pod(), pool(type="VLLM")) == Reply()
    assert admitted({"metadata": {"labels": {"app": "llama"}}}) == Reply()
    assert admitted({}) == Reply()


@pytest.mark.parametrize(
    ("obj", "engines", "why"),
    [
        (pod(), {"apiKey": None}, "has no engines.apiKey"),
        (pod(args=["--slots"]), {}, "no --slot-save-path"),
        (pod(args=["--slot-save-path=slots"]), {}, "no --slot-save-path"),
        (pod(args=["--slot-save-path=/"]), {}, "is the root"),
        (pod(args=["--slot-save-path=/slots/$(POD)"]), {}, "names a variable"),
        (pod(ports=[{"containerPort": PORT}]), {}, f"port {PORT} is the carrier's"),
        (pod(resources=LIMITED), {}, "mount an emptyDir at /slots yourself"),
        (pod({"persistentVolumeClaim": {"claimName": "slots"}}), {}, "is no emptyDir"),
        (pod({"emptyDir": {}}, volumeMounts=[MOUNT | {"subPathExpr": "$(A)"}]), {}, "no emptyDir"),
        (pod({"emptyDir": {"sizeLimit": "much"}}), {}, "is not a quantity"),
    ],
)
def test_who_cant_be_given_one_is_told(
    obj: dict[str, Any], engines: dict[str, Any], why: str
) -> None:
    reply = admitted(obj, pool(**engines))
    assert reply.patch == ()
    assert why in reply.warnings[0]


@pytest.mark.parametrize(
    ("whole", "own", "user"), [(None, 7, 7), (8, None, 8), (8, 7, 7), (None, None, 0), (8, 0, 0)]
)
def test_the_carrier_is_of_the_engines_user(whole: int | None, own: int | None, user: int) -> None:
    obj = pod({"emptyDir": {}}, securityContext={} if own is None else {"runAsUser": own})
    obj["spec"]["securityContext"] = {} if whole is None else {"runAsUser": whole}
    if user:
        assert carrier(obj)["securityContext"]["runAsUser"] == user
    else:
        assert "runAsUser but root" in admitted(obj).warnings[0]


def test_a_host_network_has_no_port_for_it() -> None:
    obj = pod()
    obj["spec"]["hostNetwork"] = True
    assert "with hostNetwork" in admitted(obj).warnings[0]


def test_a_malformed_pod_is_called_so() -> None:
    with pytest.raises(MalformedError, match="spec is malformed"):
        admitted(pod(volumeMounts="all"))
