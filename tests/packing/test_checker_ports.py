"""Host ports, as the checker of plans judges arrivals."""

from typing import Any

import pytest

from tests.packing.checker_clusters import Json, arrival, node, plan, pod, rules_broken, step

SIDECAR = {"restartPolicy": "Always"}


def ports(*ports: Json, container: str = "containers", **spec: Any) -> Json:
    """A pod's spec with ports in a container of its own."""
    made: Json = {"name": "ports", "ports": list(ports)}
    if container == "sidecars":
        return {"initContainers": [made | SIDECAR], **spec}
    return {container: [made], **spec}


HTTP: Json = {"containerPort": 80, "hostPort": 8080}


@pytest.mark.parametrize(
    ("mine", "theirs", "conflict"),
    [
        (ports(HTTP), ports(HTTP), True),
        (ports(HTTP), ports(HTTP | {"protocol": "TCP"}), True),
        (ports(HTTP), ports(HTTP | {"protocol": "UDP"}), False),
        (ports(HTTP), ports(HTTP | {"hostPort": 8081}), False),
        (ports({"containerPort": 8080}), ports(HTTP), False),
        (ports(HTTP | {"hostPort": 0}), ports(HTTP | {"hostPort": 0}), False),
        (ports(HTTP | {"hostIP": "127.0.0.1"}), ports(HTTP | {"hostIP": "10.0.0.1"}), False),
        (ports(HTTP | {"hostIP": "127.0.0.1"}), ports(HTTP | {"hostIP": "127.0.0.1"}), True),
        (ports(HTTP | {"hostIP": "127.0.0.1"}), ports(HTTP | {"hostIP": "0.0.0.0"}), True),
        (ports(HTTP | {"hostIP": "0.0.0.0"}), ports(HTTP | {"hostIP": "127.0.0.1"}), True),
        (ports(HTTP), ports(HTTP | {"hostIP": "127.0.0.1"}), True),
        (ports({"containerPort": 8080}, hostNetwork=True), ports(HTTP), True),
        (ports({"containerPort": 80}, hostNetwork=True), ports(HTTP), False),
        (ports(HTTP, container="sidecars"), ports(HTTP), True),
        (ports(HTTP), ports(HTTP, container="sidecars"), True),
        (ports(HTTP, container="initContainers"), ports(HTTP), False),
    ],
)
def test_a_host_port_is_had_once_on_a_node(mine: Json, theirs: Json, conflict: bool) -> None:
    expected = {"HostPortTaken"} if conflict else set()
    assert arrival(node(), pod("p", **mine), pod("there", "a", **theirs)) == expected
    assert arrival(node(), pod("p", **mine), node("b"), pod("there", "b", **theirs)) == set()


def test_a_host_port_is_free_once_its_pod_has_moved() -> None:
    there, new = pod("there", "a", **ports(HTTP)), pod("new", **ports(HTTP))
    objects = [node("a"), node("b"), there, new]
    move, arrive = step([there], [(there, "b")]), step(bind=[(new, "a")])
    assert rules_broken(objects, plan(objects, move, arrive)) == set()
    assert rules_broken(objects, plan(objects, arrive, move)) == {"HostPortTaken"}


def test_two_arrivals_want_the_same_host_port() -> None:
    one, two = pod("one", **ports(HTTP)), pod("two", **ports(HTTP))
    objects = [node("a"), node("b"), one, two]
    apart, together = [(one, "a"), (two, "b")], [(one, "a"), (two, "a")]
    assert rules_broken(objects, plan(objects, step(bind=apart))) == set()
    assert rules_broken(objects, plan(objects, step(bind=together))) == {"HostPortTaken"}
