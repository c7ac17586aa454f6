"""LLM engines of a step: each hands its requests over (InstanceDrain) before it is evicted.

Called by `turn`. A move by packing is nobody's need, so it cuts no stream: an engine whose drain
ends by its deadline, with requests left, isn't evicted; the plan is given up instead.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from fairstow.cluster.model import EnginePool, Pod
from fairstow.cluster.snapshot import Snapshot

_LEFT = "DeadlineOver"


@dataclass(frozen=True, slots=True)
class Handover:
    """How far the engines among some pods are.

    Attributes:
        begin: engines whose drain has yet to be made.
        under_way: those whose drain isn't over.
        busy: those that still had requests when it was.
    """

    begin: tuple[tuple[EnginePool, Pod], ...] = ()
    under_way: tuple[Pod, ...] = ()
    busy: tuple[Pod, ...] = ()

    @property
    def over(self) -> bool:
        """Whether all may be evicted."""
        return not (self.begin or self.under_way or self.busy)

    @property
    def waits_for(self) -> str:
        """Name those that are waited for."""
        names = [*(pod.ref for _, pod in self.begin), *(pod.ref for pod in self.under_way)]
        return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def handover(pods: Iterable[Pod], snapshot: Snapshot) -> Handover:
    """Return how far the engines among some pods are."""
    begin: list[tuple[EnginePool, Pod]] = []
    under_way: list[Pod] = []
    busy: list[Pod] = []
    for pod in pods:
        for pool in snapshot.engines.pools(pod)[:1]:  # one drain, whatever selects it
            drain = snapshot.engines.drain(pod)
            if drain is None:
                begin.append((pool, pod))
            elif not drain.over:
                under_way.append(pod)
            elif drain.over == _LEFT:
                busy.append(pod)
    return Handover(tuple(begin), tuple(under_way), tuple(busy))
