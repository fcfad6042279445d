"""A TCP proxy between the service and its PostgreSQL that cuts a connection at the COMMIT of a chosen transaction."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Literal, Self

# BEFORE: the database never hears of the COMMIT. DURING: it hears of it a second after the service has lost the
# connection, when that may long be asking again. AFTER: it has committed, and only its answer is lost.
Moment = Literal["before", "during", "after"]
_BYTES = 64 * 1024
_LATE_SECONDS = 1.0


class _Link:
    """One connection of the service, and ours to the database for it."""

    def __init__(self, service: socket.socket, database: socket.socket) -> None:
        self.service = service
        self.database = database
        self.is_mute = False
        self.sent = b""

    def close(self) -> None:
        _close(self.service)
        _close(self.database)


class CommitProxy:
    """`with CommitProxy(port_of_the_database) as proxy: ... proxy.port`."""

    def __init__(self, target_port: int) -> None:
        self._target = ("127.0.0.1", target_port)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=200)
        self.port = int(self._listener.getsockname()[1])
        self.cut_count = 0
        self._armed: tuple[bytes, Moment] | None = None
        self._lock = threading.Lock()
        self._links: list[_Link] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        # A listener that a thread waits at is only woken by its shutdown.
        _close(self._listener)
        for link in self._links:
            link.close()

    def cut_at_commit(self, statement: bytes, moment: Moment) -> None:
        """Cut the next connection that commits a transaction in which `statement` was sent; once."""
        with self._lock:
            self._armed = (statement, moment)

    def _accept(self) -> None:
        while True:
            try:
                service, _ = self._listener.accept()
            except OSError:
                return
            try:
                database = socket.create_connection(self._target, timeout=10)
            except OSError:
                service.close()
                continue
            database.settimeout(None)
            link = _Link(service, database)
            self._links.append(link)
            threading.Thread(target=self._ask, args=(link,), daemon=True).start()
            threading.Thread(target=self._answer, args=(link,), daemon=True).start()

    def _ask(self, link: _Link) -> None:
        with contextlib.suppress(OSError):
            while data := link.service.recv(_BYTES):
                moment = self._moment(link, data)
                if moment:
                    self._cut(link, data, moment)
                    break
                link.database.sendall(data)
        link.close()

    def _answer(self, link: _Link) -> None:
        with contextlib.suppress(OSError):
            while data := link.database.recv(_BYTES):
                if not link.is_mute:
                    link.service.sendall(data)
        link.close()

    def _moment(self, link: _Link, data: bytes) -> Moment | None:
        """When to cut, if this is the COMMIT that was waited for."""
        link.sent = data if b"BEGIN" in data else link.sent + data
        if b"COMMIT" not in data:
            return None
        with self._lock:
            if self._armed is None or self._armed[0] not in link.sent:
                return None
            moment, self._armed = self._armed[1], None
        return moment

    def _cut(self, link: _Link, commit: bytes, moment: Moment) -> None:
        link.is_mute = True
        if moment == "during":
            _close(link.service)
            time.sleep(_LATE_SECONDS)
        if moment != "before":
            link.database.sendall(commit)
            time.sleep(_LATE_SECONDS)
        self.cut_count += 1


def _close(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()
