"""A key and a prompt that nobody else has are sent through everything that can happen, and then looked for everywhere."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from django.contrib.auth.models import Permission
from django.core import mail
from django.db import connection
from django.test import Client
from django.urls import reverse

from accounts import keys
from accounts.authentication import Requester
from accounts.models import User
from generation import submission, tasks
from generation.channels import registry
from generation.channels.adapter import Credentials
from generation.contract import GenerationRequest, ReferenceInput
from generation.models import Generation
from tests.faults.doors import ask, signed_in
from tests.live.conftest import Service

pytestmark = pytest.mark.django_db(transaction=True)

PROMPT = "Canary Quetzalcoatlus in seventeen shades of puce"


class _Everything(logging.Handler):
    """Keeps each record as a formatter would print it, with its arguments and its traceback."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(logging.Formatter("%(name)s %(message)s"))
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines += [self.format(record), repr(record.args)]


@pytest.fixture
def everything_logged(caplog: pytest.LogCaptureFixture) -> Any:
    """Everything that any logger says, at its most talkative."""
    handler, root = _Everything(), logging.getLogger()
    names = ["accounts", "generation", "nbp_site", "django", "celery", "kombu", "httpx2", "httpcore2", "google_genai"]
    loggers = [root, *(logging.getLogger(name) for name in names)]
    before = [each.level for each in loggers]
    root.addHandler(handler)
    for each in loggers:
        each.setLevel(logging.DEBUG)
    yield handler.lines
    root.removeHandler(handler)
    for each, level in zip(loggers, before, strict=True):
        each.setLevel(level)


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch, queue: Any) -> list[str]:
    """All that Celery was handed."""
    handed: list[str] = []
    keep = tasks.run_output.apply_async

    def noting(*args: Any, **options: Any) -> Any:
        handed.append(repr((args, options)))
        return keep(*args, **options)

    monkeypatch.setattr(tasks.run_output, "apply_async", noting)
    return handed


async def _crash(*_: Any, **__: Any) -> Any:
    raise RuntimeError("the adapter broke")


def _break(*_: Any, **__: Any) -> Any:
    raise RuntimeError("the front door broke")


