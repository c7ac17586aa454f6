"""Traces of requests for a collector of OpenTelemetry; nothing of it is loaded unless asked for.

    /v1/chat/completions    from the first byte to the last; continues a client's traceparent
      queue                 until there is room, each time it waits
      leg                   on one engine, until it ends or the request has left
      move                  from its beginning to the destination's first token, or to why not

Attributes are names of ours, counts and reasons: nothing of prompts, answers or keys. A client's
traceparent says what its spans belong to, not whether they are kept: that is `ratio`'s, by trace.
Engines get a traceparent of the gateway's own making, that of the leg, and nothing else of a
client's headers.

Called by `app` and what it calls; made by `service`.
"""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

from fairstow.cluster.errors import InputError
from fairstow.web.trace import Span, Trace, Untraced, trace_id

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span as OtelSpan

TRACEPARENT: ContextVar[str] = ContextVar("traceparent", default="")
"""What the requests of this task to engines belong to."""
_END_SECONDS = 3.0


class Parts:
    """What of a request goes on just now, by name: it waits, or moves, once at a time."""

    __slots__ = ("_open", "_trace")

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._open: dict[str, Span] = {}

    def span(self, name: str, **attributes: Any) -> Span:
        """Begin what is ended by whoever began it."""
        return self._trace.span(name, **attributes)

    def begin(self, name: str, **attributes: Any) -> None:
        """It goes on from now."""
        self._open[name] = self._trace.span(name, **attributes)

    def enter(self, name: str) -> None:
        """Let what this task asks of engines belong to it."""
        if name in self._open:
            self._open[name].enter()

    def end(self, name: str, **attributes: Any) -> None:
        """It is over, if it went on."""
        if name in self._open:
            self._open.pop(name).end(**attributes)

    def end_all(self) -> None:
        """The request is over."""
        for name in list(self._open):
            self.end(name)


class Traces(Protocol):
    """Where traces begin."""

    def begin(self, name: str, traceparent: str | None) -> Trace:
        """Return a new request's."""
        ...

    async def close(self) -> None:
        """Send what hasn't been sent."""
        ...


class NoTraces:
    """Nobody is told."""

    def begin(self, name: str, traceparent: str | None) -> Trace:  # noqa: ARG002  # nobody is told
        """Return one that tells nobody."""
        return Untraced(traceparent)

    async def close(self) -> None:
        """There is nothing to send."""


def traces(endpoint: str, ratio: float, gateway: str, pool: str) -> Traces:
    """Return what sends to a collector's OTLP/HTTP port. Raises InputError."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
    except ImportError as error:
        raise InputError(
            "--otlp-endpoint", f"OpenTelemetry isn't there ({error})", "Install fairstow[tracing]."
        ) from error
    resource = Resource.create(
        {
            "service.name": "fairstow-gateway",
            "service.instance.id": gateway,
            "fairstow.pool": pool,
        }
    )
    provider = TracerProvider(
        resource=resource, sampler=TraceIdRatioBased(ratio), shutdown_on_exit=False
    )
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return _Traces(provider)


NO_TRACES = NoTraces()


class _Traces:
    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self.tracer = provider.get_tracer("fairstow.gateway")
        self.propagator = TraceContextTextMapPropagator()
        self.kinds = SpanKind

    def begin(self, name: str, traceparent: str | None) -> Trace:
        known = {"traceparent": traceparent} if trace_id(traceparent) else {}
        parent = self.propagator.extract(known)
        return _Trace(self, self.tracer.start_span(name, parent, kind=self.kinds.SERVER))

    async def close(self) -> None:
        # In a thread that nobody waits for for long: a collector that hangs keeps no gateway.
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, _END_SECONDS)


class _Trace:
    def __init__(self, traces: _Traces, span: OtelSpan) -> None:
        from opentelemetry.trace import format_trace_id, set_span_in_context

        self._traces, self._span = traces, span
        self._within = set_span_in_context(span)
        self.id = format_trace_id(span.get_span_context().trace_id)

    def span(self, name: str, **attributes: Any) -> Span:
        kind = self._traces.kinds.CLIENT if name == "leg" else self._traces.kinds.INTERNAL
        started = self._traces.tracer.start_span(
            name, self._within, kind=kind, attributes=_named(attributes)
        )
        return _Span(self._traces, started)

    def end(self, **attributes: Any) -> None:
        _end(self._span, attributes)


class _Span:
    def __init__(self, traces: _Traces, span: OtelSpan) -> None:
        self._traces, self._span = traces, span

    def enter(self) -> None:
        from opentelemetry.trace import set_span_in_context

        headers: dict[str, str] = {}
        self._traces.propagator.inject(headers, set_span_in_context(self._span))
        TRACEPARENT.set(headers.get("traceparent", ""))

    def end(self, **attributes: Any) -> None:
        _end(self._span, attributes)


def _end(span: OtelSpan, attributes: dict[str, Any]) -> None:
    if span.is_recording():
        span.set_attributes(_named(attributes))
        span.end()


def _named(attributes: dict[str, Any]) -> dict[str, Any]:
    """Return attributes by the names that conventions have for them, else under our own."""
    known = {
        "status": "http.response.status_code",
        "route": "http.route",
        "prompt": "gen_ai.usage.input_tokens",
        "generated": "gen_ai.usage.output_tokens",
    }
    return {known.get(name, f"fairstow.{name}"): value for name, value in attributes.items()}
