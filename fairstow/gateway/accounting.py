"""What is kept of a request that ended: a line of the access log, and counts.

Nothing of what was asked or answered is in either.
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from fairstow.gateway import metrics

CLIENT_LEFT = 499
"""The status of a request whose client left first, as web servers have it."""

log = structlog.get_logger(__name__)


@dataclass
class Told:
    """One request.

    Attributes:
        first: seconds until its first text.
        pinned: why it couldn't be moved.
        trace: of which trace it is a part, as OpenTelemetry has it.
    """

    endpoint: str = "other"
    tenant: str = ""
    status: int = 0
    prompt: int = 0
    generated: int = 0
    first: float | None = None
    pinned: str = ""
    moves: int = 0
    legs: int = 0
    trace: str = ""

    def ended(self, seconds: float) -> None:
        """Count it."""
        metrics.REQUESTS.labels(self.tenant, self.endpoint, str(self.status)).inc()
        if self.first is not None:
            metrics.FIRST_TOKEN.observe(self.first)
        metrics.REQUEST_SECONDS.observe(seconds)
        if self.prompt:
            metrics.TOKENS.labels(self.tenant, "prompt").inc(self.prompt)
            metrics.TOKENS.labels(self.tenant, "generated").inc(self.generated)
        log.info(
            "request",
            tenant=self.tenant,
            endpoint=self.endpoint,
            status=self.status,
            seconds=round(seconds, 4),
            first=None if self.first is None else round(self.first, 4),
            prompt=self.prompt,
            generated=self.generated,
            pinned=self.pinned,
            moves=self.moves,
            legs=self.legs,
            trace=self.trace,
        )
