"""What an image costs whoever carries it: CPU of the bare steps in one thread, with nothing of the service around."""

from __future__ import annotations

import hashlib
import os
import socket
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from pybase64 import b64decode, b64encode

_ROUNDS = 15
_PIECE = 256 * 1024
# A multiple of three, so that the pieces' base64, joined, is the base64 of the whole.
_READ = 192 * 1024


def bare_ms(size_bytes: int) -> float:
    """Milliseconds of CPU, the median of some rounds: base64 taken from a socket piece by piece, decoded, hashed,
    checked, written to a file; then read, encoded and sent. The other ends of the sockets are not counted."""
    text = b64encode(os.urandom(size_bytes // 3 * 3))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "image")
        rounds = sorted(_take_in(text, path) + _give_out(text, path) for _ in range(_ROUNDS))
    return round(rounds[_ROUNDS // 2] * 1000, 2)


def _take_in(text: bytes, path: Path) -> float:
    digest, checksum, rest = hashlib.sha256(), 0, b""

    def work(near: socket.socket) -> None:
        nonlocal checksum, rest
        with path.open("wb") as file:
            for piece in _received(near):
                characters = rest + piece
                border = len(characters) // 4 * 4
                data, rest = b64decode(characters[:border], validate=True), characters[border:]
                digest.update(data)
                checksum = zlib.crc32(data, checksum)
                file.write(data)

    def other(far: socket.socket) -> None:
        far.sendall(text)
        far.shutdown(socket.SHUT_WR)

    return _cpu_seconds(work, other)


def _give_out(text: bytes, path: Path) -> float:
    received = bytearray()

    def work(near: socket.socket) -> None:
        with path.open("rb") as file:
            while piece := file.read(_READ):
                near.sendall(b64encode(piece))
        near.shutdown(socket.SHUT_WR)

    def other(far: socket.socket) -> None:
        for piece in _received(far):
            received.extend(piece)

    seconds = _cpu_seconds(work, other)
    if received != text:
        raise AssertionError("the image did not come back as it was")
    return seconds


def _received(end: socket.socket) -> Iterator[bytes]:
    while piece := end.recv(_PIECE):
        yield piece


def _cpu_seconds(work: Callable[[socket.socket], None], other: Callable[[socket.socket], None]) -> float:
    """CPU of this thread for `work`, while another one has the far end of its connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
    with near, far:
        peer = threading.Thread(target=other, args=(far,))
        peer.start()
        before = time.thread_time()
        work(near)
        seconds = time.thread_time() - before
        peer.join()
    return seconds
