"""The life of a job in requests of the Batch API over the shared client: create, find, look, cancel; never a retry.

https://ai.google.dev/gemini-api/docs/batch-api.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import quote

from generation import media
from generation.channels.adapter import Credentials, JobItem, JobState, JobStatus
from generation.channels.adapters.failures import redacted
from generation.channels.adapters.google import batch_request, batch_upload
from generation.channels.adapters.google.batch_asking import address, asked, headers
from generation.channels.adapters.http_json import get, items, mapping, post, text
from generation.contract import ChannelError
from generation.egress import loop
from generation.egress.exchange import JOB_BYTE_CAP
from generation.egress.transport import Exchange

INLINE_ITEMS, INLINE_BYTES = 20, 10 * 1024 * 1024
_CREATE_SECONDS = 300.0
_PAGE_SIZE, _PAGES = 25, 200
# It becomes part of an address.
_NAME = re.compile(r"batches/[A-Za-z0-9_.~-]+")
_STATES: Mapping[str, JobState] = {
    "SUCCEEDED": "ended",
    "PARTIALLY_SUCCEEDED": "ended",
    "FAILED": "failed",
    "CANCELLED": "canceled",
    "EXPIRED": "expired",
}


async def create(display_name: str, upstream_model: str, found: Sequence[JobItem], credentials: Credentials) -> str:
    """Begin a job; its name. Only the last of its requests is paid for."""
    source = await _prepared(display_name, found, credentials)
    document = {"batch": {"displayName": display_name, "inputConfig": source}}
    url = address(credentials, f"models/{upstream_model}:batchGenerateContent")

    async def send(_: Exchange) -> str:
        name = text(mapping((await post(url, headers(credentials), lambda: document)).body).get("name"))
        if not _NAME.fullmatch(name):
            raise ValueError("the answer names no job")
        return name

    return await asked(credentials, send, seconds=_CREATE_SECONDS, is_paid=True)


async def _prepared(display_name: str, found: Sequence[JobItem], credentials: Credentials) -> dict[str, Any]:
    """What the job is made of, uploaded where it is large. Raises ChannelError, as nothing is paid for by then."""
    try:
        if len(found) <= INLINE_ITEMS:
            requests = await loop.in_thread(batch_request.inline, found, INLINE_BYTES)
            if requests is not None:
                return {"requests": {"requests": requests}}
        return {"fileName": await _uploaded(display_name, found, credentials)}
    except OSError as error:
        problem = ChannelError("unreachable", f"the job could not be put together: {type(error).__name__}: {error}")
    raise problem


async def _uploaded(display_name: str, found: Sequence[JobItem], credentials: Credentials) -> str:
    """The requests as a file upstream; its name. Here it has none, so that nothing is left behind of it."""
    spool = found[0].call.spool
    await loop.in_thread(partial(spool.mkdir, parents=True, exist_ok=True))
    with tempfile.TemporaryFile(dir=spool) as file:
        byte_count = await loop.in_thread(batch_request.write_lines, found, file)
        return await batch_upload.upload(display_name, file, byte_count, credentials)


async def find(display_name: str, credentials: Credentials) -> Sequence[str]:
    """The names of the jobs with this display name, the oldest first. Raises ChannelError where it has not seen all:
    of a job that is not found another is made and paid."""
    found: list[tuple[tuple[str, str], str]] = []
    next_page = ""
    for _ in range(_PAGES):
        more = f"&pageToken={quote(next_page, safe='')}" if next_page else ""
        page = await _asked_for(f"batches?pageSize={_PAGE_SIZE}{more}", credentials)
        found += _named(page, display_name)
        next_page = text(page.get("nextPageToken"))
        if not next_page:
            return [name for _, name in sorted(found)]
    raise ChannelError("failed", f"more than {_PAGES * _PAGE_SIZE} jobs are there, too many to look through")


def _named(page: Mapping[str, Any], display_name: str) -> list[tuple[tuple[str, str], str]]:
    """When those with this display name were created, and their names."""
    found = []
    for each in map(mapping, items(page.get("operations")) + items(page.get("batches"))):
        told = mapping(each.get("metadata")) or each
        name = text(each.get("name")) or text(told.get("name"))
        if told.get("displayName") == display_name and _NAME.fullmatch(name):
            found.append((_moment(text(told.get("createTime"))), name))
    return found


def _moment(told: str) -> tuple[str, str]:
    """A time of Google's in a form that sorts: it has 0, 3, 6 or 9 decimals, and "Z" comes after a point."""
    seconds, _, decimals = told.removesuffix("Z").partition(".")
    return seconds, decimals


async def look(name: str, credentials: Credentials) -> JobStatus:
    """How a job is doing. One that is not there any more brings nothing."""
    try:
        body = await _asked_for(name, credentials)
    except ChannelError as error:
        if error.status == 404:
            return JobStatus(name, "failed", "the provider does not know the job any more")
        raise
    told = mapping(body.get("metadata"))
    said = mapping(body.get("error")) or mapping(told.get("error"))
    word = text(told.get("state")).removeprefix("JOB_STATE_").removeprefix("BATCH_STATE_")
    if not word and body.get("done") is True:
        word = "FAILED" if said else "SUCCEEDED"
    if not word and body.get("name") != name:
        raise ChannelError("failed", "what was answered is no job", status=200)
    return JobStatus(name, _STATES.get(word, "running"), redacted(text(said.get("message")), credentials.secret))


async def _asked_for(path: str, credentials: Credentials) -> Mapping[str, Any]:
    """A JSON object of the API without its pictures: they are lifted out, and forgotten again."""

    async def ask(_: Exchange) -> Mapping[str, Any]:
        body = (await get(address(credentials, path), headers(credentials))).body
        if not isinstance(body, dict):
            raise TypeError("the answer is no object")
        return body

    spool = await loop.in_thread(media.spool_directory)
    # A look at a job brings its results along, and so does a list of jobs.
    return await asked(credentials, ask, spool=spool, byte_cap=JOB_BYTE_CAP)


async def cancel(name: str, credentials: Credentials) -> None:
    """Ask for a job to be given up."""

    async def send(_: Exchange) -> None:
        await post(address(credentials, f"{name}:cancel"), headers(credentials), dict)

    await asked(credentials, send)
