"""Takes in what a job brought: each picture into a file of its own, in the words in which other calls are answered."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from google.genai import types

from generation.channels.adapter import Credentials
from generation.channels.adapters import pictures
from generation.channels.adapters.google import answer, batch_calls
from generation.channels.adapters.http_json import Refused, get, items, mapping, text
from generation.contract import Answer, ChannelError, ErrorKind
from generation.egress import loop
from generation.egress.transport import Exchange, shared_client

logger = logging.getLogger(__name__)
Result = tuple[str, Answer | ChannelError]
BYTE_CAP = 2 * 1024**3
_SECONDS = 1800.0
# google.rpc.Code, as far as an item's fault is its own or passes.
_KINDS: Mapping[int, ErrorKind] = {3: "rejected", 8: "busy", 14: "busy"}


async def take_in(name: str, credentials: Credentials, spool: Path) -> list[Result]:
    """All results of a job that has ended. Raises ChannelError where they cannot be had now."""
    spool.mkdir(parents=True, exist_ok=True)
    work = partial(_inline, name, credentials, spool)
    found, file_name = await batch_calls.asked(credentials, work, seconds=_SECONDS, spool=spool, byte_cap=BYTE_CAP)
    if file_name:
        work_on_file = partial(_from_file, file_name, credentials, spool)
        found = await batch_calls.asked(credentials, work_on_file, seconds=_SECONDS, spool=spool, byte_cap=BYTE_CAP)
    return found


async def _inline(name: str, credentials: Credentials, spool: Path, record: Exchange) -> tuple[list[Result], str]:
    """The results within the job, or the name of the file that has them."""
    url = f"{batch_calls.origin(credentials)}/{batch_calls.VERSION}/{name}"
    body = mapping((await get(url, batch_calls.headers(credentials))).body)
    output = mapping(mapping(body.get("metadata")).get("output")) or mapping(body.get("response"))
    file_name = text(output.get("responsesFile"))
    found: list[Result] = []
    for each in items(mapping(output.get("inlinedResponses")).get("inlinedResponses")):
        await _take(mapping(each), text(mapping(mapping(each).get("metadata")).get("key")), spool, record, found)
    return found, file_name


async def _from_file(file_name: str, credentials: Credentials, spool: Path, record: Exchange) -> list[Result]:
    """The lines of the result file, one at a time in memory."""
    url = f"{batch_calls.origin(credentials)}/download/{batch_calls.VERSION}/{file_name}:download?alt=media"
    found: list[Result] = []
    async with shared_client().stream("GET", url, headers=batch_calls.headers(credentials)) as response:
        if not response.is_success:
            raise Refused(response.status_code, None)
        async for line in response.aiter_lines():
            if line.strip():
                told = _line(line)
                await _take(told, text(told.get("key")), spool, record, found)
    return found


def _line(line: str) -> Mapping[str, Any]:
    try:
        return mapping(json.loads(line))
    except (ValueError, RecursionError):
        return {}


async def _take(told: Mapping[str, Any], key: str, spool: Path, record: Exchange, found: list[Result]) -> None:
    """One result more. What has no key cannot be anybody's."""
    if not key:
        logger.warning("a result of a job has no key, and is left out")
        return
    try:
        found.append((key, await _read(told, spool, record)))
    except ChannelError as error:
        found.append((key, error))
    except (ValueError, OSError) as error:
        found.append((key, ChannelError("unknown", f"{type(error).__name__}: the result cannot be read")))


async def _read(told: Mapping[str, Any], spool: Path, record: Exchange) -> Answer:
    error = mapping(told.get("error"))
    if error:
        code = error.get("code")
        kind = _KINDS.get(code, "failed") if isinstance(code, int) else "failed"
        raise ChannelError(kind, text(error.get("message"))[:500])
    response = await loop.in_thread(_parsed, told.get("response"))
    reading = answer.read(response, record)
    if reading.data is None:
        return reading.answer
    image = await pictures.from_bytes(reading.data, reading.mime_type, spool, record)
    return replace(reading.answer, image=image)


def _parsed(response: Any) -> types.GenerateContentResponse:
    return types.GenerateContentResponse.model_validate_json(json.dumps(response))
