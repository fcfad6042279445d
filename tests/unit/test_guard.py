"""Which addresses strangers may send us to, in every spelling."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Sequence

import httpcore2
import httpx2
import pytest

from generation.egress import guard
from generation.egress.guard import ForbiddenAddress, GuardedBackend, GuardedTransport, check_url, is_public

PUBLIC = "93.184.215.14"
PUBLIC_V6 = "2606:4700:4700::1111"

REFUSED_ADDRESSES = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::7f00:1",
    "100::1",
    "2001::1",
    "2001:0:7f00:1:0:0:f5ff:fffe",
    "2001:0:808:808:0:0:f5ff:fffe",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a00:1::",
    "2002:c0a8:101::1",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "2606:4700:4700::1111%eth0",
    "fec0::1",
    "ff02::1",
    "",
    "localhost",
    "127.1",
    "0177.0.0.1",
]
PUBLIC_ADDRESSES = [
    PUBLIC,
    "1.1.1.1",
    "8.8.8.8",
    "100.63.255.255",
    "100.128.0.1",
    "172.32.0.1",
    "192.169.0.1",
    "223.255.255.254",
    PUBLIC_V6,
    "2a00:1450:4001:82a::200e",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "2002:808:808::1",
]


@pytest.mark.parametrize("address", REFUSED_ADDRESSES)
def test_refused_addresses(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC_ADDRESSES)
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com",
        "https://example.com/a.png?x=1#top",
        "HTTPS://EXAMPLE.com/",
        "http://example.com:80/",
        "https://example.com:443/",
        "https://my_bucket.s3.amazonaws.com/a.png?X-Amz-Signature=abc%2F",
        "https://bücher.example/",
        "https://xn--bcher-kva.example/",
        "http://93.184.215.14/",
        "http://[2606:4700:4700::1111]/",
        "https://example.com/user@host",
        "https://example.com?to=http://127.0.0.1/",
        "https://1password.com/",
        "https://cdn.3d/",
        # Names are judged where they lead, not by what they are called.
        "http://localhost/",
        "http://metadata.google.internal/",
    ],
)
def test_urls_of_a_plain_form(url: str) -> None:
    check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "//example.com/",
        "/etc/passwd",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "data:image/png;base64,AAAA",
        "javascript:alert(1)",
        "ws://example.com/",
        "http:/example.com",
        "http:example.com",
        "http://",
        "http:///path",
        "http://?x",
        "http://:80/",
        "http://user@example.com/",
        "http://user:password@example.com/",
        "http://@example.com/",
        "http://example.com@127.0.0.1/",
        "http://127.0.0.1#@example.com/",
        "http://127.0.0.1\\@example.com/",
        "http://example.com\\.evil.test/",
        "http://exa mple.com/",
        " http://example.com/",
        "http://example.com/\r\nX: y",
        "http://example.com/\t",
        "http://example.com\u3000/",
        "http://example.com:22/",
        "http://example.com:6379/",
        "http://example.com:0/",
        "http://example.com:-80/",
        "http://example.com:+80/",
        "http://example.com:8_0/",
        "http://example.com:99999/",
        "http://example.com:80:80/",
        "http://example.com:http/",
        "https://example.com:80443/",
        "http://127.0.0.1/",
        "http://127.1/",
        "http://127.0.1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.1/",
        "http://0x7f.0x0.0x0.0x1/",
        "http://0177.0.0.1/",
        "http://017700000001/",
        "http://0/",
        "http://0x/",
        "http://127.0.0.1./",
        "http://127.0.0.0x1/",
        "http://127%2e0.0.1/",
        "http://%31%32%37.0.0.1/",
        "http://①②⑦.0.0.1/",
        "http://127。0。0。1/",
        "http://１２７.0.0.1/",
        "http://1.2.3.4.5/",
        "http://999.1.1.1/",
        "http://[::1]/",
        "http://[::]/",
        "http://[0:0:0:0:0:0:0:1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[2002:7f00:1::]/",
        "http://[fe80::1%25eth0]/",
        "http://[fe80::1%eth0]/",
        "http://[fd00:ec2::254]/",
        "http://[::1/",
        "http://::1/",
        "http://[v1.a]/",
        "http://[]/",
        "http://169.254.169.254/latest/meta-data/",
        "http://100.64.0.1/",
        "http://10.1.2.3/",
        "http://192.168.0.1/",
        "http://example.com./",
        "http://.example.com/",
        "http://exa..mple.com/",
        "http://-example.com/",
        "http://exam*ple.com/",
        "http://example.com,evil.test/",
        "http://" + "a" * 64 + ".com/",
        "http://" + "a." * 130 + "com/",
        "http://xn--\u00ad/",
        "http://\u00ad/",
        "http://example.com/" + "a" * 9000,
    ],
)
def test_urls_of_a_form_we_refuse(url: str) -> None:
    with pytest.raises(ForbiddenAddress) as refusal:
        check_url(url)
    assert refusal.value.message.endswith(".")


def test_an_exception_is_only_what_it_says() -> None:
    allow = guard.allow_hosts(["127.0.0.1:8080", "files.test", "[::1]:9000", " Upper.Test:80 "])
    check_url("http://127.0.0.1:8080/x", allow)
    check_url("http://files.test:1234/", allow)
    check_url("http://[::1]:9000/", allow)
    check_url("http://UPPER.test/", allow)
    for url in ("http://127.0.0.1:8081/", "http://127.0.0.1/", "http://[::1]:9001/", "ftp://files.test/"):
        with pytest.raises(ForbiddenAddress):
            check_url(url, allow)
    with pytest.raises(ForbiddenAddress):
        check_url("http://user@files.test/", allow)
    assert not guard.allow_hosts([])("127.0.0.1", 80)
    assert not guard.allow_none("127.0.0.1", 80)


# --- connecting ----------------------------------------------------------------------------------------------------


class Network(httpcore2.AsyncMockBackend):
    """A network that notes where it is sent, and on which some addresses are dead."""

    def __init__(self, dead: Iterable[str] = ()) -> None:
        super().__init__([b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"])
        self.connected: list[tuple[str, int]] = []
        self._dead = set(dead)

    async def connect_tcp(self, host: str, port: int, *args: object, **kwargs: object) -> httpcore2.AsyncNetworkStream:
        self.connected.append((host, port))
        if host in self._dead:
            raise httpcore2.ConnectTimeout("no answer")
        return await super().connect_tcp(host, port)


class Names:
    """A name server whose answers change from one question to the next."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = list(answers)
        self.questions: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.questions.append((host, port))
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


