"""The adapter for Black Forest Labs on the real wire: one submission, questions until it ends, one download."""

from __future__ import annotations

import asyncio
import base64
import json
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from generation.channels.adapter import Credentials
from generation.channels.adapters.bfl import calls
from generation.channels.adapters.bfl.adapter import BflAdapter
from generation.channels.adapters.bfl.answer import Task
from generation.channels.adapters.bfl.request import _FLUX_1_1, _FLUX_2
from generation.channels.adapters.bfl.sizes import Frame, pixel_size
from generation.channels.adapters.http_json import Answered
from generation.channels.fakes.faults import STATUSES, Fault
from generation.contract import Answer, Call, ChannelError, ImageFile, Turn
from generation.decoding import size_class
from generation.egress import loop
from tests.raw_server import RawServer, answer
from tests.upstreams.bfl import FakeBfl
from tests.upstreams.calls import call_of, failure_of, picture_file, png, spooled, until

KEY = "bfl-the-secret-of-this-channel-0123456789"
MODEL = "flux-2-pro"
BROKEN = ["html", "truncated", "json-cut", "chunk-cut", "gzip-cut", "reset", "reset-midway", "close", "noise"]
RATIOS = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9", "9:21", "1:4", "4:1", "1:8", "8:1")


@pytest.fixture(scope="module", autouse=True)
def stopped_loop() -> Iterator[None]:
    yield
    loop.stop()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "POLL_SECONDS", 0.01)


@pytest.fixture
def fake() -> Iterator[FakeBfl]:
    with FakeBfl(cached=True) as found:
        yield found


@pytest.fixture
def call(tmp_path: Path) -> Call:
    return call_of(tmp_path, MODEL, is_multimodal=False)


@pytest.fixture
def images(tmp_path: Path) -> list[ImageFile]:
    return [picture_file(tmp_path, number) for number in range(9)]


def ask(call: Call, base_url: str, secret: str = KEY) -> Answer:
    return loop.run(BflAdapter().generate(call, Credentials(secret, base_url)), timeout_seconds=60)


def failure(call: Call, base_url: str, secret: str = KEY) -> ChannelError:
    return failure_of(call, lambda: ask(call, base_url, secret), secret, may_fetch=True)


def sent(call: Call, fake: FakeBfl) -> Any:
    """The body of the one submission of a call that brings a picture."""
    fake.requests.clear()
    assert ask(call, fake.base_url).finish == "ok"
    (request,) = fake.requests
    assert request.path == f"/v1/{call.upstream_model}"
    return request.body


class Keeper:
    """Keeps handles as the road does."""

    def __init__(self, fake: FakeBfl) -> None:
        self.handles: list[str] = []
        self.polls_before: list[int] = []
        self._fake = fake

    async def __call__(self, handle: str) -> None:
        self.handles.append(handle)
        self.polls_before.append(len(self._fake.polls))


# --- what is sent ------------------------------------------------------------------------------------------------


def test_a_plain_call_is_a_submission_two_questions_and_a_download(call: Call, fake: FakeBfl) -> None:
    found = ask(call, fake.base_url)
    assert (found.finish, found.finish_reason, found.cost_micros) == ("ok", "Ready", 30_000)
    assert found.image is not None
    with Image.open(found.image.path) as image:
        assert (image.format, image.size) == ("PNG", (1024, 1024))
    (request,) = fake.requests
    assert request.body == {"prompt": "a red bicycle", "output_format": "png", "width": 1024, "height": 1024}
    assert request.headers["x-key"] == KEY
    assert request.headers["content-type"] == "application/json"
    assert "authorization" not in request.headers
    # Pending once, then ready: asked at the very address that was given, with the key.
    assert [(poll.path, poll.headers["x-key"]) for poll in fake.polls] == [("/v1/get_result", KEY)] * 2
    assert {poll.query["id"] for poll in fake.polls} == {found.upstream_request_id}
    assert {poll.query["region"] for poll in fake.polls} == {"eu2"}
    # The link is signed; the fake refuses a download that brings the key along.
    assert len(fake.downloads) == 1


