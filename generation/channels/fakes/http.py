"""A small HTTP/1.1 server side whose socket stays in reach; it knows nothing of Gemini and plays no faults itself."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

_PIECE_BYTES = 128 * 1024
_BODY_CAP = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """One request; header names are in lower case and `path` is without the query."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer, its body in pieces."""

    status: int
    headers: Mapping[str, str]
    pieces: Sequence[bytes]


def json_reply(status: int, body: Mapping[str, Any] | list[bytes], headers: Mapping[str, str] | None = None) -> Reply:
    """A JSON answer from a document, or from pieces that are JSON already."""
    pieces = body if isinstance(body, list) else [json.dumps(body, indent=2).encode()]
    return Reply(status, {"Content-Type": "application/json; charset=UTF-8", **(headers or {})}, pieces)


class Connection:
    """One client's connection; `is_kept` while it may serve another request."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._early = b""
        self.is_kept = True

    async def receive(self) -> Request | None:
        """The next request, or None when the client has no more (or sent what is no HTTP)."""
        try:
            head = self._early + await self._reader.readuntil(b"\r\n\r\n")
            self._early = b""
            request = _parsed(head)
            return replace(request, body=await self._body(request.headers))
        except (EOFError, asyncio.LimitOverrunError, ValueError, OSError):
            return None

    async def has_waited(self, seconds: float) -> bool:
        """Waits; False as soon as the client hangs up meanwhile."""
        if seconds <= 0:
            return True
        ends_at = asyncio.get_running_loop().time() + seconds
        try:
            async with asyncio.timeout_at(ends_at):
                self._early += await self._reader.read(1)
        except TimeoutError:
            return True
        except OSError:
            return False
        if self._early:
            await asyncio.sleep(ends_at - asyncio.get_running_loop().time())
        return bool(self._early)

    async def wait_until_left(self) -> None:
        """Waits, forever if need be, until the client hangs up."""
        while await self._reader.read(_PIECE_BYTES):
            pass

    async def write(self, piece: bytes) -> None:
        """Writes in steps, so that a slow client's unsent rest is never copied into a buffer."""
        view = memoryview(piece)
        for start in range(0, len(view), _PIECE_BYTES):
            self._writer.write(view[start : start + _PIECE_BYTES])
            await self._writer.drain()

    async def write_chunk(self, piece: bytes) -> None:
        """Writes one chunk of a chunked body; `b""` ends the body."""
        await self.write(f"{len(piece):x}\r\n".encode())
        await self.write(piece + b"\r\n" if len(piece) < _PIECE_BYTES else piece)
        if len(piece) >= _PIECE_BYTES:
            await self.write(b"\r\n")

    async def write_head(self, reply: Reply, *fields: str) -> None:
        """Writes the status line, the reply's own headers and these further ones ("Name: value")."""
        await self.write(head_of(reply, *fields))

    async def send(self, reply: Reply) -> None:
        """Sends a reply as it should be."""
        await self.write_head(reply, f"Content-Length: {sum(map(len, reply.pieces))}")
        for piece in reply.pieces:
            await self.write(piece)

    def reset(self) -> None:
        """Closes with a TCP reset instead of an orderly end."""
        linger = struct.pack("ii", 1, 0)
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._writer.transport.abort()
        self.is_kept = False

    async def close(self) -> None:
        """Closes in order, after what is still unsent."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except OSError:
            self._writer.transport.abort()

    def abort(self) -> None:
        """Closes at once, whatever is still unsent."""
        self._writer.transport.abort()

    async def _body(self, headers: Mapping[str, str]) -> bytes:
        self.is_kept = headers.get("connection", "").lower() != "close"
        if headers.get("expect", "").lower() == "100-continue":
            await self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return await _unchunked(self._reader)
        byte_count = int(headers.get("content-length", "0"))
        if byte_count > _BODY_CAP:
            raise ValueError("the body is too large")
        return await self._reader.readexactly(byte_count)


def head_of(reply: Reply, *fields: str) -> bytes:
    """The status line, a reply's own headers and further ones ("Name: value"), with the empty line after them."""
    lines = [f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}", "Server: fake-gemini", *fields]
    lines += [f"{name}: {value}" for name, value in reply.headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def _parsed(head: bytes) -> Request:
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ")
    fields = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in fields}
    parts = urlsplit(target)
    return Request(method, unquote(parts.path), dict(parse_qsl(parts.query)), headers)


async def _unchunked(reader: asyncio.StreamReader) -> bytes:
    chunks = []
    while byte_count := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        chunks.append(await reader.readexactly(byte_count))
        await reader.readexactly(2)
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass
    return b"".join(chunks)
