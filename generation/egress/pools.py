"""Connections to upstreams, in several small pools: a pool looks at each of its connections at every call's ends.

A call goes to the first pool with room, so that few calls share few connections, and no more pools exist than are used.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx2
from h11._receivebuffer import ReceiveBuffer
from httpcore2._async.http11 import AsyncHTTP11Connection

POOL_CONNECTIONS = 64
MAX_KEEPALIVE_CONNECTIONS = 32
# Short, because a connection that the upstream closes just as we write to it is a call with an unknown end.
KEEPALIVE_SECONDS = 5.0
# An image is tens of megabytes: read in pieces four times as large as the library's, it costs a third less.
AsyncHTTP11Connection.READ_NUM_BYTES = 256 * 1024


def _extracted(buffer: ReceiveBuffer, count: int) -> bytearray | None:
    """At most so many bytes of what was received. All of it, the usual case, is handed over instead of copied twice."""
    if not buffer._data or count < len(buffer._data):
        return buffer._extract(count) if buffer._data else None
    data, buffer._data = buffer._data, bytearray()
    buffer._next_line_search = buffer._multiple_lines_search = 0
    return data


ReceiveBuffer.maybe_extract_at_most = _extracted  # type: ignore[assignment, method-assign]


@dataclass(slots=True, eq=False)
class _Pool:
    transport: httpx2.AsyncHTTPTransport
    connection_count: int
    in_flight: int = 0


class Pools:
    """Room for `max_connections` calls at once. Calls beyond that wait inside a pool, as long as their timeout says."""

    def __init__(self, *, max_connections: int) -> None:
        self._free = max_connections
        self._pools: list[_Pool] = []
        # Made once, as it reads all the trusted certificates.
        self._ssl_context = httpx2.create_ssl_context(trust_env=False)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[httpx2.AsyncHTTPTransport]:
        """A transport for one request, from before it is sent until its answer is closed."""
        pool = self._with_room()
        pool.in_flight += 1
        try:
            yield pool.transport
        finally:
            pool.in_flight -= 1
            await self._retire(pool)

    def _with_room(self) -> _Pool:
        for pool in self._pools:
            if pool.in_flight < pool.connection_count:
                return pool
        return self._added() if self._free else min(self._pools, key=lambda pool: pool.in_flight)

    def _added(self) -> _Pool:
        connection_count = min(POOL_CONNECTIONS, self._free)
        limits = httpx2.Limits(
            max_connections=connection_count,
            max_keepalive_connections=MAX_KEEPALIVE_CONNECTIONS,
            keepalive_expiry=KEEPALIVE_SECONDS,
        )
        transport = httpx2.AsyncHTTPTransport(verify=self._ssl_context, retries=0, limits=limits, trust_env=False)
        pool = _Pool(transport, connection_count)
        self._free -= connection_count
        self._pools.append(pool)
        return pool

    async def _retire(self, pool: _Pool) -> None:
        """Close a pool that a rush left behind: nothing else would close its idle connections."""
        if not pool.in_flight and pool in self._pools[1:]:
            self._pools.remove(pool)
            self._free += pool.connection_count
            await pool.transport.aclose()

    async def aclose(self) -> None:
        pools, self._pools = self._pools, []
        for pool in pools:
            self._free += pool.connection_count
            await pool.transport.aclose()
