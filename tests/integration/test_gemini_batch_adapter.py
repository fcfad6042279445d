"""The adapter for Google's Batch API against its stand-in: jobs of every size, and what can go wrong with them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from generation.channels.adapter import Credentials, JobItem
from generation.channels.adapters.google import batch_calls
from generation.channels.adapters.google.batch import GeminiBatchAdapter
from generation.channels.fakes.faults import Fault
from generation.contract import Answer, Call, ChannelError, ImageFile
from generation.egress import loop
from tests.images import jpeg
from tests.upstreams.gemini_batch import FakeGeminiBatch

SECRET = "AIzaSyTheSecretOfTheBatchChannel0123456"
MODEL = "gemini-3-pro-image"


@pytest.fixture(scope="module", autouse=True)
def stopped_loop() -> Iterator[None]:
    yield
    loop.stop()


@pytest.fixture
def fake() -> Iterator[FakeGeminiBatch]:
    with FakeGeminiBatch() as found:
        yield found


@pytest.fixture
def who(fake: FakeGeminiBatch) -> Credentials:
    return Credentials(SECRET, fake.base_url)


def _items(spool: Path, count: int, **fields: Any) -> list[JobItem]:
    return [
        JobItem(f"key-{number}", Call(MODEL, f"a lighthouse {number}", "1:1", "1K", spool, lane="batch", **fields))
        for number in range(count)
    ]


def _create(items: list[JobItem], who: Credentials, name: str = "job_1") -> str:
    return loop.run(GeminiBatchAdapter().create(name, MODEL, items, who), timeout_seconds=60)


def _state(name: str, who: Credentials) -> str:
    return loop.run(GeminiBatchAdapter().look(name, who), timeout_seconds=30).state


async def _all(name: str, who: Credentials, spool: Path) -> list[tuple[str, Answer | ChannelError]]:
    return [each async for each in GeminiBatchAdapter().results(name, who, spool)]


def _results(name: str, who: Credentials, spool: Path) -> dict[str, Answer | ChannelError]:
    return dict(loop.run(_all(name, who, spool), timeout_seconds=60))


@pytest.mark.parametrize("count", [1, batch_calls.INLINE_ITEMS, batch_calls.INLINE_ITEMS + 1, 60])
def test_a_job_of_any_size_brings_a_picture_for_each_key(
    fake: FakeGeminiBatch, who: Credentials, tmp_path: Path, count: int
) -> None:
    name = _create(_items(tmp_path, count), who)
    assert fake.jobs[name].is_inline == (count <= batch_calls.INLINE_ITEMS)
    assert (_state(name, who), len(fake.requests)) == ("ended", 1)
    found = _results(name, who, tmp_path)
    assert set(found) == {f"key-{number}" for number in range(count)}
    for answer in found.values():
        assert isinstance(answer, Answer) and answer.image is not None
        content = answer.image.path.read_bytes()
        assert (answer.image.byte_count, answer.image.sha256) == (len(content), hashlib.sha256(content).hexdigest())
        assert answer.usage.output_image_tokens == 1120
        answer.image.path.unlink()
    assert list(tmp_path.iterdir()) == []


def test_references_and_settings_travel_as_in_a_call(fake: FakeGeminiBatch, who: Credentials, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(jpeg())
    reference = ImageFile(path, "image/jpeg", "subject", "Mitzi")
    items = _items(tmp_path, 2, references=(reference,), seed=7, thinking_level="low", search_grounding=True)
    request = fake.jobs[_create(items, who)].lines[0][1]
    assert request["generationConfig"] == {
        "responseModalities": ["TEXT", "IMAGE"],
        "imageConfig": {"aspectRatio": "1:1", "imageSize": "1K"},
        "thinkingConfig": {"thinkingLevel": "LOW"},
        "seed": 7,
    }
    assert request["tools"] == [{"googleSearch": {}}]
    parts = request["contents"][0]["parts"]
    assert parts[0]["text"] == 'Reference 1 (subject, "Mitzi"):'
    assert parts[1]["inlineData"]["mimeType"] == "image/jpeg"


def test_too_much_for_a_request_goes_by_file(
    fake: FakeGeminiBatch, who: Credentials, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_calls, "INLINE_BYTES", 600)
    monkeypatch.setattr(batch_calls, "_PIECE_BYTES", 500)
    assert not fake.jobs[_create(_items(tmp_path, 3), who)].is_inline


@pytest.mark.parametrize("count", [5, 30])
def test_each_item_tells_its_own_story(fake: FakeGeminiBatch, who: Credentials, tmp_path: Path, count: int) -> None:
    faults = {"key-0": "no-image", "key-1": "blocked-image", "key-2": "error", "key-3": "missing", "key-4": "rejected"}
    fake.item_fault_for = lambda key: faults.get(key, "")
    name = _create(_items(tmp_path, count), who)
    _state(name, who)
    found = _results(name, who, tmp_path)
    told = {
        key: each.kind if isinstance(each, ChannelError) else each.finish
        for key, each in found.items()
        if key in faults
    }
    assert told == {"key-0": "no_image", "key-1": "refused", "key-2": "failed", "key-4": "rejected"}
    assert len(found) == count - 1


@pytest.mark.parametrize("fault", ["bad-base64", "unreadable"])
def test_what_cannot_be_read_spoils_nothing_else(
    fake: FakeGeminiBatch, who: Credentials, tmp_path: Path, fault: str
) -> None:
    fake.item_fault_for = lambda key: fault if key == "key-3" else ""
    name = _create(_items(tmp_path, 25), who)
    _state(name, who)
    found = _results(name, who, tmp_path)
    spoiled = found.pop("key-3", None)
    assert spoiled is None if fault == "unreadable" else isinstance(spoiled, ChannelError)
    assert len(found) == 24 and all(isinstance(each, Answer) for each in found.values())


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *(("429", "busy"), ("503", "busy"), ("500", "failed"), ("401", "unauthorized"), ("403", "unauthorized")),
        *(("400", "rejected"), ("close", "unknown"), ("reset", "unknown"), ("truncated", "unknown")),
        ("html", "unknown"),
    ],
)
def test_a_job_that_is_not_created_says_whether_it_may_exist(
    fake: FakeGeminiBatch, who: Credentials, tmp_path: Path, name: str, kind: str
) -> None:
    fake.script = [Fault(name)]
    with pytest.raises(ChannelError) as caught:
        _create(_items(tmp_path, 2), who)
    assert (caught.value.kind, len(fake.requests)) == (kind, 1)
    assert SECRET not in str(caught.value)


def test_where_nobody_listens_nothing_exists(tmp_path: Path) -> None:
    with pytest.raises(ChannelError) as caught:
        _create(_items(tmp_path, 2), Credentials(SECRET, "http://127.0.0.1:9"))
    assert caught.value.kind == "unreachable"


def test_jobs_are_found_by_their_name_the_oldest_first(fake: FakeGeminiBatch, who: Credentials, tmp_path: Path) -> None:
    names = [_create(_items(tmp_path, 1), who, each) for each in ("job_1", "job_2", "job_1", "job_10")]
    found = loop.run(GeminiBatchAdapter().find("job_1", who), timeout_seconds=30)
    assert found == [names[0], names[2]]


def test_a_job_says_how_it_is_doing(fake: FakeGeminiBatch, who: Credentials, tmp_path: Path) -> None:
    fake.looks_until_end = None
    name = _create(_items(tmp_path, 1), who)
    words = {"RUNNING": "running", "PENDING": "running", "A_NEW_WORD": "running", "EXPIRED": "expired"}
    for word, state in {**words, "FAILED": "failed", "PARTIALLY_SUCCEEDED": "ended"}.items():
        fake.jobs[name].state = word
        assert _state(name, who) == state, word
    fake.jobs[name].state = "RUNNING"
    loop.run(GeminiBatchAdapter().cancel(name, who), timeout_seconds=30)
    assert _state(name, who) == "canceled"
    assert _state("batches/nothing", who) == "failed"
