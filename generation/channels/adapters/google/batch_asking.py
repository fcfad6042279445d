"""One request of the Batch API in an exchange of its own, and what its failure means; it never asks twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import httpx2

from generation.channels.adapter import Credentials
from generation.channels.adapters.calling import header_secret
from generation.channels.adapters.failures import translate
from generation.channels.adapters.google.calls import API_VERSION, ORIGIN
from generation.channels.adapters.google.errors import tell
from generation.channels.adapters.http_json import Refused, parsed
from generation.contract import ChannelError
from generation.egress.exchange import DEFAULT_BYTE_CAP
from generation.egress.transport import Exchange, exchange

T = TypeVar("T")
ASK_SECONDS = 55.0


async def asked(
    credentials: Credentials,
    work: Callable[[Exchange], Awaitable[T]],
    *,
    seconds: float = ASK_SECONDS,
    spool: Path | None = None,
    byte_cap: int = DEFAULT_BYTE_CAP,
    is_paid: bool = False,
) -> T:
    """What one request brings. Raises ChannelError; asyncio.CancelledError passes through.

    Only of a paid request it matters that it may have arrived, and only such a one can be wrong itself: whatever else
    becomes of the others is "failed".
    """
    with exchange(spool=spool, byte_cap=byte_cap) as record:
        try:
            async with asyncio.timeout(seconds):
                return await work(record)
        except Exception as error:  # noqa: BLE001
            problem = translate(error, record, credentials.secret, seconds, tell)
    if problem.kind in ("unknown", "rejected") and not is_paid:
        problem = ChannelError("failed", problem.message, status=problem.status)
    # Raised out here, so that no traceback drags the upstream's words and bytes along.
    raise problem


def origin(credentials: Credentials) -> str:
    """Where the API is, without its version."""
    return (credentials.base_url or ORIGIN).rstrip("/")


def address(credentials: Credentials, path: str) -> str:
    """Where something of the API is, such as `batches/abc`."""
    return f"{origin(credentials)}/{API_VERSION}/{path}"


def headers(credentials: Credentials) -> dict[str, str]:
    """What says whose request it is. Raises ChannelError for a key that no header can carry."""
    return {"x-goog-api-key": header_secret(credentials)}


async def refusal(response: httpx2.Response) -> Refused:
    """An answered error with what its body says."""
    return Refused(response.status_code, parsed(await response.aread()))
