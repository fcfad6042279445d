"""The adapter for Google's Batch API against its stand-in: jobs of every size, and what can go wrong with them."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from generation.channels.adapter import Credentials, JobItem, JobStatus
from generation.channels.adapters import pictures
from generation.channels.adapters.google import batch_calls, batch_lines, batch_request, batch_upload
from generation.channels.adapters.google.adapter import GeminiAdapter
from generation.channels.adapters.google.batch import GeminiBatchAdapter
from generation.channels.fakes import gemini_request
from generation.channels.fakes.faults import STATUSES, WIRES, Fault
from generation.channels.fakes.gemini import FakeGemini
from generation.channels.fakes.http import Reply, Request
from generation.contract import Answer, Call, ChannelError, ImageFile, Part, Turn
from generation.egress import loop
from tests.images import png
from tests.raw_server import RawServer, answer
from tests.upstreams.gemini_batch import ERRORS, GRANULARITY, NAMES_PLAYED, FakeGeminiBatch

SECRET = "AIzaSyTheSecretOfTheBatchChannel0123456"
MODEL = "gemini-3-pro-image"
INLINE, BY_FILE = 5, batch_calls.INLINE_ITEMS + 5
ROAD = GeminiBatchAdapter()
T = TypeVar("T")


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


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "pictures"


def run(work: Coroutine[Any, Any, T]) -> T:
    return loop.run(work, timeout_seconds=60)


def call_of(spool: Path, **fields: Any) -> Call:
    return Call(MODEL, "a lighthouse", "1:1", "1K", spool, **{"lane": "batch", **fields})


def items_of(spool: Path, count: int, **fields: Any) -> list[JobItem]:
    return [JobItem(f"key-{number}", call_of(spool, **fields)) for number in range(count)]


def create(items: list[JobItem], who: Credentials, name: str = "job_1") -> str:
    return run(ROAD.create(name, MODEL, items, who))


def look(name: str, who: Credentials) -> JobStatus:
    return run(ROAD.look(name, who))


def find(name: str, who: Credentials) -> list[str]:
    return list(run(ROAD.find(name, who)))


async def _each(name: str, who: Credentials, spool: Path) -> list[tuple[str, Answer | ChannelError]]:
    return [each async for each in ROAD.results(name, who, spool)]


def results(name: str, who: Credentials, spool: Path) -> list[tuple[str, Answer | ChannelError]]:
    return run(_each(name, who, spool))


def ended(fake: FakeGeminiBatch, who: Credentials, spool: Path, count: int, **fields: Any) -> str:
    """A job of so many items that has ended."""
    name = create(items_of(spool, count, **fields), who)
    fake.finish(name)
    return name


def failure(work: Callable[[], object], secret: str = SECRET) -> ChannelError:
    with pytest.raises(ChannelError) as caught:
        work()
    error = caught.value
    assert not secret or secret not in error.message
    assert secret not in repr(error) or not secret
    assert len(error.message) <= 500
    assert error.__cause__ is None
    assert error.__context__ is None
    return error


def left_in(spool: Path) -> list[Path]:
    return list(spool.iterdir()) if spool.exists() else []


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.01)


def told(found: list[tuple[str, Answer | ChannelError]]) -> dict[str, str]:
    return {key: each.kind if isinstance(each, ChannelError) else each.finish for key, each in found}


def pictures_sent(fake: FakeGeminiBatch, name: str) -> dict[str, bytes]:
    """The pictures of a job as the stand-in made them, by key."""
    sent = {}
    for each in map(json.loads, fake.jobs[name].results):
        parts = each["response"]["candidates"][0]["content"]["parts"]
        (data,) = (part["inlineData"]["data"] for part in parts if "inlineData" in part)
        sent[each.get("key") or each["metadata"]["key"]] = base64.b64decode(data)
    return sent


def striking(part_of_path: str, fault: Fault, *, offset: str | None = None) -> Callable[[Request], Fault | None]:
    """A fault for what is free, by its path, and of pieces of a file by their offset."""

    def fault_for(request: Request) -> Fault | None:
        is_meant = part_of_path in request.path and request.headers.get("x-goog-upload-offset") == offset
        return fault if is_meant else None

    return fault_for


def served(fake: FakeGeminiBatch, name: str, *lines: bytes) -> None:
    """What a job brought, in the stand-in's stead."""
    fake.jobs[name].results[:] = lines


def response_of(text: str = "Here it is.", **more: Any) -> dict[str, Any]:
    data = base64.b64encode(png()).decode()
    parts = [{"text": text}, {"inlineData": {"mimeType": "image/png", "data": data}}]
    return {"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP", **more}]}


# --- what is sent ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, batch_calls.INLINE_ITEMS, batch_calls.INLINE_ITEMS + 1, 60])
def test_a_job_of_any_size_brings_each_key_its_picture_byte_for_byte(
    fake: FakeGeminiBatch, who: Credentials, spool: Path, count: int
) -> None:
    name = create(items_of(spool, count), who)
    assert fake.jobs[name].is_inline == (count <= batch_calls.INLINE_ITEMS)
    assert (look(name, who), len(fake.requests)) == (JobStatus(name, "ended"), 1)
    found = dict(results(name, who, spool))
    assert set(found) == {f"key-{number}" for number in range(count)}
    sent = pictures_sent(fake, name)
    for key, made in found.items():
        assert isinstance(made, Answer)
        assert made.image is not None
        content = made.image.path.read_bytes()
        assert content == sent[key]
        assert (made.image.byte_count, made.image.sha256) == (len(content), hashlib.sha256(content).hexdigest())
        assert (made.image.mime_type, made.finish, made.finish_reason) == ("image/png", "ok", "STOP")
        assert (made.usage.output_image_tokens, made.usage.thinking_tokens) == (1120, 225)
        assert (made.usage.input_text_tokens, made.cost_micros) == (3, None)
        made.image.path.unlink()
    assert left_in(spool) == []
    assert len(fake.requests) == 1


