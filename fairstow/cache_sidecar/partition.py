"""The vectors of one namespace and context: exact while there are few, a graph beyond.

    similarity(a, b) = a · b for unit vectors; kept as float16, compared as float32

The *tail* is searched exactly (usearch: 0.12 ms of one core for 1,000 on float16, where numpy
takes 0.4). Beyond `MOST_EXACT` vectors the tail moves into a graph (usearch,
HNSW, float16), a few with each that comes, so that nothing ever waits for a graph to be built; a
search asks both, and what they find is scored again from the float16 vectors. Called by
`index`, from one thread at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fairstow.cache_sidecar.embedding import DIMENSION, Vector
from fairstow.cache_sidecar.native import Graph, nearest

Half = npt.NDArray[np.float16]

MOST_EXACT = 1_000
_MOVED = 4
"""From the tail to the graph with each that comes."""
_FIRST = 1
"""Vectors: conversations are many, and most have a context, so a partition, of their own."""
_EXPLORED = 64
_BY_HAND = 32


class Partition:
    """Vectors by entry; see the module."""

    __slots__ = (
        "_entries", "_graph", "_keys", "_most_exact", "_names", "_next", "_rows", "_tail",
    )  # fmt: skip

    def __init__(self, most_exact: int = MOST_EXACT) -> None:
        self._most_exact = most_exact
        self._tail: Half = np.empty((0, DIMENSION), np.float16)
        self._names: list[str] = []
        self._rows: dict[str, int] = {}
        self._graph: Any = None
        self._keys: dict[str, int] = {}
        self._entries: dict[int, str] = {}
        self._next = 0

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._names) + len(self._keys)

    def add(self, entry: str, vector: Half) -> None:
        """Add an entry's vector, in place of the one it had."""
        self.remove(entry)
        if len(self._names) >= self._most_exact:
            self._move(_MOVED)
        self._append(entry, vector)

    def add_all(self, entries: Sequence[str], vectors: Half) -> None:
        """Add many that are new; takes long, so not where requests wait."""
        for entry, vector in zip(entries, vectors, strict=True):
            self._append(entry, vector)
        if len(self._names) > self._most_exact:
            self._move(len(self._names))

    def remove(self, entry: str) -> None:
        """Remove an entry if it is there."""
        if (row := self._rows.pop(entry, None)) is not None:
            last = self._names.pop()
            if last != entry:
                self._names[row], self._rows[last] = last, row
                self._tail[row] = self._tail[len(self._names)]
        elif (key := self._keys.pop(entry, None)) is not None:
            del self._entries[key]
            self._graph.remove(key)

    def search(self, vector: Vector, most: int) -> list[tuple[str, float]]:
        """Return the nearest entries and their similarity, the nearest first."""
        found = self._in_tail(vector, most) + self._in_graph(vector, most)
        return sorted(found, key=lambda each: -each[1])[:most]

    def _in_tail(self, vector: Vector, most: int) -> list[tuple[str, float]]:
        size = len(self._names)
        if not size:
            return []
        chosen = list(range(size))
        if size > _BY_HAND:
            half, tail = vector.astype(np.float16), self._tail[:size]
            found = nearest(tail, half, most, metric="ip", exact=True, threads=1)
            chosen = [int(key) for key in found.keys]
        near = self._tail[chosen].astype(np.float32) @ vector
        return [(self._names[at], float(near[row])) for row, at in enumerate(chosen)]

    def _in_graph(self, vector: Vector, most: int) -> list[tuple[str, float]]:
        if not self._keys:
            return []
        half = vector.astype(np.float16)
        matches = self._graph.search(half, min(most, len(self._keys)), threads=1)
        keys = [int(key) for key in matches.keys if int(key) in self._entries]
        return [(self._entries[key], self._similarity(key, vector)) for key in keys]

    def _similarity(self, key: int, vector: Vector) -> float:
        kept = np.asarray(self._graph.get(key), np.float16).reshape(DIMENSION)
        return float(kept.astype(np.float32) @ vector)

    def _append(self, entry: str, vector: Half) -> None:
        size = len(self._names)
        if size == len(self._tail):
            grown = np.empty((max(_FIRST, 2 * size), DIMENSION), np.float16)
            grown[:size] = self._tail
            self._tail = grown
        self._tail[size] = vector
        self._rows[entry] = size
        self._names.append(entry)

    def _move(self, many: int) -> None:
        """Move the tail's last vectors into the graph."""
        if self._graph is None:
            self._graph = Graph(
                ndim=DIMENSION, metric="ip", dtype="f16", expansion_search=_EXPLORED
            )
        names = self._names[-many:]
        keys = np.arange(self._next, self._next + len(names), dtype=np.uint64)
        vectors = self._tail[len(self._names) - len(names) : len(self._names)].copy()
        self._graph.add(keys, vectors)
        for name, key in zip(names, keys.tolist(), strict=True):
            self._keys[name], self._entries[key] = key, name
            del self._rows[name]
        self._next += len(names)
        del self._names[len(self._names) - len(names) :]
        if not self._names:
            self._tail = np.empty((0, DIMENSION), np.float16)
