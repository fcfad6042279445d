"""Sockets for the HTTP client that hand over what has come in large pieces: an image is tens of megabytes.

They read only while somebody waits, so that what nobody has asked for yet lies in the kernel's buffers.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from select import POLLIN, poll
from typing import Any

import httpcore2

from generation.egress.tls import Source, Tls

PIECE_BYTES = 512 * 1024
# When many answers come at once, each piece is an equal share of this, but never so small that light ones are cut.
ROOM_BYTES = 8 * 1024 * 1024
LEAST_PIECE_BYTES = 128 * 1024
# RFC 8305, 5: how long an address has before the next one is tried beside it.
NEXT_ADDRESS_SECONDS = 0.25

_Names = Mapping[type[OSError], type[Exception]]
_CONNECTING: _Names = {TimeoutError: httpcore2.ConnectTimeout, OSError: httpcore2.ConnectError}
_READING: _Names = {TimeoutError: httpcore2.ReadTimeout, OSError: httpcore2.ReadError}
_WRITING: _Names = {TimeoutError: httpcore2.WriteTimeout, OSError: httpcore2.WriteError}


class SocketBackend(httpcore2.AsyncNetworkBackend):
    """Opens connections for a pool of httpcore2, on asyncio's own event loop. They share room for what they read."""

    def __init__(self) -> None:
        self._room = _Room()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        with _named(_CONNECTING):
            if not 0 < port < 65536:
                raise ValueError(f"there is no port {port}")
            async with asyncio.timeout(timeout):
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: _Connection(self._room),
                    host,
                    port,
                    local_addr=(local_address, 0) if local_address else None,
                    happy_eyeballs_delay=NEXT_ADDRESS_SECONDS,
                )
            connection.transport.pause_reading()
            try:
                for option in socket_options or ():
                    connection.socket().setsockopt(*option)
            except OSError:
                connection.abort()
                raise
        return SocketStream(connection, connection)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class SocketStream(httpcore2.AsyncNetworkStream):
    """A TCP connection, with or without TLS on it. Read and written by one task at a time."""

    def __init__(self, connection: _Connection, source: Source) -> None:
        self._connection = connection
        self._source = source

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """The next piece, empty at the end. `max_bytes` must be PIECE_BYTES or more."""
        with _named(_READING):
            async with asyncio.timeout(timeout):
                return await self._source.receive()

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        with _named(_WRITING):
            async with asyncio.timeout(timeout):
                await self._source.send(buffer)

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.AsyncNetworkStream:
        try:
            with _named(_CONNECTING):
                tls = Tls(self._connection, ssl_context, server_hostname)
                async with asyncio.timeout(timeout):
                    await tls.shake_hands()
        except BaseException:
            await self.aclose()
            raise
        return SocketStream(self._connection, tls)

    async def aclose(self) -> None:
        self._connection.abort()

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":
            return self._source.is_readable()
        if info == "ssl_object":
            return self._source.object if isinstance(self._source, Tls) else None
        names = {"client_addr": "sockname", "server_addr": "peername", "socket": "socket"}
        return self._connection.transport.get_extra_info(names[info]) if info in names else None


class _Room:
    """For the pieces that are waited for: each may come before the first of them is taken."""

    def __init__(self) -> None:
        self.reader_count = 0

    def piece_bytes(self) -> int:
        return max(LEAST_PIECE_BYTES, min(PIECE_BYTES, ROOM_BYTES // max(self.reader_count, 1)))


class _Connection(asyncio.Protocol):
    """One connection's side of the event loop."""

    transport: asyncio.Transport

    def __init__(self, room: _Room) -> None:
        self._room = room
        self._arrived = b""
        self._is_full = False
        self._is_ended = False
        self._error: Exception | None = None
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.set_write_buffer_limits(0)

    def data_received(self, data: bytes) -> None:
        self._arrived = self._arrived + data if self._arrived else data
        self.transport.pause_reading()
        _wake(self._reader)

    def eof_received(self) -> bool:
        self._is_ended = True
        _wake(self._reader)
        # What we have to say can still be said.
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_ended, self._error = True, self._error or exc
        _wake(self._reader)
        _wake(self._writer)

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        _wake(self._writer)

    async def receive(self) -> bytes:
        if not self._arrived and not self._is_ended:
            await self._until_readable()
        arrived, self._arrived = self._arrived, b""
        if not arrived and self._error is not None:
            raise _lost(self._error)
        return arrived

    async def _until_readable(self) -> None:
        self._reader = asyncio.get_running_loop().create_future()
        self._room.reader_count += 1
        # What asyncio's transports read at once: 256 KiB where nothing else is said.
        self.transport.max_size = self._room.piece_bytes()  # type: ignore[attr-defined]
        self.transport.resume_reading()
        try:
            await self._reader
        finally:
            self._room.reader_count -= 1
            self._reader = None
            self.transport.pause_reading()

    async def send(self, data: bytes) -> None:
        self.transport.write(data)
        if self._is_full and not self.transport.is_closing():
            self._writer = asyncio.get_running_loop().create_future()
            try:
                await self._writer
            finally:
                self._writer = None
        if self.transport.is_closing():
            raise _lost(self._error)

    def abort(self) -> None:
        """Close at once. Whoever still reads must not take that for the other side's end."""
        self._error = self._error or ConnectionAbortedError("the connection was closed here")
        self.transport.abort()

    def socket(self) -> socket.socket:
        near: socket.socket = self.transport.get_extra_info("socket")
        return near

    def is_readable(self) -> bool:
        if self._arrived or self._is_ended or self.transport.is_closing():
            return True
        question = poll()
        question.register(self.socket(), POLLIN)
        return bool(question.poll(0))


@contextmanager
def _named(names: _Names) -> Iterator[None]:
    """The system's errors under the HTTP client's names."""
    try:
        yield
    except OSError as error:
        raise next(name for kind, name in names.items() if isinstance(error, kind))(str(error)) from error
    except ValueError as error:
        # A name that can be none in the DNS, or no port.
        raise names[OSError](str(error)) from error


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


def _lost(error: Exception | None) -> OSError:
    return error if isinstance(error, OSError) else ConnectionResetError(str(error or "the connection is closed"))
