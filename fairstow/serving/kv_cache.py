"""KV blocks that are known by what they hold: shared between requests, kept after them, leased.

Called by `engine`, which counts all other blocks itself.

A key stands for one full block and for all tokens before it (engines hash both), so a sequence's
blocks are found by the longest run of its leading keys. A block with users or under a lease stays;
one without is *idle*: it may be hit again, and gives way, the longest unused first, when room is
needed. Invariants: users ≥ 0, idle = those with none, an unknown ticket holds nothing.
"""

from collections.abc import Hashable, Iterable, Sequence
from itertools import islice

Key = Hashable


class KvCache:
    """The keyed blocks of one engine."""

    def __init__(self) -> None:
        self._users: dict[Key, int] = {}
        self._idle: dict[Key, None] = {}
        self._leases: dict[str, tuple[list[Key], float]] = {}

    def __len__(self) -> int:
        return len(self._users)

    def __contains__(self, key: object) -> bool:
        return key in self._users

    @property
    def idle(self) -> int:
        """Blocks that give way when room is needed."""
        return len(self._idle)

    @property
    def leased(self) -> int:
        """Tickets not yet consumed or expired."""
        return len(self._leases)

    def match(self, keys: Sequence[Key]) -> int:
        """Return how many of a sequence's leading blocks are here."""
        users = self._users
        found = 0
        for key in keys:
            if key not in users:
                break
            found += 1
        return found

    def unused(self, keys: Iterable[Key]) -> int:
        """Return how many of these are idle, so free now and not once they are used."""
        return sum(key in self._idle for key in keys) if self._idle else 0

    def use(self, keys: Iterable[Key]) -> int:
        """Use blocks, new ones among them; return how many were here before."""
        known = 0
        for key in keys:
            users = self._users.get(key)
            if users is None:
                self._users[key] = 1
                continue
            known += 1
            self._users[key] = users + 1
            if users == 0:
                del self._idle[key]
        return known

    def drop(self, keys: Sequence[Key]) -> None:
        """Stop using a sequence's blocks; those without another user are idle from now on."""
        for key in reversed(keys):  # the last give way first: one without those before is useless
            self._users[key] -= 1
            if self._users[key] == 0:
                self._idle[key] = None

    def evict(self, blocks: int) -> None:
        """Forget the idle blocks that were unused longest."""
        for key in list(islice(self._idle, blocks)):
            del self._idle[key]
            del self._users[key]

    def lease(self, ticket: str, keys: Sequence[Key], expires: float) -> None:
        """Keep blocks under a ticket until it is released or expires, instead of its earlier."""
        self.use(keys)
        self.release(ticket)
        self._leases[ticket] = list(keys), expires

    def release(self, ticket: str) -> bool:
        """Let go of what is kept under a ticket; say whether there was something."""
        keys, _ = self._leases.pop(ticket, ((), 0.0))
        self.drop(keys)
        return bool(keys)

    def expire(self, now: float) -> None:
        """Let go of what is past its time."""
        for ticket in [t for t, (_, expires) in self._leases.items() if expires <= now]:
            self.release(ticket)

    def next_expiry(self) -> float:
        """Return when the next lease ends, infinity where there is none."""
        return min((expires for _, expires in self._leases.values()), default=float("inf"))