def test_a_small_job_is_one_request_and_says_what_was_asked_and_nothing_else(
    fake: FakeGeminiBatch, who: Credentials, spool: Path
) -> None:
    create(items_of(spool, 2), who, "job_with_a_name")
    (request,) = fake.requests
    assert (request.path, request.query) == (f"/v1beta/models/{MODEL}:batchGenerateContent", {})
    assert request.headers["x-goog-api-key"] == SECRET
    assert request.headers["content-type"] == "application/json"
    assert "authorization" not in request.headers
    asked = {
        "contents": [{"role": "user", "parts": [{"text": "a lighthouse"}]}],
        "generationConfig": {
            "responseModalities": ["TEXT", "IMAGE"],
            "imageConfig": {"aspectRatio": "1:1", "imageSize": "1K"},
        },
    }
    requests = [{"request": asked, "metadata": {"key": f"key-{number}"}} for number in range(2)]
    source = {"requests": {"requests": requests}}
    assert request.body == {"batch": {"displayName": "job_with_a_name", "inputConfig": source}}
    assert fake.asides == []


def test_a_large_job_goes_ahead_as_a_file_with_a_request_in_each_line(
    fake: FakeGeminiBatch, who: Credentials, spool: Path
) -> None:
    items = items_of(spool, BY_FILE)
    create(items, who)
    start, piece = fake.asides
    assert (start.method, start.path, start.query) == ("POST", "/upload/v1beta/files", {})
    assert start.headers["x-goog-api-key"] == SECRET
    assert json.loads(start.body) == {"file": {"displayName": "job_1", "mimeType": "application/jsonl"}}
    assert start.headers["x-goog-upload-header-content-length"] == str(len(piece.body))
    assert piece.headers["x-goog-upload-command"] == "upload, finalize"
    assert "x-goog-api-key" not in piece.headers
    lines = [json.loads(line) for line in piece.body.splitlines()]
    assert lines == [{"key": each.key, "request": batch_request.body(each.call)} for each in items]
    (request,) = fake.requests
    (name,) = fake.files
    assert request.body == {"batch": {"displayName": "job_1", "inputConfig": {"fileName": name}}}
    assert left_in(spool) == []


