"""Fetching a stranger's URL from real servers on the loopback: what arrives, and every way in which it does not."""

from __future__ import annotations

import asyncio
import gzip
import ssl
import time
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from generation.egress.fetch import FetchFailed, fetch_image
from generation.egress.guard import GuardedTransport, allow_hosts
from tests import images
from tests.certificates import contexts

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
SECRET = b"a secret that stands in the answer's body"


class Server:
    """An HTTP server that answers every request by writing what it is told to write."""

    def __init__(self, answer: bytes | Handler) -> None:
        self._answer = answer
        self.requests: list[bytes] = []
        self.port = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.requests.append(await reader.readuntil(b"\r\n\r\n"))
            if isinstance(self._answer, bytes):
                writer.write(self._answer)
                await writer.drain()
            else:
                await self._answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client left, as it should
        finally:
            writer.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/image.png"

    @property
    def here(self) -> str:
        return f"127.0.0.1:{self.port}"


@asynccontextmanager
async def serving(answer: bytes | Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server(answer)
    listener = await asyncio.start_server(server.handle, "127.0.0.1", 0, ssl=tls)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()


def http(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def fetch(answer: bytes | Handler, **options: object) -> tuple[bytes, Server]:
    """Serve one answer and fetch it, the server being exempt from the guard."""

    async def once() -> tuple[bytes, Server]:
        async with serving(answer) as server:
            data = await fetch_image(server.url, allow=allow_hosts([server.here]), **options)  # type: ignore[arg-type]
            return data, server

    return asyncio.run(once())


def failure(answer: bytes | Handler, **options: object) -> FetchFailed:
    with pytest.raises(FetchFailed) as failed:
        fetch(answer, **options)
    assert SECRET.decode() not in str(failed.value)
    return failed.value


def test_an_image_arrives_byte_for_byte() -> None:
    data, server = fetch(http(images.png()))
    assert data == images.png()
    head = server.requests[0].decode().lower()
    assert f"host: {server.here}\r\n" in head
    assert "cookie" not in head
    assert "authorization" not in head
    assert "referer" not in head


def test_an_image_in_chunks_arrives() -> None:
    body = b"".join(f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in (images.png()[:999], images.png()[999:]))
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    assert fetch(head + body + b"0\r\n\r\n")[0] == images.png()


def test_a_compressed_image_is_decoded() -> None:
    assert fetch(http(gzip.compress(images.png()), "200 OK", "Content-Encoding: gzip"))[0] == images.png()


def test_the_environment_is_not_asked_for_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert fetch(http(images.png()))[0] == images.png()


def test_exceptions_come_from_the_setting(settings: object) -> None:
    async def once() -> bytes:
        async with serving(http(images.png())) as server:
            settings.NBP_FETCH_ALLOW_HOSTS = [server.here]  # type: ignore[attr-defined]
            return await fetch_image(server.url)

    assert asyncio.run(once()) == images.png()


# --- where it may not go -------------------------------------------------------------------------------------------


def test_without_an_exception_the_loopback_is_refused_unasked(settings: object) -> None:
    settings.NBP_FETCH_ALLOW_HOSTS = []  # type: ignore[attr-defined]

    async def once() -> list[bytes]:
        async with serving(http(SECRET)) as server:
            spellings = (
                "127.0.0.1",
                "127.1",
                "2130706433",
                "0x7f000001",
                "0177.0.0.1",
                "[::ffff:127.0.0.1]",
                "localhost",
            )
            for spelling in spellings:
                with pytest.raises(FetchFailed) as failed:
                    await fetch_image(f"http://{spelling}:{server.port}/")
                assert failed.value.code == "forbidden_address"
            return server.requests

    assert asyncio.run(once()) == []


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "http://user:password@example.com/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[64:ff9b::7f00:1]/",
        "http://example.com:22/",
        "http://example.com\r\n/",
        "http://[::1",
        "",
    ],
)
def test_forbidden_urls(url: str) -> None:
    with pytest.raises(FetchFailed) as failed:
        asyncio.run(fetch_image(url, allow=allow_hosts([])))
    assert failed.value.code == "forbidden_address"


