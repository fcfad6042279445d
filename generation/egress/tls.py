"""TLS on a connection, by the standard library; it must never let what broke look like what has ended."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeVar

# A connection keeps room for the largest piece it ever took.
PIECE_BYTES = 64 * 1024

T = TypeVar("T")


class Source(Protocol):
    """What bytes come from and go to."""

    async def receive(self) -> bytes:
        """What has come, when something has; empty at the end. Raises OSError."""

    async def send(self, data: bytes) -> None:
        """Return when the kernel has it all. Raises OSError."""

    def is_readable(self) -> bool:
        """Whether reading would return at once, as it does on an idle connection that the other side has closed."""


class Tls:
    """What is sent and received through TLS. Besides what the connection raises, ssl.SSLError, which is an OSError."""

    def __init__(self, connection: Source, context: ssl.SSLContext, server_hostname: str | None) -> None:
        self._connection = connection
        self._arrived = memoryview(b"")
        self._is_ended = False
        self._error: ssl.SSLError | None = None
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_hostname)

    async def shake_hands(self) -> None:
        await self._done(self.object.do_handshake)

    async def receive(self) -> bytes:
        try:
            return await self._done(self._decrypted)
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            # Whether the answer was whole by then is for HTTP to say: its length or its last chunk tells.
            return b""

    def _decrypted(self) -> bytes:
        """All that can be decrypted by now, nothing at the end. Raises ssl.SSLWantReadError where nothing can."""
        pieces = [self._read()]
        try:
            while pieces[-1]:
                pieces.append(self._read())
        except ssl.SSLError:
            # It comes again with the next read, which has nothing to lose.
            pass
        return b"".join(pieces)

    def _read(self) -> bytes:
        # The library says only once what broke, and afterwards that all has ended well.
        if self._error is not None:
            raise self._error
        try:
            piece = b"" if self._is_ended else self.object.read(PIECE_BYTES)
        except ssl.SSLWantReadError:
            raise
        except ssl.SSLError as error:
            self._error = error
            raise
        self._is_ended = not piece
        return piece

    async def send(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[await self._done(partial(self.object.write, left[:PIECE_BYTES])) :]

    def is_readable(self) -> bool:
        is_over = self._is_ended or self._error is not None
        return bool(is_over or self._arrived or self._incoming.pending) or self._connection.is_readable()

    async def _done(self, step: Callable[[], T]) -> T:
        """The outcome of a step, once there is enough from the other side for it, and after what it had to send."""
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._fetch()
            else:
                await self._flush()
                return result

    async def _flush(self) -> None:
        if self._outgoing.pending:
            await self._connection.send(self._outgoing.read())

    async def _fetch(self) -> None:
        if not self._arrived:
            self._arrived = memoryview(await self._connection.receive())
        if self._arrived:
            self._incoming.write(self._arrived[:PIECE_BYTES])
            # An empty slice would keep all of what it was cut from.
            self._arrived = self._arrived[PIECE_BYTES:] or memoryview(b"")
        else:
            self._incoming.write_eof()
