"""Plans under way, as the API server has them, for tests here and in e2e."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Object = dict[str, Any]
NOW = "2026-01-01T00:00:00Z"


@dataclass(frozen=True)
class Arrival:
    """A pod that gets a node.

    Attributes:
        came_from: the node it is evicted from; "" for a placement.
        owner: such as `ReplicaSet/web`; "" for a bare pod.
    """

    namespace: str
    name: str
    uid: str
    node: str
    requests: Mapping[str, str]
    owner: str = ""
    came_from: str = ""

    @property
    def ref(self) -> Object:
        return {"namespace": self.namespace, "name": self.name, "uid": self.uid}

    def entry(self) -> Object:
        target = {"from": self.came_from, "to": self.node} if self.came_from else {
            "node": self.node
        }  # fmt: skip
        requests = {"pods": "1", **self.requests}
        return self.ref | target | {"owner": self.owner, "requests": requests}


@dataclass(frozen=True)
class Plan:
    """A plan; one step holds several arrivals."""

    name: str
    steps: tuple[tuple[Arrival, ...], ...]
    policy: str = ""
    uid: str = "uid-of-the-plan"
    known: tuple[str, ...] = field(default=())

    def to_object(self, *, status: bool = True) -> Object:
        arrivals = [arrival for step in self.steps for arrival in step]
        spec: Object = {
            "snapshotHash": "0" * 32,
            "rules": "Product",
            "order": "PlaceFirst",
            "seed": 0,
            "window": "10s",
            "cost": sum(bool(a.came_from) for a in arrivals),
            "budgets": "Known",
            "placements": [a.entry() for a in arrivals if not a.came_from],
            "moves": [a.entry() for a in arrivals if a.came_from],
            "steps": [_step(step) for step in self.steps],
        }
        if self.policy:
            spec["policy"] = self.policy
        plan = {
            "apiVersion": "fairstow.dev/v1alpha1",
            "kind": "PackingPlan",
            "metadata": {"name": self.name, "uid": self.uid},
            "spec": spec,
        }
        return plan | {"status": self.status(executing=True)} if status else plan

    def status(self, *, executing: bool, done: int = 0, since: str = NOW) -> Object:
        """The status while the first step that isn't done is under way, or after the end."""
        condition = {
            "type": "Executing",
            "status": "True" if executing else "False",
            "reason": "Executing" if executing else "Succeeded",
            "message": "as a test says",
            "lastTransitionTime": since,
        }
        step = {"index": done, "startedAt": since, "known": list(self.known)}
        return {"conditions": [condition], "stepsDone": done} | (
            {"step": step} if executing else {}
        )


def _step(arrivals: Iterable[Arrival]) -> Object:
    arrivals = list(arrivals)
    return {
        "evict": [a.ref for a in arrivals if a.came_from],
        "bind": [a.ref | {"node": a.node} for a in arrivals],
    }


def lease(name: str = "fairstow-operator", *, renewed: str = NOW, seconds: int = 15) -> Object:
    """The operator's Lease."""
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"namespace": "fairstow-system", "name": name},
        "spec": {
            "holderIdentity": "operator-0",
            "leaseDurationSeconds": seconds,
            "renewTime": renewed,
        },
    }


def policy(name: str, mode: str, *, suspend: bool = False) -> Object:
    """A policy."""
    limits = {"maxMovesPerHour": 10}
    return {
        "apiVersion": "fairstow.dev/v1alpha1",
        "kind": "PackingPolicy",
        "metadata": {"name": name},
        "spec": {"poolRef": {"name": name}, "mode": mode, "suspend": suspend, "limits": limits},
    }