def connect(backend: GuardedBackend, host: str = "images.test", port: int = 443) -> None:
    async def once() -> None:
        stream = await backend.connect_tcp(host, port)
        await stream.aclose()

    asyncio.run(once())


def test_the_socket_goes_to_the_checked_address() -> None:
    network, names = Network(), Names([PUBLIC])
    connect(GuardedBackend(resolver=names, backend=network))
    assert network.connected == [(PUBLIC, 443)]
    assert names.questions == [("images.test", 443)]


@pytest.mark.parametrize("address", [address for address in REFUSED_ADDRESSES if address])
@pytest.mark.parametrize("host", ["metadata.google.internal", "localhost", "127.0.0.1.nip.io"])
def test_a_name_that_leads_inside_is_refused_unconnected(address: str, host: str) -> None:
    network = Network()
    with pytest.raises(ForbiddenAddress) as refusal:
        connect(GuardedBackend(resolver=Names([address]), backend=network), host)
    assert network.connected == []
    assert address not in refusal.value.message


def test_all_answers_must_be_public() -> None:
    for answers in ([PUBLIC, "10.0.0.1"], ["10.0.0.1", PUBLIC], [PUBLIC, PUBLIC_V6, "::1"], [PUBLIC] * 9 + ["::1"]):
        network = Network()
        with pytest.raises(ForbiddenAddress):
            connect(GuardedBackend(resolver=Names(answers), backend=network))
        assert network.connected == []


def test_rebinding_each_connection_is_checked_again() -> None:
    network, names = Network(), Names([PUBLIC], ["127.0.0.1"])
    backend = GuardedBackend(resolver=names, backend=network)
    connect(backend)
    with pytest.raises(ForbiddenAddress):
        connect(backend)
    assert network.connected == [(PUBLIC, 443)]


