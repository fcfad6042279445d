"""The sandbox channel: pictures as asked, and every magic prompt as documented."""

import asyncio
import hashlib
import io
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from generation.channels.adapter import Adapter, Credentials
from generation.channels.adapters.sandbox import SandboxAdapter
from generation.channels.adapters.sandbox_script import NAMES, directives
from generation.contract import Call, ChannelError, ImageFile, Part, Turn

DOCUMENT = Path(__file__).parents[2] / "docs" / "sandbox.md"


@pytest.fixture
def adapter():
    sandbox = SandboxAdapter()
    yield sandbox
    sandbox.close()


@pytest.fixture
def call(tmp_path):
    return Call(upstream_model="sandbox", prompt="a fox", aspect_ratio="16:9", image_size="1K", spool=tmp_path)


def generate(adapter: Adapter, call: Call):
    return asyncio.run(adapter.generate(call, Credentials("")))


def opened(answer) -> Image.Image:
    picture = Image.open(io.BytesIO(answer.image.path.read_bytes()))
    picture.load()
    return picture


def failure(adapter: Adapter, call: Call) -> ChannelError:
    with pytest.raises(ChannelError) as caught:
        generate(adapter, call)
    assert not list(call.spool.iterdir())
    return caught.value


def test_a_picture_is_spooled_as_described(adapter, call):
    answer = generate(adapter, call)
    content = answer.image.path.read_bytes()
    assert answer.finish == "ok"
    assert answer.image.path.parent == call.spool
    assert answer.image.mime_type == "image/png"
    assert answer.image.byte_count == len(content)
    assert answer.image.sha256 == hashlib.sha256(content).hexdigest()
    assert Image.open(io.BytesIO(content)).size == (1344, 768)
    assert answer.upstream_request_id.startswith("sandbox-")
    assert answer.sources == () and answer.search_suggestions == "" and answer.usage.search_queries == 0
    assert answer.draft_count == 0


def test_parts_are_a_text_and_a_signed_image_and_repeat(adapter, call):
    first, second = generate(adapter, call), generate(adapter, call)
    assert [part.kind for part in first.parts] == ["text", "image"]
    assert first.parts[0] == Part("text", first.text) and first.text
    assert first.parts[1].signature
    assert first.parts == second.parts and first.image.sha256 == second.image.sha256
    assert first.image.path != second.image.path
    assert generate(adapter, replace(call, seed=4)).parts[1] != first.parts[1]


@pytest.mark.parametrize(("size", "pixels", "tokens"), [("2K", (2048, 2048), 1120), ("4K", (4096, 4096), 2000)])
def test_usage_follows_the_size(adapter, call, size, pixels, tokens):
    answer = generate(adapter, replace(call, aspect_ratio="1:1", image_size=size))
    assert opened(answer).size == pixels
    assert answer.usage.output_image_tokens == tokens
    assert answer.usage.thinking_tokens == 225
    assert answer.usage.input_text_tokens == 2
    assert answer.usage.input_image_tokens == 0


def test_images_sent_in_are_shown_and_measured(adapter, call, tmp_path):
    paths = [tmp_path / "earlier.png", tmp_path / "reference.png"]
    for path, colour in zip(paths, [(255, 0, 0), (0, 0, 255)], strict=True):
        Image.new("RGB", (64, 64), colour).save(path)
    earlier, reference = (ImageFile(path, "image/png") for path in paths)
    turn = Turn("a cat", (reference,), earlier, (), "channel", "sandbox")
    answer = generate(adapter, replace(call, references=(reference,), history=(turn,)))
    picture = opened(answer)
    colours = {colour for _, colour in picture.crop((0, 600, 1344, 768)).getcolors(1_000_000)}
    assert {(255, 0, 0), (0, 0, 255)} <= colours
    assert answer.usage.input_image_tokens == 3 * 560
    assert answer.usage.input_text_tokens == 3


def test_a_model_without_sizes_gets_the_1k_picture(adapter, call):
    answer = generate(adapter, replace(call, image_size="4K", image_sizes_selectable=False))
    assert opened(answer).size == (1344, 768)
    assert answer.usage.output_image_tokens == 1120


def test_search_grounding_brings_a_source_and_suggestions(adapter, call):
    answer = generate(adapter, replace(call, search_grounding=True))
    assert [source.url.startswith("https://example.com/") for source in answer.sources] == [True]
    assert answer.sources[0].title
    assert answer.search_suggestions.startswith("<")
    assert answer.usage.search_queries == 1


def test_refuse_is_an_answer_without_an_image(adapter, call):
    answer = generate(adapter, replace(call, prompt="a fox sandbox:refuse please"))
    assert (answer.finish, answer.finish_reason, answer.image) == ("refused", "IMAGE_SAFETY", None)
    assert answer.usage.output_image_tokens == 0
    assert not list(call.spool.iterdir())