@pytest.mark.parametrize(
    ("model", "ratio", "size", "shape"),
    [
        ("flux-2-pro", "16:9", "1K", {"width": 1360, "height": 768}),
        ("flux-2-max", "3:2", "2K", {"width": 2496, "height": 1664}),
        ("flux-2-flex", "9:16", "4K", {"width": 1520, "height": 2704}),
        ("flux-2-klein-4b", "1:1", "512", {"width": 512, "height": 512}),
        ("flux-2-klein-9b", "21:9", "1K", {"width": 1536, "height": 656}),
        ("flux-pro-1.1", "16:9", "1K", {"width": 1312, "height": 736}),
        ("flux-pro-1.1", "1:1", "2K", {"width": 1440, "height": 1440}),
        ("flux-pro-1.1-ultra", "16:9", "2K", {"aspect_ratio": "16:9"}),
        ("flux-kontext-pro", "2:3", "1K", {"aspect_ratio": "2:3"}),
        ("flux-kontext-max", "21:9", "1K", {"aspect_ratio": "21:9"}),
    ],
)
def test_each_model_is_told_the_shape_in_its_own_words(
    call: Call, fake: FakeBfl, model: str, ratio: str, size: str, shape: dict[str, Any]
) -> None:
    """The fake refuses edges and fields that the model does not take."""
    asked = replace(call, upstream_model=model, aspect_ratio=ratio, image_size=size, seed=7)
    assert sent(asked, fake) == {"prompt": "a red bicycle", "output_format": "png", "seed": 7, **shape}


def test_a_seed_of_zero_is_a_seed(call: Call, fake: FakeBfl) -> None:
    assert sent(replace(call, seed=0), fake)["seed"] == 0


def decoded(body: Any, *names: str) -> list[bytes]:
    return [base64.b64decode(body[name], validate=True) for name in names]


def inputs(count: int) -> list[str]:
    return ["input_image", *(f"input_image_{number}" for number in range(2, count + 1))]


@pytest.mark.parametrize(
    ("model", "names"),
    [
        ("flux-2-pro", inputs(8)),
        ("flux-2-klein-4b", inputs(4)),
        ("flux-kontext-max", inputs(4)),
        ("flux-pro-1.1", ["image_prompt"]),
        ("flux-pro-1.1-ultra", ["image_prompt"]),
        ("flux-pro-1.0-fill", ["image"]),
    ],
)
def test_references_go_where_the_model_looks_for_them(
    call: Call, fake: FakeBfl, images: list[ImageFile], model: str, names: list[str]
) -> None:
    body = sent(replace(call, upstream_model=model, references=tuple(images[: len(names)])), fake)
    assert decoded(body, *names) == [png(number) for number in range(len(names))]
    assert {name for name in body if "image" in name} == set(names)


@pytest.mark.parametrize("model", ["flux-pro-1.1", "flux-pro-1.1-ultra", "flux-pro-1.0-fill"])
def test_a_model_for_one_image_gets_the_first(call: Call, fake: FakeBfl, images: list[ImageFile], model: str) -> None:
    body = sent(replace(call, upstream_model=model, references=tuple(images[3:5])), fake)
    (name,) = (name for name in body if "image" in name)
    assert decoded(body, name) == [png(3)]


@pytest.mark.parametrize(("model", "most"), [("flux-2-pro", 8), ("flux-2-klein-9b", 4), ("flux-kontext-pro", 4)])
def test_more_images_than_a_model_takes_are_not_left_out_in_silence(
    call: Call, fake: FakeBfl, images: list[ImageFile], model: str, most: int
) -> None:
    error = failure(replace(call, upstream_model=model, references=tuple(images[: most + 1])), fake.base_url)
    assert (error.kind, error.message) == ("rejected", f"{model} takes at most {most} images, not {most + 1}")
    assert fake.requests == []


def test_the_last_turns_picture_goes_first(call: Call, fake: FakeBfl, images: list[ImageFile]) -> None:
    turns = tuple(Turn(f"turn {number}", (), images[number], (), "2", "another") for number in range(2))
    body = sent(replace(call, history=turns, references=(images[5],)), fake)
    assert decoded(body, "input_image", "input_image_2") == [png(1), png(5)]
    assert "input_image_3" not in body


def test_a_mask_goes_with_the_image_it_belongs_to(call: Call, fake: FakeBfl, images: list[ImageFile]) -> None:
    asked = replace(call, upstream_model="flux-pro-1.0-fill", references=(images[0],), mask=images[1], seed=3)
    body = sent(asked, fake)
    assert decoded(body, "image", "mask") == [png(0), png(1)]
    assert body.keys() == {"prompt", "output_format", "seed", "image", "mask"}


