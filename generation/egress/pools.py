"""Connections to upstreams, in several small pools: a pool looks at each of its connections at every call's ends.

A call goes to the first pool with room, so that few calls share few connections, and no more pools exist than are used.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpcore2
import httpx2

from generation.egress.sockets import SocketBackend

POOL_CONNECTIONS = 64
MAX_KEEPALIVE_CONNECTIONS = 32
# Short, because a connection that the upstream closes just as we write to it is a call with an unknown end.
KEEPALIVE_SECONDS = 5.0


@dataclass(slots=True, eq=False)
class _Pool:
    connections: httpcore2.AsyncConnectionPool
    connection_count: int
    in_flight: int = 0


class Pools:
    """Room for `max_connections` calls at once. Calls beyond that wait inside a pool, as long as their timeout says."""

    def __init__(self, *, max_connections: int) -> None:
        self._free = max_connections
        self._pools: list[_Pool] = []
        self._backend = SocketBackend()
        # Made once, as it reads all the trusted certificates.
        self._ssl_context = httpx2.create_ssl_context(trust_env=False)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[httpcore2.AsyncConnectionPool]:
        """A pool for one request, from before it is sent until its answer is closed."""
        pool = self._with_room()
        pool.in_flight += 1
        try:
            yield pool.connections
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
        connections = httpcore2.AsyncConnectionPool(
            ssl_context=self._ssl_context,
            max_connections=connection_count,
            max_keepalive_connections=MAX_KEEPALIVE_CONNECTIONS,
            keepalive_expiry=KEEPALIVE_SECONDS,
            retries=0,
            network_backend=self._backend,
        )
        pool = _Pool(connections, connection_count)
        self._free -= connection_count
        self._pools.append(pool)
        return pool

    async def _retire(self, pool: _Pool) -> None:
        """Close a pool that a rush left behind: nothing else would close its idle connections."""
        if not pool.in_flight and pool in self._pools[1:]:
            self._pools.remove(pool)
            self._free += pool.connection_count
            await pool.connections.aclose()

    async def aclose(self) -> None:
        pools, self._pools = self._pools, []
        for pool in pools:
            self._free += pool.connection_count
            await pool.connections.aclose()
