"""What every adapter owes: the whole picture, one request, and for each failure the kind that says what it costs."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path

import pytest

from generation.channels.fakes.faults import NAMES
from generation.contract import Answer, ChannelError, ImageFile
from generation.egress import loop, transport
from tests.raw_server import RawServer, answer
from tests.upstreams.calls import PROMPT, closed_port, large, picture_file, png, until
from tests.upstreams.contract import EVERY_WAY, WITH_KEY, WITH_REFERENCES, Harness, answering, playing, ways
from tests.upstreams.speakers import STATUSES, Word

# Sent, and no complete answer came: the upstream may have made, and billed, a picture.
BROKEN = (
    *("html", "truncated", "json-cut", "chunk-cut", "gzip-cut", "reset", "reset-midway", "close", "noise"),
    "bad-base64",
)
ENDLESS = ("silent", "stall", "trickle", "trickle-head")
OVERSIZED = ("huge", "gzip-bomb")
FRAMINGS = ("chunked", "gzip")
LABELS = ("jpeg", "wrong-mime")
UNDECODABLE = ("not-an-image", "broken-image")
BLOCKED = ("blocked-prompt", "blocked-image", "prohibited")
SILENT = ("no-image", "text-only", "max-tokens")
# Faults that have no test of their own here.
OTHERS = sorted(NAMES.difference(STATUSES, BROKEN, ENDLESS, OVERSIZED, FRAMINGS, LABELS, UNDECODABLE, BLOCKED, SILENT))


# --- what is sent ------------------------------------------------------------------------------------------------


@EVERY_WAY
@pytest.mark.parametrize("seed", [0, 7])
def test_what_was_asked_is_what_the_upstream_reads(harness: Harness, seed: int) -> None:
    assert harness.ask(aspect_ratio="16:9", seed=seed).finish == "ok"
    (scene,) = harness.drawn.scenes
    assert (scene.prompt, scene.aspect_ratio, scene.image_size) == (PROMPT, "16:9", "1K")
    assert scene.seed == (seed if "seed" in harness.adapter.abilities else None)
    assert list(scene.images) == []


@WITH_REFERENCES
@pytest.mark.parametrize("count", [1, 2])
def test_references_go_along_byte_for_byte(harness: Harness, tmp_path: Path, count: int) -> None:
    references = tuple(picture_file(tmp_path, seed) for seed in range(count))
    assert harness.ask(references=references).finish == "ok"
    (scene,) = harness.drawn.scenes
    assert list(scene.images) == [png(seed) for seed in range(count)]
    assert scene.prompt == PROMPT
    assert len(harness.requests) == 1


@EVERY_WAY
def test_a_base_url_may_end_with_a_slash(harness: Harness) -> None:
    who = harness.credentials()
    assert harness.ask(who).finish == "ok"
    assert harness.ask(replace(who, base_url=f"{who.base_url}/")).finish == "ok"
    first, second = harness.requests
    assert first.path == second.path


@WITH_KEY
def test_each_call_brings_its_own_key_and_in_one_header_only(harness: Harness) -> None:
    keys = [f"the-key-number-{number}-of-many" for number in range(20)]

    async def many() -> list[Answer]:
        given = (harness.credentials(secret=key) for key in keys)
        return await asyncio.gather(*(harness.adapter.generate(harness.call, each) for each in given))

    assert {found.finish for found in loop.run(many(), timeout_seconds=60)} == {"ok"}
    assert len(harness.spooled) == len(harness.requests) == 20
    header, form = harness.speaker.key_header
    assert sorted(each.headers[header] for each in harness.requests) == sorted(map(form.format, keys))
    for request in harness.requests:
        headers = {name: value for name, value in request.headers.items() if name != header}
        assert "the-key-number" not in f"{request.path} {request.query} {headers} {json.dumps(request.body)}"


@EVERY_WAY
@pytest.mark.parametrize("is_vertex", ["true", "false"])
def test_the_process_environment_changes_nothing(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, is_vertex: str
) -> None:
    variables = {
        "GOOGLE_API_KEY": "from-the-environment",
        "GEMINI_API_KEY": "from-the-environment-too",
        "OPENAI_API_KEY": "from-the-environment-as-well",
        "OPENAI_BASE_URL": "http://127.0.0.1:9",
        "GOOGLE_GENAI_USE_VERTEXAI": is_vertex,
        "GOOGLE_GENAI_USE_ENTERPRISE": is_vertex,
        "GOOGLE_CLOUD_PROJECT": "another-project",
        "GOOGLE_CLOUD_LOCATION": "europe-west1",
        "GOOGLE_CLOUD_QUOTA_PROJECT": "yet-another-project",
        "GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "missing.json"),
        "GOOGLE_GEMINI_BASE_URL": "http://127.0.0.1:9",
        "GOOGLE_VERTEX_BASE_URL": "http://127.0.0.1:9",
        "GOOGLE_GENAI_API_VERSION": "v1alpha",
        "GOOGLE_GENAI_HTTP_CLIENT": "httpx",
        "GOOGLE_GENAI_CLIENT_MODE": "replay",
        "GOOGLE_GENAI_REPLAYS_DIRECTORY": str(tmp_path),
        "GOOGLE_API_USE_MTLS_ENDPOINT": "always",
        "GOOGLE_API_USE_CLIENT_CERTIFICATE": "true",
        "SSL_CERT_FILE": str(tmp_path / "missing.pem"),
        "HTTP_PROXY": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9",
    }
    harness.ask()
    loop.stop()
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    try:
        assert harness.ask().finish == "ok"
    finally:
        loop.stop()
    # A token is another one each time, a key is not.
    ours = {"authorization"} if harness.speaker.secret_at else set()
    before, after = (
        (each.path, each.query, each.body, {name: each.headers[name] for name in each.headers.keys() - ours})
        for each in harness.requests
    )
    assert before == after


# --- what is read ------------------------------------------------------------------------------------------------


@EVERY_WAY
@pytest.mark.parametrize("picture", [png(), large()], ids=["small", "large"])
def test_a_picture_comes_back_byte_for_byte(harness: Harness, picture: bytes) -> None:
    harness.drawn.picture = picture
    found = harness.ask()
    assert (found.finish, found.draft_count) == ("ok", 0)
    assert found.image is not None
    assert found.image.path.read_bytes() == picture
    assert harness.drawn.sent == [picture]
    assert (found.image.byte_count, found.image.sha256) == (len(picture), hashlib.sha256(picture).hexdigest())
    assert found.image.mime_type == ("image/png" if harness.speaker.is_labeled else "application/octet-stream")
    assert found.image.path.stat().st_mode & 0o777 == 0o600
    assert harness.spooled == [found.image.path]
    assert len(harness.requests) == 1


@playing(*FRAMINGS)
def test_other_framings_carry_the_same_picture(harness: Harness, fault: str) -> None:
    harness.play(fault)
    found = harness.ask()
    assert found.image is not None
    assert [found.image.path.read_bytes()] == harness.drawn.sent == [harness.drawn.picture]
    assert len(harness.requests) == 1


@playing(*LABELS)
def test_a_picture_is_called_what_the_upstream_calls_it(harness: Harness, fault: str) -> None:
    harness.play(fault)
    found = harness.ask()
    assert found.image is not None
    assert [found.image.path.read_bytes()] == harness.drawn.sent
    assert found.image.mime_type == ("image/jpeg" if harness.speaker.is_labeled else "application/octet-stream")
    assert len(harness.requests) == 1


@playing(*UNDECODABLE)
def test_what_does_not_decode_is_handed_on_as_it_came(harness: Harness, fault: str) -> None:
    """Whether bytes decode is not the adapter's question."""
    harness.play(fault)
    found = harness.ask()
    assert found.image is not None
    assert [found.image.path.read_bytes()] == harness.drawn.sent != [harness.drawn.picture]
    assert len(harness.requests) == 1