def test_a_mask_for_a_model_that_takes_none_is_not_left_out_in_silence(
    call: Call, fake: FakeBfl, images: list[ImageFile]
) -> None:
    error = failure(replace(call, references=(images[0],), mask=images[1]), fake.base_url)
    assert (error.kind, error.message) == ("rejected", "flux-2-pro takes no mask")
    assert fake.requests == []


# --- pixels ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize(("size", "most"), [("512", 0.25), ("1K", 1), ("2K", 4), ("4K", 4)])
def test_flux_2_fills_its_megapixels_and_never_exceeds_them(ratio: str, size: str, most: float) -> None:
    width, height = pixel_size(ratio, size, _FLUX_2)
    across, _, down = ratio.partition(":")
    assert width % 16 == height % 16 == 0
    assert min(width, height) >= 64
    assert 0.9 * most <= width * height / 1024**2 <= most
    assert abs(math.log(width / height * int(down) / int(across))) < 0.02
    assert size == "512" or size_class(width, height) == {"1K": "1K"}.get(size, "2K")


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("size", ["512", "1K", "2K", "4K"])
def test_flux_1_1_stays_within_its_edges(ratio: str, size: str) -> None:
    width, height = pixel_size(ratio, size, _FLUX_1_1)
    across, down = map(int, ratio.split(":"))
    assert width % 32 == height % 32 == 0
    assert 256 <= min(width, height) <= max(width, height) <= 1440
    if max(across, down) / min(across, down) < 3:
        assert abs(math.log(width / height * down / across)) < 0.06


@pytest.mark.parametrize("frame", [_FLUX_2, _FLUX_1_1, Frame(step=8, shortest=8, longest=4000)])
def test_a_ratio_turned_over_is_the_same_picture_turned_over(frame: Frame) -> None:
    for ratio in RATIOS:
        across, _, down = ratio.partition(":")
        for size in ("512", "1K", "2K"):
            assert pixel_size(f"{down}:{across}", size, frame) == pixel_size(ratio, size, frame)[::-1]


@pytest.mark.parametrize(("ratio", "size"), [("", "1K"), ("auto", "1K"), ("0:1", "1K"), ("1:1", "8K"), ("1:1", "")])
def test_what_is_no_ratio_or_size_is_not_guessed(ratio: str, size: str) -> None:
    with pytest.raises(ValueError, match="no pixel size"):
        pixel_size(ratio, size, _FLUX_2)


def test_a_ratio_that_is_none_costs_nothing(call: Call, fake: FakeBfl) -> None:
    assert failure(replace(call, aspect_ratio="auto"), fake.base_url).kind == "unreachable"
    assert fake.requests == []


# --- what is read ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["Pending"] * 3, ["Reasoning", "Generating"], ["A word to come"], ["pending"]])
def test_any_word_that_is_no_end_is_work_that_goes_on(call: Call, fake: FakeBfl, words: list[str]) -> None:
    fake.poll_words[:] = words
    assert ask(call, fake.base_url).finish == "ok"
    assert len(fake.polls) == len(words) + 2
    assert len(fake.requests) == 1


@pytest.mark.parametrize(
    ("cost", "ready_cost", "micros"),
    [
        (3.0, 4.5, 45_000),
        (3.0, None, 30_000),
        (None, 1.4, 14_000),
        (None, None, None),
        (0.0, None, 0),
        (3.0, 0.0, 0),
        (0.00001, None, 1),
        (-1.0, None, None),
    ],
)
def test_the_cost_is_in_credits_and_the_last_word_counts(
    call: Call, fake: FakeBfl, cost: float | None, ready_cost: float | None, micros: int | None
) -> None:
    fake.cost, fake.ready_cost = cost, ready_cost
    assert ask(call, fake.base_url).cost_micros == micros


@pytest.mark.parametrize(
    "fault", [Fault("blocked-prompt"), Fault("blocked-image"), Fault("blocked-image", "Safety"), Fault("no-image")]
)
def test_an_answer_without_a_picture_says_its_cost_and_nothing_is_fetched(
    call: Call, fake: FakeBfl, fault: Fault
) -> None:
    fake.script.append(fault)
    found = ask(call, fake.base_url)
    assert (found.image, found.cost_micros) == (None, 30_000)
    assert found.upstream_request_id == fake.polls[0].query["id"]
    assert (len(fake.requests), fake.downloads) == (1, [])


