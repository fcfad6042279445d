"""Fetches an image from a URL a stranger gave: guarded, bounded in time and bytes. It never shows a host's answer."""

from __future__ import annotations

import asyncio
from typing import Literal

import httpx2
from django.conf import settings

from generation.egress.guard import Allow, ForbiddenAddress, GuardedTransport, Resolver, allow_hosts, check_url, resolve

MAX_BYTES = 20 * 1024 * 1024
DEADLINE_SECONDS = 15.0
# Per address, so that a dead one leaves time for the next.
CONNECT_SECONDS = 5.0

FetchCode = Literal["forbidden_address", "redirected", "too_large", "timed_out", "unreachable", "bad_status"]

_HEADERS = {
    "accept": "image/png, image/jpeg, image/webp",
    # An image does not get smaller by it; a server that compresses all the same is decoded, and counted decoded.
    "accept-encoding": "identity",
    "user-agent": "nanobananapro-references/1",
}


class FetchFailed(Exception):
    """Nothing was fetched. `message` is a sentence for the person who gave the URL."""

    def __init__(self, code: FetchCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


async def fetch_image(
    url: str,
    *,
    byte_cap: int = MAX_BYTES,
    deadline_seconds: float = DEADLINE_SECONDS,
    allow: Allow | None = None,
    resolver: Resolver = resolve,
) -> bytes:
    """The body of a 200 answer, at most `byte_cap` decoded bytes, within a wall-clock deadline; or `FetchFailed`.

    Whether it is an image is not looked at. `allow` names hosts exempt from the guard (default: those of the setting
    NBP_FETCH_ALLOW_HOSTS). Runs on any of asyncio's own event loops.
    """
    exempt = allow_hosts(settings.NBP_FETCH_ALLOW_HOSTS) if allow is None else allow
    try:
        check_url(url, exempt)
        async with asyncio.timeout(deadline_seconds):
            return await _fetched(url, byte_cap, GuardedTransport(allow=exempt, resolver=resolver))
    except ForbiddenAddress as error:
        raise FetchFailed("forbidden_address", error.message) from error
    except (TimeoutError, httpx2.TimeoutException) as error:
        raise FetchFailed("timed_out", f"The image did not arrive within {deadline_seconds:g} seconds.") from error
    except (httpx2.HTTPError, OSError) as error:
        raise FetchFailed("unreachable", "The URL's host could not be reached, or its answer broke off.") from error


async def _fetched(url: str, byte_cap: int, transport: GuardedTransport) -> bytes:
    # A client for each fetch: strangers' hosts are hardly ever asked twice in a row, so a shared pool would only keep
    # connections (and cookies) of one account's host around for another's; and a pool belongs to a single loop.
    client = httpx2.AsyncClient(
        transport=transport,
        trust_env=False,
        follow_redirects=False,
        timeout=httpx2.Timeout(None, connect=CONNECT_SECONDS),
        headers=_HEADERS,
    )
    async with client, client.stream("GET", url) as response:
        _require_plain_success(response.status_code)
        return await _body(response, byte_cap)


def _require_plain_success(status: int) -> None:
    if 300 <= status < 400:
        raise FetchFailed("redirected", "The URL answers with a redirect. Give the URL it leads to.")
    if status != 200:
        raise FetchFailed("bad_status", f"The URL answers with status {status} instead of 200.")


async def _body(response: httpx2.Response, byte_cap: int) -> bytes:
    declared = response.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > byte_cap:
        raise _too_large(byte_cap)
    pieces: list[bytes] = []
    byte_count = 0
    async for piece in response.aiter_bytes():
        byte_count += len(piece)
        if byte_count > byte_cap:
            raise _too_large(byte_cap)
        pieces.append(piece)
    return b"".join(pieces)


def _too_large(byte_cap: int) -> FetchFailed:
    size = f"{byte_cap // 2**20} MB" if byte_cap >= 2**20 else f"{byte_cap} bytes"
    return FetchFailed("too_large", f"The image is larger than {size}.")
