"""What is past its days is forgotten, what is needed is kept, and the money stays provable."""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.core.files.storage import default_storage
from django.core.management import call_command
from django.db.models.functions import Now
from django.test import Client
from PIL import Image

from accounts.payments.models import StripeEvent
from generation import audit, media, retention, tasks
from generation.models import Attempt, Charge, Generation, IdempotencyKey, Media, Output, Reference
from nbp_site.models import WorkerProbe
from nbp_site.operating import purging
from nbp_site.operating.probe_queue import own_name

pytestmark = pytest.mark.django_db(transaction=True)
WORDS = "words that are to be forgotten"


@pytest.fixture(autouse=True)
def _audited(audited: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """After each test the whole audit holds; before it, no walk has begun."""
    monkeypatch.setattr(retention, "WALK", retention.Walk())


def _picture() -> str:
    picture = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(picture, "PNG")
    return base64.b64encode(picture.getvalue()).decode()


def _create(person: Any, **fields: Any) -> Any:
    body = {"prompt": WORDS, "image_size": "1K"} | fields
    return Client().post("/api/v1/generations", body, headers=person.headers(), content_type="application/json")


def _get(person: Any, path: str) -> Any:
    return Client().get(f"/api/v1/{path}", headers=person.headers())


def _age(days: float, **chosen: Any) -> None:
    """Make generations look as if they had ended so many days ago."""
    at = datetime.now(UTC) - timedelta(days=days)
    rows = Generation.objects.filter(**chosen)
    ids = list(rows.values_list("pk", flat=True))
    rows.update(created_at=at, finished_at=at)
    Media.objects.filter(output__generation__in=ids).update(created_at=at)


def _files() -> set[str]:
    root = Path(default_storage.path(""))
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def _everything() -> str:
    """Every text in the rows of the road."""
    models = (Generation, Output, Attempt, Reference, IdempotencyKey)
    return "\n".join(repr(row) for model in models for row in model.objects.values())


def _purge() -> None:
    while retention.purge(now=datetime.now(UTC)):
        pass


def test_by_default_everything_is_kept(alice: Any, queue: Any) -> None:
    _create(alice)
    queue.run_to_the_end()
    _age(10_000)
    _purge()
    assert Generation.objects.get().prompt == WORDS
    assert Media.objects.get().purged_at is None


def test_words_go_and_money_stays(alice: Any, queue: Any, settings: Any) -> None:
    settings.NBP_RETENTION_PROMPT_DAYS = 30
    extras = {"metadata": {"note": WORDS}, "tags": [WORDS[:20]], "references": [{"data": _picture()}]}
    made = _create(alice, **extras).json()
    _create(alice, prompt="young words")
    queue.run_to_the_end()
    Attempt.objects.update(upstream_message=WORDS)
    Output.objects.update(text=WORDS, search_suggestions=WORDS)
    _age(31, prompt=WORDS)
    before = (_get(alice, "wallet").json(), list(Charge.objects.order_by("pk").values()))
    _purge()
    old, young = Generation.objects.order_by("created_at")
    assert (old.prompt, old.metadata, old.tags, old.request_sha256) == ("", {}, [], "")
    assert old.purged_at is not None
    assert (young.prompt, young.purged_at) == ("young words", None)
    assert WORDS not in repr([Generation.objects.filter(pk=old.pk).values(), old.outputs.values()])
    assert not Reference.objects.filter(generation=old).exists()
    assert not any(name.startswith("references/") for name in _files())
    assert before == (_get(alice, "wallet").json(), list(Charge.objects.order_by("pk").values()))
    shown = _get(alice, f"generations/{made['id']}").json()
    assert (shown["prompt"], shown["status"], shown["price_micros"]) == ("", "succeeded", made["quote_micros"])
    assert _get(alice, f"outputs/{shown['outputs'][0]['id']}/content").status_code == 200


def test_no_text_survives_anywhere(alice: Any, queue: Any, settings: Any) -> None:
    settings.NBP_RETENTION_PROMPT_DAYS = 1
    _create(alice, metadata={"note": WORDS}, tags=[WORDS[:20]])
    queue.run_to_the_end()
    Output.objects.update(
        text=WORDS, parts=[{"kind": "text", "text": WORDS, "signature": ""}], sources=[{"title": WORDS, "url": ""}]
    )
    Attempt.objects.update(upstream_message=WORDS)
    assert WORDS in _everything()
    _age(2)
    _purge()
    assert WORDS[:20] not in _everything()


def test_an_image_goes_and_its_charge_stays(alice: Any, queue: Any, settings: Any) -> None:
    settings.NBP_RETENTION_IMAGE_DAYS = 30
    made = _create(alice).json()
    _create(alice, prompt="young")
    queue.run_to_the_end()
    _age(31, prompt=WORDS)
    output = made["outputs"][0]["id"]
    link = _get(alice, f"generations/{made['id']}").json()["outputs"][0]["url"].replace("http://testserver", "")
    assert Client().get(link).status_code == 200
    charged = list(Charge.objects.order_by("pk").values())
    _purge()
    assert len(_files()) == 1
    for answer in (_get(alice, f"outputs/{output}/content"), Client().get(link)):
        assert (answer.status_code, answer.json()["error"]["code"]) == (410, "image_gone")
    assert list(Charge.objects.order_by("pk").values()) == charged
    row = Media.objects.get(output__generation__prompt=WORDS)
    assert row.purged_at is not None
    assert len(row.sha256) == 64


def test_what_unfinished_work_continues_is_kept(alice: Any, queue: Any, settings: Any) -> None:
    first = _create(alice).json()
    queue.run_to_the_end()
    second = _create(alice, prompt="the second", previous=first["id"]).json()
    queue.run_to_the_end()
    third = _create(alice, prompt="the third", previous=second["id"]).json()
    other = _create(alice, prompt="unrelated")
    assert other.status_code == 202
    queue.sent.clear()
    Output.objects.filter(generation__prompt="unrelated").update(nudged_at=None)
    settings.NBP_RETENTION_PROMPT_DAYS = settings.NBP_RETENTION_IMAGE_DAYS = 1
    _age(2, open_count=0)
    _purge()
    assert Media.objects.filter(purged_at=None).count() == 2
    assert {WORDS, "the second"} <= set(Generation.objects.values_list("prompt", flat=True))
    queue.run_to_the_end()
    assert _get(alice, f"generations/{third['id']}").json()["status"] == "succeeded"
    _purge()
    assert Media.objects.filter(purged_at=None).count() == 2, "the two that are young"


def test_an_image_whose_words_are_gone_can_still_be_continued(alice: Any, queue: Any, settings: Any) -> None:
    settings.NBP_RETENTION_PROMPT_DAYS = 1
    first = _create(alice, references=[{"data": _picture()}]).json()
    queue.run_to_the_end()
    _age(2)
    _purge()
    # What a channel signed belongs to words that are gone: the image goes along without them.
    assert Output.objects.get().parts_channel_id is None
    edit = _create(alice, prompt="at night", previous=first["id"]).json()
    queue.run_to_the_end()
    assert _get(alice, f"generations/{edit['id']}").json()["status"] == "succeeded"


def test_an_image_that_is_gone_cannot_be_continued(alice: Any, queue: Any, settings: Any) -> None:
    settings.NBP_RETENTION_IMAGE_DAYS = 1
    first = _create(alice).json()
    queue.run_to_the_end()
    _age(2)
    _purge()
    refused = _create(alice, prompt="at night", previous=first["id"])
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "image_gone")


