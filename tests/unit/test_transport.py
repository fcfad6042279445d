"""The transport: an answer is complete or an error, lies in a file, and is asked for exactly once."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import random
import socket
import threading
import time
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx2
import pytest
from pytest_django import Settings

from generation.egress import bodies, loop, pools, transport
from generation.egress.transport import BodyTooLarge, Exchange, LiftingTransport, exchange, shared_client
from tests.raw_server import Play, RawServer, answer, chunked, reset, then_close, then_reset

BODY = b"{}"


@pytest.fixture(scope="module", autouse=True)
def stopped_loop() -> Iterator[None]:
    yield
    loop.stop()


def fetch(
    url: str, record: Exchange | None = None, *, seconds: float | None = 10, **extensions: object
) -> httpx2.Response:
    """One POST with the shared client, its body read; `record` is watched if given."""

    async def post() -> httpx2.Response:
        with exchange() as seen:
            try:
                async with asyncio.timeout(seconds):
                    return await shared_client().post(url, content=BODY, extensions=extensions)
            finally:
                if record is not None:
                    for name in Exchange.__slots__:
                        setattr(record, name, getattr(seen, name))

    return loop.run(post())


def test_a_whole_answer_comes_through_and_identity_is_asked_for() -> None:
    body = random.Random(1).randbytes(700_000)
    record = Exchange()
    with RawServer(answer(body, "X-Request-Id: r1")) as server:
        response = fetch(server.url, record)
    assert response.status_code == 200
    assert response.content == body
    assert response.headers["content-length"] == str(len(body))
    assert response.reason_phrase == "OK"
    assert b"accept-encoding: identity\r\n" in server.requests[0].lower()
    assert (record.status, record.is_sent, record.is_complete) == (200, True, True)
    assert record.headers["x-request-id"] == "r1"


TEXT = b"a long line that packs well, and then some\n" * 40_000


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("gzip", gzip.compress(TEXT)),
        ("X-GZIP", gzip.compress(TEXT)),
        ("gzip", gzip.compress(TEXT[:100_000]) + gzip.compress(TEXT[100_000:])),
        ("deflate", zlib.compress(TEXT)),
        ("deflate", raw_deflate(TEXT)),
        ("identity", TEXT),
    ],
)
def test_an_answer_that_comes_compressed_all_the_same_is_decoded(encoding: str, packed: bytes) -> None:
    with RawServer(answer(packed, f"Content-Encoding: {encoding}")) as server:
        response = fetch(server.url)
    assert response.content == TEXT
    assert "content-encoding" not in response.headers
    assert response.headers["content-length"] == str(len(TEXT))


@pytest.mark.parametrize("step", [1, 7, 100_000])
@pytest.mark.parametrize("size", [0, 1, bodies.PIECE_BYTES - 1, bodies.PIECE_BYTES, 3 * bodies.PIECE_BYTES])
@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, raw_deflate])
def test_decoding_does_not_depend_on_how_the_bytes_are_cut(
    step: int, size: int, pack: Callable[[bytes], bytes]
) -> None:
    packed, plain = pack(b"z" * size), bytearray()
    encoding = "gzip" if pack is gzip.compress else "deflate"
    decoder = bodies.decoder_for(httpx2.Headers({"content-encoding": encoding}))
    for start in range(0, len(packed), step):
        for piece in decoder.decode(packed[start : start + step]):
            assert len(piece) <= bodies.PIECE_BYTES
            plain += piece
    decoder.finish()
    assert plain == b"z" * size


@pytest.mark.parametrize("cut", [1, 10, 2000, len(gzip.compress(TEXT)) - 1])
def test_a_gzip_stream_that_breaks_off_is_an_error_even_if_http_is_whole(cut: int) -> None:
    with RawServer(answer(gzip.compress(TEXT)[:cut], "Content-Encoding: gzip")) as server:
        with pytest.raises(httpx2.DecodingError):
            fetch(server.url)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "headers_and_body",
    [
        ("gzip", b"this is no gzip"),
        ("gzip", gzip.compress(TEXT)[:-8] + b"\0" * 8),
        ("gzip", gzip.compress(TEXT) + b"trailing rubbish"),
        ("deflate", zlib.compress(TEXT) + b"trailing rubbish"),
        ("br", b"whatever"),
        ("gzip, gzip", gzip.compress(gzip.compress(TEXT))),
    ],
)
def test_a_broken_or_unknown_encoding_is_an_error(headers_and_body: tuple[str, bytes]) -> None:
    encoding, body = headers_and_body
    with RawServer(answer(body, f"Content-Encoding: {encoding}")) as server, pytest.raises(httpx2.DecodingError):
        fetch(server.url)


@pytest.mark.parametrize(
    "play",
    [
        then_close(answer(b"half", length=8)),
        then_reset(answer(b"half", length=8)),
        then_close(lambda c: c.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")),
        then_close(lambda c: None),
        reset,
        then_close(lambda c: c.sendall(b"HTTP/1.1 200 OK\r\nContent-Le")),
        then_close(lambda c: c.sendall(b"this is not HTTP\r\n\r\n")),
    ],
)
def test_an_answer_that_breaks_off_is_an_error_after_one_request(play: Play) -> None:
    record = Exchange()
    with RawServer(play) as server:
        with pytest.raises((httpx2.RemoteProtocolError, httpx2.ReadError)):
            fetch(server.url, record)
        assert len(server.requests) == server.connection_count == 1
    assert record.is_sent
    assert not record.is_complete


def test_a_silent_upstream_is_given_up_at_the_callers_deadline_and_the_connection_with_it() -> None:
    left = threading.Event()

    def keep_silent(connection: socket.socket) -> None:
        assert connection.recv(1) == b""
        left.set()

    record = Exchange()
    with RawServer(keep_silent) as server:
        with pytest.raises(TimeoutError):
            fetch(server.url, record, seconds=0.2)
        assert left.wait(5)
        assert len(server.requests) == 1
    assert (record.is_sent, record.status) == (True, None)


def test_a_trickle_does_not_outlast_the_deadline() -> None:
    def trickle(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(1000):
            connection.sendall(b"x")
            threading.Event().wait(0.02)

    record = Exchange()
    with RawServer(trickle) as server, pytest.raises(TimeoutError):
        fetch(server.url, record, seconds=0.3)
    assert (record.status, record.is_complete) == (200, False)


@pytest.mark.parametrize(
    "play",
    [
        answer(b"x" * 2000),
        chunked(b"x" * 900, b"x" * 900),
        answer(gzip.compress(b"x" * 2000), "Content-Encoding: gzip"),
    ],
)
def test_a_body_above_the_requests_cap_is_refused(play: Play) -> None:
    with RawServer(play) as server:
        with pytest.raises(BodyTooLarge, match="1000 bytes"):
            fetch(server.url, byte_cap=1000)
        assert len(server.requests) == 1


def test_a_body_of_exactly_the_cap_is_taken() -> None:
    with RawServer(chunked(b"x" * 600, b"x" * 400)) as server:
        assert len(fetch(server.url, byte_cap=1000).content) == 1000


def test_the_length_alone_is_enough_to_refuse() -> None:
    with RawServer(answer(b"", length=10**12)) as server, pytest.raises(BodyTooLarge):
        fetch(server.url)


def test_a_gzip_bomb_neither_fills_memory_nor_passes_the_cap() -> None:
    bomb = gzip.compress(bytes(200_000_000), 9)
    with RawServer(answer(bomb, "Content-Encoding: gzip")) as server:
        tracemalloc.start()
        try:
            with pytest.raises(BodyTooLarge):
                fetch(server.url, byte_cap=32_000_000)
            assert tracemalloc.get_traced_memory()[1] < 5_000_000
        finally:
            tracemalloc.stop()


def test_a_stream_that_decodes_to_nothing_hits_the_cap_too() -> None:
    packer = zlib.compressobj(wbits=31)
    packed = packer.compress(b"x") + b"".join(packer.flush(zlib.Z_FULL_FLUSH) or b"\0\0\0\xff\xff" for _ in range(5000))
    with RawServer(chunked(packed, headers="Content-Encoding: gzip\r\n")) as server, pytest.raises(BodyTooLarge):
        fetch(server.url, byte_cap=10_000)


def test_others_get_their_turn_while_a_small_piece_unfolds_to_much() -> None:
    turns, seen = 0, []

    class Sink(bodies.FileSink):
        def write(self, piece: bytes) -> None:
            seen.append(turns)

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def one_chunk() -> AsyncIterator[bytes]:
        yield gzip.compress(bytes(10_000_000), 9)

    async def unfold() -> None:
        task, sink = asyncio.create_task(take_turns()), Sink(10**9, None)
        await bodies.pour(one_chunk(), bodies.decoder_for(httpx2.Headers({"content-encoding": "gzip"})), sink, 10**9)
        sink.discard()
        task.cancel()

    loop.run(unfold())
    assert len(seen) > 30
    assert len(set(seen)) > 30


def test_error_bodies_have_a_small_cap_of_their_own() -> None:
    record = Exchange()
    too_large = answer(b"x" * (transport.ERROR_BYTE_CAP + 1), status="503 Service Unavailable")
    with RawServer(too_large) as server, pytest.raises(BodyTooLarge, match=str(transport.ERROR_BYTE_CAP)):
        fetch(server.url, record)
    assert (record.status, record.is_complete) == (503, False)
    with RawServer(answer(b"x" * transport.ERROR_BYTE_CAP, status="503 Service Unavailable")) as server:
        assert fetch(server.url).status_code == 503


OPEN_FILES = Path("/proc/self/fd")


def open_files() -> Iterator[str]:
    for descriptor in OPEN_FILES.iterdir():
        with contextlib.suppress(FileNotFoundError):
            yield str(descriptor.readlink())


@pytest.mark.skipif(not OPEN_FILES.is_dir(), reason="needs Linux' list of open files")
def test_the_body_lies_in_a_nameless_file_of_the_given_directory_and_not_in_memory(tmp_path: Path) -> None:
    body = random.Random(2).randbytes(20_000_000)

    async def stream() -> tuple[bytes, int, list[str]]:
        digest = hashlib.sha256()
        with exchange(spool=tmp_path):
            async with shared_client().stream("POST", server.url, content=BODY) as response:
                places = [place for place in open_files() if place.startswith(str(tmp_path))]
                async for piece in response.aiter_bytes():
                    digest.update(piece)
        return digest.digest(), tracemalloc.get_traced_memory()[1], places

    with RawServer(answer(body)) as server:
        tracemalloc.start()
        try:
            digest, peak_bytes, places = loop.run(stream())
        finally:
            tracemalloc.stop()
    assert digest == hashlib.sha256(body).digest()
    assert peak_bytes < 4_000_000
    assert len(places) == 1
    assert places[0].endswith("(deleted)")
    assert not [place for place in open_files() if place.startswith(str(tmp_path))]
    assert list(tmp_path.iterdir()) == []


def test_a_missing_spool_directory_shows_as_an_error_of_ours(tmp_path: Path) -> None:
    async def post() -> None:
        with exchange(spool=tmp_path / "missing"):
            await shared_client().post(server.url, content=BODY)

    with RawServer(answer(b"x")) as server, pytest.raises(FileNotFoundError):
        loop.run(post())


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/",
        "https://127.0.0.1:{server}/",
        "http://nowhere.invalid/",
    ],
)
def test_it_is_known_that_nothing_was_sent(url: str) -> None:
    record = Exchange()
    with RawServer(then_close(lambda c: None)) as server:
        address = url.format(port=free_port(), server=server.url.rsplit(":", 1)[1].strip("/"))
        with pytest.raises(httpx2.ConnectError):
            fetch(address, record)
    assert not record.is_sent


def test_connecting_has_a_limit_although_the_caller_asks_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "CONNECT_SECONDS", 0.2)

    async def post() -> bool:
        client = httpx2.AsyncClient(transport=LiftingTransport(), timeout=None)
        async with client:
            with exchange() as record:
                with pytest.raises(httpx2.ConnectTimeout):
                    await client.post(f"https://127.0.0.1:{listener.getsockname()[1]}/")
                return record.is_sent

    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert loop.run(post()) is False


def test_waiting_for_a_connection_has_a_limit_and_sends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "POOL_SECONDS", 0.2)
    gate = threading.Event()

    async def post(client: httpx2.AsyncClient) -> tuple[bool, object]:
        request = client.build_request("POST", server.url, content=BODY, timeout=None)
        with exchange() as record, contextlib.suppress(httpx2.PoolTimeout):
            await client.send(request)
            return record.is_sent, request.extensions["sent"]
        gate.set()
        return record.is_sent, request.extensions["sent"]

    async def both() -> list[tuple[bool, object]]:
        async with httpx2.AsyncClient(transport=LiftingTransport(max_connections=1)) as client:
            return await asyncio.gather(post(client), post(client))

    def hold(connection: socket.socket) -> None:
        gate.wait(5)
        answer(b"ok")(connection)

    with RawServer(hold) as server:
        assert sorted(loop.run(both())) == [(False, False), (True, True)]
        assert len(server.requests) == 1


def test_canceling_one_call_of_many_frees_its_connection_and_harms_no_other() -> None:
    gate = threading.Event()

    def hold(connection: socket.socket) -> None:
        gate.wait(5)
        answer(b"ok")(connection)

    async def many() -> list[object]:
        async with httpx2.AsyncClient(transport=LiftingTransport(max_connections=10), timeout=None) as client:
            tasks = [asyncio.create_task(client.post(server.url, content=BODY)) for _ in range(10)]
            while len(server.requests) < 10:
                await asyncio.sleep(0.01)
            for task in tasks[::2]:
                task.cancel()
            await asyncio.wait(tasks[::2])
            gate.set()
            later = [asyncio.create_task(client.post(server.url, content=BODY)) for _ in range(5)]
            return await asyncio.gather(*tasks, *later, return_exceptions=True)

    with RawServer(hold) as server:
        results = loop.run(many(), timeout_seconds=20)
    assert sum(isinstance(result, asyncio.CancelledError) for result in results) == 5
    assert sum(isinstance(result, httpx2.Response) for result in results) == 10


def rush(server: RawServer, gate: threading.Event, call_count: int) -> list[httpx2.Response]:
    """So many calls with the shared client that the server answers only when it has all of them."""

    async def calls() -> list[httpx2.Response]:
        tasks = [asyncio.create_task(shared_client().post(server.url, content=BODY)) for _ in range(call_count)]
        while len(server.requests) < call_count and not any(task.done() for task in tasks):
            await asyncio.sleep(0.01)
        gate.set()
        return await asyncio.gather(*tasks)

    return loop.run(calls(), timeout_seconds=30)


def test_calls_beyond_one_pool_get_more_of_them_which_close_when_the_rush_is_over() -> None:
    loop.stop()
    gate, call_count = threading.Event(), 2 * pools.POOL_CONNECTIONS + 5

    def hold(connection: socket.socket) -> None:
        gate.wait(10)
        answer(b"ok")(connection)

    with RawServer(hold) as server:
        assert {response.status_code for response in rush(server, gate, call_count)} == {200}
        assert server.connection_count == call_count
        deadline = time.monotonic() + 10
        while server.open_count > pools.MAX_KEEPALIVE_CONNECTIONS:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert [fetch(server.url).status_code for _ in range(3)] == [200] * 3
        assert server.connection_count == call_count


def test_a_worker_with_many_threads_has_a_connection_for_each(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    loop.stop()
    monkeypatch.setattr(transport, "POOL_SECONDS", 0.2)
    monkeypatch.setattr(transport, "MAX_CONNECTIONS", 2)
    settings.NBP_WORKER_THREADS = 5
    gate = threading.Event()

    def hold(connection: socket.socket) -> None:
        gate.wait(10)
        answer(b"ok")(connection)

    with RawServer(hold) as server:
        assert len(rush(server, gate, 5)) == 5
        gate.clear()
        with pytest.raises(httpx2.PoolTimeout):
            rush(server, gate, 6 + len(server.requests))
        gate.set()
    loop.stop()


def test_one_client_keeps_connections_but_no_cookies_and_follows_no_redirect() -> None:
    play = answer(b"", "Set-Cookie: who=me; Path=/", "Location: /elsewhere", status="302 Found")
    with RawServer(play) as server:
        assert [fetch(server.url).status_code for _ in range(3)] == [302] * 3
        assert server.connection_count == 1
        assert len(server.requests) == 3
        assert not [request for request in server.requests if b"cookie" in request.lower()]


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    loop.stop()
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    with RawServer(answer(b"direct")) as server:
        assert fetch(server.url).content == b"direct"


def test_the_shared_client_belongs_to_its_loop_and_is_closed_with_it() -> None:
    async def client() -> httpx2.AsyncClient:
        return shared_client()

    first = loop.run(client())
    assert loop.run(client()) is first
    loop.stop()
    assert first.is_closed
    assert loop.run(client()) is not first
    with pytest.raises(RuntimeError, match="belongs on the upstream loop"):
        shared_client()
