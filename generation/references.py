"""Images sent in: fetched or read, checked, cleaned of metadata, and stored under the generation's name."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from accounts.authentication import Requester
from accounts.identifiers import parse_public_id
from accounts.transactions import forbid_transaction
from generation import decoding, media, uploads
from generation.contract import ReferenceInput, Refusal, invalid
from generation.egress import loop
from generation.egress.fetch import FetchFailed, fetch_image
from generation.models import Media, Reference

_FETCH_SECONDS = 15.0
_SENT_BYTES = 20 * 1024 * 1024
# A 4K picture of ours may be larger than what a stranger may send.
_OWN_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Prepared:
    """A checked reference, ready to be stored."""

    role: str
    name: str
    data: bytes
    mime_type: str
    width: int
    height: int
    sha256: str


def prepare(requester: Requester, inputs: Sequence[ReferenceInput]) -> tuple[Prepared, ...]:
    """Take every reference in, or refuse with the field at fault. Waits for strangers: no transaction may be open."""
    forbid_transaction()
    fetched = _fetch_all(inputs)
    return tuple(_prepare(requester, each, fetched[index], f"references[{index}]") for index, each in enumerate(inputs))


def _fetch_all(inputs: Sequence[ReferenceInput]) -> list[bytes | FetchFailed]:
    """What lies at each reference's address, all fetched at once; nothing for references without one."""
    if not any(each.url for each in inputs):
        return [b""] * len(inputs)
    return loop.run(_gather([each.url for each in inputs]), timeout_seconds=_FETCH_SECONDS + 5)


async def _gather(urls: Sequence[str]) -> list[bytes | FetchFailed]:
    async def one(url: str) -> bytes | FetchFailed:
        try:
            return await fetch_image(url, deadline_seconds=_FETCH_SECONDS) if url else b""
        except FetchFailed as error:
            return error

    return list(await asyncio.gather(*(one(url) for url in urls)))


def _prepare(requester: Requester, given: ReferenceInput, fetched: bytes | FetchFailed, param: str) -> Prepared:
    data = _bytes_of(requester, given, fetched, param)
    try:
        clean = decoding.take_in_apart(data, byte_cap=_OWN_BYTES if given.output else _SENT_BYTES)
    except decoding.Undecodable as error:
        raise invalid(param, str(error), "reference_not_decodable") from error
    return Prepared(
        role=given.role,
        name=given.name,
        data=clean.data,
        mime_type=clean.mime_type,
        width=clean.width,
        height=clean.height,
        sha256=hashlib.sha256(clean.data).hexdigest(),
    )


def _bytes_of(requester: Requester, given: ReferenceInput, fetched: bytes | FetchFailed, param: str) -> bytes:
    if isinstance(fetched, FetchFailed):
        raise invalid(f"{param}.url", fetched.message, f"reference_{fetched.code}") from fetched
    if given.file:
        return uploads.content(requester, given.file)
    if given.output:
        return media.read(output_media(requester, given.output, param).storage_name)
    return fetched or given.data


def discard(rows: Sequence[Reference]) -> None:
    """Remove the files of a generation that was not accepted after all."""
    for row in rows:
        media.remove(row.storage_name)


def output_media(requester: Requester, public_id: str, param: str) -> Media:
    """The stored image of one of the requester's own outputs in the same mode."""
    output_id = parse_public_id("out", public_id)
    row = (
        output_id
        and Media.objects.select_related("output")
        .filter(
            output_id=output_id,
            output__account=requester.account,
            output__mode=requester.mode,
            output__state="succeeded",
        )
        .first()
    )
    if not row:
        raise Refusal("invalid", "output_not_found", "There is no finished output of yours with that id.", param=param)
    if not media.exists(row.storage_name):
        raise invalid(param, "The stored image of that output is no longer there.", "image_gone")
    return row


def store(generation_id: uuid.UUID, prepared: Sequence[Prepared]) -> list[Reference]:
    """Store the files; the answer is the rows to save with the generation."""
    rows = []
    for index, each in enumerate(prepared):
        name = media.reference_name(generation_id, index, each.mime_type)
        media.store(name, each.data)
        rows.append(
            Reference(
                generation_id=generation_id,
                index=index,
                role=each.role,
                name=each.name,
                storage_name=name,
                mime_type=each.mime_type,
                width=each.width,
                height=each.height,
                byte_count=len(each.data),
                sha256=each.sha256,
            )
        )
    return rows
