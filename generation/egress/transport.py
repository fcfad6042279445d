"""The one HTTP transport to upstreams: an answer comes complete or not at all, and never lies in memory.

It must never retry, follow a redirect, keep a cookie or take a setting from the process environment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Any

import httpx2

from generation.egress import loop
from generation.egress.bodies import BodySink, BodyTooLarge, FileSink, decoder_for, pour

__all__ = ["BodyTooLarge", "Exchange", "SpoolingTransport", "exchange", "shared_client"]

MAX_CONNECTIONS = 1000
MAX_KEEPALIVE_CONNECTIONS = 100
# Short, because a connection that the upstream closes just as we write to it is a call with an unknown end.
KEEPALIVE_SECONDS = 5.0
CONNECT_SECONDS = 10.0
POOL_SECONDS = 10.0
DEFAULT_BYTE_CAP = 64 * 1024 * 1024
ERROR_BYTE_CAP = 256 * 1024


@dataclass(slots=True)
class Exchange:
    """One request and what became of it, as the transport saw it.

    `byte_cap` limits the decoded body, `spool` is the directory of the body's file (None: the system's). `is_sent`
    is False as long as nothing of the request can have reached the upstream: names, connecting, TLS, the wait for a
    free connection. `status` and `headers` are set once they have come; `is_complete` once the whole body has.
    """

    byte_cap: int = DEFAULT_BYTE_CAP
    spool: Path | None = None
    is_sent: bool = False
    is_complete: bool = False
    status: int | None = None
    headers: httpx2.Headers = field(default_factory=httpx2.Headers)


_exchange: ContextVar[Exchange | None] = ContextVar("exchange", default=None)


@contextmanager
def exchange(*, byte_cap: int = DEFAULT_BYTE_CAP, spool: Path | None = None) -> Iterator[Exchange]:
    """Watch the one request that is sent within, even where an SDK builds it and leaves no room for extensions."""
    record = Exchange(byte_cap=byte_cap, spool=spool)
    reset = _exchange.set(record)
    try:
        yield record
    finally:
        _exchange.reset(reset)


class SpoolingTransport(httpx2.AsyncBaseTransport):
    """Sends one request as it is, takes the whole answer into a file, and only then returns it.

    A request may carry its own cap as `extensions["byte_cap"]`; afterwards `extensions["sent"]` says whether any
    byte can have reached the upstream, also when the call failed. Bodies of answers with a status of 400 and more
    are capped at 256 KiB. Connecting and waiting for a free connection are limited whatever the caller asks for.

    Raises: what httpx2 raises, BodyTooLarge, httpx2.DecodingError.
    """

    def __init__(self, *, max_connections: int = MAX_CONNECTIONS, byte_cap: int = DEFAULT_BYTE_CAP) -> None:
        self._byte_cap = byte_cap
        limits = httpx2.Limits(
            max_connections=max_connections,
            max_keepalive_connections=MAX_KEEPALIVE_CONNECTIONS,
            keepalive_expiry=KEEPALIVE_SECONDS,
        )
        self._inner = httpx2.AsyncHTTPTransport(retries=0, limits=limits, trust_env=False)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        record = self._record_of(request)
        self._prepare(request, record)
        record.status, record.is_complete = None, False
        inner = await self._inner.handle_async_request(request)
        record.status, record.headers = inner.status_code, inner.headers
        try:
            stream, byte_count = await _take_body(inner, record)
        finally:
            await inner.aclose()
        record.is_complete = True
        return httpx2.Response(
            inner.status_code,
            headers=_plain_headers(inner.headers, byte_count),
            stream=stream,
            extensions={key: inner.extensions[key] for key in ("http_version", "reason_phrase")},
        )

    def _record_of(self, request: httpx2.Request) -> Exchange:
        record = _exchange.get() or Exchange(byte_cap=self._byte_cap)
        record.byte_cap = request.extensions.get("byte_cap", record.byte_cap)
        return record

    def _prepare(self, request: httpx2.Request, record: Exchange) -> None:
        extensions = request.extensions = {**request.extensions, "sent": record.is_sent}

        async def note_sending(event: str, _info: Mapping[str, Any]) -> None:
            if event.endswith(".send_request_headers.started"):
                extensions["sent"] = record.is_sent = True

        request.headers["accept-encoding"] = "identity"
        extensions["trace"] = note_sending
        extensions["timeout"] = _bounded(extensions.get("timeout", {}))

    async def aclose(self) -> None:
        await self._inner.aclose()


def _bounded(timeout: Mapping[str, float | None]) -> dict[str, float | None]:
    connect, pool = timeout.get("connect"), timeout.get("pool")
    return {
        **timeout,
        "connect": min(connect or CONNECT_SECONDS, CONNECT_SECONDS),
        "pool": min(pool or POOL_SECONDS, POOL_SECONDS),
    }


async def _take_body(inner: httpx2.Response, record: Exchange) -> tuple[httpx2.AsyncByteStream, int]:
    is_error = inner.status_code >= 400
    byte_cap = min(record.byte_cap, ERROR_BYTE_CAP) if is_error else record.byte_cap
    if int(inner.headers.get("content-length", 0)) > byte_cap:
        raise BodyTooLarge(byte_cap)
    decoder = decoder_for(inner.headers)
    sink: BodySink = FileSink(byte_cap, record.spool)
    try:
        await pour(inner.aiter_raw(), decoder, sink, byte_cap)
        return sink.finish()
    except BaseException:
        sink.discard()
        raise


def _plain_headers(headers: httpx2.Headers, byte_count: int) -> httpx2.Headers:
    """The headers of the body as we hand it on: decoded, whole, of known length."""
    plain = httpx2.Headers(headers)
    for name in ("content-encoding", "transfer-encoding", "content-length"):
        plain.pop(name, None)
    plain["content-length"] = str(byte_count)
    return plain


def shared_client() -> httpx2.AsyncClient:
    """The upstream loop's one client, closed with it. Only on the loop; reading has no limit but the caller's deadline.

    It keeps no cookies, since channels of different accounts share it.
    """
    kept = loop.belongings()
    client = kept.get(httpx2.AsyncClient)
    if client is None:
        client = kept[httpx2.AsyncClient] = httpx2.AsyncClient(
            transport=SpoolingTransport(),
            trust_env=False,
            follow_redirects=False,
            timeout=httpx2.Timeout(None, connect=CONNECT_SECONDS, pool=POOL_SECONDS),
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        )
        loop.on_close(client.aclose)
    assert isinstance(client, httpx2.AsyncClient)
    return client
