"""Keeps what strangers make us fetch out of private networks: every connection is checked where it is made.

A URL does not say where it leads. The host is resolved once, every answer must be a public address, and the socket goes
to the very address that was checked, so that no second answer of a name server can turn it elsewhere. Nothing here may
follow a redirect, use a proxy or open any other kind of socket.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import httpcore2
import httpx2

from generation.egress import pooled
from generation.egress.sockets import SocketBackend

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
Allow = Callable[[str, int], bool]

PORTS = (80, 443)
MAX_URL_CHARACTERS = 8192
MAX_ADDRESSES = 4
RESOLVER_THREADS = 8
_DEFAULT_PORTS = {"http": 80, "https": 443}

_NOT_PUBLIC = "The host has no public address."

# IANA's special-purpose registries (2026), as far as `is_global` of some supported Python lets them through.
_REFUSED_V4 = tuple(
    ip_network(network)
    for network in (
        "0.0.0.0/8",
        "100.64.0.0/10",
        "168.63.129.16/32",  # the address at which Azure answers its own machines
        "192.0.0.0/24",
        "192.88.99.0/24",
        "198.18.0.0/15",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
_REFUSED_V6 = tuple(ip_network(network) for network in ("2001::/23", "2001:db8::/32", "3fff::/20"))
_UNICAST_V6 = ip_network("2000::/3")
_NAT64 = ip_network("64:ff9b::/96")

_ODD_CHARACTERS = re.compile(r"[\x00-\x20\x7f\\]|\s")
_AUTHORITY = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]%]+)(:[0-9]{1,5})?")
_NAME = re.compile(r"(?=.{1,253}\Z)((?!-)[a-z0-9_-]{1,63}(?<!-)\.)*(?!-)[a-z0-9_-]{1,63}(?<!-)")
_DOTTED = re.compile(r"([0-9]{1,3}\.){3}[0-9]{1,3}")
# A last label like this makes resolvers read the whole host as an IPv4 address (WHATWG URL, "ends in a number").
_NUMERIC_END = re.compile(r"(.*\.)?([0-9]+|0x[0-9a-f]*)")


class ForbiddenAddress(Exception):
    """The address is none we connect to. `message` may be shown; it never tells what a name resolved to."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


def allow_none(_host: str, _port: int) -> bool:
    """No exceptions, which is the rule everywhere but in tests and development."""
    return False


def allow_hosts(entries: Iterable[str]) -> Allow:
    """Exceptions as an operator writes them: "host" for every port, "host:port", "[::1]:port"."""
    allowed = frozenset(entry.strip().lower() for entry in entries)

    def allow(host: str, port: int) -> bool:
        written = f"[{host}]" if ":" in host else host
        return not allowed.isdisjoint((host, written, f"{written}:{port}"))

    return allow


def is_public(address: str) -> bool:
    """Whether an IP address is global unicast; one that wraps IPv4 addresses is what they are."""
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, IPv4Address):
        return _is_public_v4(ip)
    if wrapped := _wrapped(ip):
        return all(_is_public_v4(inner) for inner in wrapped)
    is_unicast = ip in _UNICAST_V6 and ip.is_global and ip.scope_id is None
    return is_unicast and not any(ip in network for network in _REFUSED_V6)


def _is_public_v4(ip: IPv4Address) -> bool:
    return ip.is_global and not any(ip in network for network in _REFUSED_V4)


def _wrapped(ip: IPv6Address) -> tuple[IPv4Address, ...]:
    if ip.teredo is not None:
        return ip.teredo
    inner = IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else ip.ipv4_mapped or ip.sixtofour
    return () if inner is None else (inner,)


def check_url(url: str, allow: Allow = allow_none) -> None:
    """Refuse by form alone, before anything is resolved. Raises `ForbiddenAddress`.

    http or https, port 80 or 443, no user name, a plain host name or public address. Where a name leads is not known
    here: only a connection through `GuardedTransport` is safe.
    """
    parsed = _parsed(url)
    host = parsed.raw_host.decode("ascii")
    port = _DEFAULT_PORTS[parsed.scheme] if parsed.port is None else parsed.port
    if allow(host, port):
        return
    _require_port(port)
    if ":" in host or _DOTTED.fullmatch(host):
        is_fine = is_public(host)
    else:
        is_fine = bool(_NAME.fullmatch(host)) and not _NUMERIC_END.fullmatch(host)
    if not is_fine:
        raise ForbiddenAddress(_NOT_PUBLIC)


