"""Uploads a file by Google's resumable protocol, piece by piece; nothing of it is paid for.

https://ai.google.dev/api/files.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from functools import partial
from typing import IO, Any
from urllib.parse import urlsplit, urlunsplit

from generation.channels.adapter import Credentials
from generation.channels.adapters.google.batch_asking import asked, headers, origin, refusal
from generation.channels.adapters.google.calls import API_VERSION
from generation.channels.adapters.http_json import mapping, text
from generation.contract import ChannelError
from generation.egress import loop
from generation.egress.transport import Exchange, shared_client

# Google takes multiples of 256 KiB.
PIECE_BYTES = 8 * 1024 * 1024
UPLOAD_SECONDS = 270.0
MIME_TYPE = "application/jsonl"


async def upload(display_name: str, file: IO[bytes], byte_count: int, credentials: Credentials) -> str:
    """Upload an open file of so many bytes; its name. Raises ChannelError, never "unknown" or "rejected"."""
    try:
        async with asyncio.timeout(UPLOAD_SECONDS):
            return await _upload(display_name, file, byte_count, credentials)
    except TimeoutError:
        problem = ChannelError("failed", f"the upload did not end within {UPLOAD_SECONDS:g} seconds")
    raise problem


async def _upload(display_name: str, file: IO[bytes], byte_count: int, credentials: Credentials) -> str:
    place = await asked(credentials, partial(_begin, display_name, byte_count, credentials), seconds=UPLOAD_SECONDS)
    told: Any = None
    for offset in range(0, byte_count, PIECE_BYTES):
        piece = await loop.in_thread(_piece, file, offset)
        is_last = offset + len(piece) >= byte_count
        sent = {
            "x-goog-upload-command": "upload, finalize" if is_last else "upload",
            "x-goog-upload-offset": str(offset),
        }
        told = await asked(credentials, partial(_send, place, piece, sent), seconds=UPLOAD_SECONDS)
    name = text(mapping(mapping(told).get("file")).get("name"))
    if not name.startswith("files/"):
        raise ChannelError("failed", "the upload was not taken")
    return name


async def _begin(display_name: str, byte_count: int, credentials: Credentials, _: Exchange) -> str:
    """Announce a file; where its bytes go."""
    sent = {
        **headers(credentials),
        "x-goog-upload-protocol": "resumable",
        "x-goog-upload-command": "start",
        "x-goog-upload-header-content-length": str(byte_count),
        "x-goog-upload-header-content-type": MIME_TYPE,
    }
    file = {"file": {"displayName": display_name, "mimeType": MIME_TYPE}}
    response = await shared_client().post(f"{origin(credentials)}/upload/{API_VERSION}/files", json=file, headers=sent)
    if not response.is_success:
        raise await refusal(response)
    return _placed(str(response.headers.get("x-goog-upload-url", "")), origin(credentials))


def _placed(given: str, base: str) -> str:
    """The address that was given, at the origin that was asked, as Google's SDK does it: a proxy passes on an address
    that leads past it, and nobody can have our customers' prompts sent elsewhere."""
    path, query = urlsplit(given)[2:4]
    if not path.strip("/"):
        raise ChannelError("failed", "the upload was given no address")
    scheme, host = urlsplit(base)[:2]
    return urlunsplit((scheme, host, path, query, ""))


def _piece(file: IO[bytes], offset: int) -> bytes:
    file.seek(offset)
    return file.read(PIECE_BYTES)


async def _send(place: str, piece: bytes, sent: Mapping[str, str], _: Exchange) -> Any:
    """Send a piece; what is answered to it, which is the file after the last one."""
    response = await shared_client().post(place, content=piece, headers=dict(sent))
    if not response.is_success:
        raise await refusal(response)
    return json.loads(response.content) if response.content.strip() else None
