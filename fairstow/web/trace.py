"""What a request tells of itself while it is answered; by default nobody listens.

Filled by `exchange` and by who makes traces (the gateway's `tracing`).
"""

from __future__ import annotations

import re
from typing import Any, Protocol

_VALID = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")


class Span(Protocol):
    """Something that takes a while."""

    def enter(self) -> None:
        """Let what this task asks of engines belong to it."""
        ...

    def end(self, **attributes: Any) -> None:
        """It is over; only the first end counts."""
        ...


class Trace(Protocol):
    """One request. Attributes: id: for logs, "" where nobody traces it."""

    id: str

    def span(self, name: str, **attributes: Any) -> Span:
        """Begin a part of it."""
        ...

    def end(self, **attributes: Any) -> None:
        """It is over."""
        ...


class _NoSpan:
    def enter(self) -> None:
        """Belong to nothing."""

    def end(self, **attributes: Any) -> None:  # nobody is told
        """Tell nobody."""


class Untraced:
    """A request of which nobody is told; its id is its client's, if that traces it."""

    __slots__ = ("id",)

    def __init__(self, traceparent: str | None = None) -> None:
        self.id = trace_id(traceparent)

    def span(self, name: str, **attributes: Any) -> Span:  # noqa: ARG002  # nobody is told
        """Begin nothing."""
        return _NO_SPAN

    def end(self, **attributes: Any) -> None:  # nobody is told
        """Tell nobody."""


_NO_SPAN = _NoSpan()


def trace_id(traceparent: str | None) -> str:
    """Return the trace that a header names, "" if it isn't one."""
    found = _VALID.fullmatch(traceparent or "")
    return found[1] if found and found[1] != "0" * 32 and found[2] != "0" * 16 else ""
