"""What a look-up needs of all entries, in memory: which there are, and which are near.

Vectors are apart by namespace, fingerprint and category (`partition`): what may not be compared
isn't found.
Quotas are by tenant and category, whatever users a client makes up. A full one loses the least
valuable of a random sample (`quotas`), so that a put never reads all of it; the total is bounded
the same way, at the expense of whoever has most. Expiry is by the clock that is passed in. Called
by `memory`, which tells the store what is gone.
"""

from __future__ import annotations

import heapq
import random
import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

import msgspec
import numpy as np

from fairstow.cache_sidecar.embedding import DIMENSION, MODEL, Vector
from fairstow.cache_sidecar.partition import Half, Partition
from fairstow.cache_sidecar.stores.records import Head, Purged
from fairstow.semantic_cache.decision import Candidate
from fairstow.semantic_cache.quotas import Held, evicted, worth
from fairstow.semantic_cache.thresholds import jittered

NEAR = 8
"""Candidates of a look-up."""
_SAMPLE = 48

Bucket = tuple[str, str]
At = tuple[str, str, str]


class Row(msgspec.Struct):
    """An entry; see `Head`."""

    id: str
    namespace: str
    fingerprint: str
    bucket: Bucket
    question: str | None
    stored: float
    expires: float
    saved: float
    forms: int
    priority: int = 0
    hits: int = 0

    def candidate(self, similarity: float | None = None) -> Candidate:
        """Return it as the decision sees it."""
        return Candidate(
            self.id,
            self.namespace,
            self.fingerprint,
            self.question or "",
            self.stored,
            similarity,
            share=jittered(1.0, self.id),
        )