@playing("two-images")
@pytest.mark.parametrize("picture", [png(), large()], ids=["small", "large"])
def test_of_two_pictures_the_last_is_taken(harness: Harness, fault: str, picture: bytes) -> None:
    harness.drawn.picture = picture
    harness.play(fault)
    found = harness.ask()
    assert found.image is not None
    assert (found.draft_count, found.image.path.read_bytes()) == (1, picture)
    assert harness.spooled == [found.image.path]
    assert len(harness.requests) == 1


@pytest.mark.filterwarnings("ignore:.*is not a valid:UserWarning")
@answering(lambda speaker: speaker.refusals)
def test_a_refusal_is_an_answer_with_its_reason(harness: Harness, word: Word) -> None:
    name, argument, reason = word
    harness.play(name, argument)
    found = harness.ask()
    assert (found.finish, found.finish_reason, found.image) == ("refused", reason, None)
    assert (len(harness.requests), harness.spooled) == (1, [])


@pytest.mark.filterwarnings("ignore:.*is not a valid:UserWarning")
@answering(lambda speaker: speaker.silences)
def test_an_answer_without_a_picture_is_one_with_its_reason(harness: Harness, word: Word) -> None:
    name, argument, reason = word
    harness.play(name, argument)
    found = harness.ask()
    assert (found.finish, found.finish_reason, found.image) == ("no_image", reason, None)
    assert (len(harness.requests), harness.spooled) == (1, [])