def test_large_amounts_are_forgotten_in_batches(
    alice: Any, queue: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_BATCH", 2)
    settings.NBP_RETENTION_PROMPT_DAYS = 1
    for _ in range(5):
        _create(alice, prompt="sandbox:refuse " + WORDS)
    queue.run_to_the_end()
    _age(2)
    more = [retention.purge(now=datetime.now(UTC)) for _ in range(3)]
    assert more == [True, True, False]
    assert not Generation.objects.filter(purged_at=None).exists()
    assert retention.purge(now=datetime.now(UTC)) is False


# --- stray files -------------------------------------------------------------------------------------------------


def _stray(name: str, *, hours: float = 25) -> Path:
    path = Path(default_storage.path(name))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"stray")
    at = (datetime.now(UTC) - timedelta(hours=hours)).timestamp()
    os.utime(path, (at, at))
    return path


def _old(name: str) -> Path:
    path = Path(default_storage.path(name))
    os.utime(path, (0, 0))
    return path


def test_files_that_no_row_names_are_removed_a_day_later(alice: Any, queue: Any) -> None:
    made = _create(alice, references=[{"data": _picture()}]).json()
    queue.run_to_the_end()
    output, generation = made["outputs"][0]["id"], made["id"]
    named = [_old(name) for name in _files()]
    assert len(named) == 2
    shard = output[-2:]
    strays = [
        _stray(f"outputs/{shard}/{output}-000000000000.png"),
        _stray(f"outputs/{shard}/.{output}-000000000000.png.aaaa"),
        _stray(f"references/{generation[-2:]}/{generation}-7.png"),
        _stray(f"references/00/gen_{'0' * 26}-0.png"),
    ]
    kept = [
        _stray(f"outputs/{shard}/{output}-111111111111.png", hours=23),
        _stray(f"outputs/00/out_{'0' * 26}-000000000000.png"),
        _stray("outputs/00/readme.txt"),
        _stray("elsewhere/file.png"),
    ]
    assert retention.overdue(now=datetime.now(UTC))["stray_files"] == 4
    _purge()
    assert [path.exists() for path in [*strays, *named, *kept]] == [False] * 4 + [True] * 6


