"""Bodies that are too large, too slow or packed, against the service as a process of its own."""

from __future__ import annotations

import gzip
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.conftest import Service

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A whole service with few threads, so that whoever held one would be missed."""
    environment = {"NBP_WORKER_THREADS": "2", "NBP_WAITING_THREADS": "2", "NBP_INTAKE_THREADS": "2"}
    started = Service(tmp_path_factory.mktemp("service"), environment).start()
    yield started
    started.kill()


def _connected(running: Service, *lines: str) -> socket.socket:
    """A connection on which the head of a create was sent."""
    head = [
        "POST /api/v1/generations HTTP/1.1",
        f"Host: 127.0.0.1:{running.port}",
        f"Authorization: Bearer {running.note['test_key']}",
        *lines,
    ]
    connection = socket.create_connection(("127.0.0.1", running.port), timeout=30)
    connection.sendall("\r\n".join([*head, "", ""]).encode())
    return connection


def _answer(connection: socket.socket) -> tuple[int, Any]:
    received = b""
    while b"\r\n\r\n" not in received or not received.rstrip().endswith(b"}"):
        piece = connection.recv(65536)
        if not piece:
            break
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def _count(running: Service) -> int:
    return len(running.ask("GET", "generations", params={"limit": 100}).json()["data"])


def _spooled(running: Service) -> int:
    """Bytes below the service's folder."""
    return sum(each.stat().st_size for each in Path(running.folder).rglob("*") if each.is_file())


@pytest.mark.parametrize("media_type", ["application/json", "multipart/form-data; boundary=x"])
def test_g9_a_gigabyte_that_is_announced_is_refused_before_it_is_sent(running: Service, media_type: str) -> None:
    before, generations = _spooled(running), _count(running)
    with _connected(running, f"Content-Type: {media_type}", f"Content-Length: {2**30}") as connection:
        status, body = _answer(connection)
    assert (status, body["error"]["code"]) == (413, "body_too_large")
    assert _spooled(running) - before < 2**20
    assert _count(running) == generations


def test_g9_a_body_that_never_ends_is_cut_off_at_the_limit(running: Service) -> None:
    generations = _count(running)
    sent = 0
    piece = b"100000\r\n" + b" " * 2**20 + b"\r\n"
    with _connected(running, "Content-Type: application/json", "Transfer-Encoding: chunked") as connection:
        try:
            for _ in range(1024):
                connection.sendall(piece)
                sent += 2**20
        except OSError:
            # It hung up on us, which is as good as an answer.
            assert sent < 400 * 2**20
        else:
            raise AssertionError("a gigabyte was taken")
    assert _count(running) == generations
    assert running.ask("GET", "wallet").status_code == 200


def test_g9_a_packed_body_is_not_unpacked(running: Service) -> None:
    generations = _count(running)
    bomb = gzip.compress(b'{"prompt": "' + b" " * 50 * 2**20 + b'"}', 9)
    assert len(bomb) < 100_000
    for encoding in ("gzip", "deflate", "br", "zstd"):
        headers = {"content-encoding": encoding, "content-type": "application/json"}
        answer = running.ask("POST", "generations", content=bomb, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_json")
    assert _count(running) == generations


def test_g9_a_hundred_slow_uploads_keep_nobody_waiting(running: Service) -> None:
    generations = _count(running)
    lines = ("Content-Type: application/json", "Content-Length: 100000")
    slow = [_connected(running, *lines) for _ in range(100)]
    try:
        for round_number in range(3):
            for connection in slow:
                connection.sendall(b" ")
            before = time.monotonic()
            assert running.ask("GET", "wallet").status_code == 200
            assert running.create("quick", image_size="1K").json()["status"] == "succeeded"
            assert time.monotonic() - before < 20, round_number
    finally:
        for connection in slow:
            connection.close()
    assert _count(running) == generations + 3
    assert running.ask("GET", "wallet").json()["held_micros"] == 0
    assert "Traceback" not in running.log
    running.audit()