# --- what a failure means ----------------------------------------------------------------------------------------


@playing(*STATUSES)
def test_an_answered_error_says_whose_fault_it_is(harness: Harness, fault: str) -> None:
    harness.play(fault)
    error = harness.failure()
    status = 302 if fault == "redirect" else int(fault)
    assert (error.kind, error.status, error.retry_after_seconds) == (STATUSES[fault], status, None)
    assert error.message.startswith(str(status))
    assert len(harness.requests) == 1


@EVERY_WAY
@pytest.mark.parametrize(
    ("status", "after", "seconds"),
    [
        ("429", "7", 7.0),
        ("503", "1.5", 1.5),
        ("429", "-5", 0.0),
        ("429", "99999999999", 86400.0),
        ("503", "soon", None),
        ("429", "nan", None),
    ],
)
def test_how_long_to_wait(harness: Harness, status: str, after: str, seconds: float | None) -> None:
    harness.play(status, retry_after=after)
    error = harness.failure()
    assert (error.kind, error.status, error.retry_after_seconds) == ("busy", int(status), seconds)


@EVERY_WAY
def test_how_long_to_wait_until_a_date(harness: Harness) -> None:
    harness.play("503", retry_after=formatdate(time.time() + 60, usegmt=True))
    seconds = harness.failure().retry_after_seconds
    assert seconds is not None
    assert 50 < seconds <= 60


@EVERY_WAY
def test_a_model_that_is_not_there_is_free_and_another_channels_chance(harness: Harness) -> None:
    error = harness.failure(upstream_model=harness.speaker.unknown_model)
    assert (error.kind, error.status, len(harness.requests)) == ("failed", 404, 1)
    assert harness.speaker.unknown_words in error.message


