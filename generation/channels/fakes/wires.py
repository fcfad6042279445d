"""How the wire of a fake upstream breaks when a fault says so; it never decides what an answer says."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Awaitable, Callable, Iterator, Mapping

from generation.channels.fakes.faults import Fault
from generation.channels.fakes.http import Connection, Reply, head_of

_BLOCK = b"A" * 64 * 1024
_HUGE_BYTES = 128 * 1024 * 1024
_BOMB_BYTES = 512 * 1024 * 1024
_TRICKLE_SECONDS = 0.05
_NOISE = b"\x15\x03\x01\x00\x02\x02\x28 this is no HTTP\r\n\r\n"
_ELSEWHERE = "https://example.com/"


async def deliver(connection: Connection, reply: Reply, fault: Fault) -> None:
    """Sends an answer, or what its fault makes of it; raises OSError when the client is gone."""
    await _WIRES.get(fault.name, _send)(connection, reply, fault)


async def _send(connection: Connection, reply: Reply, fault: Fault) -> None:
    del fault
    await connection.send(reply)


async def _send_noise(connection: Connection, reply: Reply, fault: Fault) -> None:
    del reply, fault
    await connection.write(_NOISE)
    connection.is_kept = False


async def _redirect(connection: Connection, reply: Reply, fault: Fault) -> None:
    del reply
    await connection.send(Reply(302, {"Location": fault.argument or _ELSEWHERE}, []))


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
    for piece in _huge(reply, int(fault.number(_HUGE_BYTES))):
        await connection.write_chunk(piece)
    await connection.write_chunk(b"")


async def _send_bomb(connection: Connection, reply: Reply, fault: Fault) -> None:
    await connection.write_head(reply, "Transfer-Encoding: chunked", "Content-Encoding: gzip")
    packer = zlib.compressobj(wbits=31)
    for piece in _huge(reply, int(fault.number(_BOMB_BYTES))):
        if packed := packer.compress(piece):
            await connection.write_chunk(packed)
        await asyncio.sleep(0)
    await connection.write_chunk(packer.flush())
    await connection.write_chunk(b"")


def _huge(reply: Reply, byte_count: int) -> Iterator[bytes]:
    """The answer with so many bytes in the place of its largest piece, which is a picture."""
    largest = max(range(len(reply.pieces)), key=lambda index: len(reply.pieces[index]))
    yield from filter(None, reply.pieces[:largest])
    for start in range(0, byte_count, len(_BLOCK)):
        yield _BLOCK[: byte_count - start]
    yield from filter(None, reply.pieces[largest + 1 :])


async def _trickle(connection: Connection, reply: Reply, fault: Fault) -> None:
    body = b"".join(reply.pieces)
    await connection.write_head(reply, f"Content-Length: {len(body)}")
    await _drip(connection, body, fault)


async def _trickle_head(connection: Connection, reply: Reply, fault: Fault) -> None:
    body = b"".join(reply.pieces)
    await _drip(connection, head_of(reply, f"Content-Length: {len(body)}"), fault)
    await connection.write(body)


async def _drip(connection: Connection, content: bytes, fault: Fault) -> None:
    for start in range(len(content)):
        await connection.write(content[start : start + 1])
        if not await connection.has_waited(fault.number(_TRICKLE_SECONDS)):
            raise ConnectionResetError("the client left")


async def _truncate(connection: Connection, reply: Reply, fault: Fault) -> None:
    body = b"".join(reply.pieces)
    await connection.write_head(reply, f"Content-Length: {len(body)}")
    await connection.write(_start_of(body, fault))
    connection.is_kept = False


def _start_of(content: bytes, fault: Fault) -> bytes:
    """As many bytes as the fault says, all but so many if it says a negative number, half of them if it says none."""
    return content[: int(fault.number(len(content) // 2))]


async def _cut_json(connection: Connection, reply: Reply, fault: Fault) -> None:
    await connection.send(Reply(reply.status, reply.headers, [_start_of(b"".join(reply.pieces), fault)]))


async def _cut_gzip(connection: Connection, reply: Reply, fault: Fault) -> None:
    packed = gzip.compress(b"".join(reply.pieces), 1)
    headers = {**reply.headers, "Content-Encoding": "gzip"}
    await connection.send(Reply(reply.status, headers, [_start_of(packed, fault)]))


async def _cut_chunks(connection: Connection, reply: Reply, fault: Fault) -> None:
    body = b"".join(reply.pieces)
    await connection.write_head(reply, "Transfer-Encoding: chunked")
    await connection.write(f"{len(body):x}\r\n".encode() + _start_of(body + b"\r\n", fault))
    connection.is_kept = False


async def _stall(connection: Connection, reply: Reply, fault: Fault) -> None:
    body = b"".join(reply.pieces)
    await connection.write_head(reply, f"Content-Length: {len(body)}")
    await connection.write(_start_of(body, fault))
    await _keep_silent(connection, reply, fault)


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
    "trickle-head": _trickle_head,
    "truncated": _truncate,
    "json-cut": _cut_json,
    "chunk-cut": _cut_chunks,
    "gzip-cut": _cut_gzip,
    "stall": _stall,
    "noise": _send_noise,
    "redirect": _redirect,
    "reset": _reset,
    "reset-midway": _reset_midway,
    "close": _leave,
    "silent": _keep_silent,
}