@pytest.mark.parametrize(
    ("details", "reason"),
    [
        (None, "Request Moderated"),
        ({}, "Request Moderated"),
        ({"Moderation Reasons": ["Violence", "Weapons"]}, "Request Moderated: Violence, Weapons"),
        ({"Moderation Reasons": "Violence"}, "Request Moderated: Violence"),
        ({"Moderation Reasons": []}, "Request Moderated"),
        ("in so many words", "Request Moderated: in so many words"),
        ({"Moderation Reasons": ["x" * 1000]}, f"Request Moderated: {'x' * 181}"),
    ],
)
def test_reasons_for_a_refusal_are_read_in_any_form(call: Call, fake: FakeBfl, details: Any, reason: str) -> None:
    fake.poll_words, fake.details = ["Request Moderated"], details
    assert ask(call, fake.base_url).finish_reason == reason


@pytest.mark.parametrize("wire", ["chunked", "gzip"])
def test_other_framings_carry_the_same_picture(call: Call, fake: FakeBfl, wire: str) -> None:
    plain = ask(call, fake.base_url)
    fake.script.append(Fault(wire))
    fake.poll_faults[:] = [Fault(wire)] * 2
    fake.download_faults.append(Fault(wire))
    other = ask(call, fake.base_url)
    assert plain.image is not None
    assert other.image is not None
    assert other.image.sha256 == plain.image.sha256


@pytest.mark.parametrize(
    ("name", "start"), [("jpeg", b"\xff\xd8"), ("not-an-image", b"<html>"), ("broken-image", b"\x89PNG")]
)
def test_what_a_delivery_is_called_is_nobodys_question(call: Call, fake: FakeBfl, name: str, start: bytes) -> None:
    fake.script.append(Fault(name))
    fake.delivered_type = "text/html"
    found = ask(call, fake.base_url)
    assert found.image is not None
    assert found.image.path.read_bytes().startswith(start)


def test_a_smaller_picture_than_asked_is_what_it_is(call: Call, fake: FakeBfl) -> None:
    fake.script.append(Fault("wrong-size"))
    found = ask(replace(call, image_size="2K"), fake.base_url)
    assert fake.requests[0].body["width"] == 2048
    assert found.image is not None
    with Image.open(found.image.path) as image:
        assert image.size == (1024, 1024)


# --- handles -----------------------------------------------------------------------------------------------------


def test_the_handle_is_kept_before_the_first_question(call: Call, fake: FakeBfl) -> None:
    keeper = Keeper(fake)
    found = ask(replace(call, keep_handle=keeper), fake.base_url)
    (handle,) = keeper.handles
    assert keeper.polls_before == [0]
    assert json.loads(handle) == {
        "id": found.upstream_request_id,
        "polling_url": f"{fake.base_url}/v1/get_result?id={found.upstream_request_id}&region=eu2",
    }
    assert KEY not in handle


def test_a_handle_that_cannot_be_kept_is_no_reason_to_give_up(
    call: Call, fake: FakeBfl, caplog: pytest.LogCaptureFixture
) -> None:
    async def keep(_handle: str) -> None:
        raise RuntimeError("the database is away")

    assert ask(replace(call, keep_handle=keep), fake.base_url).finish == "ok"
    assert "the database is away" in caplog.text
    assert KEY not in caplog.text


@pytest.mark.parametrize("name", [*STATUSES, "redirect", *BROKEN])
def test_a_lost_submission_has_no_handle_and_is_not_asked_after(call: Call, fake: FakeBfl, name: str) -> None:
    keeper = Keeper(fake)
    fake.script.append(Fault(name))
    failure(replace(call, keep_handle=keeper), fake.base_url)
    assert (keeper.handles, fake.polls, len(fake.requests)) == ([], [], 1)


def left_behind(call: Call, fake: FakeBfl) -> str:
    """The handle of work whose picture was not fetched."""
    keeper = Keeper(fake)
    fake.download_faults.append(Fault("503"))
    assert failure(replace(call, keep_handle=keeper), fake.base_url).kind == "unknown"
    fake.requests.clear()
    fake.polls.clear()
    return keeper.handles[0]


