"""Requests of httpx2 through a pool of httpcore2 that was made with a network of our own, in httpx2's words."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import httpcore2
import httpx2
from httpcore2._async.http11 import AsyncHTTP11Connection

from generation.egress import receive_buffer
from generation.egress.sockets import PIECE_BYTES

AsyncHTTP11Connection.READ_NUM_BYTES = PIECE_BYTES
receive_buffer.spare_copies()


async def send(pool: httpcore2.AsyncConnectionPool, request: httpx2.Request) -> httpx2.Response:
    """The answer, its body still to be read. Raises what httpx2 raises."""
    assert isinstance(request.stream, httpx2.AsyncByteStream)
    url = request.url
    outgoing = httpcore2.Request(
        method=request.method,
        url=httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
        headers=request.headers.raw,
        content=request.stream,
        extensions=request.extensions,
    )
    with _in_httpx_words():
        answer = await pool.handle_async_request(outgoing)
    return httpx2.Response(answer.status, headers=answer.headers, stream=_Body(answer), extensions=answer.extensions)


class _Body(httpx2.AsyncByteStream):
    def __init__(self, answer: httpcore2.Response) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _in_httpx_words():
            async for piece in self._answer.aiter_stream():
                yield piece

    async def aclose(self) -> None:
        await self._answer.aclose()


@contextmanager
def _in_httpx_words() -> Iterator[None]:
    """httpcore2's errors under the same names in httpx2, where every client expects them."""
    try:
        yield
    except (
        httpcore2.TimeoutException,
        httpcore2.NetworkError,
        httpcore2.ProtocolError,
        httpcore2.UnsupportedProtocol,
    ) as error:
        named: type[httpx2.TransportError] = getattr(httpx2, type(error).__name__, httpx2.TransportError)
        raise named(str(error)) from error
