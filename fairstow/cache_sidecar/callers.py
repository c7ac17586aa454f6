"""Who asks, as far as a sidecar can know, and whether they may be answered from memory.

Beside an application there is one caller, the pod, as whoever started the sidecar says. In front of
a model a caller is what it authenticates with: its Authorization, organisation and project, as an
HMAC; or the ServiceAccount whose token it is (`accounts`), so that a renewed one is no stranger.
Only the upstream knows whether what is shown is good: it is trusted for `TRUSTED` seconds after the
upstream accepted it, and no longer once the upstream refuses it. Called by `app`.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

import msgspec

from fairstow.cache_sidecar.accounts import Accounts
from fairstow.semantic_cache.identity import Caller, Key, Reviewed, Workload

TRUSTED = 300.0
"""Seconds."""
_MOST = 65_536
SHOWN = (b"authorization", b"api-key", b"x-api-key", b"openai-organization", b"openai-project")
_REFUSED = frozenset({401, 403})


class Client(msgspec.Struct, frozen=True):
    """Who asks. Attributes: shown: what the upstream has to accept; None: nothing."""

    caller: Caller
    shown: Key | None = None


class Callers:
    """See the module.

    Args:
        workload: the one caller; None: each that shows a key.
        secret: of the HMAC; replaced before the cache is ready where sidecars share one.
        clock: a monotonic one. now: seconds since 1970.

    Attributes:
        on_refused: is told of a key that the upstream has refused.
    """

    def __init__(
        self,
        workload: Workload | None,
        secret: bytes,
        clock: Callable[[], float],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._workload = workload
        self.secret = secret
        self._clock = clock
        self._now = now
        self.on_refused: Callable[[str], None] = lambda _: None
        self._accepted: OrderedDict[Key, float] = OrderedDict()

    def of(self, headers: list[tuple[bytes, bytes]], accounts: Accounts | None) -> Client | None:
        """Return who asks; None: nobody that is known."""
        if self._workload is not None:
            return Client(self._workload)
        shown = [(name, value) for name, value in headers if name in SHOWN]
        if not any(name in SHOWN[:3] for name, _ in shown):
            return None
        key = Key.of(_lines(shown), self.secret)
        return Client(self._account(shown, accounts) or key, key)

    def _account(
        self, shown: list[tuple[bytes, bytes]], accounts: Accounts | None
    ) -> Reviewed | None:
        keys = [each for each in shown if each[0] in SHOWN[:3]]
        if accounts is None or len(keys) != 1 or keys[0][0] != SHOWN[0]:
            return None
        scheme, _, token = keys[0][1].decode("latin-1").partition(" ")
        found = accounts.whose(token.strip(), self._now()) if scheme.lower() == "bearer" else None
        if found is None or len(shown) == 1:
            return found
        rest = _lines([each for each in shown if each not in keys])
        return Reviewed(found.issuer, f"{found.subject}\n{rest}")

    def trusted(self, client: Client) -> bool:
        """Whether the upstream would let this client in, as far as is known."""
        if client.shown is None:
            return True
        accepted = self._accepted.get(client.shown)
        return accepted is not None and 0 <= self._clock() - accepted <= TRUSTED

    def refused(self, digest: str) -> None:
        """The upstream has refused a key, here or at another sidecar."""
        self._accepted.pop(Key(digest), None)

    def told(self, client: Client | None, status: int) -> None:
        """Learn from the upstream's answer to a client."""
        if client is None or client.shown is None:
            return
        if status in _REFUSED:
            self.refused(client.shown.digest)
            self.on_refused(client.shown.digest)
        elif 200 <= status < 300:
            self._accepted[client.shown] = self._clock()
            self._accepted.move_to_end(client.shown)
            if len(self._accepted) > _MOST:
                self._accepted.popitem(last=False)


def _lines(headers: list[tuple[bytes, bytes]]) -> str:
    """Return headers as a text that no others have."""
    lines = sorted(name + b":" + str(len(value)).encode() + b":" + value for name, value in headers)
    return b"\n".join(lines).decode("latin-1")