def test_a_file_that_unfinished_work_is_about_to_name_is_kept(alice: Any, queue: Any) -> None:
    output = _create(alice).json()["outputs"][0]["id"]
    path = _stray(f"outputs/{output[-2:]}/{output}-000000000000.png")
    _purge()
    assert path.exists()
    queue.run_to_the_end()
    retention.WALK = retention.Walk()
    _purge()
    assert not path.exists()


def test_a_purge_that_was_cut_off_is_finished_by_the_walk(
    alice: Any, queue: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.NBP_RETENTION_IMAGE_DAYS = 1
    _create(alice)
    queue.run_to_the_end()
    _age(2)

    def crash(name: str) -> None:
        raise KeyboardInterrupt(name)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(media, "remove", crash)
        _purge()
    assert Media.objects.get().purged_at is not None
    [name] = _files()
    _old(name)
    _purge()
    assert _files() == set()


def test_the_walk_goes_on_where_it_stopped_and_rests_for_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "_FILES", 3)
    for index in range(7):
        _stray(f"references/{index:02d}/gen_{'0' * 25}{index}-0.png")
    now = datetime.now(UTC)
    assert [retention.WALK.step(now=now) for _ in range(3)] == [True, True, False]
    assert _files() == set()
    _stray(f"references/00/gen_{'0' * 26}-0.png")
    assert retention.WALK.step(now=now + timedelta(hours=23)) is False
    assert len(_files()) == 1
    retention.WALK.step(now=now + timedelta(hours=25))
    assert _files() == set()


# --- who does it, and the command --------------------------------------------------------------------------------


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    found: list[bool] = []

    def purge(*, with_retention: bool) -> bool:
        found.append(with_retention)
        return False

    monkeypatch.setattr(tasks, "purge", purge)
    yield found


def test_one_worker_of_several_looks_after_the_shared_rows(rounds: list[bool]) -> None:
    purging.purge_some()
    row = {"host": "h", "pid": 1, "seen_at": Now()}
    WorkerProbe.objects.create(name=own_name(), started_at=Now(), **row)
    purging.purge_some()
    older = WorkerProbe.objects.create(name="older", started_at=Now() - timedelta(hours=1), **row)
    purging.purge_some()
    WorkerProbe.objects.filter(pk=older.pk).update(seen_at=Now() - timedelta(minutes=5))
    purging.purge_some()
    assert rounds == [False, True, False, True]


def test_a_worker_that_finds_another_senior_asks_again_when_that_one_may_be_known_for_dead(
    rounds: list[bool], settings: Any
) -> None:
    """A process that was killed does not keep its successor from forgetting for an hour."""
    row = {"host": "h", "pid": 1, "seen_at": Now()}
    killed = WorkerProbe.objects.create(name="killed", started_at=Now() - timedelta(hours=1), **row)
    WorkerProbe.objects.create(name=own_name(), started_at=Now(), **row)
    assert purging.purge_some() == settings.NBP_WORKER_STALE_SECONDS
    stale = timedelta(seconds=settings.NBP_WORKER_STALE_SECONDS + 1)
    WorkerProbe.objects.filter(pk=killed.pk).update(seen_at=Now() - stale)
    assert purging.purge_some() == 3600
    assert rounds == [False, True]


def test_old_sessions_go(rounds: list[bool]) -> None:
    now = datetime.now(UTC)
    Session.objects.create(session_key="old", session_data="", expire_date=now - timedelta(seconds=1))
    Session.objects.create(session_key="new", session_data="", expire_date=now + timedelta(days=1))
    purging.purge_all()
    assert [row.pk for row in Session.objects.all()] == ["new"]


def _command(*arguments: str) -> dict[str, Any]:
    out = io.StringIO()
    call_command("purge", "--json", *arguments, stdout=out)
    return dict(json.loads(out.getvalue()))


def test_a_dry_run_says_what_a_run_does(alice: Any, queue: Any, settings: Any) -> None:
    settings.NBP_RETENTION_PROMPT_DAYS = settings.NBP_RETENTION_IMAGE_DAYS = 1
    for _ in range(3):
        _create(alice)
    queue.run_to_the_end()
    _age(2)
    _stray(f"references/00/gen_{'0' * 26}-0.png")
    followed_at = datetime.now(UTC) - timedelta(days=settings.NBP_RETENTION_EVENT_DAYS + 1)
    StripeEvent.objects.create(
        stripe_event_id="evt_old",
        livemode=False,
        payload="{}",
        created=followed_at,
        received_at=followed_at,
        processed_at=followed_at,
    )
    expected = {"generations": 3, "images": 3, "stray_files": 1, "event_bodies": 1, "sessions": 0}
    assert _command("--dry-run") == expected
    assert Media.objects.filter(purged_at=None).count() == 3
    assert len(_files()) == 4
    assert _command() == expected
    assert _command("--dry-run") == dict.fromkeys(expected, 0)
    assert _files() == set()
    assert [str(each) for each in audit.violations()] == []