def test_work_of_an_earlier_attempt_is_followed_and_not_sent_again(call: Call, fake: FakeBfl) -> None:
    handle = left_behind(call, fake)
    keeper = Keeper(fake)
    found = ask(replace(call, handle=handle, keep_handle=keeper), fake.base_url)
    assert (found.finish, found.cost_micros) == ("ok", 30_000)
    assert found.upstream_request_id == json.loads(handle)["id"]
    assert (fake.requests, len(fake.polls), keeper.handles) == ([], 1, [])
    assert found.image is not None
    assert spooled(call) == [found.image.path]


def test_followed_work_that_the_upstream_has_forgotten_has_failed(call: Call, fake: FakeBfl) -> None:
    handle = left_behind(call, fake)
    fake.forget()
    error = failure(replace(call, handle=handle), fake.base_url)
    assert (error.kind, error.upstream_request_id) == ("failed", json.loads(handle)["id"])
    assert (fake.requests, len(fake.polls)) == ([], calls.MISSING_POLLS + 1)


def test_followed_work_that_does_not_end_in_time_is_unknown(call: Call, fake: FakeBfl) -> None:
    """Although this attempt has sent nothing, there is work that was paid for."""
    handle = left_behind(call, fake)
    fake.poll_words[:] = ["Pending"] * 100_000
    error = failure(replace(call, handle=handle, deadline_seconds=0.2), fake.base_url)
    assert (error.kind, error.message) == ("unknown", "no complete answer within 0.2 seconds")
    assert fake.requests == []


def test_followed_work_that_cannot_be_reached_is_unknown(call: Call, fake: FakeBfl) -> None:
    handle = left_behind(call, fake)
    fake.stop()
    assert failure(replace(call, handle=handle, deadline_seconds=0.2), fake.base_url).kind == "unknown"


@pytest.mark.parametrize("handle", ["no JSON", "[]", '{"id": "1"}', '{"id": "1", "polling_url": 7}'])
def test_what_is_no_handle_is_unknown_and_nothing_is_sent(call: Call, fake: FakeBfl, handle: str) -> None:
    assert failure(replace(call, handle=handle), fake.base_url).kind == "unknown"
    assert (fake.requests, fake.polls) == ([], [])


@pytest.mark.parametrize("word", ["Error", "Failed"])
def test_followed_work_can_fail_as_any(call: Call, fake: FakeBfl, word: str) -> None:
    handle = left_behind(call, fake)
    fake.poll_words.append(word)
    assert failure(replace(call, handle=handle), fake.base_url).kind == "failed"


