"""What a memory asks of a store, and what a shared store tells each memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from fairstow.cache_sidecar.kept import Answer
from fairstow.cache_sidecar.stores.records import Head, Label, Purged


class Store(Protocol):
    """Where answers are kept. What it can't do raises StoreError."""

    async def answer(self, entry: str) -> Answer | None:
        """Return an entry's answer, None if there is none."""
        ...

    async def put(self, head: Head, answer: Answer) -> None:
        """Keep an entry in place of one with its id."""
        ...

    async def delete(self, entries: Sequence[str]) -> None:
        """Drop entries."""
        ...

    async def purge(self, what: Purged, entries: Sequence[str]) -> None:
        """Drop entries, and wherever else it is shared whatever is meant."""
        ...

    async def expired(self, entries: Sequence[str]) -> None:
        """Drop entries whose time is over."""
        ...

    async def label(self, label: Label) -> None:
        """Keep what became known of a hit."""
        ...


class Follower(Protocol):
    """Who is told what other sidecars did."""

    def learned(self, head: Head) -> None:
        """An entry was put."""
        ...

    def forgotten(self, entries: list[str]) -> None:
        """Entries are gone."""
        ...

    def purged(self, what: Purged) -> None:
        """An owner has purged entries, whoever knows them."""
        ...

    def lost(self) -> None:
        """What others did can't be known any more: all that is still there is told anew."""
        ...

    def labelled(self, label: Label) -> None:
        """A hit was judged, here or elsewhere."""
        ...
