"""The one HTTP transport to upstreams: an answer comes complete or not at all, and never lies in memory.

It must never retry, follow a redirect, keep a cookie or take a setting from the process environment.
"""

from __future__ import annotations

from collections.abc import Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpx2
from django.conf import settings

from generation.egress import loop, pooled
from generation.egress.bodies import BodySink, BodyTooLarge, FileSink, decoder_for, pour
from generation.egress.exchange import DEFAULT_BYTE_CAP, Exchange, current, exchange
from generation.egress.lifting import AnswerSink
from generation.egress.pools import Pools

__all__ = ["BodyTooLarge", "Exchange", "LiftingTransport", "exchange", "shared_client"]

MAX_CONNECTIONS = 1000
CONNECT_SECONDS = 10.0
POOL_SECONDS = 10.0
ERROR_BYTE_CAP = 256 * 1024
# The encodings in which quotes, backslashes and base64 are the bytes they are in ASCII.
_LIFTED_CHARSETS = frozenset({"", "utf-8", "utf8", "us-ascii"})


class LiftingTransport(httpx2.AsyncBaseTransport):
    """Sends one request as it is, takes the whole answer in, and only then returns it.

    Of a JSON answer to a watched request (`exchange`), long base64 strings go into files, and markers that the
    exchange resolves stand in their places. Any other answer goes into a file whole. A request may carry its own cap
    as `extensions["byte_cap"]`; afterwards `extensions["sent"]` says whether any byte can have reached the upstream,
    also when the call failed. Bodies of answers with a status of 400 and more are capped at 256 KiB. Connecting and
    waiting for a free connection are limited whatever the caller asks for.

    Raises: what httpx2 raises, BodyTooLarge, httpx2.DecodingError.
    """

    def __init__(self, *, max_connections: int = MAX_CONNECTIONS, byte_cap: int = DEFAULT_BYTE_CAP) -> None:
        self._byte_cap = byte_cap
        self._pools = Pools(max_connections=max_connections)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        record = self._record_of(request)
        self._prepare(request, record)
        record.status, record.is_complete = None, False
        async with self._pools.place() as pool:
            inner = await pooled.send(pool, request)
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
        # Nobody could resolve the markers of an answer that is not watched.
        record = current() or Exchange(byte_cap=self._byte_cap, is_lifting=False)
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
        await self._pools.aclose()


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
    sink = _sink_for(inner, record, byte_cap)
    try:
        await pour(inner.aiter_raw(), decoder, sink, byte_cap)
        return sink.finish()
    except BaseException:
        sink.discard()
        raise


def _sink_for(inner: httpx2.Response, record: Exchange, byte_cap: int) -> BodySink:
    if record.is_lifting and inner.is_success and _is_json(inner):
        return AnswerSink(byte_cap, record.spool, record.register)
    return FileSink(byte_cap, record.spool)


def _is_json(inner: httpx2.Response) -> bool:
    """Whether the headers leave room for JSON; its first byte decides."""
    media_type = inner.headers.get("content-type", "").partition(";")[0].strip().lower()
    charset = (inner.charset_encoding or "").lower()
    return (not media_type or media_type.endswith("json")) and charset in _LIFTED_CHARSETS


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
            # A call that merely waits for its turn must not run into the limit of waiting for a connection.
            transport=LiftingTransport(max_connections=max(MAX_CONNECTIONS, settings.NBP_WORKER_THREADS)),
            trust_env=False,
            follow_redirects=False,
            timeout=httpx2.Timeout(None, connect=CONNECT_SECONDS, pool=POOL_SECONDS),
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        )
        loop.on_close(client.aclose)
    assert isinstance(client, httpx2.AsyncClient)
    return client