# --- where the key goes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:{port}/v1/get_result",
        "http://localhost:{port}/v1/get_result",
        "http://169.254.169.254/latest/meta-data",
        "https://10.0.0.1/v1/get_result",
        "http://api.bfl.ai/v1/get_result",
        "http://anywhere.example/v1/get_result",
        "https://api.bfl.ai:8443/v1/get_result",
        "https://user@api.bfl.ai/v1/get_result",
        "ftp://api.bfl.ai/v1/get_result",
        "file:///etc/passwd",
        "/v1/get_result",
        "nonsense",
        "http://[::1",
    ],
)
def test_the_key_is_not_sent_to_addresses_inside_or_in_the_clear(
    call: Call, fake: FakeBfl, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    asked: list[str] = []

    async def get(url: str, _headers: object) -> None:
        asked.append(url)

    monkeypatch.setattr(calls, "get", get)
    keeper = Keeper(fake)
    with RawServer(answer(b"{}")) as inside:
        url = address.format(port=inside.url.rsplit(":", 1)[1].strip("/"))
        monkeypatch.setattr(calls.answer, "read_task", lambda _body: Task("task-1", url))
        error = failure(replace(call, keep_handle=keeper), fake.base_url)
        assert inside.connection_count == 0
    assert (error.kind, error.upstream_request_id) == ("unknown", "task-1")
    assert "not followed" in error.message
    assert (asked, keeper.handles, len(fake.requests)) == ([], [], 1)


@pytest.mark.parametrize(
    ("base_url", "polling_url"),
    [
        ("", "https://api.eu2.bfl.ai/v1/get_result?id=1"),
        ("", "https://api.bfl.ai:443/v1/get_result?id=1"),
        ("https://api.us.bfl.ai", "https://api.us1.bfl.ai/v1/get_result?id=1"),
        ("https://proxy.example/bfl", "https://api.bfl.ai/v1/get_result?id=1"),
        ("http://10.0.0.7:8080", "http://10.0.0.7:8080/v1/get_result?id=1"),
        ("http://[::1]:8080/x", "http://[::1]:8080/v1/get_result?id=1"),
        ("http://proxy.internal", "http://proxy.internal:80/v1/get_result?id=1"),
    ],
)
def test_the_upstreams_own_hosts_and_the_channels_are_asked_exactly_as_they_were_named(
    call: Call, monkeypatch: pytest.MonkeyPatch, base_url: str, polling_url: str
) -> None:
    asked: list[tuple[str, object]] = []

    async def get(url: str, headers: object) -> Any:
        asked.append((url, headers))
        return Answered({"status": "Request Moderated"}, {})

    monkeypatch.setattr(calls, "get", get)
    handle = Task("1", polling_url).handle
    assert ask(replace(call, handle=handle), base_url).finish == "refused"
    assert asked == [(polling_url, {"x-key": KEY})]


# --- what a failure means ----------------------------------------------------------------------------------------


def test_fields_that_are_wrong_are_named(call: Call, fake: FakeBfl) -> None:
    error = failure(replace(call, upstream_model="flux-kontext-pro", aspect_ratio="1:8"), fake.base_url)
    assert (error.kind, error.status) == ("rejected", 422)
    assert error.message == "422 body.aspect_ratio: Aspect ratio must be between 21:9 and 9:21"
    missing = failure(replace(call, upstream_model="flux-pro-1.0-fill"), fake.base_url)
    assert (missing.kind, missing.message) == ("rejected", "422 body.image: Field required")


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        ("400 Bad Request", {"detail": "Insufficient credits. Please top up."}, "unauthorized", "Insufficient"),
        ("429 Too Many", {"detail": "Insufficient credits"}, "unauthorized", "Insufficient"),
        ("400 Bad Request", {"detail": [{"loc": ["body"], "msg": "Insufficient credits"}]}, "rejected", "body: Insuf"),
        ("400 Bad Request", {"detail": f"The key {KEY} is odd"}, "rejected", "The key [API key] is odd"),
        ("403 Forbidden", {"detail": "Not authenticated - Invalid Authentication"}, "unauthorized", "Not auth"),
        ("422 No", {"detail": ["x" * 10_000, {"msg": "y" * 10_000}]}, "rejected", "422 "),
        ("422 No", {"detail": {"a": 1}}, "rejected", "422 "),
        ("500 No", [], "failed", "500 "),
        ("451 No", "a word", "unauthorized", "451 "),
        ("201 Created", {}, "unknown", "ValueError"),
        ("200 OK", {"id": "1"}, "unknown", "ValueError"),
        ("200 OK", {"id": "1", "polling_url": ["https://api.bfl.ai/"]}, "unknown", "ValueError"),
        ("200 OK", [], "unknown", "ValueError"),
        ("200 OK", None, "unknown", "ValueError"),
    ],
)
def test_odd_answers_to_the_submission(call: Call, status: str, body: Any, kind: str, message: str) -> None:
    with RawServer(answer(json.dumps(body).encode(), "X-Request-Id: odd-1", status=status)) as server:
        error = failure(call, server.url)
        assert len(server.requests) == 1
    assert (error.kind, error.status, error.upstream_request_id) == (kind, int(status[:3]), "odd-1")
    assert message in error.message


def test_an_answer_to_the_submission_that_is_no_short_one_is_given_up(call: Call) -> None:
    with RawServer(answer(b'{"id": "' + b"A" * 2_000_000 + b'"}', "Content-Type: application/json")) as server:
        error = failure(call, server.url)
    assert (error.kind, "larger than" in error.message) == ("unknown", True)


# --- what goes wrong once work has begun -------------------------------------------------------------------------

PASSING = ["429", "500", "502", "503", "504", *BROKEN, "redirect", "huge"]


@pytest.mark.parametrize("name", PASSING)
def test_a_question_that_goes_wrong_is_asked_again_until_the_end(call: Call, fake: FakeBfl, name: str) -> None:
    fake.pending_polls = 0
    fake.poll_faults[:] = [Fault(name)] * 3
    assert ask(call, fake.base_url).finish == "ok"
    assert (len(fake.requests), len(fake.polls)) == (1, 4)