@WITH_KEY
@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, b"null", "rejected"),
        (400, b'{"error": "\xff"}', "rejected"),
        (400, b'{"error": ["odd"], "detail": {"odd": 1}}', "rejected"),
        (405, b"<html>", "unauthorized"),
        (408, b"", "failed"),
        (409, b"{}", "failed"),
        (413, b"", "rejected"),
        (422, b'{"error": "a word"}', "rejected"),
        (302, b"", "failed"),
        (499, b"", "failed"),
        (503, b"x" * 300_000, "busy"),
        (520, b"<html>web server is down</html>", "failed"),
        (200, b"", "unknown"),
        (200, b"{", "unknown"),
        (200, b"[7, 7]", "unknown"),
        (200, b"null", "unknown"),
        (200, b'"a word"', "unknown"),
        (200, b"<html></html>", "unknown"),
    ],
)
def test_odd_answers(harness: Harness, status: int, body: bytes, kind: str) -> None:
    headers = ("Content-Type: application/json", "X-Request-Id: odd-1", "Location: /elsewhere")
    with RawServer(answer(body, *headers, status=f"{status} Odd")) as server:
        error = harness.failure(harness.credentials(server.url))
        assert len(server.requests) == 1
    assert (error.kind, error.status, error.upstream_request_id) == (kind, status, "odd-1")


@WITH_KEY
@pytest.mark.parametrize("status", [403, 500])
def test_the_key_is_cut_out_of_an_upstreams_words(harness: Harness, status: int) -> None:
    words = f"The key '{harness.speaker.secret}' may not."
    body = {"error": {"code": status, "status": "PERMISSION_DENIED", "message": words}, "detail": words}
    with RawServer(answer(json.dumps(body).encode(), status=f"{status} No")) as server:
        error = harness.failure(harness.credentials(server.url))
    assert "The key '[API key]' may not." in error.message


@playing(*BROKEN)
def test_a_request_without_a_complete_answer_is_unknown_and_not_sent_again(harness: Harness, fault: str) -> None:
    harness.play(fault)
    assert harness.failure().kind == "unknown"
    assert len(harness.requests) == 1


@playing("json-cut")
@pytest.mark.parametrize("place", ["0", "1", "40", "-1"])
def test_an_answer_cut_anywhere_is_unknown(harness: Harness, fault: str, place: str) -> None:
    harness.play(fault, place)
    assert harness.failure().kind == "unknown"
    assert len(harness.requests) == 1


@playing(*OVERSIZED)
def test_an_answer_without_end_is_given_up_at_the_cap(harness: Harness, fault: str) -> None:
    harness.play(fault, "70000000")
    error = harness.failure(byte_cap=3_000_000)
    assert (error.kind, len(harness.requests)) == ("unknown", 1)
    assert "larger than" in error.message


@EVERY_WAY
def test_the_byte_cap_of_the_call_is_kept(harness: Harness) -> None:
    error = harness.failure(byte_cap=10_000)
    limit = "larger than 10000 bytes"
    inside = f"BodyTooLarge: the answer is {limit}"
    behind = f"the picture could not be fetched (too_large): The image is {limit}."
    assert (error.kind, error.message) == ("unknown", inside if harness.speaker.embeds else behind)
    assert len(harness.requests) == 1


@playing(*ENDLESS)
def test_the_deadline_is_wall_clock_time_and_hangs_up(harness: Harness, fault: str) -> None:
    harness.warm_up()
    harness.play(fault)
    abandoned = harness.fake.abandoned_count
    begun = time.monotonic()
    error = harness.failure(deadline_seconds=0.5)
    assert time.monotonic() - begun < 5
    assert (error.kind, error.message) == ("unknown", "no complete answer within 0.5 seconds")
    until(lambda: harness.fake.abandoned_count > abandoned)
    assert len(harness.requests) == 1


@playing(*OTHERS)
def test_no_fault_costs_more_than_one_request(harness: Harness, fault: str) -> None:
    harness.play(fault)
    try:
        image = harness.ask().image
    except ChannelError as error:
        assert error.kind != "unreachable"
        image = None
    assert len(harness.requests) == 1
    assert harness.spooled == ([image.path] if image else [])


@ways(lambda speaker: speaker.has_links)
def test_a_link_to_a_picture_inside_is_not_fetched(harness: Harness) -> None:
    with RawServer(answer(png())) as inside:
        harness.play("file-uri", f"{inside.url}picture.png")
        error = harness.failure()
        assert inside.connection_count == 0
    assert (error.kind, len(harness.requests)) == ("unknown", 1)