def test_a_name_that_leads_inside_is_refused() -> None:
    async def inside(host: str, port: int) -> Sequence[str]:
        return ["169.254.169.254"]

    with pytest.raises(FetchFailed) as failed:
        asyncio.run(fetch_image("http://metadata.test/", allow=allow_hosts([]), resolver=inside))
    assert failed.value.code == "forbidden_address"
    assert "169.254" not in failed.value.message


def test_a_name_that_turns_inside_after_the_first_answer_is_refused() -> None:
    """Rebinding: the server is exempt by one name only; a second fetch of it gets another answer."""
    answers = [["127.0.0.1"], ["127.0.0.1"]]

    async def rebinding(host: str, port: int) -> Sequence[str]:
        return answers.pop(0)

    async def once() -> tuple[int, int]:
        async with serving(http(images.png())) as server:
            exempt = allow_hosts([f"first.test:{server.port}"])
            await fetch_image(f"http://first.test:{server.port}/", allow=exempt, resolver=rebinding)
            with pytest.raises(FetchFailed) as failed:
                await fetch_image("http://second.test/", allow=exempt, resolver=rebinding)
            assert failed.value.code == "forbidden_address"
            return len(server.requests), len(answers)

    # Each fetch asked once: there is no second answer between the check and the connection.
    assert asyncio.run(once()) == (1, 0)


@pytest.mark.parametrize(
    "status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent", "304 Not"]
)
def test_a_redirect_is_not_followed(status: str) -> None:
    async def once() -> tuple[FetchFailed, int]:
        async with serving(http(SECRET)) as inside:
            answer = http(b"", status, f"Location: {inside.url}")
            async with serving(answer) as server:
                with pytest.raises(FetchFailed) as failed:
                    await fetch_image(server.url, allow=allow_hosts([server.here, inside.here]))
                return failed.value, len(inside.requests)

    error, inside_count = asyncio.run(once())
    assert (error.code, inside_count) == ("redirected", 0)
    assert "127.0.0.1" not in error.message


# --- how much and how long -----------------------------------------------------------------------------------------


def test_a_declared_length_over_the_cap_is_not_read() -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        await writer.drain()
        await reader.read()

    error = failure(endless, deadline_seconds=10)
    assert (error.code, error.message) == ("too_large", "The image is larger than 20 MB.")


def test_an_undeclared_length_over_the_cap_is_cut_off() -> None:
    written = 0

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        while written < 500 * 2**20:
            writer.write(bytes(65536))
            written += 65536
            await writer.drain()

    assert failure(endless, byte_cap=2**20, deadline_seconds=20).code == "too_large"
    assert written < 50 * 2**20


@pytest.mark.parametrize(("size", "is_fine"), [(1000, True), (1001, False)])
def test_the_cap_is_exact(size: int, is_fine: bool) -> None:
    for head in (b"Content-Length: %d\r\n" % size, b""):
        answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + head + b"\r\n" + bytes(size)
        if is_fine:
            assert len(fetch(answer, byte_cap=1000)[0]) == size
        else:
            assert failure(answer, byte_cap=1000).message == "The image is larger than 1000 bytes."


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "gzip, gzip"])
def test_a_compression_bomb_is_counted_unpacked(encoding: str) -> None:
    nothing = bytes(200 * 2**20)
    body = zlib.compress(nothing, 9) if encoding == "deflate" else gzip.compress(nothing, 9)
    if encoding == "gzip, gzip":
        body = gzip.compress(body)
    assert len(body) < 300_000
    del nothing
    tracemalloc.start()
    try:
        assert failure(http(body, "200 OK", f"Content-Encoding: {encoding}")).code == "too_large"
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 40 * 2**20, peak


def test_a_trickle_ends_at_the_deadline() -> None:
    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(1000):
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    started = time.perf_counter()
    error = failure(trickle, deadline_seconds=0.2)
    assert time.perf_counter() - started < 2
    assert (error.code, error.message) == ("timed_out", "The image did not arrive within 0.2 seconds.")