@pytest.mark.parametrize("name", ["429", "500", "html", "reset"])
def test_questions_that_go_wrong_to_the_end_are_unknown(call: Call, fake: FakeBfl, name: str) -> None:
    fake.poll_faults[:] = [Fault(name)] * 100_000
    error = failure(replace(call, deadline_seconds=1.0), fake.base_url)
    assert (error.kind, error.message) == ("unknown", "no complete answer within 1 seconds")
    assert (len(fake.requests), len(fake.polls) > 1) == (1, True)


def test_a_question_that_hangs_is_asked_again(call: Call, fake: FakeBfl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "POLL_ANSWER_SECONDS", 0.2)
    fake.pending_polls = 0
    fake.poll_faults[:] = [Fault("silent"), Fault("stall")]
    assert ask(call, fake.base_url).finish == "ok"
    assert (len(fake.requests), len(fake.polls)) == (1, 3)


@pytest.mark.parametrize(
    ("name", "words"),
    [("401", "Not authenticated"), ("402", "Insufficient credits"), ("403", "leaked"), ("400", "invalid argument")],
)
def test_a_question_that_is_refused_is_unknown_since_the_work_was_paid_for(
    call: Call, fake: FakeBfl, name: str, words: str
) -> None:
    fake.poll_faults.append(Fault(name))
    error = failure(call, fake.base_url)
    assert (error.kind, error.status) == ("unknown", int(name))
    assert error.message.startswith(name)
    assert words in error.message
    assert error.upstream_request_id == fake.polls[0].query["id"]
    assert (len(fake.requests), len(fake.polls)) == (1, 1)


@pytest.mark.parametrize("count", [1, calls.MISSING_POLLS])
@pytest.mark.parametrize("way", ["status", "word"])
def test_a_task_that_is_not_known_at_once_is_waited_for(call: Call, fake: FakeBfl, count: int, way: str) -> None:
    fake.poll_faults[:] = [Fault("404")] * count if way == "status" else []
    fake.poll_words[:] = ["Task not found"] * count if way == "word" else []
    assert ask(call, fake.base_url).finish == "ok"
    assert (len(fake.requests), len(fake.polls)) == (1, count + 2)


@pytest.mark.parametrize("way", ["status", "word"])
def test_a_task_that_stays_unknown_is_perhaps_billed(call: Call, fake: FakeBfl, way: str) -> None:
    fake.poll_faults[:] = [Fault("404")] * 100 if way == "status" else []
    fake.poll_words[:] = ["Task Not Found"] * 100
    error = failure(call, fake.base_url)
    assert (error.kind, error.message) == ("unknown", "the upstream does not know the task it accepted")
    assert (len(fake.requests), len(fake.polls)) == (1, calls.MISSING_POLLS + 1)


def test_only_questions_in_a_row_count_as_missing(call: Call, fake: FakeBfl) -> None:
    fake.poll_words[:] = [*["Task not found"] * calls.MISSING_POLLS, "Pending"] * 3
    assert ask(call, fake.base_url).finish == "ok"


@pytest.mark.parametrize(("word", "details"), [("Error", None), ("Failed", {"error": f"out of memory at {KEY}"})])
def test_work_that_the_upstream_says_has_failed_has_failed(call: Call, fake: FakeBfl, word: str, details: Any) -> None:
    fake.poll_words, fake.details = ["Pending", word], details
    error = failure(call, fake.base_url)
    assert (error.kind, error.status) == ("failed", None)
    assert error.message.startswith(f"the task ended with {word}")
    assert ("out of memory at [API key]" in error.message) == bool(details)
    assert error.upstream_request_id == fake.polls[0].query["id"]
    assert len(fake.requests) == 1


@pytest.mark.parametrize("name", ["403", "404", "500", "redirect", "reset", "close", "truncated", "noise"])
def test_a_picture_that_cannot_be_fetched_is_unknown(call: Call, fake: FakeBfl, name: str) -> None:
    fake.download_faults.append(Fault(name))
    error = failure(call, fake.base_url)
    assert (error.kind, len(fake.requests), len(fake.downloads)) == ("unknown", 1, 1)
    assert "sig=" not in error.message


