"""The API's own handler answers as the site would, on the event loop, and lets go of what a waiting client sent."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import inspect
import io
import json
import tempfile
import threading
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from PIL import Image

from generation import queries
from generation.models import Generation
from generation.waiting import WATCHER
from nbp_site.api_handler import is_served
from nbp_site.asgi import application

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("audited")]
# These differ from answer to answer.
_OWN = {"x-request-id", "ratelimit", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"}


async def _ask(method: str, path: str, **options: Any) -> httpx2.Response:
    transport = httpx2.ASGITransport(app=application, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://testserver", timeout=60) as client:
        return await client.request(method, path, **options)


def _facts(headers: Any) -> dict[str, str]:
    facts = {name.lower(): value for name, value in headers.items() if name.lower() not in _OWN}
    policy = facts.pop("content-security-policy", "")
    return facts | {"policy": " ".join(sorted(policy.split("; ")))}


def _without_ids(body: bytes) -> Any:
    data = json.loads(body)
    if "error" in data:
        data["error"].pop("request_id")
    return data


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/wallet"),
        ("GET", "/api/v1/generations?limit=1"),
        ("GET", "/api/v1/generations?limit=0"),
        ("GET", "/api/v1/generations/gen_x"),
        ("DELETE", "/api/v1/generations/gen_x"),
        ("POST", "/api/v1/generations"),
        ("POST", "/api/v1/generations/"),
        ("GET", "/api/v1/nothing/here"),
        ("GET", "/api/elsewhere"),
        ("GET", "/m/out_x?expires=1&signature=2"),
        ("POST", "/m/out_x"),
    ],
)
def test_an_answer_is_the_same_from_both_handlers(alice: Any, method: str, path: str) -> None:
    by_site = Client().generic(method, path, headers=alice.headers())
    by_own = asyncio.run(_ask(method, path, headers=alice.headers()))
    assert by_own.status_code == by_site.status_code
    assert _without_ids(by_own.content) == _without_ids(by_site.content)
    assert _facts(by_own.headers) == _facts(by_site.headers)
    assert by_own.headers["x-request-id"].startswith("req_")


def test_a_host_that_is_not_ours_is_refused_in_the_doors_format(alice: Any) -> None:
    response = asyncio.run(_ask("GET", "/api/v1/wallet", headers=alice.headers() | {"host": "evil.example"}))
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_request")


def test_a_redirect_to_https_comes_from_here_too(alice: Any, settings: Any) -> None:
    from nbp_site.loop_middleware import Security

    settings.SECURE_SSL_REDIRECT = True

    async def never(request: Any) -> Any:
        raise AssertionError("the view was asked")

    from django.test import RequestFactory

    response = asyncio.run(Security(never)(RequestFactory().get("/api/v1/wallet")))
    assert (response.status_code, response["Location"]) == (301, "https://testserver/api/v1/wallet")


def test_a_fault_answers_in_the_doors_format(alice: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(requester: Any) -> Any:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(queries, "wallet", broken)
    response = asyncio.run(_ask("GET", "/api/v1/wallet", headers=alice.headers()))
    assert (response.status_code, response.json()["error"]["code"]) == (500, "internal_error")
    assert "fault of ours" not in response.text


def test_pages_about_the_api_are_the_sites(client: Client) -> None:
    for path in ("/api/v1/docs", "/api/v1/docs/errors", "/api/v1/schema"):
        assert not is_served(path)
        assert asyncio.run(_ask("GET", path)).status_code == 200
    assert not is_served("/")
    assert not is_served("/accounts/login/")


def _routes(patterns: list[URLPattern | URLResolver], prefix: str = "/") -> Iterator[tuple[str, Any]]:
    for each in patterns:
        path = prefix + str(each.pattern)
        if isinstance(each, URLResolver):
            yield from _routes(each.url_patterns, path)
        else:
            yield path, each.callback


def test_every_view_the_handler_serves_is_a_coroutine() -> None:
    served = {path: view for path, view in _routes(get_resolver().url_patterns) if is_served(path)}
    assert len(served) > 10
    assert [path for path, view in served.items() if not inspect.iscoroutinefunction(view)] == []


def test_no_thread_of_djangos_serves_a_request(alice: Any) -> None:
    async def names() -> set[str]:
        await _ask("GET", "/api/v1/wallet", headers=alice.headers())
        await _ask("GET", "/api/v1/nothing", headers=alice.headers())
        return {thread.name.rpartition("_")[0] for thread in threading.enumerate()}

    before = {thread.name.rpartition("_")[0] for thread in threading.enumerate()}
    assert asyncio.run(names()) - before <= {"door", "intake", "files", "watcher"}


def _open_bodies() -> int:
    """Temporary files that this process has open: bodies and uploads lie there."""
    folder, count = tempfile.gettempdir(), 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            place = str(descriptor.readlink())
            count += place.startswith(folder) and ("deleted" in place or ".upload" in place)
    return count


def _photo(edge: int) -> bytes:
    photo = io.BytesIO()
    Image.effect_noise((edge, edge), 100).save(photo, "PNG")
    return photo.getvalue()


def _large_create() -> tuple[str, bytes]:
    """A content type and a body of some megabytes."""
    reference = {"data": base64.b64encode(_photo(1600)).decode()}
    body = {"prompt": "x", "image_size": "1K", "references": [reference]}
    return "application/json", json.dumps(body).encode()


def _large_form() -> tuple[str, bytes]:
    """The same as a form with files."""
    head = '--edge\r\nContent-Disposition: form-data; name="{}"{}\r\n\r\n'
    fields = [(head.format(name, ""), text) for name, text in (("prompt", b"x"), ("image_size", b"1K"))]
    photo = _photo(900)
    fields += [(head.format(f"f{number}", '; filename="f.png"'), photo) for number in range(4)]
    parts = [name.encode() + content + b"\r\n" for name, content in fields]
    return "multipart/form-data; boundary=edge", b"".join(parts) + b"--edge--\r\n"


@pytest.mark.parametrize("make", [_large_create, _large_form])
def test_a_client_that_waits_has_its_body_let_go(alice: Any, queue: Any, make: Any) -> None:
    """What is held during the wait is far less than what was sent."""
    content_type, body = make()
    headers = alice.headers(prefer="wait=60") | {"content-type": content_type}

    async def held_while_waiting() -> tuple[int, httpx2.Response]:
        asking = asyncio.create_task(_ask("POST", "/api/v1/generations", content=_in_chunks(body), headers=headers))
        await _until_it_waits(asking)
        gc.collect()
        held = tracemalloc.get_traced_memory()[0] - before
        assert _open_bodies() == bodies
        await asyncio.to_thread(_run_and_close, queue)
        return held, await asking

    assert len(body) > 2_500_000
    asyncio.run(_ask("GET", "/api/v1/wallet", headers=alice.headers()))
    tracemalloc.start()
    try:
        before, bodies = tracemalloc.get_traced_memory()[0], _open_bodies()
        held, response = asyncio.run(held_while_waiting())
    finally:
        tracemalloc.stop()
    assert (response.status_code, response.json()["status"]) == (200, "succeeded")
    assert held < 1_000_000, held


async def _in_chunks(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 65_536):
        yield body[start : start + 65_536]


async def _until_it_waits(asking: asyncio.Task[Any]) -> None:
    while not WATCHER._waiters:
        assert not asking.done(), asking.result()
        await asyncio.sleep(0.02)


def test_a_body_in_chunks_is_a_body(alice: Any, queue: Any) -> None:
    headers = alice.headers() | {"content-type": "application/json"}
    body = b'{"prompt": "in chunks", "image_size": "1K"}'
    response = asyncio.run(_ask("POST", "/api/v1/generations", content=_in_chunks(body), headers=headers))
    assert (response.status_code, response.json()["prompt"]) == (202, "in chunks")
    queue.run_to_the_end()


def _run_and_close(queue: Any) -> None:
    from django.db import connection

    queue.run_to_the_end()
    connection.close()


def test_a_client_that_leaves_while_it_waits_leaves_nothing_behind(alice: Any, queue: Any) -> None:
    async def leave() -> None:
        body = b'{"prompt": "x", "image_size": "1K"}'
        sent = [{"type": "http.request", "body": body, "more_body": False}]
        gone = asyncio.Event()

        async def receive() -> Any:
            if sent:
                return sent.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            raise AssertionError("nobody is there to be answered")

        headers = alice.headers(prefer="wait=60") | {"content-type": "application/json", "host": "testserver"}
        headers["content-length"] = str(len(body))
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/api/v1/generations",
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "http_version": "1.1",
            "scheme": "http",
        }
        asking = asyncio.create_task(application(scope, receive, send))
        await _until_it_waits(asking)
        gone.set()
        await asyncio.wait_for(asking, 10)

    asyncio.run(leave())
    assert not WATCHER._waiters
    assert Generation.objects.get().status == "queued"
    queue.run_to_the_end()
    assert Generation.objects.get().status == "succeeded"


def test_waiting_ends_with_the_ring_and_renders_once(alice: Any, queue: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("generation.waiting._TICK_SECONDS", 60.0)
    read: list[int] = []
    original = queries.readings
    from generation.dialects.batched_reads import READINGS

    monkeypatch.setattr(READINGS, "_read_many", lambda ids: (read.append(len(ids)), original(ids))[1])

    async def wait() -> httpx2.Response:
        asking = asyncio.create_task(
            _ask(
                "POST",
                "/api/v1/generations",
                json={"prompt": "x", "image_size": "1K"},
                headers=alice.headers(prefer="wait=30"),
            )
        )
        await _until_it_waits(asking)
        await asyncio.to_thread(_run_and_close, queue)
        return await asyncio.wait_for(asking, 10)

    response = asyncio.run(wait())
    assert (response.status_code, response.headers["preference-applied"]) == (200, "wait=30")
    assert response.json()["outputs"][0]["url"].startswith("http://testserver/m/out_")
    assert response.headers["location"].endswith(response.json()["id"])
    assert read == [1]
