"""D: what happens below an answer: connections that are never made, requests that are never repeated, links not followed."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from generation.egress import loop, transport
from generation.egress.fetch import FetchFailed, fetch_image
from generation.egress.guard import allow_none
from tests.certificates import contexts
from tests.faults.pictures import Picture
from tests.faults.upstreams import OK, UNKNOWN, Health, Upstream

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("audited")]

PictureOf = Callable[[uuid.UUID], Picture]
ROOT = Path(__file__).resolve().parents[2]


class Canary:
    """A listener on loopback that notes every connection and every byte, and answers nothing."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(0.05)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self.port = int(self._socket.getsockname()[1])
        self.connection_count = 0
        self.received = b""

    def _listen(self) -> None:
        while not self._stopping.is_set():
            with suppress(TimeoutError):
                connection, _ = self._socket.accept()
                self.connection_count += 1
                with connection, suppress(OSError):
                    connection.settimeout(2)
                    self._read(connection)

    def _read(self, connection: socket.socket) -> None:
        if self._tls is None:
            self.received += connection.recv(65536)
            return
        with self._tls.wrap_socket(connection, server_side=True) as secured:
            self.received += secured.recv(65536)

    def __enter__(self) -> Canary:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(10)
        self._socket.close()


@contextmanager
def _nobody(_folder: Path, _upstream: Upstream) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    yield f"http://127.0.0.1:{port}"


@contextmanager
def _no_name(_folder: Path, _upstream: Upstream) -> Iterator[str]:
    yield "http://upstream.invalid"


@contextmanager
def _no_tls(_folder: Path, _upstream: Upstream) -> Iterator[str]:
    with Canary() as server:
        yield f"https://127.0.0.1:{server.port}"
        assert server.connection_count == 5
        assert b"HTTP" not in server.received


@contextmanager
def _untrusted(folder: Path, _upstream: Upstream) -> Iterator[str]:
    with Canary(contexts("127.0.0.1", folder)[0]) as server:
        yield f"https://127.0.0.1:{server.port}"
        assert server.connection_count == 5
        assert server.received == b""


UNREACHABLE = {"refused": _nobody, "no such name": _no_name, "no TLS": _no_tls, "untrusted certificate": _untrusted}


@pytest.mark.parametrize("place", UNREACHABLE.values(), ids=UNREACHABLE)
def test_d3_where_nothing_was_sent_nothing_is_owed(
    upstream: Upstream, rows: PictureOf, tmp_path: Path, place: Callable[..., Any]
) -> None:
    with place(tmp_path, upstream) as base_url:
        upstream.lead_to(base_url)
        made = upstream.make()
    assert rows(made) == upstream.failed("upstream_unavailable", [("error", "unreachable")] * 5)
    assert (upstream.hits, upstream.cost_micros(made)) == (0, 0)
    assert upstream.health == Health(failures=5, is_off=False, has_succeeded=False)


def test_d3_a_handshake_without_end_is_left_after_a_while_and_is_free(
    upstream: Upstream, rows: PictureOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.make()
    monkeypatch.setattr(transport, "CONNECT_SECONDS", 0.4)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        upstream.lead_to(f"https://127.0.0.1:{silent.getsockname()[1]}")
        made = upstream.make()
    assert rows(made) == upstream.failed("upstream_unavailable", [("error", "unreachable")] * 5)
    assert upstream.cost_micros(made) == 0


def test_d17_no_adapter_and_no_sdk_sends_a_request_twice(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GEMINI", "GOOGLE"))}
    environment |= {"NBP_ENV": "development", "NBP_DATA_DIR": str(tmp_path), "DJANGO_SETTINGS_MODULE": "tests.settings"}
    command = [sys.executable, "-m", "tests.faults.hidden_retries"]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["is_aiohttp_seen"], found["aiohttp_requests"]) == (True, 0)
    for kind, hits in found["hits"].items():
        assert len(hits) > 30
        assert {name: count for name, count in hits.items() if count != 1} == {}, kind


def test_d16_a_redirect_to_an_inside_address_is_not_followed(upstream: Upstream, rows: PictureOf) -> None:
    with Canary() as inside:
        upstream.play(upstream.fault("redirect", f"http://127.0.0.1:{inside.port}/latest/meta-data"))
        made = upstream.make()
    assert rows(made) == upstream.delivered([("error", "failed"), OK])
    assert (upstream.hits, inside.connection_count) == (2, 0)


def test_d16_a_link_in_place_of_the_picture_is_not_fetched(upstream: Upstream, rows: PictureOf) -> None:
    with Canary() as inside:
        upstream.always(upstream.fault("file-uri", f"http://127.0.0.1:{inside.port}/picture.png"))
        made = upstream.make()
    if upstream.speaker.has_links:
        # The picture was made, and perhaps billed, and nobody can have it.
        assert rows(made) == upstream.failed("upstream_no_answer", [UNKNOWN] * 3)
    else:
        assert rows(made) == upstream.failed("no_image", [OK])
    hits = upstream.paid("file-uri", 3) if upstream.speaker.has_links else 1
    assert (upstream.hits, inside.connection_count) == (hits, 0)


@pytest.mark.parametrize("address", ["http://127.0.0.1:{port}/", "http://localhost:{port}/", "http://[::1]:{port}/"])
def test_d16_the_fetch_room_does_not_connect_to_the_inside(address: str) -> None:
    """The only way to an address that somebody else gives us, a provider's link to its picture included."""
    with Canary() as inside:
        with pytest.raises(FetchFailed) as caught:
            loop.run(fetch_image(address.format(port=inside.port), allow=allow_none), timeout_seconds=30)
        assert caught.value.code == "forbidden_address"
    assert inside.connection_count == 0
