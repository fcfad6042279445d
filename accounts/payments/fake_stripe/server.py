"""The fake on a loopback port, for SDKs and services in other processes."""

from __future__ import annotations

import http.server
import threading
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import parse_qs, urlsplit

from accounts.payments.fake_stripe import pages
from accounts.payments.fake_stripe.fake import FakeStripe

_MAX_BODY_BYTES = 1_000_000
_STEP_SECONDS = 0.2


def post(url: str, body: bytes, headers: dict[str, str]) -> int:
    """Send an event to a loopback address; answers the HTTP status."""
    if urlsplit(url).hostname not in ("127.0.0.1", "localhost", "::1"):
        raise OSError("the fake sends to loopback only")
    request = urllib.request.Request(url, data=body, headers=headers, method="POST")  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 # nosec # loopback, checked above
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: FakeStripe

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def _answer(self, method: str) -> None:
        parts = urlsplit(self.path)
        length = min(int(self.headers.get("content-length") or 0), _MAX_BODY_BYTES)
        body = self.rfile.read(length).decode("utf-8", "replace")
        if parts.path.startswith("/v1/"):
            self._answer_api(method, parts.path, body or parts.query)
        else:
            self._answer_page(method, parts.path, body)

    def _answer_api(self, method: str, path: str, text: str) -> None:
        answer = self.fake.answer(method, path, text, dict(self.headers.items()))
        if answer.status is None:
            # Broken off without a word, as a network does it.
            self.close_connection = True
            return
        self._send(answer.status, answer.body, answer.headers)

    def _answer_page(self, method: str, path: str, body: str) -> None:
        _, _, session_id = path.rpartition("/")
        if path.startswith("/r/"):
            page = pages.receipt(self.fake, session_id)
        elif path.startswith("/p/session/"):
            page = pages.portal(self.fake, session_id)
        elif method == "POST":
            page = pages.pay(self.fake, session_id, parse_qs(body).get("card", [""])[0])
        else:
            page = pages.checkout(self.fake, session_id)
        headers = {"location": page.location} if page.location else {}
        self._send(page.status, page.html, {"content-type": "text/html; charset=utf-8"} | headers)

    def _send(self, status: int, text: str, headers: dict[str, str]) -> None:
        body = text.encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 # the base class's name
        """Say nothing."""


class FakeStripeServer:
    """Serves a fake in threads, and has it send its events, from `with` to the end of it."""

    def __init__(self, make_fake: Any, *, port: int = 0, delivers: bool = True) -> None:
        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", port), type("_Bound", (_Handler,), {}))
        self.base_url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self.fake: FakeStripe = make_fake(self.base_url)
        self._http.RequestHandlerClass.fake = self.fake  # type: ignore[attr-defined]
        self._stopped = threading.Event()
        deeds = [self._http.serve_forever, *([self._deliver] if delivers else [])]
        self._threads = [threading.Thread(target=deed, daemon=True) for deed in deeds]

    def __enter__(self) -> FakeStripeServer:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._http.shutdown()
        for thread in self._threads:
            thread.join(timeout=5)
        self._http.server_close()

    def _deliver(self) -> None:
        while not self._stopped.wait(_STEP_SECONDS):
            self.fake.advance(post)
