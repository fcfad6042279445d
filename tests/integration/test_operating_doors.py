"""`/livez`, `/readyz` and `/metrics`: what they say to whom, and what makes the service unfit."""

from __future__ import annotations

import asyncio
import logging
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test import AsyncClient, Client

from accounts.guards import Guards
from accounts.ledger.triggers import GUARDS
from accounts.payments.triggers import GUARDS as PAYMENT_GUARDS
from generation.triggers import GUARDS as IMAGE_GUARDS
from nbp_site.models import WorkerProbe
from nbp_site.operating import gauges, health, worker_metrics
from tests.live.conftest import free_port

pytestmark = pytest.mark.django_db(transaction=True)
STRANGER = {"HTTP_X_FORWARDED_FOR": "192.0.2.1"}


@pytest.fixture(autouse=True)
def _asked_anew(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    """Nothing is remembered from the test before; this machine's disk is large enough."""
    monkeypatch.setattr(health, "_RECENT_SECONDS", -1.0)
    monkeypatch.setattr(gauges, "_FRESH_SECONDS", -1.0)
    settings.NBP_MIN_FREE_BYTES = 1


@pytest.fixture
def worker() -> WorkerProbe:
    now = datetime.now(UTC)
    return WorkerProbe.objects.create(name="w", host="h", pid=1, started_at=now, seen_at=now, beaten_at=now)


def _readyz(query: str = "", **extra: Any) -> tuple[int, dict[str, Any]]:
    response = Client().get(f"/readyz{query}", **extra)
    return response.status_code, response.json()


def _failed() -> tuple[int, str, dict[str, str]]:
    """Status, verdict, and the reasons of the checks that failed."""
    status, answer = _readyz()
    return status, answer["status"], {each["name"]: each["reason"] for each in answer["checks"] if not each["ok"]}


def test_livez_needs_no_database_and_no_known_host(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        response = Client().get("/livez", headers={"host": "10.1.2.3:8000"})
    assert (response.status_code, response.json()) == (200, {"status": "alive"})
    assert Client().post("/livez").status_code == 405


def test_probes_are_not_sent_to_https(settings: Any) -> None:
    settings.SECURE_SSL_REDIRECT = True
    assert Client().get("/").status_code == 301
    assert Client().get("/livez").status_code == 200


def test_readyz_names_every_check(worker: WorkerProbe) -> None:
    status, answer = _readyz()
    assert (status, answer["status"]) == (200, "ready"), answer
    names = {each["name"] for each in answer["checks"]}
    assert names == {"database", "migrations", "triggers", "worker", "media", "spool", "broker", "redis"}
    assert all(each["milliseconds"] >= 0 for each in answer["checks"])


def test_strangers_learn_one_word(worker: WorkerProbe, settings: Any) -> None:
    settings.NBP_METRICS_TOKEN = "operators-own"
    assert _readyz(**STRANGER) == (200, {"status": "ready"})
    assert _readyz(REMOTE_ADDR="192.0.2.1") == (200, {"status": "ready"})
    wrong = {"HTTP_AUTHORIZATION": "Bearer operators-other"}
    assert _readyz(**STRANGER, **wrong) == (200, {"status": "ready"})
    right = {"HTTP_AUTHORIZATION": "Bearer operators-own"}
    assert "checks" in _readyz(**STRANGER, **right)[1]


def test_no_token_is_not_an_empty_token(settings: Any) -> None:
    settings.NBP_METRICS_TOKEN = ""
    assert Client().get("/metrics", **STRANGER, HTTP_AUTHORIZATION="Bearer ").status_code == 401


def test_without_a_worker_the_service_is_unfit_but_the_process_is_not() -> None:
    assert _failed()[:2] == (503, "unready")
    assert set(_failed()[2]) == {"worker"}
    assert _readyz("?exclude=worker", **STRANGER) == (200, {"status": "ready"})


def test_only_the_worker_can_be_left_out(worker: WorkerProbe) -> None:
    GUARDS.drop(connection)
    assert _readyz("?exclude=triggers&exclude=worker")[0] == 503


def test_a_worker_that_no_message_reaches_is_none(worker: WorkerProbe) -> None:
    WorkerProbe.objects.update(seen_at=Now(), beaten_at=Now() - timedelta(seconds=61))
    assert set(_failed()[2]) == {"worker"}


def test_while_the_broker_is_down_work_is_still_taken_in(settings: Any) -> None:
    settings.NBP_BROKER_URL = f"redis://127.0.0.1:{free_port()}/0"
    status, verdict, reasons = _failed()
    assert (status, verdict, set(reasons)) == (200, "degraded", {"broker", "worker"})


def test_redis_is_not_needed_either(worker: WorkerProbe, settings: Any) -> None:
    settings.NBP_REDIS_URL = f"redis://:secret-word@127.0.0.1:{free_port()}/0"
    status, verdict, reasons = _failed()
    assert (status, verdict, reasons) == (200, "degraded", {"redis": "ConnectionError"})


@pytest.mark.parametrize("guards", [GUARDS, PAYMENT_GUARDS, IMAGE_GUARDS], ids=["ledger", "payments", "images"])
def test_missing_triggers_make_it_unfit(worker: WorkerProbe, guards: Guards) -> None:
    guards.drop(connection)
    try:
        status, _, reasons = _failed()
    finally:
        guards.create(connection)
    assert (status, set(reasons)) == (503, {"triggers"})


def test_a_migration_that_was_not_applied_makes_it_unfit(worker: WorkerProbe) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE django_migrations SET name = 'x' WHERE app = 'nbp_site' AND name = '0001_initial'")
    try:
        status, _, reasons = _failed()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("UPDATE django_migrations SET name = '0001_initial' WHERE app = 'nbp_site' AND name = 'x'")
    assert (status, reasons) == (503, {"migrations": "1 migrations are not applied; run manage.py migrate"})


def test_a_full_disk_makes_it_unfit(worker: WorkerProbe, settings: Any) -> None:
    settings.NBP_MIN_FREE_BYTES = 10**18
    status, _, reasons = _failed()
    assert (status, set(reasons)) == (503, {"media", "spool"})


def test_a_spool_that_takes_nothing_makes_it_unfit(worker: WorkerProbe, settings: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    settings.NBP_SPOOL_DIR = tmp_path / "file"
    assert set(_failed()[2]) == {"spool"}


def test_checks_leave_nothing_behind(worker: WorkerProbe, tmp_path: Path) -> None:
    _readyz()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_check_that_hangs_is_a_failed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from threading import Event

    release = Event()
    slow = health.Check("slow", lambda: release.wait(10) and None)
    quick = health.Check("quick", lambda: None)
    monkeypatch.setattr(health, "_GROUPS", ((slow,), (quick,)))
    try:
        found = health.look(patience_seconds=2.0)
    finally:
        release.set()
    assert [(each.name, each.is_ok) for each in found] == [("slow", False), ("quick", True)]
    assert found[0].reason == "no answer within 2 s"


def test_strangers_cannot_make_it_look_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_RECENT_SECONDS", 60.0)
    looks: list[int] = []
    monkeypatch.setattr(health, "_GROUPS", ((health.Check("x", lambda: looks.append(1)),),))
    recent = health.Recent()
    for _ in range(5):
        recent.look([])
        recent.look(["anything", "else"])
    assert len(looks) == 1


def test_the_log_says_when_it_becomes_unfit_and_not_each_time(
    worker: WorkerProbe, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    recent = health.Recent()
    recent.look([])
    WorkerProbe.objects.all().delete()
    recent.look([])
    recent.look([])
    assert [each.getMessage() for each in caplog.records] == ["the service is unready: worker"]


def test_it_answers_in_the_event_loop_too(worker: WorkerProbe) -> None:
    async def ask() -> list[Any]:
        return [await AsyncClient().get(f"/{name}") for name in ("livez", "readyz", "metrics")]

    assert [each.status_code for each in asyncio.run(ask())] == [200, 200, 200]


# --- metrics -----------------------------------------------------------------------------------------------------


def _metrics() -> dict[str, float]:
    text = Client().get("/metrics").content.decode()
    lines = [line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def test_metrics_are_the_operators() -> None:
    assert Client().get("/metrics").status_code == 200
    refused = Client().get("/metrics", **STRANGER)
    assert (refused.status_code, b"nbp_" in refused.content) == (401, False)


def test_requests_are_counted_by_route_and_status(alice: Any) -> None:
    series = 'nbp_http_requests_total{method="GET",route="api/v1/generations/<str:generation_id>",status="404"}'
    before = _metrics().get(series, 0)
    Client().get("/api/v1/generations/gen_" + "0" * 26, headers=alice.headers())
    found = _metrics()
    assert found[series] == before + 1
    assert any(name.startswith("nbp_http_request_seconds_bucket") for name in found)


def test_the_present_is_told_from_the_database(alice: Any, queue: Any, worker: WorkerProbe) -> None:
    made = {"prompt": "a very private prompt", "image_size": "1K", "n": 2}
    Client().post("/api/v1/generations", made, headers=alice.headers(), content_type="application/json")
    found = _metrics()
    assert found['nbp_outputs{mode="test",state="queued"}'] == 2
    assert found['nbp_queue_depth{mode="test"}'] == 2
    assert 0 <= found['nbp_queue_oldest_seconds{mode="test"}'] < 60
    assert found['nbp_open_holds{mode="test"}'] == 2
    assert found['nbp_open_holds_micros{mode="test"}'] == 2 * 147_400
    assert found['nbp_channel_up{channel="sandbox",mode="test"}'] == 1
    assert found['nbp_worker_stalled{host="h",pid="1"}'] == 0
    assert found["nbp_database_up"] == 1
    queue.run_to_the_end()
    found = _metrics()
    assert (found['nbp_outputs{mode="test",state="queued"}'], found['nbp_open_holds{mode="test"}']) == (0, 0)


def test_a_scrape_costs_one_query_for_each_family_and_none_a_moment_later(
    django_assert_num_queries: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gauges, "_FRESH_SECONDS", 60.0)
    collector = gauges.DatabaseGauges()
    with django_assert_num_queries(len(gauges._FAMILIES)):
        list(collector.collect())
    with django_assert_num_queries(0):
        list(collector.collect())


def test_labels_hold_no_accounts_prompts_or_keys(alice: Any, queue: Any) -> None:
    made = {"prompt": "a very private prompt", "image_size": "1K"}
    Client().post("/api/v1/generations", made, headers=alice.headers(), content_type="application/json")
    queue.run_to_the_end()
    text = Client().get("/metrics").content.decode()
    for private in ("private prompt", alice.account.public_id, str(alice.account.pk), "nbp_test_", "@example.com"):
        assert private not in text


def test_a_refusal_for_speed_is_counted_by_the_limit(alice: Any, settings: Any) -> None:
    series = 'nbp_http_throttled_total{limit="requests"}'
    before = _metrics().get(series, 0)
    settings.NBP_REQUESTS_PER_MINUTE = 1
    for _ in range(3):
        Client().get("/api/v1/wallet", headers=alice.headers())
    assert _metrics()[series] >= before + 2


def test_a_database_without_figures_leaves_the_counters(monkeypatch: pytest.MonkeyPatch) -> None:
    from django.db import OperationalError

    def broken() -> Iterator[Any]:
        raise OperationalError("gone")
        yield

    monkeypatch.setattr(gauges, "_FAMILIES", (broken,))
    found = _metrics()
    assert found["nbp_database_up"] == 0
    assert "nbp_calls_in_flight" in found


# --- a worker's own port -----------------------------------------------------------------------------------------


def _ask(url: str, **headers: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_a_worker_tells_its_own_figures_where_asked_to(settings: Any) -> None:
    assert worker_metrics.serve() is None
    settings.NBP_METRICS_PORT = free_port()
    server = worker_metrics.serve()
    assert server is not None
    try:
        url = f"http://127.0.0.1:{settings.NBP_METRICS_PORT}/metrics"
        status, body = _ask(url)
        assert status == 200
        assert b"nbp_calls_in_flight" in body
        assert b"nbp_database_up" not in body
        assert _ask(url, Via="1.1 proxy")[0] == 401
        assert _ask(url.replace("metrics", "secrets"))[0] == 404
        assert worker_metrics.serve() is None, "the port is taken"
    finally:
        server.shutdown()
        server.server_close()


# --- request lines -----------------------------------------------------------------------------------------------


def _lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [each.facts for each in caplog.records if each.name == "nbp_site.requests"]  # type: ignore[attr-defined]


def test_a_request_is_one_line(alice: Any, queue: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    made = {"prompt": "a very private prompt", "image_size": "1K"}
    Client().post("/api/v1/generations?secret=1", made, headers=alice.headers(), content_type="application/json")
    [facts] = _lines(caplog)
    assert facts.pop("milliseconds") >= 0
    assert facts == {"method": "POST", "route": "api/v1/generations", "status": 202}
    shown = "\n".join(each.getMessage() + repr(each.__dict__) for each in caplog.records)
    for private in ("private prompt", alice.keys["test"].raw, "secret=1"):
        assert private not in shown


def test_the_line_names_the_account_and_the_generation(
    alice: Any, queue: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accounts import request_context

    noted: dict[str, str] = {}
    monkeypatch.setattr(request_context, "note", lambda **names: noted.update(names))
    made = {"prompt": "x", "image_size": "1K"}
    answer = Client().post("/api/v1/generations", made, headers=alice.headers(), content_type="application/json")
    assert noted == {"account": alice.account.public_id, "generation": answer.json()["id"]}


def test_a_signed_links_query_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    Client().get("/m/out_" + "0" * 26 + "?expires=1&signature=feedfacefeedface")
    [facts] = _lines(caplog)
    assert (facts["route"], facts["status"]) == ("m/<str:output_id>", 403)
    assert "feedface" not in caplog.text


def test_probes_leave_no_lines(worker: WorkerProbe, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    Client().get("/livez")
    Client().get("/metrics", **STRANGER)
    assert caplog.records == []
