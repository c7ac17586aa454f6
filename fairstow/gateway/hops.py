"""The last requests of this gateway that moved, or were to: counted, logged, shown in the ledger.

Told by `streams`; read by the admin port. Nothing of what requests say.
"""

from __future__ import annotations

from collections import deque

import structlog

from fairstow.gateway import metrics
from fairstow.serving.wire import Hop

KEPT = 64

log = structlog.get_logger(__name__)


class Hops:
    """See the module. Attributes: last: oldest first."""

    def __init__(self) -> None:
        self.last: deque[Hop] = deque(maxlen=KEPT)

    def went(self, hop: Hop, *, stages: int, dropped: int) -> None:
        """A move is done."""
        self.last.append(hop)
        metrics.MOVED.labels("Moved").inc()
        if hop.pause is not None:
            metrics.MOVE_PAUSE.observe(hop.pause)
        log.info(
            "moved",
            request=hop.request,
            source=hop.source,
            destination=hop.destination,
            reason=hop.reason,
            tokens=hop.tokens,
            stages=stages,
            dropped=dropped,
            pause_ms=None if hop.pause is None else round(1000 * hop.pause, 1),
        )

    def stayed(self, hop: Hop) -> None:
        """A move is over and didn't happen."""
        self.last.append(hop)
        log.warning("stayed", request=hop.request, destination=hop.destination, reason=hop.reason)

    def lost(self, hop: Hop) -> None:
        """A request that lost its engine speaks again."""
        self.last.append(hop)
        log.info("resumed", request=hop.request, source=hop.source, destination=hop.destination)