# --- what is noticed before anything is sent -----------------------------------------------------------------------


@WITH_KEY
@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}", "http://nowhere.invalid", "https://{fake}", "nonsense"])
def test_a_call_that_never_left_is_unreachable(harness: Harness, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    # The stand-in takes TLS for the beginning of a long line of HTTP and waits for the rest of it.
    monkeypatch.setattr(transport, "CONNECT_SECONDS", 0.3)
    address = url.format(port=closed_port(), fake=harness.fake.base_url.removeprefix("http://"))
    error = harness.failure(harness.credentials(address))
    assert (error.kind, error.status) == ("unreachable", None)
    assert harness.requests == []


@WITH_REFERENCES
def test_a_missing_reference_is_noticed_before_anything_is_sent(harness: Harness, tmp_path: Path) -> None:
    error = harness.failure(references=(ImageFile(tmp_path / "gone.png", "image/png"),))
    assert error.kind == "unreachable"
    assert "gone.png" in error.message
    assert harness.requests == []


@WITH_REFERENCES
def test_a_deadline_before_anything_was_sent_is_unreachable(
    harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    monkeypatch.setattr(Path, "read_bytes", lambda _path: gate.wait(5) and b"")
    error = harness.failure(references=(ImageFile(tmp_path / "slow.png", "image/png"),), deadline_seconds=0.1)
    gate.set()
    assert (error.kind, error.message) == ("unreachable", "no complete answer within 0.1 seconds")
    assert harness.requests == []


@WITH_KEY
@pytest.mark.parametrize("secret", ["", "with space", "with\nnewline", "schlüssel"])
def test_a_key_that_no_header_can_carry_is_the_channels_fault(harness: Harness, secret: str) -> None:
    assert harness.failure(harness.credentials(secret=secret)).kind == "unauthorized"
    assert harness.requests == []


# --- cancellation ------------------------------------------------------------------------------------------------


@playing("silent", "stall")
def test_canceling_reaches_the_upstream_and_nothing_is_sent_again(harness: Harness, fault: str) -> None:
    for _ in range(3):
        harness.play(fault)
    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(harness.ask) for _ in range(3)]
        until(lambda: len(harness.requests) == 3)
        assert loop.cancel_all(5) == 0
        assert {type(future.exception(5)) for future in futures} == {loop.CallCanceled}
    until(lambda: harness.fake.abandoned_count == 3)
    assert (len(harness.requests), harness.spooled) == (3, [])


async def _canceled_once(harness: Harness, has_come: Callable[[], bool]) -> None:
    """Begin a call, and cancel it as soon as something has come of it."""
    task = asyncio.create_task(harness.generate())
    while not has_come():
        await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


@EVERY_WAY
def test_a_cancellation_while_a_small_picture_is_written_leaves_no_file(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing, gate, written = threading.Event(), threading.Event(), threading.Event()
    write_bytes = Path.write_bytes

    def slow_write(path: Path, data: bytes) -> int:
        writing.set()
        gate.wait(5)
        byte_count = write_bytes(path, data)
        written.set()
        return byte_count

    harness.drawn.picture = png()
    monkeypatch.setattr(Path, "write_bytes", slow_write)
    loop.run(_canceled_once(harness, writing.is_set), timeout_seconds=20)
    gate.set()
    until(lambda: written.is_set() and not harness.spooled)


@ways(lambda speaker: speaker.embeds)
def test_a_cancellation_while_a_large_picture_comes_leaves_no_file(harness: Harness) -> None:
    def has_come() -> bool:
        return sum(path.stat().st_size for path in harness.spooled) > 100_000

    harness.drawn.picture = large()
    harness.play("stall")
    loop.run(_canceled_once(harness, has_come), timeout_seconds=20)
    assert harness.spooled == []
    until(lambda: harness.fake.abandoned_count == 1)
    assert len(harness.requests) == 1
