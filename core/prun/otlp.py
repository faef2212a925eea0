"""A timeline as OpenTelemetry spans, where its packages are installed: ``--trace otlp``.

Where they go, OpenTelemetry's own variables say (``OTEL_EXPORTER_OTLP_ENDPOINT``, ``OTEL_SERVICE_NAME``, ...); the
parent is that of ``TRACEPARENT``, if there is one.

Variables: https://opentelemetry.io/docs/specs/otel/protocol/exporter/
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from prun.errors import FailedPrecondition

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span

    from prun.timeline import Timeline


def exporter() -> Callable[[Timeline], str]:
    """Return what sends a timeline to the collector, and says what went wrong.

    Raises:
        FailedPrecondition: OpenTelemetry, or its exporter, is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError as error:
        raise FailedPrecondition(
            f"--trace otlp needs OpenTelemetry: {error}",
            hint="pip install opentelemetry-exporter-otlp-proto-http, or --trace FILE",
        ) from error
    return lambda timeline: export(timeline, OTLPSpanExporter())


def export(timeline: Timeline, to: SpanExporter) -> str:
    """Send every span, with its own begin and end; events are those of the span of the whole run."""
    from opentelemetry import trace
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import SpanExportResult
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    service = {} if "OTEL_SERVICE_NAME" in os.environ else {"service.name": "prun"}
    tracer = TracerProvider(resource=Resource.create(service), shutdown_on_exit=False).get_tracer("prun")
    above = TraceContextTextMapPropagator().extract({"traceparent": os.environ.get("TRACEPARENT", "")})
    contexts: list[Context] = []
    begun: list[Span] = []
    for span in timeline.spans:
        attributes = {"prun.kind": span.kind, "prun.plugin": span.plugin, "container.id": timeline.container_id}
        made = tracer.start_span(
            span.name,
            above if span.parent is None else contexts[span.parent],
            start_time=timeline.wall_ns(span.begin_ns),
            attributes={key: value for key, value in attributes.items() if value},
        )
        if span.error:
            made.set_status(trace.Status(trace.StatusCode.ERROR, span.error))
        for event, at_ns in timeline.instants if span.kind == "run" else ():
            made.add_event(event.kind, timestamp=timeline.wall_ns(at_ns))
        contexts.append(trace.set_span_in_context(made, above))
        begun.append(made)
    for span, made in zip(timeline.spans, begun, strict=True):
        made.end(timeline.wall_ns(span.end_ns or span.begin_ns))
    try:
        result = to.export([made for made in begun if isinstance(made, ReadableSpan)])
    finally:
        to.shutdown()
    return "" if result is SpanExportResult.SUCCESS else "the collector has not taken it"