def test_a_trickle_of_headers_ends_at_the_deadline() -> None:
    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        for number in range(1000):
            writer.write(b"X-%d: y\r\n" % number)
            await writer.drain()
            await asyncio.sleep(0.02)

    assert failure(trickle, deadline_seconds=0.2).code == "timed_out"


def test_a_silent_server_ends_at_the_deadline() -> None:
    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    assert failure(silence, deadline_seconds=0.2).code == "timed_out"


def test_a_hanging_name_server_ends_at_the_deadline() -> None:
    async def hang(host: str, port: int) -> Sequence[str]:
        await asyncio.sleep(60)
        return []

    started = time.perf_counter()
    with pytest.raises(FetchFailed) as failed:
        asyncio.run(fetch_image("http://images.test/", deadline_seconds=0.1, allow=allow_hosts([]), resolver=hang))
    assert failed.value.code == "timed_out"
    assert time.perf_counter() - started < 2


def test_a_canceled_fetch_is_canceled() -> None:
    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def once() -> None:
        async with serving(silence) as server:
            task = asyncio.create_task(fetch_image(server.url, allow=allow_hosts([server.here])))
            while not server.requests:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(once())


# --- what else goes wrong ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "status", ["201 Created", "204 No", "206 Partial", "400 Bad", "404 Not", "429 Many", "500 Oops"]
)
def test_only_200_is_an_answer(status: str) -> None:
    error = failure(http(b"" if status == "204 No" else SECRET, status))
    assert (error.code, status[:3] in error.message) == ("bad_status", True)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nConnection: close\r\n\r\n" + SECRET,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n" + SECRET,
        b"SSH-2.0-OpenSSH_9.2\r\n",
        http(SECRET, "200 OK", "Content-Encoding: gzip"),
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000 + b"\r\n\r\n",
    ],
)
def test_a_broken_answer(answer: bytes) -> None:
    assert failure(answer).code == "unreachable"


def test_a_refused_connection() -> None:
    async def once() -> None:
        async with serving(b"") as server:
            pass
        await fetch_image(server.url, allow=allow_hosts([server.here]))

    with pytest.raises(FetchFailed) as failed:
        asyncio.run(once())
    assert failed.value.code == "unreachable"


def test_a_name_nobody_knows() -> None:
    async def nobody(host: str, port: int) -> Sequence[str]:
        return []

    with pytest.raises(FetchFailed) as failed:
        asyncio.run(fetch_image("http://nobody.test/", allow=allow_hosts([]), resolver=nobody))
    assert failed.value.code == "unreachable"


# --- TLS -----------------------------------------------------------------------------------------------------------


def test_tls_and_host_go_by_the_name_while_the_socket_goes_by_the_address(tmp_path: Path) -> None:
    server_context, client_context = contexts("images.test", tmp_path)
    asked: list[str | None] = []
    server_context.sni_callback = lambda _socket, name, _context: asked.append(name)

    async def here(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    async def once() -> tuple[httpx2.Response, bytes]:
        async with serving(http(images.png()), server_context) as server:
            exempt = allow_hosts([f"images.test:{server.port}", f"other.test:{server.port}"])
            transport = GuardedTransport(allow=exempt, resolver=here, ssl_context=client_context)
            async with httpx2.AsyncClient(transport=transport, trust_env=False) as client:
                answer = await client.get(f"https://images.test:{server.port}/")
                with pytest.raises(httpx2.ConnectError):
                    await client.get(f"https://other.test:{server.port}/")
            return answer, server.requests[0]

    answer, request = asyncio.run(once())
    assert answer.content == images.png()
    assert asked == ["images.test", "other.test"]
    assert b"\r\nhost: images.test:" in request.lower()


def test_a_certificate_nobody_vouches_for(tmp_path: Path) -> None:
    server_context, _ = contexts("images.test", tmp_path)

    async def here(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    async def once() -> None:
        async with serving(http(SECRET), server_context) as server:
            exempt = allow_hosts([f"images.test:{server.port}"])
            await fetch_image(f"https://images.test:{server.port}/", allow=exempt, resolver=here)

    with pytest.raises(FetchFailed) as failed:
        asyncio.run(once())
    assert failed.value.code == "unreachable"
