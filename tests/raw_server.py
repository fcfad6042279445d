"""A loopback server whose every byte and every break a test decides."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
from collections.abc import Callable

Play = Callable[[socket.socket], None]


class RawServer:
    """A loopback server that reads one request per connection and then plays a script on the bare socket."""

    def __init__(self, play: Play) -> None:
        self.requests: list[bytes] = []
        self.connection_count = 0
        self.open_count = 0
        self._play = play
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._left = threading.Event()
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"
        self._threads: list[threading.Thread] = []
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connection_count += 1
                self.open_count += 1
                thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
                thread.start()
                self._threads.append(thread)

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(10)
            while request := self._read(connection):
                self.requests.append(request)
                self._play(connection)
        self.open_count -= 1

    def _read(self, connection: socket.socket) -> bytes:
        """One request with its body; nothing for what is no HTTP."""
        data = b""
        while not _is_whole(data):
            piece = connection.recv(65536)
            is_tls = piece.startswith(b"\x16")
            if not piece or is_tls:
                return b""
            data += piece
        return data

    def __enter__(self) -> RawServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join(5)


def _is_whole(request: bytes) -> bool:
    head, border, body = request.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: *(\d+)", head)
    return bool(border) and len(body) >= int(length[1] if length else 0)


def answer(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> Play:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers]
    head = "\r\n".join(lines).encode() + b"\r\n\r\n"

    def play(connection: socket.socket) -> None:
        connection.sendall(head)
        connection.sendall(body)

    return play


def then_close(play: Play) -> Play:
    def closing(connection: socket.socket) -> None:
        play(connection)
        connection.shutdown(socket.SHUT_RDWR)

    return closing


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def then_reset(play: Play) -> Play:
    def resetting(connection: socket.socket) -> None:
        play(connection)
        reset(connection)

    return resetting


def chunked(*pieces: bytes, headers: str = "") -> Play:
    head = f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{headers}\r\n".encode()
    body = b"".join(f"{len(piece):x}\r\n".encode() + piece + b"\r\n" for piece in pieces if piece)
    return lambda connection: connection.sendall(head + body + b"0\r\n\r\n")