@pytest.mark.parametrize("port", [0, 1, 22, 25, 81, 3306, 5432, 6379, 8080, 8443, 11211])
def test_other_ports_are_refused_unresolved(port: int) -> None:
    names = Names([PUBLIC])
    with pytest.raises(ForbiddenAddress):
        connect(GuardedBackend(resolver=names, backend=Network()), port=port)
    assert names.questions == []


def test_a_dead_address_gives_way_to_the_next_one() -> None:
    network = Network(dead=[PUBLIC_V6])
    connect(GuardedBackend(resolver=Names([PUBLIC_V6, PUBLIC]), backend=network))
    assert network.connected == [(PUBLIC_V6, 443), (PUBLIC, 443)]


def test_only_a_few_addresses_are_tried() -> None:
    addresses = [f"93.184.215.{last}" for last in range(1, 30)]
    network = Network(dead=addresses)
    with pytest.raises(httpcore2.ConnectTimeout):
        connect(GuardedBackend(resolver=Names(addresses), backend=network))
    assert len(network.connected) == guard.MAX_ADDRESSES


def test_a_name_without_an_address() -> None:
    with pytest.raises(httpcore2.ConnectError):
        connect(GuardedBackend(resolver=Names([]), backend=Network()))


def test_an_exempt_host_may_be_inside_and_on_any_port() -> None:
    network = Network()
    allow = guard.allow_hosts(["files.test:8080"])
    backend = GuardedBackend(allow=allow, resolver=Names(["127.0.0.1"]), backend=network)
    connect(backend, "files.test", 8080)
    assert network.connected == [("127.0.0.1", 8080)]
    with pytest.raises(ForbiddenAddress):
        connect(backend, "files.test", 80)


@pytest.mark.parametrize("path", ["/var/run/docker.sock", "/var/run/postgresql/.s.PGSQL.5432"])
def test_no_other_kind_of_socket(path: str) -> None:
    with pytest.raises(NotImplementedError):
        asyncio.run(GuardedBackend().connect_unix_socket(path))


# --- the real resolver ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "::1"])
def test_the_real_resolver_meets_the_guard(host: str) -> None:
    """Whatever the system makes of odd spellings, it is the outcome that is judged."""
    network = Network()
    with pytest.raises((ForbiddenAddress, httpcore2.ConnectError)):
        connect(GuardedBackend(backend=network), host, 80)
    assert network.connected == []


def test_the_real_resolver_names_each_address_once() -> None:
    addresses = asyncio.run(guard.resolve("127.0.0.1", 80))
    assert addresses == ["127.0.0.1"]


def test_a_failed_look_up_is_a_failed_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object, **_kwargs: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(httpcore2.ConnectError):
        asyncio.run(guard.resolve("images.test", 80))


def test_names_are_looked_up_outside_the_default_executor() -> None:
    async def look_up() -> object:
        await guard.resolve("127.0.0.1", 80)
        return getattr(asyncio.get_running_loop(), "_default_executor", None)

    assert asyncio.run(look_up()) is None


# --- the transport -------------------------------------------------------------------------------------------------


def get(url: str, transport: GuardedTransport) -> httpx2.Response:
    async def once() -> httpx2.Response:
        async with httpx2.AsyncClient(transport=transport, trust_env=False) as client:
            return await client.get(url)

    return asyncio.run(once())


def test_the_transport_sends_to_the_checked_address() -> None:
    network = Network()
    answer = get("http://images.test/a.png", GuardedTransport(resolver=Names([PUBLIC]), backend=network))
    assert answer.status_code == 204
    assert network.connected == [(PUBLIC, 80)]


def test_the_transport_checks_the_form_too() -> None:
    for url in ("http://user@images.test/", "http://images.test:22/", "http://2130706433/"):
        network, names = Network(), Names([PUBLIC])
        with pytest.raises(ForbiddenAddress):
            get(url, GuardedTransport(resolver=names, backend=network))
        assert (names.questions, network.connected) == ([], [])


def test_the_transport_speaks_in_httpx_words() -> None:
    with pytest.raises(httpx2.ConnectTimeout):
        get("http://images.test/", GuardedTransport(resolver=Names([PUBLIC]), backend=Network(dead=[PUBLIC])))
    with pytest.raises(httpx2.ConnectError):
        get("http://images.test/", GuardedTransport(resolver=Names([]), backend=Network()))