def test_a_heavy_file_goes_in_pieces(
    fake: FakeGeminiBatch, who: Credentials, spool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "reference.png"
    path.write_bytes(png(640, 400))
    monkeypatch.setattr(batch_upload, "PIECE_BYTES", GRANULARITY)
    items = items_of(spool, BY_FILE, references=(ImageFile(path, "image/png"),))
    name = create(items, who)
    _, *pieces = fake.asides
    assert len(pieces) > 2
    assert {len(each.body) for each in pieces[:-1]} == {GRANULARITY}
    assert [each.headers["x-goog-upload-offset"] for each in pieces] == [
        str(number * GRANULARITY) for number in range(len(pieces))
    ]
    assert {each.headers["x-goog-upload-command"] for each in pieces[:-1]} == {"upload"}
    assert [key for key, _ in fake.jobs[name].lines] == [each.key for each in items]


def test_few_but_heavy_items_go_by_file(
    fake: FakeGeminiBatch, who: Credentials, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (one,) = batch_request.inline(items_of(spool, 1), 10**9) or ()
    byte_count = len(json.dumps(one))
    monkeypatch.setattr(batch_calls, "INLINE_BYTES", 3 * byte_count)
    assert fake.jobs[create(items_of(spool, 3), who)].is_inline
    monkeypatch.setattr(batch_calls, "INLINE_BYTES", 3 * byte_count - 1)
    assert not fake.jobs[create(items_of(spool, 3), who)].is_inline


def _calls(tmp_path: Path) -> dict[str, Call]:
    file = tmp_path / "picture.png"
    file.write_bytes(png())
    image = ImageFile(file, "image/png")
    named = ImageFile(file, "image/png", "subject", "Mitzi")
    signed = Turn(
        "before", (image,), image, (Part("text", "So."), Part("image", signature=b"\xfb\xff" * 9)), "1", MODEL
    )
    call = call_of(tmp_path)
    return {
        "plain": call,
        "options": replace(call, aspect_ratio="16:9", image_size="4K", seed=7, thinking_level="HIGH"),
        "unsized": replace(call, image_sizes_selectable=False),
        "grounded": replace(call, search_grounding=True),
        "references": replace(call, references=(image, named)),
        "history": replace(call, prompt="make it blue", history=(signed,)),
        "history without parts": replace(call, history=(replace(signed, parts=()),)),
    }


@pytest.mark.parametrize(
    "which", ["plain", "options", "unsized", "grounded", "references", "history", "history without parts"]
)
def test_an_item_asks_what_the_gemini_adapter_asks(tmp_path: Path, which: str) -> None:
    call = _calls(tmp_path)[which]
    body = batch_request.body(call)
    with FakeGemini(cached=True) as live:
        try:
            run(GeminiAdapter().generate(replace(call, lane="standard"), Credentials(SECRET, live.base_url)))
        except ChannelError as error:
            # A signature that this stand-in did not make.
            assert (which, error.kind) == ("history", "rejected")
        (request,) = live.requests
    assert gemini_request._camel(request.body) == body
    assert json.dumps(body) == json.dumps(gemini_request._camel(body)), "the names are REST's"
    asked = gemini_request.read(MODEL, body, lambda *_: True)
    assert asked.prompt.endswith(call.prompt)
    assert (asked.aspect_ratio, asked.has_image) == (call.aspect_ratio, True)


def test_each_call_brings_its_own_key(fake: FakeGeminiBatch, spool: Path) -> None:
    async def both() -> list[str]:
        whose = [Credentials(f"key-{number}", fake.base_url) for number in range(4)]
        return await asyncio.gather(*(ROAD.create("job", MODEL, items_of(spool, 1), each) for each in whose))

    run(both())
    assert sorted(each.headers["x-goog-api-key"] for each in fake.requests) == [f"key-{n}" for n in range(4)]


def test_a_base_url_may_have_a_path_and_a_slash(spool: Path) -> None:
    with RawServer(answer(b'{"name": "batches/abc"}', "Content-Type: application/json")) as server:
        assert create(items_of(spool, 1), Credentials(SECRET, f"{server.url}proxy/")) == "batches/abc"
        assert server.requests[0].startswith(f"POST /proxy/v1beta/models/{MODEL}:batch".encode())


def test_nothing_but_the_kind_is_loaded_before_a_call() -> None:
    code = (
        "import sys, generation.channels.adapters.google.batch as batch;"
        "road = batch.GeminiBatchAdapter();"
        "assert (road.kind, road.needs_secret, road.lanes) == ('gemini_batch', True, frozenset({'batch'}));"
        "assert road.abilities == frozenset({'grounding', 'thinking', 'history', 'seed'}) and not road.options;"
        "assert 'google.genai' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_it_takes_jobs_only(fake: FakeGeminiBatch, who: Credentials, spool: Path) -> None:
    ROAD.load()
    assert failure(lambda: run(ROAD.generate(call_of(spool), who))).kind == "rejected"
    assert (fake.requests, fake.asides) == ([], [])


# --- a job that is not created -----------------------------------------------------------------------------------

_SAID = {"429": "busy", "503": "busy", "400": "rejected", "401": "unauthorized", "402": "unauthorized"}
_SAID |= {"403": "unauthorized", "404": "failed", "500": "failed", "502": "failed", "504": "failed"}
_WHOLE = frozenset({"gzip", "chunked", "trickle", "trickle-head"})
_LENGTHS = {"huge": "300000", "gzip-bomb": "300000", "trickle": "0.0001", "trickle-head": "0.0001"}


@pytest.mark.parametrize("name", sorted(STATUSES))
def test_an_answered_error_is_free_and_says_whose_fault_it_is(
    fake: FakeGeminiBatch, who: Credentials, spool: Path, name: str
) -> None:
    fake.script = [Fault(name)]
    error = failure(lambda: create(items_of(spool, 2), who))
    assert (error.kind, error.status, len(fake.requests), fake.jobs) == (_SAID[name], int(name), 1, {})


@pytest.mark.parametrize("name", sorted(WIRES))
def test_what_breaks_off_may_have_made_a_job(
    fake: FakeGeminiBatch, who: Credentials, spool: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name in ("silent", "stall"):
        monkeypatch.setattr(batch_calls, "_CREATE_SECONDS", 0.3)
    fake.script = [Fault(name, _LENGTHS.get(name, ""))]
    if name in _WHOLE:
        assert create(items_of(spool, 2), who) in fake.jobs
        return
    error = failure(lambda: create(items_of(spool, 2), who))
    # A redirect is an answer: nobody took the job.
    assert error.kind == ("failed" if name == "redirect" else "unknown")
    assert len(fake.requests) == 1


def test_every_fault_it_says_to_play_is_tried() -> None:
    assert frozenset(STATUSES) | WIRES <= NAMES_PLAYED
    assert set(_SAID) == set(STATUSES)


def test_a_queue_that_is_full_says_when_to_come_again(fake: FakeGeminiBatch, who: Credentials, spool: Path) -> None:
    fake.enqueued_token_limit = 3 * (1120 + len("a lighthouse") // 4)
    first = create(items_of(spool, 2), who)
    assert failure(lambda: create(items_of(spool, 2), who)).kind == "busy"
    fake.finish(first)
    create(items_of(spool, 2), who)
    fake.script = [Fault("429", retry_after="7"), Fault("429", retry_delay="9s")]
    assert failure(lambda: create(items_of(spool, 1), who)).retry_after_seconds == 7
    assert failure(lambda: create(items_of(spool, 1), who)).retry_after_seconds == 9


@pytest.mark.parametrize("count", [INLINE, BY_FILE])
@pytest.mark.parametrize("secret", ["bad-key", "no-permission", "", "with a space", "schlüssel"])
def test_a_key_that_is_not_good_is_the_channels_fault(
    fake: FakeGeminiBatch, spool: Path, count: int, secret: str
) -> None:
    error = failure(lambda: create(items_of(spool, count), Credentials(secret, fake.base_url)), secret)
    assert error.kind == "unauthorized"
    assert fake.jobs == {}
    assert left_in(spool) == []


@pytest.mark.parametrize("count", [INLINE, BY_FILE])
def test_where_nobody_listens_nothing_exists(spool: Path, count: int) -> None:
    error = failure(lambda: create(items_of(spool, count), Credentials(SECRET, "http://127.0.0.1:9")))
    assert error.kind == "unreachable"
    assert left_in(spool) == []


@pytest.mark.parametrize("count", [INLINE, BY_FILE])
def test_a_missing_image_is_noticed_before_anything_is_sent(
    fake: FakeGeminiBatch, who: Credentials, spool: Path, tmp_path: Path, count: int
) -> None:
    items = items_of(spool, count, references=(ImageFile(tmp_path / "gone.png", "image/png"),))
    assert failure(lambda: create(items, who)).kind == "unreachable"
    assert (fake.requests, fake.asides, left_in(spool)) == ([], [], [])


@pytest.mark.parametrize("offset", [None, "0"])
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *(("400", "failed"), ("401", "unauthorized"), ("403", "unauthorized"), ("404", "failed"), ("429", "busy")),
        *(("500", "failed"), ("503", "busy"), ("close", "failed"), ("reset", "failed"), ("truncated", "failed")),
        *(("html", "failed"), ("redirect", "failed"), ("noise", "failed")),
    ],
)
def test_an_upload_is_free_whatever_becomes_of_it(
    fake: FakeGeminiBatch, who: Credentials, spool: Path, name: str, kind: str, offset: str | None
) -> None:
    # The answer to an announcement has no body that could break off.
    name = "chunk-cut" if (name, offset) == ("truncated", None) else name
    fake.aside_fault_for = striking("/upload/", Fault(name), offset=offset)
    error = failure(lambda: create(items_of(spool, BY_FILE), who))
    assert (error.kind, fake.requests, left_in(spool)) == (kind, [], [])


def test_an_upload_that_takes_too_long_is_free(
    fake: FakeGeminiBatch, who: Credentials, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_upload, "UPLOAD_SECONDS", 0.3)
    fake.aside_fault_for = striking("/upload/", Fault("silent"), offset="0")
    assert failure(lambda: create(items_of(spool, BY_FILE), who)).kind == "failed"
    assert (fake.requests, left_in(spool)) == ([], [])


@pytest.mark.parametrize("given", [{}, {"X-Goog-Upload-URL": "https://example.com/"}])
def test_an_upload_without_an_address_is_free(
    fake: FakeGeminiBatch, who: Credentials, spool: Path, given: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake, "_begin_upload", lambda *_: Reply(200, given, []))
    error = failure(lambda: create(items_of(spool, BY_FILE), who))
    assert (error.kind, "no address" in error.message, len(fake.asides), fake.requests) == ("failed", True, 1, [])


@pytest.mark.parametrize("said", [{}, {"file": {}}, {"file": {"name": "elsewhere/1"}}, []])
def test_an_upload_that_names_no_file_is_free(
    fake: FakeGeminiBatch, who: Credentials, spool: Path, said: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake, "_piece", lambda _request: Reply(200, {}, [json.dumps(said).encode()]))
    error = failure(lambda: create(items_of(spool, BY_FILE), who))
    assert (error.kind, "not taken" in error.message, fake.requests) == ("failed", True, [])


@pytest.mark.parametrize("body", [b"{}", b"[]", b"null", b'{"name": 7}', b'{"name": "operations/1"}', b"not json"])
def test_an_answer_that_names_no_job_is_unknown(spool: Path, body: bytes) -> None:
    with RawServer(answer(body, "Content-Type: application/json")) as server:
        error = failure(lambda: create(items_of(spool, 1), Credentials(SECRET, server.url)))
        assert (error.kind, len(server.requests)) == ("unknown", 1)


# --- jobs that are looked for and at -----------------------------------------------------------------------------


def test_jobs_are_found_by_their_whole_name_the_oldest_first(
    fake: FakeGeminiBatch, who: Credentials, spool: Path
) -> None:
    names = [create(items_of(spool, 1), who, each) for each in ("job_1", "job_2", "job_1", "job_10", "job_1")]
    twin = fake.repeat(names[1])
    assert find("job_1", who) == [names[0], names[2], names[4]]
    assert find("job_2", who) == [names[1], twin]
    assert find("job_3", who) == []


def test_jobs_are_found_on_every_page(fake: FakeGeminiBatch, who: Credentials, spool: Path) -> None:
    first = create(items_of(spool, 1), who)
    others = [create(items_of(spool, 1), who, "other") for _ in range(2 * batch_calls._PAGE_SIZE)]
    last = create(items_of(spool, 1), who)
    assert find("job_1", who) == [first, last]
    assert find("other", who) == others
    assert fake.asides[1].query["pageToken"] == f"after+{batch_calls._PAGE_SIZE}/=="


def test_who_has_not_seen_all_jobs_does_not_say_that_there_is_none(
    fake: FakeGeminiBatch, who: Credentials, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_calls, "_PAGE_SIZE", 2)
    monkeypatch.setattr(batch_calls, "_PAGES", 2)
    names = [create(items_of(spool, 1), who, f"job_{number}") for number in range(4)]
    assert find("job_0", who) == [names[0]]
    create(items_of(spool, 1), who, "job_4")
    assert failure(lambda: find("job_0", who)).kind == "failed"


@pytest.mark.parametrize(
    ("name", "kind"),
    [("500", "failed"), ("429", "busy"), ("401", "unauthorized"), ("400", "failed"), ("html", "failed")],
)
@pytest.mark.parametrize("ask", [lambda who: find("job_1", who), lambda who: look("batches/abc", who)])
def test_what_cannot_be_asked_now_is_no_answer(
    fake: FakeGeminiBatch, who: Credentials, name: str, kind: str, ask: Callable[[Credentials], object]
) -> None:
    fake.aside_fault_for = striking("/batches", Fault(name))
    assert failure(lambda: ask(who)).kind == kind


@pytest.mark.parametrize("body", [b"[]", b"null", b'"batches"', b"7", b"not json"])
def test_what_is_no_list_of_jobs_is_not_an_empty_one(body: bytes) -> None:
    with RawServer(answer(body, "Content-Type: application/json")) as server:
        assert failure(lambda: find("job_1", Credentials(SECRET, server.url))).kind == "failed"


def test_a_job_without_a_usable_name_is_not_found() -> None:
    told = {"displayName": "job_1", "createTime": "2026-01-01T00:00:00Z"}
    page = {"operations": [{"metadata": told}, {"name": "../files/x", "metadata": told}, 7, {"metadata": 7}]}
    with RawServer(answer(json.dumps(page).encode(), "Content-Type: application/json")) as server:
        assert find("job_1", Credentials(SECRET, server.url)) == []


_WORDS = {
    "PENDING": "running", "QUEUED": "running", "RUNNING": "running", "PAUSED": "running", "CANCELLING": "running",
    "UPDATING": "running", "A_NEW_WORD": "running", "UNSPECIFIED": "running", "SUCCEEDED": "ended",
    "PARTIALLY_SUCCEEDED": "ended", "FAILED": "failed", "CANCELLED": "canceled", "EXPIRED": "expired",
}  # fmt: skip


@pytest.mark.parametrize("prefix", ["BATCH_STATE_", "JOB_STATE_"])
def test_a_job_says_how_it_is_doing(fake: FakeGeminiBatch, who: Credentials, spool: Path, prefix: str) -> None:
    fake.looks_until_end, fake.prefix = None, prefix
    name = create(items_of(spool, 1), who)
    for word, state in _WORDS.items():
        fake.state_for(name, word)
        message = "The job has failed." if word == "FAILED" else ""
        assert look(name, who) == JobStatus(name, state, message), word


def test_a_job_can_be_given_up(fake: FakeGeminiBatch, who: Credentials, spool: Path) -> None:
    fake.looks_until_end = None
    name = create(items_of(spool, 1), who)
    run(ROAD.cancel(name, who))
    assert look(name, who).state == "canceled"
    assert (fake.asides[0].method, fake.asides[0].path) == ("POST", f"/v1beta/{name}:cancel")
    assert failure(lambda: run(ROAD.cancel("batches/nothing", who))).kind == "failed"


def test_a_job_that_nobody_knows_has_failed(fake: FakeGeminiBatch, who: Credentials) -> None:
    assert look("batches/nothing", who).state == "failed"
    assert look("batches/nothing", who).message


@pytest.mark.parametrize(
    ("body", "state"),
    [
        ({"name": "batches/abc"}, "running"),
        ({"name": "batches/abc", "done": True, "response": {}}, "ended"),
        ({"name": "batches/abc", "done": True, "error": {"code": 13, "message": f"{SECRET} is gone"}}, "failed"),
        ({"name": "batches/abc", "metadata": {"state": "BATCH_STATE_FAILED", "error": {"message": "it"}}}, "failed"),
    ],
)
def test_an_operation_says_it_in_other_ways_too(body: Any, state: str) -> None:
    with RawServer(answer(json.dumps(body).encode(), "Content-Type: application/json")) as server:
        status = look("batches/abc", Credentials(SECRET, server.url))
    assert status.state == state
    assert SECRET not in status.message
    assert bool(status.message) == (state == "failed")


@pytest.mark.parametrize("body", [b"{}", b'{"ok": true}', b'{"name": "batches/other"}', b"[]"])
def test_what_is_no_job_says_nothing_of_one(body: bytes) -> None:
    with RawServer(answer(body, "Content-Type: application/json")) as server:
        assert failure(lambda: look("batches/abc", Credentials(SECRET, server.url))).kind == "failed"


def test_a_job_full_of_pictures_can_be_looked_at() -> None:
    """Twenty pictures of 4K weigh more than any answer to one call."""
    large = "A" * (70 * 1024 * 1024)
    output = {"inlinedResponses": {"inlinedResponses": [{"response": large}]}}
    body = {"name": "batches/abc", "metadata": {"state": "BATCH_STATE_SUCCEEDED", "output": output}}
    with RawServer(answer(json.dumps(body).encode(), "Content-Type: application/json")) as server:
        assert look("batches/abc", Credentials(SECRET, server.url)).state == "ended"


# --- what a job brought ------------------------------------------------------------------------------------------

_STORIES: dict[str, tuple[Fault | str, str]] = {
    "key-0": (Fault("no-image"), "no_image"),
    "key-1": (Fault("blocked-image"), "refused"),
    "key-2": (Fault("blocked-prompt"), "refused"),
    "key-3": (Fault("text-only"), "no_image"),
    "key-4": (Fault("bad-base64"), "unknown"),
    "key-5": (Fault("broken-image"), "ok"),
    "key-6": (Fault("jpeg"), "ok"),
    "key-7": (Fault("two-images"), "ok"),
    "key-8": (Fault("long-signature", "70000"), "ok"),
    "key-9": ("error", "failed"),
    "key-10": ("rejected", "rejected"),
    "key-11": ("exhausted", "busy"),
    "key-12": ("unavailable", "busy"),
    "key-13": ("canceled", "failed"),
    "key-14": ("cut", "unknown"),
    "key-15": ("missing", ""),
    "key-16": ("unreadable", ""),
    "key-17": ("no-key", ""),
    "key-18": ("unknown-key", ""),
}


@pytest.mark.parametrize("count", [batch_calls.INLINE_ITEMS, BY_FILE])
def test_each_item_tells_its_own_story_and_spoils_no_other(
    fake: FakeGeminiBatch, who: Credentials, spool: Path, count: int, caplog: pytest.LogCaptureFixture
) -> None:
    fake.item_fault_for = lambda key: _STORIES[key][0] if key in _STORIES else None
    name = ended(fake, who, spool, count)
    found = results(name, who, spool)
    expected = {key: story for key, (_, story) in _STORIES.items() if story}
    whole = {f"key-{number}": "ok" for number in range(19, count)}
    assert told(found) == expected | whole | {"no-such-key": "ok"}
    assert len(found) == len(told(found))
    by_key = dict(found)
    signed = by_key["key-8"]
    assert isinstance(signed, Answer)
    assert len(signed.parts[-1].signature) == 70_016
    reasons = {key: getattr(by_key[key], "finish_reason", None) for key in ("key-0", "key-1", "key-2", "key-3")}
    expected_reasons = ["NO_IMAGE", "IMAGE_SAFETY", "PROHIBITED_CONTENT", "STOP"]
    assert list(reasons.values()) == expected_reasons
    for key in ("key-9", "key-10", "key-11", "key-12", "key-13"):
        error = by_key[key]
        assert isinstance(error, ChannelError)
        assert error.message.startswith(f"{ERRORS[str(_STORIES[key][0])]} ")
    assert sum("has no key" in each.message for each in caplog.records) == 2
    kept = {each.image.path for each in by_key.values() if isinstance(each, Answer) and each.image}
    assert set(left_in(spool)) == kept


def test_a_result_that_comes_twice_is_handed_on_twice(fake: FakeGeminiBatch, who: Credentials, spool: Path) -> None:
    fake.item_fault_for = lambda _key: "twice"
    found = results(ended(fake, who, spool, 1), who, spool)
    assert [key for key, _ in found] == ["key-0", "key-0"]
    assert len(left_in(spool)) == 2


@pytest.mark.parametrize("state", ["SUCCEEDED", "PARTIALLY_SUCCEEDED"])
def test_results_in_the_order_of_the_requests_are_as_good(
    fake: FakeGeminiBatch, who: Credentials, spool: Path, state: str
) -> None:
    fake.is_shuffled = False
    name = create(items_of(spool, BY_FILE), who)
    fake.state_for(name, state)
    assert [key for key, _ in results(name, who, spool)] == [f"key-{number}" for number in range(BY_FILE)]
    download = fake.asides[-1]
    assert download.path == f"/download/v1beta/files/batch-{name.partition('/')[2]}:download"
    assert (download.query, download.headers["x-goog-api-key"]) == ({"alt": "media"}, SECRET)


@pytest.mark.parametrize("download_type", ["application/octet-stream", "application/json", "application/jsonl", ""])
def test_a_file_of_results_may_be_called_anything(
    fake: FakeGeminiBatch, who: Credentials, spool: Path, download_type: str
) -> None:
    fake.download_type = download_type
    name = ended(fake, who, spool, BY_FILE)
    # More words than an answer may have that is one JSON text.
    words = json.dumps({"key": "key-0", "response": response_of("word " * 20_000)}).encode()
    served(fake, name, *[words] * 50)
    assert told(results(name, who, spool)) == {"key-0": "ok"}


def test_only_a_line_feed_ends_a_line(fake: FakeGeminiBatch, who: Credentials, spool: Path) -> None:
    text = "one\u2028two\u2029three\u0085four\u001cfive"
    name = ended(fake, who, spool, BY_FILE)
    line = json.dumps({"key": "key-0", "response": response_of(text)}, ensure_ascii=False).replace("\\u001c", "\x1c")
    served(fake, name, b"", line.replace("\x1c", "\\u001c").encode(), b"  ")
    ((key, found),) = results(name, who, spool)
    assert isinstance(found, Answer)
    assert (key, found.text) == ("key-0", text)


@pytest.mark.filterwarnings("ignore:.*is not a valid")
@pytest.mark.parametrize("count", [1, BY_FILE])
def test_what_google_will_have_added_spoils_nothing(
    fake: FakeGeminiBatch, who: Credentials, spool: Path, count: int
) -> None:
    name = ended(fake, who, spool, count)
    response = {
        **response_of(newField={"a": 1}),
        "another": [1],
        "usageMetadata": {"candidatesTokenCount": 5, "new": 1},
    }
    response["candidates"][0]["content"]["parts"][1]["inlineData"]["new"] = "x"
    new_word = {"candidates": [{"content": {"parts": [{"text": "no"}]}, "finishReason": "A_WORD_TO_COME"}]}
    lines = [
        {"key": key, "metadata": {"key": key}, "response": each, "new": 1}
        for key, each in (("key-0", response), ("key-1", new_word))
    ]
    served(fake, name, *(json.dumps(line).encode() for line in lines))
    found = dict(results(name, who, spool))
    assert told(list(found.items())) == {"key-0": "ok", "key-1": "no_image"}
    assert getattr(found["key-1"], "finish_reason", "") == "A_WORD_TO_COME"


@pytest.mark.parametrize("response", [None, [], "no", 7, {}, {"candidates": "no"}, {"candidates": [7]}])
@pytest.mark.parametrize("count", [1, BY_FILE])
def test_a_response_that_is_none_is_unknown(
    fake: FakeGeminiBatch, who: Credentials, spool: Path, response: Any, count: int
) -> None:
    name = ended(fake, who, spool, count)
    served(fake, name, json.dumps({"key": "k", "metadata": {"key": "k"}, "response": response}).encode())
    ((key, error),) = results(name, who, spool)
    assert isinstance(error, ChannelError)
    assert (key, error.kind) == ("k", "unknown")


@pytest.mark.parametrize("count", [1, BY_FILE])
def test_an_error_of_an_item_does_not_say_our_key(
    fake: FakeGeminiBatch, who: Credentials, spool: Path, count: int
) -> None:
    name = ended(fake, who, spool, count)
    said = {"code": "odd", "message": f"the key {SECRET} is tired" * 20}
    served(fake, name, json.dumps({"key": "k", "metadata": {"key": "k"}, "error": said}).encode())
    ((_, error),) = results(name, who, spool)
    assert isinstance(error, ChannelError)
    assert (error.kind, len(error.message)) == ("failed", 500)
    assert SECRET not in str(error)


def test_an_account_that_is_closed_is_the_channels_fault(fake: FakeGeminiBatch, who: Credentials, spool: Path) -> None:
    fake.item_fault_for = lambda _key: Fault("blocked-image", "PUP_LIMITED_DISABLED")
    assert told(results(ended(fake, who, spool, 1), who, spool)) == {"key-0": "unauthorized"}


# --- results that cannot be had ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *(("404", "failed"), ("403", "unauthorized"), ("429", "busy"), ("500", "failed"), ("400", "failed")),
        *(("close", "failed"), ("truncated", "failed"), ("reset-midway", "failed"), ("chunk-cut", "failed")),
        *(("gzip-cut", "failed"), ("redirect", "failed")),
    ],
)
@pytest.mark.parametrize("part_of_path", ["/v1beta/batches/", "/download/"])
def test_results_that_do_not_come_whole_do_not_come_at_all(
    fake: FakeGeminiBatch, who: Credentials, spool: Path, name: str, kind: str, part_of_path: str
) -> None:
    job = ended(fake, who, spool, BY_FILE if part_of_path == "/download/" else INLINE)
    fake.aside_fault_for = striking(part_of_path, Fault(name))
    seen: list[Any] = []

    async def each() -> None:
        async for result in ROAD.results(job, who, spool):
            seen.append(result)

    assert failure(lambda: run(each())).kind == kind
    assert (seen, left_in(spool)) == ([], [])
    assert len(fake.requests) == 1


@pytest.mark.parametrize("wire", ["gzip", "chunked"])
def test_other_framings_carry_the_same_results(fake: FakeGeminiBatch, who: Credentials, spool: Path, wire: str) -> None:
    job = ended(fake, who, spool, BY_FILE)
    fake.aside_fault_for = striking("/download/", Fault(wire))
    assert set(told(results(job, who, spool)).values()) == {"ok"}


@pytest.mark.parametrize("output", [{}, {"responsesFile": ""}, {"responsesFile": 7}, None])
def test_a_job_that_names_no_results_has_not_brought_none(spool: Path, output: Any) -> None:
    """Without results all of its items would be made once more."""
    body = {"name": "batches/abc", "metadata": {"state": "BATCH_STATE_SUCCEEDED", "output": output}}
    with RawServer(answer(json.dumps(body).encode(), "Content-Type: application/json")) as server:
        who = Credentials(SECRET, server.url)
        assert failure(lambda: results("batches/abc", who, spool)).kind == "failed"


@pytest.mark.parametrize("count", [INLINE, BY_FILE])
def test_a_full_disk_stops_the_results_and_loses_none(
    fake: FakeGeminiBatch, who: Credentials, spool: Path, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = ended(fake, who, spool, count)
    whole, written = pictures.from_bytes, []

    async def full_after_two(*arguments: Any) -> Any:
        if len(written) == 2:
            raise OSError(28, "No space left on device")
        written.append(await whole(*arguments))
        return written[-1]

    async def each() -> None:
        async for _, result in ROAD.results(job, who, spool):
            assert isinstance(result, Answer)
            assert result.image is not None
            result.image.path.unlink()

    monkeypatch.setattr(pictures, "from_bytes", full_after_two)
    assert failure(lambda: run(each())).kind == "failed"
    assert left_in(spool) == []
    monkeypatch.undo()
    assert len(results(job, who, spool)) == count


# --- who reads, and stops ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [INLINE, BY_FILE])
def test_results_are_read_by_one_task_after_another(
    fake: FakeGeminiBatch, who: Credentials, spool: Path, count: int
) -> None:
    """As whoever settles a job does it, on the loop only for as long as one result takes."""
    stream = ROAD.results(ended(fake, who, spool, count), who, spool)

    async def following() -> tuple[str, Answer | ChannelError] | None:
        return await anext(stream, None)

    keys, most = [], 0
    while (found := run(following())) is not None:
        keys.append(found[0])
        most = max(most, len(left_in(spool)))
        assert isinstance(found[1], Answer)
        assert found[1].image is not None
        found[1].image.path.unlink()
    assert sorted(keys) == sorted(f"key-{number}" for number in range(count))
    assert most == (count if count == INLINE else 1), "of a file only one picture at a time lies in the spool"
    assert left_in(spool) == []


@pytest.mark.parametrize("count", [INLINE, BY_FILE])
def test_who_stops_reading_finds_only_what_he_was_given(
    fake: FakeGeminiBatch, who: Credentials, spool: Path, count: int
) -> None:
    stream: Any = ROAD.results(ended(fake, who, spool, count), who, spool)

    async def following() -> Any:
        return (await anext(stream))[1]

    async def stop() -> None:
        await stream.aclose()

    first = run(following())
    run(stop())
    assert left_in(spool) == [first.image.path]


@pytest.mark.parametrize("fault_at", ["create", "/upload/", "/download/", "/v1beta/batches/"])
def test_canceling_leaves_nothing_behind(fake: FakeGeminiBatch, who: Credentials, spool: Path, fault_at: str) -> None:
    job = ended(fake, who, spool, BY_FILE) if fault_at != "/upload/" and fault_at != "create" else ""
    asked = len(fake.asides) + len(fake.requests)
    if fault_at == "create":
        fake.script = [Fault("silent")]
    else:
        fake.aside_fault_for = striking(fault_at, Fault("stall", "5"), offset="0" if fault_at == "/upload/" else None)
    expected = {"/upload/": 2, "create": 3, "/v1beta/batches/": 1, "/download/": 2}[fault_at]
    with ThreadPoolExecutor(1) as pool:
        work = (lambda: results(job, who, spool)) if job else (lambda: create(items_of(spool, BY_FILE), who))
        future = pool.submit(work)
        until(lambda: len(fake.asides) + len(fake.requests) == asked + expected)
        assert loop.cancel_all(5) == 0
        assert isinstance(future.exception(5), loop.CallCanceled)
    until(lambda: fake.abandoned_count == 1)
    assert left_in(spool) == []


def test_canceling_while_a_file_is_written_leaves_nothing_behind(
    fake: FakeGeminiBatch, who: Credentials, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, gate, written = batch_request.body, threading.Event(), []

    def slow(call: Call) -> dict[str, Any]:
        written.append(call)
        if len(written) == 3:
            gate.wait(10)
        return whole(call)

    monkeypatch.setattr(batch_request, "body", slow)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(lambda: create(items_of(spool, BY_FILE), who))
        until(lambda: len(written) == 3)
        assert loop.cancel_all(5) == 0
        assert isinstance(future.exception(5), loop.CallCanceled)
        gate.set()
    assert (fake.asides, fake.requests, left_in(spool)) == ([], [], [])


@pytest.mark.parametrize("count", [INLINE, BY_FILE])
def test_canceling_while_a_picture_is_put_away_leaves_no_file(
    fake: FakeGeminiBatch, who: Credentials, spool: Path, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = ended(fake, who, spool, count)
    whole, reached = pictures.from_bytes, []

    async def slow_third(*arguments: Any) -> Any:
        reached.append(1)
        if len(reached) == 3:
            await asyncio.sleep(60)
        return await whole(*arguments)

    async def each() -> None:
        async for _, result in ROAD.results(job, who, spool):
            assert isinstance(result, Answer)
            assert result.image is not None
            result.image.path.unlink()

    monkeypatch.setattr(pictures, "from_bytes", slow_third)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(lambda: run(each()))
        until(lambda: len(reached) == 3)
        assert loop.cancel_all(5) == 0
        assert isinstance(future.exception(5), loop.CallCanceled)
    assert left_in(spool) == []


# --- lines -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_lines_are_the_same_however_they_come(size: int) -> None:
    text = "a\nbé\u2028c\n\n\r\nlast".encode()
    lines = batch_lines.Lines(1000)
    found = [line for start in range(0, len(text), size) for line in lines.feed(text[start : start + size])]
    assert [*found, lines.finish()] == [b"a", "bé\u2028c".encode(), b"", b"\r", b"last"]


def test_a_line_without_end_is_not_kept_and_still_says_whose_it_is() -> None:
    lines = batch_lines.Lines(40)
    long = b'{"key": "mine", "response": "' + b"A" * 1000
    found = [line for piece in (long, long, b'"}\n{"key": "b"}\n') for line in lines.feed(piece)]
    assert [len(line) for line in found] == [40, 12]
    assert [batch_lines.read(line) for line in found] == [("mine", {}), ("b", {"key": "b"})]


@pytest.mark.parametrize(
    ("line", "key"),
    [
        (b'{"key": "a", "response": {', "a"),
        (b' { "key":"a\\"b", "resp', 'a"b'),
        (b'{"response": {"x": nonsense}, "key": "a"}', "a"),
        (b'{"response": {"key": "not mine", "x": nonsense}}', ""),
        (b'{"key": "\\x", "response": {', ""),
        (b'{"key": 7}', ""),
        (b'{"key": "a', ""),
        (b'["key"]', ""),
        (b"\xff\xfe", ""),
        (b"[" * 100_000, ""),
    ],
)
def test_whose_a_spoiled_line_is(line: bytes, key: str) -> None:
    assert batch_lines.read(line)[0] == key


# --- the stand-in ------------------------------------------------------------------------------------------------


def test_the_stand_in_is_strict(fake: FakeGeminiBatch, who: Credentials, spool: Path, monkeypatch: Any) -> None:
    """Whatever is sent otherwise than Google takes it is refused, so that the tests above say something."""
    whole = batch_request.body

    def without_contents(call: Call) -> dict[str, Any]:
        return {"generationConfig": whole(call)["generationConfig"]}

    def with_more(call: Call) -> dict[str, Any]:
        return whole(call) | {"unknown": 1}

    for spoiled in (without_contents, with_more):
        monkeypatch.setattr(batch_request, "body", spoiled)
        for count in (1, BY_FILE):
            assert failure(lambda: create(items_of(spool, count), who)).kind == "rejected"  # noqa: B023
    monkeypatch.undo()
    assert failure(lambda: create([JobItem("", call_of(spool))], who)).kind == "rejected"
    monkeypatch.setattr(batch_upload, "PIECE_BYTES", 500)
    assert "multiple" in failure(lambda: create(items_of(spool, BY_FILE), who)).message
    assert fake.jobs == {}
