"""The frame of every call over HTTP: a deadline, a watched exchange, and any failure told in our words."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from generation.channels.adapter import Credentials
from generation.channels.adapters.failures import Tell, translate
from generation.channels.adapters.http_json import get
from generation.contract import Answer, Call, ChannelError
from generation.egress.transport import Exchange, exchange

_CHECK_SECONDS = 20.0
# The longest list of models known has some 600 entries of a few kilobytes each.
_CHECK_BYTES = 8 * 1024 * 1024
# A service that has no such address says so; it says nothing of the channel.
_NOT_THERE = (404, 405, 501)


async def watched(
    call: Call, credentials: Credentials, ask: Callable[[Exchange], Awaitable[Answer]], tell: Tell
) -> Answer:
    """What `ask` answers within the call's deadline. Raises ChannelError; asyncio.CancelledError passes through."""
    call.spool.mkdir(parents=True, exist_ok=True)
    with exchange(byte_cap=call.byte_cap, spool=call.spool) as record:
        try:
            async with asyncio.timeout(call.deadline_seconds):
                return await ask(record)
        except Exception as error:  # noqa: BLE001
            problem = translate(error, record, credentials.secret, call.deadline_seconds, tell)
    # Raised out here, so that no traceback drags the upstream's words and bytes along.
    raise problem


async def told(url: str, headers: Mapping[str, str], credentials: Credentials, spool: Path, tell: Tell) -> Any | None:
    """The JSON at an address that costs nothing; None where the service has none there. Raises ChannelError."""
    spool.mkdir(parents=True, exist_ok=True)
    with exchange(byte_cap=_CHECK_BYTES, spool=spool) as record:
        try:
            async with asyncio.timeout(_CHECK_SECONDS):
                return (await get(url, headers)).body
        except Exception as error:  # noqa: BLE001
            problem = translate(error, record, credentials.secret, _CHECK_SECONDS, tell)
    if problem.status in _NOT_THERE:
        return None
    if problem.kind == "unknown":
        problem = ChannelError("failed", problem.message, status=problem.status)
    raise problem


def header_secret(credentials: Credentials) -> str:
    """The API key, if it is one that a header can carry; else ChannelError."""
    secret = credentials.secret
    if not secret or not secret.isascii() or not secret.isprintable() or " " in secret:
        raise ChannelError("unauthorized", "the channel has no API key that a header can carry")
    return secret
