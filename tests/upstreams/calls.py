"""What the tests of every adapter need around one call: pictures to send, what lies in the spool, how a call failed."""

from __future__ import annotations

import io
import json
import random
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from generation.contract import Answer, Call, ChannelError, ImageFile
from generation.egress.fetch import FetchFailed
from tests.raw_server import RawServer, answer

PROMPT = "a red bicycle"


def png(seed: int = 1, size: int = 24) -> bytes:
    """A picture of noise, which is as heavy as it looks."""
    buffer = io.BytesIO()
    Image.frombytes("RGB", (size, size), random.Random(seed).randbytes(size * size * 3)).save(buffer, "PNG")
    return buffer.getvalue()


def large(seed: int = 1, byte_count: int = 1_000_000) -> bytes:
    """Bytes for which base64 needs padding, of a picture or a signature too long to stay in memory."""
    return random.Random(seed).randbytes(byte_count)


def call_of(folder: Path, upstream_model: str, **fields: Any) -> Call:
    """A call for one 1K picture, with a spool of its own in a folder."""
    asked = {"prompt": PROMPT, "aspect_ratio": "1:1", "image_size": "1K", "deadline_seconds": 20.0}
    return Call(upstream_model=upstream_model, spool=folder / "spool", **{**asked, **fields})


def picture_file(folder: Path, seed: int = 1, *more: Any) -> ImageFile:
    """A reference whose bytes are png(seed); `more` are its role and name."""
    path = folder / f"{seed}.png"
    path.write_bytes(png(seed))
    return ImageFile(path, "image/png", *more)


def spooled(call: Call) -> list[Path]:
    return list(call.spool.iterdir()) if call.spool.exists() else []


def failure_of(call: Call, ask: Callable[[], Answer], *secrets: str, may_fetch: bool = False) -> ChannelError:
    """How a call fails: it says none of the secrets, drags no body along and leaves no file.

    Where it `may_fetch` a link, our own words on why the link was not fetched may go along.
    """
    with pytest.raises(ChannelError) as caught:
        ask()
    error = caught.value
    shown = f"{error.message} {error} {error!r}"
    for secret in filter(None, secrets):
        assert secret not in shown
    assert len(error.message) <= 500
    assert isinstance(error.__context__, (FetchFailed, type(None)) if may_fetch else type(None))
    assert error.__cause__ in (error.__context__, None)
    assert spooled(call) == []
    return error


def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.01)


def closed_port() -> int:
    """A port of loopback where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def canned(body: Any, *headers: str, status: str = "200 OK", media_type: str = "application/json") -> RawServer:
    """A server that answers every request with the same: bytes as they are, anything else as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return RawServer(answer(content, f"Content-Type: {media_type}", *headers, status=status))
