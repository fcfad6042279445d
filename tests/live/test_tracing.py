"""Spans as a collector receives them: a request, the task it led to and the call to the channel are one trace."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2
import pytest

try:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
except ImportError:
    pytest.skip("SKIPPED LOUDLY: requirements/otel.txt is not installed", allow_module_level=True)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


class Collector:
    """Takes spans over OTLP and keeps them, as they came and parsed."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.bodies.append(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def spans(self) -> list[Any]:
        requests = [ExportTraceServiceRequest.FromString(body) for body in self.bodies]
        return [
            span
            for request in requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def wait_for(self, name: str) -> Any:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            for span in self.spans:
                if span.name == name:
                    return span
            time.sleep(0.1)
        raise AssertionError(f"no span {name}: {[span.name for span in self.spans]}")


@pytest.fixture
def collector() -> Iterator[Collector]:
    found = Collector()
    yield found
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture
def traced(service: Callable[..., Any], collector: Collector) -> Any:
    return service(
        NBP_OTEL="1",
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{collector.server.server_port}",
        OTEL_BSP_SCHEDULE_DELAY="200",
    )


def _attributes(span: Any) -> dict[str, Any]:
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}


def test_a_request_and_its_work_are_one_trace(traced: Any, collector: Collector) -> None:
    parent = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{parent}-00f067aa0ba902b7-01"}
    assert traced.create("a very private prompt", image_size="1K", headers=headers).status_code == 200
    request = collector.wait_for("POST api/v1/generations")
    task = collector.wait_for("run/generation.run_output")
    call = collector.wait_for("call channel")
    assert {each.trace_id.hex() for each in (request, task, call)} == {parent}
    facts = _attributes(request)
    assert (facts["http.route"], facts["http.response.status_code"]) == ("api/v1/generations", 200)
    assert facts["nbp.request"].startswith("req_")
    assert _attributes(call) == {
        "nbp.channel": "sandbox",
        "nbp.model": "gemini-3-pro-image",
        "nbp.mode": "test",
    }


def test_a_failed_call_is_named_by_its_type_alone(traced: Any, collector: Collector) -> None:
    traced.create("sandbox:rejected a very private prompt", image_size="1K")
    call = collector.wait_for("call channel")
    assert (call.status.code, call.status.message, list(call.events)) == (2, "ChannelError", [])


def test_spans_hold_no_prompt_key_or_query(traced: Any, collector: Collector) -> None:
    made = traced.create("a very private prompt", image_size="1K").json()
    httpx2.get(made["outputs"][0]["url"], trust_env=False)
    collector.wait_for("GET m/<str:output_id>")
    everything = b"".join(collector.bodies)
    assert b"run_output" in everything
    for private in (b"private prompt", traced.note["test_key"].encode(), b"signature="):
        assert private not in everything
