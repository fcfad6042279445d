"""Addresses that strangers make us fetch, given through the API: none leads inside, and no second answer changes that."""

from __future__ import annotations

import base64
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpcore2
import pytest

from accounts.ledger.models import Hold
from generation.egress import loop
from generation.egress.sockets import SocketBackend
from generation.models import Generation
from tests import images
from tests.faults.doors import ask, code_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("audited")]

PUBLIC, INSIDE = "93.184.215.14", "169.254.169.254"


@pytest.fixture(autouse=True, scope="module")
def _loop_ends() -> Iterator[None]:
    yield
    loop.stop()


@pytest.fixture
def sockets(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses a socket was opened to. None is reached."""
    opened: list[str] = []

    async def note(self: Any, host: str, port: int, *_: Any, **__: Any) -> Any:
        opened.append(host)
        raise httpcore2.ConnectError("nobody is there")

    monkeypatch.setattr(SocketBackend, "connect_tcp", note)
    return opened


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[list[str]]]:
    """A name server: names[host] is a list of answers, given one after another; the last one stays."""
    known: dict[str, list[list[str]]] = {}

    def look_up(host: str, port: int, **_: Any) -> list[Any]:
        if host not in known:
            raise socket.gaierror(f"{host} is unknown")
        answers = known[host]
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return known


def refer(alice: Any, *urls: str) -> Any:
    return ask(alice, "POST", "generations", {"prompt": "x", "references": [{"url": each} for each in urls]})


FORBIDDEN = (
    "http://127.0.0.1/",
    "http://127.1/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0177.0.0.1/",
    "http://0/",
    "http://[::1]/",
    "http://[::]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[2002:7f00:1::]/",
    "http://[2001:0:7f00:1::80ff:fffe]/",
    "http://[fe80::1%25eth0]/",
    "http://[fc00::1]/",
    "http://169.254.169.254/latest/meta-data/",
    "http://[fd00:ec2::254]/",
    "http://100.64.0.1/",
    "http://168.63.129.16/",
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://192.168.0.1/",
    "http://0.0.0.0/",
    "http://255.255.255.255/",
    "http://224.0.0.1/",
    "http://198.18.0.1/",
    "http://example.org:22/",
    "http://example.org:6379/",
    "http://example.org:8080/",
    "http://user:word@example.org/",
    "http://user@example.org/",
    "http://example.org@127.0.0.1/",
    "http://127.0.0.1#@example.org/",
    "http://example.org\\@127.0.0.1/",
    "http://example.org /",
    "http://exa\tmple.org/",
    "ftp://example.org/",
    "file:///etc/passwd",
    "gopher://example.org/",
    "data:image/png;base64,AAAA",
    "javascript:alert(1)",
    "//example.org/",
    "example.org",
    "http:///",
    "http://",
    "http://\u2460\u2461\u2466.0.0.1/",
    "http://\u0661\u0662\u0667.0.0.1/",
    "http://\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3/",
)


@pytest.mark.parametrize("url", FORBIDDEN)
def test_g6_an_address_inside_is_refused_before_anything_is_opened(
    alice: Any, sockets: list[str], names: dict[str, Any], url: str
) -> None:
    names["example.org"] = [[PUBLIC]]
    names["localhost"] = [["127.0.0.1"]]
    answer = refer(alice, url)
    assert code_of(answer) == (400, "reference_forbidden_address")
    assert answer.json()["error"]["param"] == "references[0].url"
    assert sockets == []
    assert (Generation.objects.count(), Hold.objects.count()) == (0, 0)


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], [INSIDE], ["::1"], [PUBLIC, "10.0.0.1"], ["10.0.0.1", PUBLIC], ["::ffff:127.0.0.1"]]
)
def test_g6_a_name_that_leads_inside_is_refused_and_not_told_where(
    alice: Any, sockets: list[str], names: dict[str, Any], addresses: list[str]
) -> None:
    names["inside.example"] = [addresses]
    answer = refer(alice, "https://inside.example/a.png")
    assert code_of(answer) == (400, "reference_forbidden_address")
    assert not any(each in answer.content.decode() for each in addresses)
    assert sockets == []


def test_g7_the_socket_goes_to_the_address_that_was_checked(
    alice: Any, sockets: list[str], names: dict[str, Any]
) -> None:
    names["rebind.example"] = [[PUBLIC], [INSIDE]]
    assert code_of(refer(alice, "http://rebind.example/a.png")) == (400, "reference_unreachable")
    assert sockets == [PUBLIC], "one look, and the socket to what was seen"
    assert len(names["rebind.example"]) == 1, "nobody asked the name server a second time"


def test_g7_every_connection_is_checked_anew(alice: Any, sockets: list[str], names: dict[str, Any]) -> None:
    names["rebind.example"] = [[PUBLIC], [INSIDE]]
    refer(alice, "http://rebind.example/a.png")
    assert code_of(refer(alice, "http://rebind.example/a.png")) == (400, "reference_forbidden_address")
    assert sockets == [PUBLIC]
    assert Generation.objects.count() == 0


class _Site(BaseHTTPRequestHandler):
    """Redirects wherever it is asked to, and remembers who came."""

    seen: list[str]

    def do_GET(self) -> None:
        self.server.seen.append(self.path)  # type: ignore[attr-defined]
        status, _, target = self.path[1:].partition("/")
        self.send_response(int(status))
        self.send_header("Location", base64.urlsafe_b64decode(target).decode() if target else "/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def site(settings: Any) -> Iterator[Any]:
    """A web site on loopback that may be fetched from, and nothing else may."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Site)
    server.seen = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    settings.NBP_FETCH_ALLOW_HOSTS = [f"127.0.0.1:{server.server_port}"]
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_g6_a_redirect_is_not_followed_wherever_it_leads(alice: Any, site: Any, status: int) -> None:
    base = f"http://127.0.0.1:{site.server_port}"
    for target in (f"{base}/200/", f"http://{INSIDE}/", "file:///etc/passwd", "http://localhost:22/"):
        url = f"{base}/{status}/{base64.urlsafe_b64encode(target.encode()).decode()}"
        answer = refer(alice, url)
        assert code_of(answer) == (400, "reference_redirected")
        assert target not in answer.content.decode()
    assert len(site.seen) == 4
    assert (Generation.objects.count(), Hold.objects.count()) == (0, 0)


def test_g6_one_forbidden_address_among_good_references_refuses_the_whole_request(
    alice: Any, sockets: list[str], settings: Any
) -> None:
    good = {"data": base64.b64encode(images.png(64, 48)).decode()}
    body = {"prompt": "x", "references": [good, {"url": f"http://{INSIDE}/"}, good]}
    answer = ask(alice, "POST", "generations", body)
    assert code_of(answer) == (400, "reference_forbidden_address")
    assert answer.json()["error"]["param"] == "references[1].url"
    assert (Generation.objects.count(), Hold.objects.count(), sockets) == (0, 0, [])


@pytest.mark.parametrize("name", ["webhook", "webhook_url", "callback_url", "notify_url", "events_url"])
def test_g8_no_customers_address_is_called_back(alice: Any, sockets: list[str], name: str) -> None:
    answer = ask(alice, "POST", "generations", {"prompt": "x", name: "http://example.org/"})
    assert code_of(answer) == (400, "unknown_field")
    assert (Generation.objects.count(), sockets) == (0, [])
