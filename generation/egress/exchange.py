"""One request to an upstream and what became of it; the only place that can tell what a marker stands for."""

from __future__ import annotations

import re
import secrets
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from generation.egress.lifting import Lifted

DEFAULT_BYTE_CAP = 64 * 1024 * 1024
# The results of a whole job come in one answer.
JOB_BYTE_CAP = 2 * 1024**3
_MARKER_BYTES = 30
_MARKER_IN_URL = re.compile(r"(?<=;base64,)[A-Za-z0-9+/]{40}", re.IGNORECASE)


@dataclass(slots=True)
class Exchange:
    """One request and what became of it, as the transport saw it.

    `byte_cap` limits the decoded body, `spool` is the directory of its files (None: the system's). `is_lifting` is
    whether long base64 strings of a JSON answer are lifted into files. `is_sent` is False as long as nothing of the
    request can have reached the upstream: names, connecting, TLS, the wait for a free connection. `status` and
    `headers` are set once they have come; `is_complete` once the whole body has.
    """

    byte_cap: int = DEFAULT_BYTE_CAP
    spool: Path | None = None
    is_lifting: bool = True
    is_sent: bool = False
    is_complete: bool = False
    status: int | None = None
    headers: httpx2.Headers = field(default_factory=httpx2.Headers)
    _lifted: dict[str, Lifted] = field(default_factory=dict, repr=False)

    def register(self, lifted: Lifted) -> bytes:
        """Take note of a lifted string. Its marker, which is base64. For the transport."""
        marker = b64encode(secrets.token_bytes(_MARKER_BYTES))
        self._lifted[marker.decode()] = lifted
        return marker

    def lifted(self, data: bytes) -> Lifted | None:
        """What `data`, decoded from base64 in the answer, stands for; None if it stands for itself."""
        return self._lifted.get(b64encode(data).decode()) if len(data) == _MARKER_BYTES else None

    def keep(self, data: bytes) -> Lifted | None:
        """As `lifted`, and the file is the caller's from now on, who removes it."""
        return self._lifted.pop(b64encode(data).decode(), None) if len(data) == _MARKER_BYTES else None

    def bytes_of(self, data: bytes) -> bytes:
        """Bytes as they were sent: those of a file where `data`, decoded from base64, stands for one."""
        lifted = self.lifted(data)
        return lifted.read() if lifted else data

    def text_of(self, text: str) -> str:
        """A string of the answer as it was sent."""
        if text in self._lifted:
            return self._lifted[text].text()
        return _MARKER_IN_URL.sub(lambda marker: self.text_of(marker[0]), text) if self._lifted else text

    def discard(self) -> None:
        """Remove the files that nobody kept."""
        while self._lifted:
            _, lifted = self._lifted.popitem()
            lifted.path.unlink(missing_ok=True)


_current: ContextVar[Exchange | None] = ContextVar("exchange", default=None)


@contextmanager
def exchange(*, byte_cap: int = DEFAULT_BYTE_CAP, spool: Path | None = None) -> Iterator[Exchange]:
    """Watch the one request that is sent within, even where an SDK builds it and leaves no room for extensions.

    Files of lifted strings that were not kept are removed at the end.
    """
    record = Exchange(byte_cap=byte_cap, spool=spool)
    reset = _current.set(record)
    try:
        yield record
    finally:
        _current.reset(reset)
        record.discard()


def current() -> Exchange | None:
    """The exchange that watches the request being sent here and now."""
    return _current.get()
