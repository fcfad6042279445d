"""Requests of the Batch API over the shared client: create, find, look, cancel; never a retry.

https://ai.google.dev/gemini-api/docs/batch-api, https://ai.google.dev/api/files.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from generation.channels.adapter import Credentials, JobItem, JobState, JobStatus
from generation.channels.adapters.calling import header_secret
from generation.channels.adapters.failures import translate
from generation.channels.adapters.google import batch_request
from generation.channels.adapters.google.calls import ORIGIN
from generation.channels.adapters.google.errors import tell
from generation.channels.adapters.http_json import Refused, get, items, mapping, post, text
from generation.contract import ChannelError
from generation.egress import loop
from generation.egress.transport import Exchange, exchange, shared_client

T = TypeVar("T")
VERSION = "v1beta"
INLINE_ITEMS, INLINE_BYTES = 20, 10 * 1024 * 1024
_PIECE_BYTES = 8 * 1024 * 1024
_ASK_SECONDS = 60.0
_CREATE_SECONDS = 300.0
_PAGES = 20
_STATES: Mapping[str, JobState] = {
    "SUCCEEDED": "ended",
    "PARTIALLY_SUCCEEDED": "ended",
    "FAILED": "failed",
    "CANCELLED": "canceled",
    "EXPIRED": "expired",
}


def origin(credentials: Credentials) -> str:
    """Where the API is, without its version."""
    return (credentials.base_url or ORIGIN).rstrip("/")


def headers(credentials: Credentials) -> dict[str, str]:
    return {"x-goog-api-key": header_secret(credentials)}


async def asked(
    credentials: Credentials,
    work: Callable[[Exchange], Awaitable[T]],
    *,
    seconds: float = _ASK_SECONDS,
    spool: Path | None = None,
    byte_cap: int | None = None,
    is_paid: bool = False,
) -> T:
    """One request in an exchange of its own. Only of a paid one it matters that it may have arrived."""
    caps = {"byte_cap": byte_cap} if byte_cap else {}
    with exchange(spool=spool, **caps) as record:
        try:
            async with asyncio.timeout(seconds):
                return await work(record)
        except Exception as error:  # noqa: BLE001
            problem = translate(error, record, credentials.secret, seconds, tell)
    if problem.kind == "unknown" and not is_paid:
        problem = ChannelError("failed", problem.message, status=problem.status)
    raise problem


async def create(display_name: str, upstream_model: str, found: Sequence[JobItem], credentials: Credentials) -> str:
    """Begin a job; its name."""
    url = f"{origin(credentials)}/{VERSION}/models/{upstream_model}:batchGenerateContent"
    source = await _source(display_name, found, credentials)
    document = {"batch": {"displayName": display_name, "inputConfig": source}}

    async def send(_: Exchange) -> str:
        name = text(mapping((await post(url, headers(credentials), lambda: document)).body).get("name"))
        if not name.startswith("batches/"):
            raise ValueError("the answer names no job")
        return name

    return await asked(credentials, send, seconds=_CREATE_SECONDS, is_paid=True)


async def _source(display_name: str, found: Sequence[JobItem], credentials: Credentials) -> dict[str, Any]:
    if len(found) <= INLINE_ITEMS:
        requests = await loop.in_thread(batch_request.inline, found, most_bytes=INLINE_BYTES)
        if requests is not None:
            return {"requests": {"requests": requests}}
    spool = found[0].call.spool
    path = spool / f"{uuid.uuid4().hex}.jsonl"
    try:
        spool.mkdir(parents=True, exist_ok=True)
        byte_count = await loop.in_thread(batch_request.write_lines, found, path)
        return {"fileName": await _upload(display_name, path, byte_count, credentials)}
    finally:
        path.unlink(missing_ok=True)


async def _upload(display_name: str, path: Path, byte_count: int, credentials: Credentials) -> str:
    """Upload a file in pieces; its name."""
    address = await asked(credentials, partial(_begin_upload, display_name, byte_count, credentials))
    answer: Any = None
    for offset in range(0, byte_count, _PIECE_BYTES):
        piece = await loop.in_thread(_piece, path, offset)
        is_last = offset + len(piece) >= byte_count
        sent = {
            "x-goog-upload-command": "upload, finalize" if is_last else "upload",
            "x-goog-upload-offset": str(offset),
        }
        answer = await asked(credentials, partial(_send_piece, address, piece, sent), seconds=_CREATE_SECONDS)
    name = text(mapping(mapping(answer).get("file")).get("name"))
    if not name.startswith("files/"):
        raise ChannelError("failed", "the upload was not taken")
    return name


async def _begin_upload(display_name: str, byte_count: int, credentials: Credentials, _: Exchange) -> str:
    sent = {
        **headers(credentials),
        "x-goog-upload-protocol": "resumable",
        "x-goog-upload-command": "start",
        "x-goog-upload-header-content-length": str(byte_count),
        "x-goog-upload-header-content-type": "application/jsonl",
    }
    file = {"file": {"displayName": display_name, "mimeType": "application/jsonl"}}
    response = await shared_client().post(f"{origin(credentials)}/upload/{VERSION}/files", json=file, headers=sent)
    if not response.is_success:
        raise Refused(response.status_code, None)
    address = str(response.headers.get("x-goog-upload-url", ""))
    if not address.startswith(("https://", f"{origin(credentials)}/")):
        raise ChannelError("failed", "the upload was given no address")
    return address


def _piece(path: Path, offset: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(_PIECE_BYTES)


async def _send_piece(address: str, piece: bytes, sent: Mapping[str, str], _: Exchange) -> Any:
    response = await shared_client().post(address, content=piece, headers=dict(sent))
    if not response.is_success:
        raise Refused(response.status_code, None)
    return response.json() if response.content else None


async def find(display_name: str, credentials: Credentials) -> Sequence[str]:
    """The names of the jobs with this display name, the oldest first."""
    found: list[tuple[str, str]] = []
    next_page = ""
    for _ in range(_PAGES):
        url = f"{origin(credentials)}/{VERSION}/batches?pageSize=100" + (f"&pageToken={next_page}" if next_page else "")
        page = await asked(credentials, partial(_get, url, credentials))
        for each in items(page.get("operations")) + items(page.get("batches")):
            told = mapping(mapping(each).get("metadata"))
            if told.get("displayName") == display_name:
                found.append((text(told.get("createTime")), text(mapping(each).get("name"))))
        next_page = text(page.get("nextPageToken"))
        if not next_page:
            break
    return [name for _, name in sorted(found)]


async def _get(url: str, credentials: Credentials, _: Exchange) -> Mapping[str, Any]:
    return mapping((await get(url, headers(credentials))).body)


async def look(name: str, credentials: Credentials) -> JobStatus:
    """How a job is doing. One that is not there any more brings nothing."""
    try:
        told = await asked(credentials, partial(_state, name, credentials))
    except ChannelError as error:
        if error.status == 404:
            return JobStatus(name, "failed", "the provider does not know the job any more")
        raise
    word = text(told.get("state")).removeprefix("JOB_STATE_").removeprefix("BATCH_STATE_")
    return JobStatus(name, _STATES.get(word, "running"), text(mapping(told.get("error")).get("message")))


async def _state(name: str, credentials: Credentials, _: Exchange) -> Mapping[str, Any]:
    """The job without its results, which may be many pictures: they are lifted out, and forgotten again."""
    answered = await get(f"{origin(credentials)}/{VERSION}/{name}", headers(credentials))
    body = mapping(answered.body)
    return {**mapping(body.get("metadata")), **({"error": body["error"]} if "error" in body else {})}


async def cancel(name: str, credentials: Credentials) -> None:
    """Ask for a job to be given up."""
    url = f"{origin(credentials)}/{VERSION}/{name}:cancel"

    async def send(_: Exchange) -> None:
        await post(url, headers(credentials), dict)

    await asked(credentials, send)
