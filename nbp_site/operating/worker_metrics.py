"""A worker process's own `/metrics`, where NBP_METRICS_PORT asks for one: what this process has counted, no more."""

from __future__ import annotations

import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from django.conf import settings
from prometheus_client import CONTENT_TYPE_LATEST

from nbp_site.operating import access, gauges

logger = logging.getLogger(__name__)


class _Handler(BaseHTTPRequestHandler):
    """GET /metrics, for the operator."""

    server_version = "metrics"
    sys_version = ""
    timeout = 10

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        if self.path.partition("?")[0] != "/metrics":
            self.send_error(404)
        elif not access.is_operator(str(self.client_address[0]), headers):
            self.send_error(401)
        else:
            self._answer(gauges.text(with_database=False))

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", CONTENT_TYPE_LATEST)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nobody needs a line for each scrape."""


def serve() -> ThreadingHTTPServer | None:
    """Serve in a daemon thread; None where no port is set, or where another worker has it."""
    if not settings.NBP_METRICS_PORT:
        return None
    try:
        server = ThreadingHTTPServer((settings.NBP_METRICS_HOST, settings.NBP_METRICS_PORT), _Handler)
    except OSError as error:
        logger.error("no metrics at port %d: %s", settings.NBP_METRICS_PORT, error)
        return None
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server
