"""Spans for requests and tasks, sent over OTLP where NBP_OTEL is on. Without the extra installed nothing here runs.

No span holds a path, a query, a body or the words of an error.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest


@functools.cache
def start() -> bool:
    """Begin to send spans, once in a process that serves or works. Where to is OpenTelemetry's own OTEL_* settings."""
    if not settings.NBP_OTEL:
        return False
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.instrumentation.celery import CeleryInstrumentor
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise ImproperlyConfigured(f"NBP_OTEL needs requirements/otel.txt installed: {error}") from error
    # OTEL_SERVICE_NAME wins over the name given here.
    provider = TracerProvider(resource=Resource.create({"service.name": "nanobananapro"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    CeleryInstrumentor().instrument()
    return True


class RequestSpan:
    """A request on its way. `end` is told what became of it."""

    def __init__(self, span: Any) -> None:
        self._span = span

    def end(self, *, method: str, route: str, status: int, request_id: str) -> None:
        if self._span is None:
            return
        self._span.update_name(f"{method} {route}")
        self._span.set_attribute("http.request.method", method)
        self._span.set_attribute("http.route", route)
        self._span.set_attribute("http.response.status_code", status)
        self._span.set_attribute("nbp.request", request_id)
        if status >= 500:
            from opentelemetry.trace import StatusCode

            self._span.set_status(StatusCode.ERROR)


@contextmanager
def request_span(request: HttpRequest) -> Iterator[RequestSpan]:
    """A span for a request, continuing the caller's trace; an idle one where tracing is off."""
    if not start():
        yield RequestSpan(None)
        return
    from opentelemetry import propagate, trace

    caller = propagate.extract({name.lower(): value for name, value in request.headers.items()})
    spans = trace.get_tracer("nanobananapro").start_as_current_span(
        "request",
        context=caller,
        kind=trace.SpanKind.SERVER,
        record_exception=False,
        set_status_on_exception=False,
    )
    with spans as span:
        yield RequestSpan(span)
