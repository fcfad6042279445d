"""A picture out of an upstream's answer becomes a file in the spool, byte for byte; it never looks at what it shows."""

from __future__ import annotations

import asyncio
import hashlib
import re
import uuid
from pathlib import Path
from urllib.parse import urlsplit

from generation.contract import Call, ChannelError, SpooledImage
from generation.egress import base64_text, loop
from generation.egress.fetch import FetchFailed, fetch_image
from generation.egress.guard import allow_hosts
from generation.egress.transport import Exchange

_DATA_URL = re.compile(r"data:([a-z0-9.+-]+/[a-z0-9.+-]+)?(?:;[^,;]*)*;base64,(.*)", re.IGNORECASE | re.DOTALL)
# Links to pictures are good for minutes; an upstream that cannot hand its picture out by then never will.
_FETCH_SECONDS = 60.0


async def from_base64(text: str, mime_type: str, call: Call, record: Exchange) -> SpooledImage:
    """The picture in a string of the answer, which may have been lifted. Raises ValueError for what is no base64."""
    return await from_bytes(base64_text.decoded(text.encode()), mime_type, call.spool, record)


async def from_bytes(data: bytes, mime_type: str, spool: Path, record: Exchange) -> SpooledImage:
    """The same where an SDK decoded the string: `data` is the picture, or stands for its file.

    Nothing is awaited once a lifted file is kept: whoever cancels later finds it with the answer.
    """
    lifted = record.keep(data)
    if lifted is not None:
        return SpooledImage(lifted.path, mime_type, lifted.byte_count, lifted.sha256)
    return await _spooled(data, mime_type, spool)


async def from_url(url: str, call: Call, record: Exchange, base_url: str) -> SpooledImage:
    """The picture behind a data URL or a link. A link may lead to public addresses, and to where the channel itself is.

    Raises ChannelError ("unknown": the picture was made and perhaps billed) and ValueError for broken base64.
    """
    embedded = _DATA_URL.fullmatch(url.strip())
    if embedded:
        return await from_base64(embedded[2], embedded[1] or "application/octet-stream", call, record)
    try:
        data = await fetch_image(
            url.strip(),
            byte_cap=call.byte_cap,
            deadline_seconds=_FETCH_SECONDS,
            allow=allow_hosts([urlsplit(base_url).netloc]) if base_url else None,
        )
    except FetchFailed as error:
        raise ChannelError("unknown", f"the picture could not be fetched ({error.code}): {error.message}") from error
    return await _spooled(data, "application/octet-stream", call.spool)


async def _spooled(data: bytes, mime_type: str, spool: Path) -> SpooledImage:
    """Write a picture to a file of its own; whoever cancels this finds no file left behind."""
    path = spool / f"{uuid.uuid4().hex}.image"
    writing = asyncio.ensure_future(loop.in_thread(_write, path, data))
    try:
        digest = await asyncio.shield(writing)
    except asyncio.CancelledError:
        writing.add_done_callback(lambda _written: path.unlink(missing_ok=True))
        raise
    return SpooledImage(path=path, mime_type=mime_type, byte_count=len(data), sha256=digest)


def _write(path: Path, data: bytes) -> str:
    try:
        path.touch(mode=0o600)
        path.write_bytes(data)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    return hashlib.sha256(data).hexdigest()
