"""Takes in what a job brought: each picture into a file of its own, in the words in which other calls are answered."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
from google.genai import types

from generation.channels.adapter import Credentials
from generation.channels.adapters import pictures
from generation.channels.adapters.failures import redacted
from generation.channels.adapters.google import answer, batch_lines
from generation.channels.adapters.google.batch_asking import (
    address,
    asked,
    headers,
    origin,
    refusal,
)
from generation.channels.adapters.google.calls import API_VERSION
from generation.channels.adapters.http_json import get, items, mapping, text
from generation.contract import Answer, ChannelError, ErrorKind
from generation.egress import loop
from generation.egress.exchange import DEFAULT_BYTE_CAP, JOB_BYTE_CAP
from generation.egress.transport import Exchange, shared_client

logger = logging.getLogger(__name__)
Result = tuple[str, Answer | ChannelError]
# Whoever reads gives up after ten minutes without a result; ours says more.
_SECONDS = 540.0
# google.rpc.Code, as far as an item's fault is its own or passes.
_KINDS: Mapping[int, ErrorKind] = {3: "rejected", 8: "busy", 14: "busy"}


async def each(name: str, credentials: Credentials, spool: Path) -> AsyncGenerator[Result, None]:
    """The results of a job that has ended. Raises ChannelError where they cannot be had, or kept, now.

    No exchange and no timeout is open while a result is handed on: the next one may be asked for by another task.
    """
    await loop.in_thread(partial(spool.mkdir, parents=True, exist_ok=True))
    work = partial(_inline, name, credentials, spool)
    found, file_name = await asked(credentials, work, seconds=_SECONDS, spool=spool, byte_cap=JOB_BYTE_CAP)
    try:
        while found:
            yield found.pop(0)
    finally:
        _forget(found)
    if file_name:
        async with aclosing(_from_file(file_name, credentials, spool)) as results:
            async for result in results:
                yield result


async def _inline(name: str, credentials: Credentials, spool: Path, record: Exchange) -> tuple[list[Result], str]:
    """The results within the job, or the name of the file that has them."""
    body = mapping((await get(address(credentials, name), headers(credentials))).body)
    output = {**mapping(body.get("response")), **mapping(mapping(body.get("metadata")).get("output"))}
    file_name = text(output.get("responsesFile"))
    if not file_name and "inlinedResponses" not in output:
        # Taken for an empty result, all of it would be made and paid once more.
        raise ChannelError("failed", "the job has ended and names no results", status=200)
    found: list[Result] = []
    try:
        for told in map(mapping, items(mapping(output.get("inlinedResponses")).get("inlinedResponses"))):
            key = _key(batch_lines.key_of(told))
            found += [(key, await _read(told, spool, record, credentials))] if key else []
    except BaseException:
        _forget(found)
        raise
    return found, file_name


async def _from_file(file_name: str, credentials: Credentials, spool: Path) -> AsyncGenerator[Result, None]:
    """The results in a file, one at a time in memory."""
    async with aclosing(_lines(file_name, credentials, spool)) as lines:
        async for line in lines:
            key, told = await loop.in_thread(batch_lines.read, line)
            if _key(key):
                yield key, await _read(told, spool, Exchange(), credentials)


async def _lines(file_name: str, credentials: Credentials, spool: Path) -> AsyncGenerator[bytes, None]:
    work = partial(_downloaded, file_name, credentials)
    response = await asked(credentials, work, seconds=_SECONDS, spool=spool, byte_cap=JOB_BYTE_CAP)
    lines = batch_lines.Lines(DEFAULT_BYTE_CAP)
    try:
        async with aclosing(response.aiter_bytes()) as pieces:
            async for piece in pieces:
                for line in filter(bytes.strip, lines.feed(piece)):
                    yield line
        if rest := lines.finish().strip():
            yield rest
    finally:
        await response.aclose()


async def _downloaded(file_name: str, credentials: Credentials, record: Exchange) -> httpx2.Response:
    """An answer whose body lies whole in a file without a name.

    `files/...` itself does not know files of results: their names are longer than it allows.
    """
    # Whatever it is called, it is many JSON texts and not one.
    record.is_lifting = False
    url = f"{origin(credentials)}/download/{API_VERSION}/{quote(file_name)}:download?alt=media"
    client = shared_client()
    response = await client.send(client.build_request("GET", url, headers=headers(credentials)), stream=True)
    if not response.is_success:
        raise await refusal(response)
    return response


def _key(key: str) -> str:
    if not key:
        logger.warning("a result of a job has no key that can be read, and is left out")
    return key


def _forget(found: Iterable[Result]) -> None:
    """Remove the pictures that nobody was given."""
    for _, result in found:
        if isinstance(result, Answer) and result.image is not None:
            result.image.path.unlink(missing_ok=True)


async def _read(
    told: Mapping[str, Any], spool: Path, record: Exchange, credentials: Credentials
) -> Answer | ChannelError:
    """What became of an item. Raises ChannelError where its picture cannot be put away: it can be had again."""
    if said := mapping(told.get("error")):
        return _problem(said, credentials)
    try:
        return await _answered(told.get("response"), spool, record)
    except ChannelError as error:
        error.__traceback__ = None
        return error
    except OSError as error:
        problem = ChannelError("failed", f"a picture cannot be put away: {type(error).__name__}: {error}")
    except Exception as error:  # noqa: BLE001
        return ChannelError("unknown", f"{type(error).__name__}: the result cannot be read")
    raise problem


def _problem(error: Mapping[str, Any], credentials: Credentials) -> ChannelError:
    """A google.rpc.Status in our words."""
    code = error.get("code")
    kind = _KINDS.get(code, "failed") if isinstance(code, int) else "failed"
    return ChannelError(kind, redacted(f"{code} {text(error.get('message'))}", credentials.secret))


async def _answered(response: Any, spool: Path, record: Exchange) -> Answer:
    reading = answer.read(await loop.in_thread(_parsed, response), record)
    if reading.data is None:
        return reading.answer
    return replace(reading.answer, image=await pictures.from_bytes(reading.data, reading.mime_type, spool, record))


def _parsed(response: Any) -> types.GenerateContentResponse:
    """A response as the SDK reads it, which leaves out what Google will have added by then."""
    if not isinstance(response, dict):
        raise TypeError("there is no response")
    return types.GenerateContentResponse._from_response(response=response, kwargs={})