@pytest.mark.parametrize("name", ["silent", "stall"])
def test_the_deadline_ends_a_download_and_leaves_nothing(call: Call, fake: FakeBfl, name: str) -> None:
    fake.pending_polls = 0
    fake.download_faults.append(Fault(name))
    error = failure(replace(call, deadline_seconds=2.0), fake.base_url)
    assert (error.kind, error.message) == ("unknown", "no complete answer within 2 seconds")
    assert len(fake.downloads) == 1


# --- cancellation ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["question", "pause", "download"])
def test_canceling_reaches_the_upstream_and_leaves_nothing(
    call: Call, fake: FakeBfl, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    monkeypatch.setattr(calls, "POLL_SECONDS", 30.0 if stage == "pause" else 0.01)
    fake.poll_faults[:] = [Fault("silent")] * 3 if stage == "question" else []
    fake.download_faults[:] = [Fault("stall")] * 3 if stage == "download" else []
    reached = fake.downloads if stage == "download" else fake.polls
    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(ask, call, fake.base_url) for _ in range(3)]
        until(lambda: len(reached) >= 3)
        assert loop.cancel_all(5) == 0
        assert {type(future.exception(5)) for future in futures} == {loop.CallCanceled}
    if stage != "pause":
        until(lambda: fake.abandoned_count == 3)
    assert (len(fake.requests), spooled(call)) == (3, [])


def test_hundreds_of_calls_bring_their_own_keys_and_pictures(call: Call, fake: FakeBfl) -> None:
    async def many() -> list[Answer]:
        adapter = BflAdapter()
        made = (adapter.generate(call, Credentials(f"key-{number}", fake.base_url)) for number in range(100))
        return await asyncio.gather(*made)

    answers = loop.run(many(), timeout_seconds=60)
    assert {found.finish for found in answers} == {"ok"}
    assert len({found.upstream_request_id for found in answers}) == len(spooled(call)) == 100
    keys = {f"key-{number}" for number in range(100)}
    assert {request.headers["x-key"] for request in fake.requests} == keys
    assert {poll.headers["x-key"] for poll in fake.polls} == keys


# --- the fake ----------------------------------------------------------------------------------------------------


def test_the_fake_takes_no_request_without_a_key(fake: FakeBfl) -> None:
    import httpx2

    with httpx2.Client(trust_env=False) as client:
        refused = client.post(f"{fake.base_url}/v1/{MODEL}", json={"prompt": "x"})
        assert (refused.status_code, refused.json()) == (401, {"detail": "Not authenticated"})
        made = client.post(f"{fake.base_url}/v1/{MODEL}", json={"prompt": "x"}, headers={"x-key": "any"}).json()
        assert client.get(made["polling_url"]).status_code == 401
        assert client.get(made["polling_url"], headers={"x-key": "any"}).json()["status"] == "Pending"
        ready = client.get(made["polling_url"], headers={"x-key": "any"}).json()
        link = ready["result"]["sample"]
        assert client.get(link, headers={"x-key": "any"}).status_code == 400
        assert client.get(link.partition("?")[0]).status_code == 403
        assert client.get(link).headers["content-type"] == "image/png"
        wrong: list[dict[str, Any]] = [
            {},
            {"prompt": 1},
            {"prompt": "x", "width": 1000},
            {"prompt": "x", "width": 4096, "height": 4096},
            {"prompt": "x", "aspect_ratio": "1:1"},
            {"prompt": "x", "input_image": "no image"},
            {"prompt": "x", "input_image_9": base64.b64encode(png()).decode()},
            {"prompt": "x", "output_format": "gif"},
        ]
        for body in wrong:
            answered = client.post(f"{fake.base_url}/v1/{MODEL}", json=body, headers={"x-key": "any"})
            assert answered.status_code == 422, body


def test_a_scripted_fault_spoils_one_download_and_a_standing_one_each(call: Call, fake: FakeBfl) -> None:
    def starts() -> list[bytes]:
        keeper = Keeper(fake)
        first = ask(replace(call, keep_handle=keeper), fake.base_url)
        second = ask(replace(call, handle=keeper.handles[0]), fake.base_url)
        return [found.image.path.read_bytes()[:4] for found in (first, second) if found.image]

    fake.script.append(Fault("not-an-image"))
    assert starts() == [b"<htm", b"\x89PNG"]
    fake.fault_for = lambda _request: Fault("not-an-image")
    assert starts() == [b"<htm", b"<htm"]
