"""What each node of a small cluster says to the pod `new`; for the tests of `State`."""

from __future__ import annotations

from fairstow.cluster.state import State
from tests.cluster.objects import Object, node, snapshot

ZONE = "topology.kubernetes.io/zone"


def zones(**zone: str) -> list[Object]:
    """Nodes by name, each in its zone; "" is in none."""
    return [node(name, labels={ZONE: value} if value else {}) for name, value in zone.items()]


def verdicts(objects: list[Object], name: str = "new") -> dict[str, str]:
    """What each node says to the pod of that name: the first rule that refuses, or ""."""
    found = snapshot(*objects)
    state = State(found)
    asked = next(p for p in found.pods if p.name == name)
    said = {n.name: state.refusal(asked, n) for n in found.nodes}
    return {name: refusal.rule.name if refusal else "" for name, refusal in said.items()}
