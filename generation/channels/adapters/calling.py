"""The frame of every call over HTTP: a deadline, a watched exchange, and any failure told in our words."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from generation.channels.adapter import Credentials
from generation.channels.adapters.failures import Tell, translate
from generation.contract import Answer, Call, ChannelError
from generation.egress.transport import Exchange, exchange


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


def header_secret(credentials: Credentials) -> str:
    """The API key, if it is one that a header can carry; else ChannelError."""
    secret = credentials.secret
    if not secret or not secret.isascii() or not secret.isprintable() or " " in secret:
        raise ChannelError("unauthorized", "the channel has no API key that a header can carry")
    return secret