def _fates(alice: Any, queue: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The canaries through success, refusal, a busy provider, a crash in an adapter, faults and bad requests."""
    answers = [
        ask(alice, "POST", "generations", {"prompt": f"{directive}{PROMPT}", "image_size": "1K"})
        for directive in ("", "sandbox:refuse ", "sandbox:no-image ", "sandbox:429:1 ", "sandbox:rejected ")
    ]
    assert {each.status_code for each in answers} == {202}
    queue.run_to_the_end()
    with monkeypatch.context() as patched:
        patched.setattr(registry.ADAPTERS["sandbox"], "generate", _crash)
        ask(alice, "POST", "generations", {"prompt": PROMPT, "image_size": "1K"})
        queue.run_to_the_end()
    states = set(Generation.objects.values_list("failed_count", flat=True))
    assert states == {0, 1}
    return [
        ask(alice, "POST", "generations", raw=f'{{"prompt": "{PROMPT}", '.encode()),
        ask(alice, "POST", "generations", raw=f'{{"prompt": "{PROMPT}", "n": NaN}}'.encode()),
        ask(alice, "POST", "generations", {"prompt": PROMPT, "nn": 2}),
        ask(alice, "POST", "generations", {"prompt": PROMPT, "n": 0}),
        ask(alice, "POST", "generations", {"prompt": PROMPT * 2000}),
        ask(alice, "POST", "generations", {"prompt": PROMPT, "model": "nothing"}),
        ask(alice, "PUT", "generations", {"prompt": PROMPT}),
        ask(alice, "POST", f"nowhere?key={alice.keys['test'].raw}", {"prompt": PROMPT}),
        *_faults(alice, monkeypatch),
    ]


def _faults(alice: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The pages of a fault of ours, for a key and for a visitor."""
    api, browser = Client(raise_request_exception=False), signed_in(alice.user, raise_request_exception=False)
    monkeypatch.setattr(submission, "quote", _break)
    monkeypatch.setattr(submission, "accept", _break)
    body = f'{{"prompt": "{PROMPT}"}}'.encode()
    found = [
        api.generic(
            "POST", f"/api/v1/quotes?key={alice.keys['test'].raw}", body, "application/json", headers=alice.headers()
        ),
        browser.post("/playground/", {"prompt": PROMPT, "n": 1, "key": "x"}),
    ]
    assert [each.status_code for each in found] == [500, 500]
    return found


def _columns_with(text: str) -> set[str]:
    """table.column of every place in the database where a text stands."""
    found = set()
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            names = [each[0] for each in cursor.description]
            for row in cursor.fetchall():
                found |= {f"{table}.{name}" for name, value in zip(names, row, strict=True) if text in _text(value)}
    return found


def _text(value: Any) -> str:
    return bytes(value).decode("latin-1") if isinstance(value, bytes | memoryview) else str(value)


def test_h2_h8_the_key_is_nowhere_and_the_prompt_in_one_column(
    alice: Any, queue: Any, messages: list[str], everything_logged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = _fates(alice, queue, monkeypatch)
    secret = keys.parse(alice.keys["test"].raw).secret
    logged = "\n".join(everything_logged)
    assert "the adapter broke" in logged
    assert "the front door broke" in logged
    told = "\n".join(answer.content.decode() + repr(sorted(answer.headers.items())) for answer in answers)
    for place, text in (("logs", logged), ("messages", "\n".join(messages)), ("error pages", told)):
        assert text
        assert "Quetzalcoatlus" not in text, place
        assert secret not in text, place
    assert "Traceback" not in told
    assert mail.outbox == []
    assert _columns_with("Quetzalcoatlus") == {"generation_generation.prompt"}
    assert _columns_with(secret) == set()
    assert len(messages) >= 6


def test_h2_h8_nothing_prints_a_secret_or_a_prompt_by_accident(alice: Any) -> None:
    issued = alice.keys["test"]
    parsed = keys.parse(issued.raw)
    printed = [
        issued,
        parsed,
        issued.api_key,
        Requester(account=alice.account, mode="test", api_key=issued.api_key),
        Credentials(secret=parsed.secret, base_url="https://example.org"),
        GenerationRequest(PROMPT, references=(ReferenceInput(data=PROMPT.encode()),)),
    ]
    for each in printed:
        for text in (repr(each), str(each), repr([each])):
            assert parsed.secret not in text
            assert "Quetzalcoatlus" not in text


def test_h8_staff_who_are_no_superuser_read_no_prompt_unless_they_may(alice: Any, queue: Any) -> None:
    made = ask(alice, "POST", "generations", {"prompt": PROMPT, "image_size": "1K"}).json()
    queue.run()
    generation = Generation.objects.get()
    clerk = User.objects.create_user("clerk@example.com", "correct horse battery", is_staff=True)
    pages = [
        reverse("admin:index"),
        reverse("admin:generation_generation_changelist"),
        reverse("admin:generation_generation_change", args=[generation.pk]),
        reverse("admin:generation_generation_history", args=[generation.pk]),
        reverse("admin:generation_charge_changelist"),
        reverse("admin:generation_output", args=[made["outputs"][0]["id"]]),
    ]

    def shown() -> list[str]:
        browser = signed_in(clerk)
        return [page for page in pages if "Quetzalcoatlus" in browser.get(page, follow=True).content.decode()]

    assert shown() == []
    clerk.user_permissions.add(*Permission.objects.filter(content_type__app_label="accounts"))
    assert shown() == []
    clerk.user_permissions.add(Permission.objects.get(codename="view_generation"))
    assert len(shown()) >= 2


@pytest.fixture
def running(tmp_path: Any) -> Any:
    """A whole service in a process of its own, as talkative as it can be made."""
    started = Service(tmp_path, {"NBP_LOG_LEVEL": "DEBUG", "NBP_WORKER_THREADS": "4"}).start()
    yield started
    started.kill()


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_h7_a_key_in_a_url_or_a_foreign_header_opens_nothing_here_and_is_written_nowhere(running: Service) -> None:
    made = running.manage(
        "create_api_key", "--account", running.note["email"], "--mode", "test", "--name", "canary", "--json"
    )
    raw = re.search(r"nbp_test_\w+", made.stdout)[0]
    secret = keys.parse(raw).secret
    good, json = {"authorization": f"Bearer {raw}"}, {"content-type": "application/json"}

    def send(method: str, path: str, **options: Any) -> httpx2.Response:
        return httpx2.request(method, f"{running.base_url}{path}", timeout=90, trust_env=False, **options)

    body = {"prompt": PROMPT, "image_size": "1K"}
    for headers, query in (({}, f"?key={raw}"), ({"x-goog-api-key": raw}, ""), ({"x-api-key": raw}, ""), ({}, "")):
        answer = send("POST", f"/api/v1/generations{query}", json=body, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "api_key_missing")
    sent: list[Callable[[], httpx2.Response]] = [
        lambda: send("POST", "/api/v1/generations", json=body, headers=good | {"prefer": "wait=60"}),
        lambda: send(
            "POST",
            "/api/v1/generations",
            json={"prompt": f"sandbox:refuse {PROMPT}"},
            headers=good | {"prefer": "wait=60"},
        ),
        lambda: send("POST", f"/api/v1/generations?key={raw}", content=f'{{"prompt": "{PROMPT}', headers=good | json),
        lambda: send("GET", f"/api/v1/nowhere?key={raw}", headers=good),
        lambda: send("GET", f"/nowhere/?key={raw}", headers={"referer": f"{running.base_url}/?key={raw}"}),
        lambda: send("GET", f"/admin/?key={raw}"),
        lambda: send("POST", f"/accounts/login/?key={raw}", data={"login": raw, "password": raw}),
        lambda: send("GET", "/api/v1/wallet", headers={"authorization": f"Bearer {raw}x"}),
        lambda: send("GET", "/api/v1/wallet", headers=good | {"host": "evil.example"}),
    ]
    answers = [each() for each in sent]
    assert [each.status_code for each in answers] == [200, 200, 400, 404, 404, 302, 403, 401, 400]
    assert [answers[0].json()["status"], answers[1].json()["status"]] == ["succeeded", "failed"]
    for each in answers[2:5] + answers[6:]:
        assert secret not in each.text
        assert each.headers.get("referrer-policy") in ("same-origin", "no-referrer")
    assert running.signal(15) == 0
    assert "Quetzalcoatlus" not in running.log
    assert "DEBUG" in running.log
    written = [path for path in running.folder.rglob("*") if path.is_file()]
    assert {"log.txt", "nbp.sqlite3"} <= {path.name for path in written}
    assert [path for path in written if secret.encode() in path.read_bytes()] == []
    assert {path.name for path in written if b"Quetzalcoatlus" in path.read_bytes()} <= {
        "nbp.sqlite3",
        "nbp.sqlite3-wal",
    }
