"""LLM engines: pods that a ServingPool selects, which hand their requests over before they go.

A pool must keep serving. So one of its pods may leave only while every other one that has a node is
Ready and stays, and only if there is another one; and no step takes two of a pool down. Pods that
moved in earlier steps are taken to be back, as for disruption budgets.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from fairstow.packing.checker.fields import Fields
from fairstow.packing.checker.pods import Pod
from fairstow.packing.checker.selectors import Selector, matches, read_selector

GROUP = "fairstow.dev"
KINDS = ("ServingPool", "InstanceDrain")


@dataclass(frozen=True)
class EnginePool:
    """A ServingPool; `spare`: its status says that one instance's requests have room elsewhere."""

    key: str
    namespace: str
    selector: Selector | None
    spare: bool


@dataclass
class Engines:
    """All that was read of engines; `drained` are the uids of pods that have an InstanceDrain."""

    pools: list[EnginePool] = field(default_factory=list)
    drained: set[str] = field(default_factory=set)

    def add(self, kind: str, key: str, item: Fields) -> None:
        """Take in an object of `KINDS`."""
        if kind == "InstanceDrain":
            self.drained.add(item.map("spec").text("podUid"))
            return
        engines, status = item.map("spec").map("engines"), item.map("status")
        idle = status.has("gateways") and status.integer("gateways") == 0
        selector = read_selector(engines, "selector")
        spare = idle or status.integer("spareInstances") >= 1
        self.pools.append(EnginePool(key, key.partition("/")[0], selector, spare))

    def of(self, pod: Pod) -> list[EnginePool]:
        """Return the pools that select a pod."""
        return [
            pool
            for pool in self.pools
            if pool.namespace == pod.namespace and matches(pool.selector, pod.labels)
        ]

    def obstacles(self, pod: Pod, running: Iterable[Pod]) -> Iterator[str]:
        """Yield why a pod's pools can't do without it, as clauses."""
        for pool in self.of(pod):
            others = [
                each
                for each in running
                if each.uid != pod.uid and not each.finished and pool in self.of(each)
            ]
            away = [
                each.key
                for each in others
                if each.terminating or not each.ready or each.uid in self.drained
            ]
            if not others:
                yield f"serving pool {pool.key} has no other instance"
            elif away:
                yield f"serving pool {pool.key} misses {', '.join(sorted(away)[:3])} already"