class Index:
    """See the module. Attributes: rows: by id."""

    def __init__(self, *, most: int, seed: int | None = None) -> None:
        self.rows: dict[str, Row] = {}
        self.most = most
        self._partitions: dict[At, Partition] = {}
        self._buckets: dict[Bucket, dict[str, None]] = {}
        self._expiring: list[tuple[float, str]] = []
        self._random = random.Random(seed)  # noqa: S311 - a sample, no secret

    def __len__(self) -> int:
        """Return how many entries there are."""
        return len(self.rows)

    def vectors(self) -> int:
        """Return how many vectors there are."""
        return sum(map(len, self._partitions.values()))

    def usage(self) -> Iterator[tuple[Bucket, int]]:
        """Yield how many entries each tenant has in each category."""
        return ((bucket, len(held)) for bucket, held in self._buckets.items())

    def near(
        self,
        namespace: str,
        fingerprint: str,
        category: str,
        vector: Vector,
        form: int,
        most: int = NEAR,
    ) -> tuple[Candidate, ...]:
        """Return the nearest entries that can be told in that form."""
        partition = self._partitions.get((namespace, fingerprint, category))
        if partition is None:
            return ()
        found = [(self.rows[entry], near) for entry, near in partition.search(vector, most)]
        return tuple(row.candidate(near) for row, near in found if row.forms & form)

    def put(self, head: Head, *, priority: int, quota: int, threshold: float) -> list[str]:
        """Add an entry, in place of one with its id; return which others had to go."""
        vector = _vector(head)
        row = self._place(head, priority)
        gone = [] if quota > 0 else [head.id]
        held = self._buckets[row.bucket]
        while not gone and len(held) - len(gone) > quota:
            gone += self._least(held, threshold, head.stored)
        if not gone and len(self.rows) > self.most:
            largest = max(self._buckets.values(), key=len)
            gone += self._least(largest, threshold, head.stored)
        if vector is not None and head.id not in gone:
            self._partition(row).add(head.id, vector)
        for entry in gone:
            self.remove(entry)
        return gone

    def load(self, heads: Iterable[Head], priorities: Mapping[str, int]) -> None:
        """Add what a store had kept; before the first look-up. Priorities are by category."""
        vectors: dict[At, list[Head]] = {}
        for head in heads:
            row = self._place(head, priorities.get(head.category, 0))
            if _vector(head) is not None:
                vectors.setdefault(_at(row), []).append(head)
        for together in vectors.values():
            raw = b"".join(head.vector for head in together)
            matrix = np.frombuffer(raw, np.float16).reshape(-1, DIMENSION)
            partition = self._partition(self.rows[together[0].id])
            partition.add_all([head.id for head in together], matrix)

    def remove(self, entry: str) -> bool:
        """Remove an entry; return whether it was there."""
        row = self.rows.pop(entry, None)
        if row is None:
            return False
        held = self._buckets[row.bucket]
        del held[entry]
        if not held:
            del self._buckets[row.bucket]
        at = _at(row)
        if (partition := self._partitions.get(at)) is not None:
            partition.remove(entry)
            if not len(partition):
                del self._partitions[at]
        return True

    def expired(self, now: float) -> list[str]:
        """Remove what has expired; return which that is."""
        gone = []
        while self._expiring and self._expiring[0][0] <= now:
            at, entry = heapq.heappop(self._expiring)
            row = self.rows.get(entry)
            if row is not None and row.expires == at:
                self.remove(entry)
                gone.append(entry)
        return gone

    def meant(self, what: Purged) -> list[str]:
        """Return the entries that an owner's purge means."""
        return [
            row.id for row in self.rows.values() if what.means(row.id, row.bucket[1], row.bucket[0])
        ]

    def trim(self, quotas: Mapping[str, tuple[int, float]], now: float) -> list[str]:
        """Remove what is over its category's quota; return which that is.

        Args:
            quotas: entries and threshold, by category; one that isn't there keeps all.
            now: on the clock of entries.
        """
        gone: list[str] = []
        for (_, category), held in self._buckets.items():
            quota, threshold = quotas.get(category, (len(held), 1.0))
            if len(held) > quota:
                rows = [_held(self.rows[entry]) for entry in held]
                rows.sort(key=lambda each: worth(each, now, threshold))
                gone += [each.id for each in rows[: len(held) - quota]]
        for entry in gone:
            self.remove(entry)
        return gone

    def _place(self, head: Head, priority: int) -> Row:
        self.remove(head.id)
        bucket = (sys.intern(head.tenant), sys.intern(head.category))
        row = Row(
            head.id,
            sys.intern(head.namespace),
            sys.intern(head.fingerprint),
            bucket,
            head.question,
            head.stored,
            head.expires,
            head.saved,
            head.forms,
            priority,
        )
        self.rows[head.id] = row
        self._buckets.setdefault(bucket, {})[head.id] = None
        heapq.heappush(self._expiring, (head.expires, head.id))
        if len(self._expiring) > 2 * len(self.rows) + 1_000:
            self._expiring = [(each.expires, each.id) for each in self.rows.values()]
            heapq.heapify(self._expiring)
        return row

    def _partition(self, row: Row) -> Partition:
        return self._partitions.setdefault(_at(row), Partition())

    def _least(self, held: dict[str, None], threshold: float, now: float) -> list[str]:
        """Return the least valuable of a sample, and all that has expired there."""
        if len(held) > _SAMPLE:
            chosen = self._random.sample(list(held), _SAMPLE)
        else:
            chosen = list(islice(held, _SAMPLE))
        sample = [_held(self.rows[entry]) for entry in chosen]
        return list(evicted(sample, len(sample) - 1, now=now, threshold=threshold))


def _held(row: Row) -> Held:
    return Held(row.id, row.priority, row.stored, row.expires, row.hits, row.saved)


def _at(row: Row) -> At:
    return row.namespace, row.fingerprint, row.bucket[1]


def _vector(head: Head) -> Half | None:
    """Return a head's vector, None if it has none or one of another model."""
    if head.model != MODEL or len(head.vector) != 2 * DIMENSION:
        return None
    vector: Half = np.frombuffer(head.vector, np.float16)
    return vector if np.isfinite(vector).all() else None
