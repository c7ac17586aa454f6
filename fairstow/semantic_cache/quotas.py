"""Which entries go when a category of a tenant is full.

An entry is worth what it is expected to save in a second:

    value = rate · saved · (1 − redundancy),     rate = (hits + 1) / (age + `UNSEEN`)

the mean under a Gamma prior of one hit in `UNSEEN` seconds: a new entry is neither worthless nor
precious. Redundancy is how much of its hits a kept entry would have had: 0 up to the threshold, 1
for a duplicate. Expired entries go first, then lower priorities, then lower values; redundancy
counts against entries that are kept, so the less valuable of two duplicates goes and the other
stays. A tenant fills its own quota only. Called by the index.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

UNSEEN = 3_600.0
"""Seconds."""


class Held(msgspec.Struct, frozen=True):
    """An entry as far as eviction looks at it.

    Attributes:
        expires: when, on the clock of `now`.
        saved: seconds that a hit saves.
        nearest: similarity to the nearest other entry of the same partition, and which it is.
    """

    id: str
    priority: int
    stored: float
    expires: float
    hits: int
    saved: float
    nearest: float = 0.0
    nearest_id: str = ""


def value(entry: Held, now: float, threshold: float, *, alone: bool) -> float:
    """Return what an entry saves in a second; `alone`: its nearest is gone."""
    rate = (entry.hits + 1) / (max(0.0, now - entry.stored) + UNSEEN)
    over = 0.0 if alone else max(0.0, entry.nearest - threshold)
    return rate * entry.saved * (1 - over / max(1e-9, 1 - threshold))


def worth(entry: Held, now: float, threshold: float) -> tuple[int, float, str]:
    """Return by what entries are kept, the least first; neighbours aside."""
    return entry.priority, value(entry, now, threshold, alone=True), entry.id


def evicted(
    entries: Sequence[Held], quota: int, *, now: float, threshold: float
) -> tuple[str, ...]:
    """Return which entries go so that at most `quota` stay."""
    gone = {entry.id for entry in entries if entry.expires <= now}
    kept = {entry.id: entry for entry in entries if entry.id not in gone}
    while len(kept) > max(0, quota):
        least = min(
            kept.values(),
            key=lambda entry: (
                entry.priority,
                value(entry, now, threshold, alone=entry.nearest_id not in kept),
                entry.id,
            ),
        )
        del kept[least.id]
        gone.add(least.id)
    return tuple(sorted(gone))
