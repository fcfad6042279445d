"""How the wire of the fake Gemini API breaks when a fault says so; it never decides what an answer says."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Awaitable, Callable, Iterator, Mapping

from generation.channels.fakes.gemini_faults import Fault
from generation.channels.fakes.gemini_http import Connection, Reply

_BLOCK = b"A" * 64 * 1024
_HUGE_BYTES = 128 * 1024 * 1024
_BOMB_BYTES = 512 * 1024 * 1024
_TRICKLE_SECONDS = 0.05
_HUGE_START = b'{"candidates":[{"content":{"role":"model","parts":[{"inlineData":{"mimeType":"image/png","data":"'
_HUGE_END = b'"}}]},"finishReason":"STOP","index":0}]}'


async def deliver(connection: Connection, reply: Reply, fault: Fault) -> None:
    """Sends an answer, or what its fault makes of it; raises OSError when the client is gone."""
    await _WIRES.get(fault.name, _send)(connection, reply, fault)


async def _send(connection: Connection, reply: Reply, fault: Fault) -> None:
    del fault
    await connection.send(reply)


async def _send_html(connection: Connection, reply: Reply, fault: Fault) -> None:
    del reply, fault
    page = b"<!DOCTYPE html><html><head><title>Sorry</title></head><body><h1>We will be back soon</h1></body></html>"
    await connection.send(Reply(200, {"Content-Type": "text/html; charset=UTF-8"}, [page]))


async def _send_gzip(connection: Connection, reply: Reply, fault: Fault) -> None:
    del fault
    packed = gzip.compress(b"".join(reply.pieces), 1)
    await connection.send(Reply(reply.status, {**reply.headers, "Content-Encoding": "gzip"}, [packed]))


async def _send_chunked(connection: Connection, reply: Reply, fault: Fault) -> None:
    del fault
    await connection.write_head(reply, "Transfer-Encoding: chunked")
    for piece in (*filter(None, reply.pieces), b""):
        await connection.write_chunk(piece)


async def _send_huge(connection: Connection, reply: Reply, fault: Fault) -> None:
    await connection.write_head(reply, "Transfer-Encoding: chunked")
    for piece in _huge(int(fault.number(_HUGE_BYTES))):
        await connection.write_chunk(piece)
    await connection.write_chunk(b"")


async def _send_bomb(connection: Connection, reply: Reply, fault: Fault) -> None:
    await connection.write_head(reply, "Transfer-Encoding: chunked", "Content-Encoding: gzip")
    packer = zlib.compressobj(wbits=31)
    for piece in _huge(int(fault.number(_BOMB_BYTES))):
        if packed := packer.compress(piece):
            await connection.write_chunk(packed)
        await asyncio.sleep(0)
    await connection.write_chunk(packer.flush())
    await connection.write_chunk(b"")


def _huge(byte_count: int) -> Iterator[bytes]:
    yield _HUGE_START
    for start in range(0, byte_count, len(_BLOCK)):
        yield _BLOCK[: byte_count - start]
    yield _HUGE_END


async def _trickle(connection: Connection, reply: Reply, fault: Fault) -> None:
    body = b"".join(reply.pieces)
    await connection.write_head(reply, f"Content-Length: {len(body)}")
    for start in range(len(body)):
        await connection.write(body[start : start + 1])
        if not await connection.has_waited(fault.number(_TRICKLE_SECONDS)):
            raise ConnectionResetError("the client left")


async def _truncate(connection: Connection, reply: Reply, fault: Fault) -> None:
    body = b"".join(reply.pieces)
    await connection.write_head(reply, f"Content-Length: {len(body)}")
    await connection.write(body[: int(fault.number(len(body) // 2))])
    connection.is_kept = False


async def _reset_midway(connection: Connection, reply: Reply, fault: Fault) -> None:
    await _truncate(connection, reply, fault)
    connection.reset()


async def _reset(connection: Connection, reply: Reply, fault: Fault) -> None:
    del reply, fault
    connection.reset()


async def _leave(connection: Connection, reply: Reply, fault: Fault) -> None:
    del reply, fault
    connection.is_kept = False


async def _keep_silent(connection: Connection, reply: Reply, fault: Fault) -> None:
    del reply, fault
    await connection.wait_until_left()
    raise ConnectionResetError("the client left")


_WIRES: Mapping[str, Callable[[Connection, Reply, Fault], Awaitable[None]]] = {
    "html": _send_html,
    "gzip": _send_gzip,
    "chunked": _send_chunked,
    "huge": _send_huge,
    "gzip-bomb": _send_bomb,
    "trickle": _trickle,
    "truncated": _truncate,
    "reset": _reset,
    "reset-midway": _reset_midway,
    "close": _leave,
    "silent": _keep_silent,
}
