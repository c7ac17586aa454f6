"""How urgent a request is, as its headers say and its key allows; its body stays as it is.

    X-Fairstow-Priority: high          one of the key's priorities
    X-Fairstow-Deadline: 30s           its last token is due so long from now
    X-Fairstow-Pace: 80ms              a token is due every so often

Deadlines and paces decide between requests of one priority, where the pool's policy goes by them
(JITServe, HexGen). Whoever says them may have others paused, so that a key needs the right to
(`deadlines` of its tenant). Called by `app`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from fairstow.gateway.tenants import Tenant
from fairstow.serving.model import Kind, RequestView
from fairstow.web.errors import ApiError

PRIORITY: Final = b"x-fairstow-priority"
DEADLINE: Final = b"x-fairstow-deadline"
PACE: Final = b"x-fairstow-pace"
LONGEST: Final = 86_400.0
_TEXT: Final = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)(ms|s|m|h)")
_SECONDS: Final = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Urgency:
    """What is due when; seconds, infinity where nothing is."""

    priority: int
    deadline: float = float("inf")
    pace: float = float("inf")

    def mark(self, view: RequestView) -> None:
        """Let policies see it."""
        view.priority = self.priority
        if self.deadline < float("inf"):
            view.kind, view.deadline = Kind.DEADLINE, view.arrived + self.deadline
        view.pace = self.pace


def urgency(header: Callable[[bytes], str | None], tenant: Tenant) -> Urgency:
    """Read a request's headers. Raises ApiError."""
    priority = tenant.priority(header(PRIORITY))
    deadline, pace = header(DEADLINE), header(PACE)
    if deadline is None and pace is None:
        return Urgency(priority)
    if not tenant.deadlines:
        raise ApiError(403, "This key's requests may name neither deadline nor pace.")
    if deadline is not None and pace is not None:
        raise ApiError(400, "A request has a deadline or a pace, not both.", param="deadline")
    if deadline is not None:
        return Urgency(priority, deadline=_seconds(deadline, "X-Fairstow-Deadline"))
    return Urgency(priority, pace=_seconds(pace or "", "X-Fairstow-Pace"))


def _seconds(text: str, name: str) -> float:
    found = _TEXT.fullmatch(text.strip())
    seconds = float(found[1]) * _SECONDS[found[2]] if found else 0.0
    if not 0 < seconds <= LONGEST:
        raise ApiError(400, f"{name} is a time such as 80ms, 2.5s or 10m, a day at most.")
    return seconds