def _parsed(url: str) -> httpx2.URL:
    if len(url) > MAX_URL_CHARACTERS or _ODD_CHARACTERS.search(url):
        raise ForbiddenAddress("The URL is too long or holds characters that no URL holds.")
    scheme, _, rest = url.partition("://")
    if scheme.lower() not in ("http", "https"):
        raise ForbiddenAddress("Only http:// and https:// URLs are fetched.")
    _require_plain_authority(re.split(r"[/?#]", rest, maxsplit=1)[0])
    try:
        # The client's own parser: what is judged here is what it will ask the network for. It reads the decoded name
        # as well, which fails only then where it is malformed.
        parsed = httpx2.URL(url)
        parsed.host  # noqa: B018
    except (httpx2.InvalidURL, ValueError) as error:
        raise ForbiddenAddress("The URL is not valid.") from error
    return parsed


def _require_plain_authority(authority: str) -> None:
    if "@" in authority:
        raise ForbiddenAddress("A URL with a user name or password is not fetched.")
    if not _AUTHORITY.fullmatch(authority):
        raise ForbiddenAddress("The URL names no plain host.")


def _require_port(port: int) -> None:
    if port not in PORTS:
        raise ForbiddenAddress("Only the ports 80 and 443 are fetched from.")


@cache
def _resolver_threads(_process_id: int) -> ThreadPoolExecutor:
    # Our own and few: a name server that hangs must not hold up other work of the loop's executor.
    return ThreadPoolExecutor(RESOLVER_THREADS, "egress-resolver")


async def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses of a host in the system's order, without repeats. Raises `httpcore2.ConnectError` for none."""
    loop = asyncio.get_running_loop()
    try:
        answers = await loop.run_in_executor(_resolver_threads(os.getpid()), _stream_addresses, host, port)
    except (OSError, UnicodeError) as error:
        raise httpcore2.ConnectError("The host has no address.") from error
    return list(dict.fromkeys(answers))


def _stream_addresses(host: str, port: int) -> list[str]:
    return [str(answer[4][0]) for answer in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


class GuardedBackend(httpcore2.AsyncNetworkBackend):
    """Opens sockets to checked addresses only. TLS and the Host header, which are above this, still go by the name."""

    def __init__(
        self,
        *,
        allow: Allow = allow_none,
        resolver: Resolver = resolve,
        backend: httpcore2.AsyncNetworkBackend | None = None,
    ) -> None:
        self._allow = allow
        self._resolver = resolver
        self._backend = backend or SocketBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        failure: Exception = httpcore2.ConnectError("The host has no address.")
        for address in await self._checked(host, port):
            try:
                return await self._backend.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure

    async def _checked(self, host: str, port: int) -> Sequence[str]:
        is_allowed = self._allow(host, port)
        if not is_allowed:
            _require_port(port)
        addresses = await self._resolver(host, port)
        # All of them, not only the one we would take: a name that also leads inside is no public name.
        if not is_allowed and not all(is_public(address) for address in addresses):
            raise ForbiddenAddress(_NOT_PUBLIC)
        return addresses[:MAX_ADDRESSES]


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Sends requests through a `GuardedBackend`; checks each URL's form as well. Raises `ForbiddenAddress`.

    Give it to a client with `trust_env=False`: a proxy would resolve names again. Belongs to one event loop.
    """

    def __init__(
        self,
        *,
        allow: Allow = allow_none,
        resolver: Resolver = resolve,
        backend: httpcore2.AsyncNetworkBackend | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._allow = allow
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=ssl_context or _public_trust(),
            network_backend=GuardedBackend(allow=allow, resolver=resolver, backend=backend),
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        check_url(str(request.url), self._allow)
        return await pooled.send(self._pool, request)

    async def aclose(self) -> None:
        await self._pool.aclose()


@cache
def _public_trust() -> ssl.SSLContext:
    # Reading the system's certificates takes some 20 ms, too long to do for each fetch on an event loop.
    return httpx2.create_ssl_context(trust_env=False)