def test_no_image_is_an_answer_in_words(adapter, call):
    answer = generate(adapter, replace(call, prompt="sandbox:no-image"))
    assert (answer.finish, answer.finish_reason, answer.image) == ("no_image", "NO_IMAGE", None)
    assert answer.text and answer.parts == (Part("text", answer.text),)


FAILURES = [
    ("429", "busy", 429),
    ("503", "busy", 503),
    ("500", "failed", 500),
    ("truncated", "unknown", 200),
    ("lost", "unknown", None),
    ("unauthorized", "unauthorized", 403),
    ("rejected", "rejected", 400),
]


@pytest.mark.parametrize(("name", "kind", "status"), FAILURES)
def test_failures_have_their_kind_and_status(adapter, call, name, kind, status):
    error = failure(adapter, replace(call, prompt=f"a fox, sandbox:{name}", attempt_number=9))
    assert (error.kind, error.status) == (kind, status)
    assert error.retry_after_seconds == (1.0 if name == "429" else None)


@pytest.mark.parametrize(("name", "kind", "status"), FAILURES)
def test_a_number_fails_only_the_first_attempts(adapter, call, name, kind, status):
    scripted = replace(call, prompt=f"sandbox:{name}:2 a fox")
    for number in (1, 2):
        assert failure(adapter, replace(scripted, attempt_number=number)).kind == kind
    assert generate(adapter, replace(scripted, attempt_number=3)).finish == "ok"


def test_wrong_size_draws_1k_whatever_was_asked(adapter, call):
    answer = generate(adapter, replace(call, prompt="sandbox:wrong-size", image_size="4K"))
    assert opened(answer).size == (1344, 768)
    assert answer.usage.output_image_tokens == 1120


def test_garbage_does_not_decode(adapter, call):
    answer = generate(adapter, replace(call, prompt="sandbox:garbage"))
    assert answer.finish == "ok" and answer.image.byte_count == answer.image.path.stat().st_size > 0
    with pytest.raises((OSError, SyntaxError)):
        opened(answer)


def test_drafts_are_counted_and_the_image_comes(adapter, call):
    answer = generate(adapter, replace(call, prompt="sandbox:drafts"))
    assert answer.draft_count == 2 and answer.image is not None


def test_slow_waits_and_then_delivers(adapter, call):
    started_at = time.monotonic()
    assert generate(adapter, replace(call, prompt="sandbox:slow:0.2")).finish == "ok"
    assert time.monotonic() - started_at >= 0.2


def test_the_deadline_ends_a_slow_call(adapter, call):
    started_at = time.monotonic()
    error = failure(adapter, replace(call, prompt="sandbox:slow", deadline_seconds=0.1))
    assert error.kind == "unknown"
    assert time.monotonic() - started_at < 2


def test_a_picture_cut_off_by_the_deadline_leaves_no_file(adapter, call):
    with pytest.raises(ChannelError) as caught:
        generate(adapter, replace(call, image_size="4K", deadline_seconds=0.01))
    adapter.close()
    assert caught.value.kind == "unknown"
    assert not list(call.spool.iterdir())


def test_directives_combine(adapter, call):
    started_at = time.monotonic()
    error = failure(adapter, replace(call, prompt="sandbox:slow:0.1 sandbox:503"))
    assert error.status == 503 and time.monotonic() - started_at >= 0.1


def test_an_answer_above_the_cap_is_no_answer(adapter, call):
    assert failure(adapter, replace(call, byte_cap=100)).kind == "unknown"


def test_a_size_nobody_has_is_rejected(adapter, call):
    error = failure(adapter, replace(call, aspect_ratio="7:5"))
    assert (error.kind, error.status) == ("rejected", 400)


def test_the_event_loop_stays_free_while_pictures_are_drawn(adapter, call):
    async def gaps() -> float:
        worst, last = 0.0, time.monotonic()
        drawing = [
            asyncio.create_task(adapter.generate(replace(call, image_size="4K"), Credentials(""))) for _ in "abc"
        ]
        while not all(task.done() for task in drawing):
            await asyncio.sleep(0.005)
            worst, last = max(worst, time.monotonic() - last), time.monotonic()
        return worst

    assert asyncio.run(gaps()) < 0.5


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a fox", {}),
        ("sandbox:castle and sandbox: x", {}),
        ("mysandbox:lost", {}),
        ("a fox. SANDBOX:Refuse.", {"refuse": None}),
        ("狐狸sandbox:429:2号", {"429": 2.0}),
        ("狐狸sandbox\uff1a429\uff1a2", {"429": 2.0}),
        ("sandbox:slow:1.5 sandbox:drafts", {"slow": 1.5, "drafts": None}),
        ("sandbox:no-image, then", {"no-image": None}),
    ],
)
def test_directives_are_found_anywhere(prompt, expected):
    assert directives(prompt) == expected


def test_every_directive_is_documented():
    documented = set(re.findall(r"`sandbox:([a-z0-9-]+)", DOCUMENT.read_text(encoding="utf-8")))
    assert documented == NAMES
