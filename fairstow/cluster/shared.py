"""Equal parts of pods kept once, for as long as a pod has them.

A dump's `Builder` lets go of everything at once; a cluster that is watched for months must not
keep the labels of every Job it ever ran. So each part counts the pods that hold it.
"""

from collections.abc import Hashable, Iterator
from typing import Any, TypeVar

from fairstow.cluster.model import Pod, Shape

T = TypeVar("T", bound=Hashable)


class Shared:
    """Values by themselves, each with the number of its holders."""

    def __init__(self) -> None:
        self._held: dict[Hashable, list[Any]] = {}

    def __len__(self) -> int:
        return len(self._held)

    def get(self, value: T) -> T:
        """Return the kept one of equal values, or the value itself where none is kept."""
        held = self._held.get(value)
        return held[0] if held is not None else value

    def hold(self, pod: Pod) -> None:
        """Keep the parts of a pod that is there from now on."""
        for part in _parts(pod):
            self._hold(part)

    def release(self, pod: Pod) -> None:
        """Let go of the parts of a pod that is there no more."""
        for part in _parts(pod):
            self._release(part)

    def _hold(self, part: Hashable) -> None:
        held = self._held.setdefault(part, [part, 0])
        held[1] += 1
        if held[1] == 1 and isinstance(part, Shape):
            for inner in _shape_parts(part):
                self._hold(inner)

    def _release(self, part: Hashable) -> None:
        held = self._held[part]
        held[1] -= 1
        if not held[1]:
            del self._held[part]
            if isinstance(part, Shape):
                for inner in _shape_parts(part):
                    self._release(inner)


def _parts(pod: Pod) -> Iterator[Hashable]:
    yield from (pod.shape, pod.labels, pod.annotations, pod.owner)
    yield from (pod.namespace, pod.node, pod.gang)


def _shape_parts(shape: Shape) -> Iterator[Hashable]:
    yield from (shape.requests, shape.node_selector, *shape.tolerations)
