"""Who asks, as far as a sidecar can know, and whether they may be answered from memory.

Beside an application there is one caller, the pod, as whoever started the sidecar says. In front of
a model a caller is what it authenticates with: its Authorization, organisation and project, as an
HMAC. Only the upstream knows whether that is good: it is trusted for `TRUSTED` seconds after the
upstream accepted it, and no longer once the upstream refuses it. Called by `app`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from fairstow.semantic_cache.identity import Caller, Key, Workload

TRUSTED = 300.0
"""Seconds."""
_MOST = 65_536
SHOWN = (b"authorization", b"api-key", b"x-api-key", b"openai-organization", b"openai-project")
_REFUSED = frozenset({401, 403})


class Callers:
    """See the module.

    Args:
        workload: the one caller; None: each that shows a key.
        secret: of the HMAC; replaced before the cache is ready where sidecars share one.
    """

    def __init__(
        self, workload: Workload | None, secret: bytes, clock: Callable[[], float]
    ) -> None:
        self._workload = workload
        self.secret = secret
        self._clock = clock
        self._accepted: OrderedDict[Key, float] = OrderedDict()

    def of(self, headers: list[tuple[bytes, bytes]]) -> Caller | None:
        """Return who asks; None: nobody that is known."""
        if self._workload is not None:
            return self._workload
        shown = [(name, value) for name, value in headers if name in SHOWN]
        if not any(name in SHOWN[:3] for name, _ in shown):
            return None
        lines = sorted(
            name + b":" + str(len(value)).encode() + b":" + value for name, value in shown
        )
        return Key.of(b"\n".join(lines).decode("latin-1"), self.secret)

    def trusted(self, caller: Caller) -> bool:
        """Whether the upstream would let this caller in, as far as is known."""
        if not isinstance(caller, Key):
            return True
        accepted = self._accepted.get(caller)
        return accepted is not None and 0 <= self._clock() - accepted <= TRUSTED

    def told(self, caller: Caller | None, status: int) -> None:
        """Learn from the upstream's answer to a caller."""
        if not isinstance(caller, Key):
            return
        if status in _REFUSED:
            self._accepted.pop(caller, None)
        elif 200 <= status < 300:
            self._accepted[caller] = self._clock()
            self._accepted.move_to_end(caller)
            if len(self._accepted) > _MOST:
                self._accepted.popitem(last=False)
