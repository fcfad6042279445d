"""Known holes fail the look-up, silence is loud: the tool against a database of advisories on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests import advisories


class _Database(ThreadingHTTPServer):
    """Answers like osv.dev: a hole in each library it was told of."""

    holes: set[str]


class _Answers(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = asked["package"]["name"]
        hole = {
            "id": "MADE-UP-1",
            "modified": "2026-01-01T00:00:00Z",
            "details": "A hole for a test.",
            "affected": [
                {
                    "package": {"name": name, "ecosystem": "PyPI"},
                    "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "999"}]}],
                }
            ],
        }
        body = json.dumps({"vulns": [hole]} if name in self.server.holes else {}).encode()  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def database() -> Iterator[Callable[..., list[str]]]:
    """database("name", ...) tells it of holes and answers the options to ask it."""
    server = _Database(("127.0.0.1", 0), _Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()

    def tell(*names: str) -> list[str]:
        server.holes = set(names)
        return ["--osv-url", f"http://127.0.0.1:{server.server_port}/v1/query"]

    yield tell
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_library_with_a_known_hole_fails_the_look_up(database: Any, capsys: Any) -> None:
    assert advisories.main(database("django")) == 1
    told = capsys.readouterr().out
    assert "MADE-UP-1, fixed in 999" in told
    assert "SKIPPED" not in told


def test_libraries_without_a_known_hole_pass_and_are_counted(database: Any, capsys: Any) -> None:
    assert advisories.main(database()) == 0
    [line] = capsys.readouterr().out.splitlines()
    count = int(line.split()[0])
    assert count > 50
    assert line == f"{count} libraries looked at, 0 known holes"


def test_without_an_answer_the_look_up_says_loudly_that_nothing_was_looked_at(capsys: Any) -> None:
    assert advisories.main(["--osv-url", "http://127.0.0.1:9/v1/query"]) == 0
    assert capsys.readouterr().out.startswith("SKIPPED LOUDLY: the advisories could not be read")


def test_a_look_up_that_hangs_is_ended(monkeypatch: Any, database: Any, capsys: Any) -> None:
    monkeypatch.setattr(advisories, "TOTAL_SECONDS", 0.1)
    assert advisories.main(database()) == 0
    assert "no end after 0.1 seconds" in capsys.readouterr().out
