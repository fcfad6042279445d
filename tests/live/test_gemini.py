"""A live key through google-genai to a server that speaks Gemini's wire: real prompts, photos, turns and faults."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from PIL import Image

from generation.channels.fakes.gemini import FakeGemini, Fault

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
ENGLISH = "A photograph of a nano banana on a marble kitchen table, morning light from the left, 85 mm, f/2."
CHINESE = "一只纳米香蕉放在大理石桌面上，柔和的晨光从左侧照入，背景是模糊的厨房，写着“早安”两个字。"
LONG = " ".join(f"Paragraph {number}: the lighthouse stands on a cliff above the grey sea." for number in range(180))


@pytest.fixture(scope="module")
def gemini() -> Iterator[FakeGemini]:
    with FakeGemini() as fake:
        yield fake


@pytest.fixture(scope="module")
def one_service(shared_service: Any, gemini: FakeGemini) -> Any:
    return shared_service(GEMINI_API_KEY="a-made-up-key", GOOGLE_GEMINI_BASE_URL=gemini.base_url)


@pytest.fixture
def running(one_service: Any, gemini: FakeGemini) -> Any:
    gemini.requests.clear()
    return one_service


def _available(running: Any) -> int:
    return int(running.ask("GET", "wallet", mode="live").json()["available_micros"])


def _photo(width: int, height: int) -> str:
    """A JPEG with the grain of a photograph."""
    file = io.BytesIO()
    base = Image.linear_gradient("L").resize((width, height))
    Image.merge("RGB", (base, Image.effect_noise((width, height), 40), base.rotate(90).resize((width, height)))).save(
        file, "JPEG", quality=90
    )
    return base64.b64encode(file.getvalue()).decode()


def test_the_printed_curl_uses_gemini(running: Any) -> None:
    assert running.note["live_key"] in running.log
    assert "The live key uses Gemini" in running.log


@pytest.mark.parametrize("prompt", [ENGLISH, CHINESE, LONG], ids=["English", "Chinese", "2,000 words"])
def test_real_prompts(running: Any, gemini: FakeGemini, prompt: str) -> None:
    before = _available(running)
    answer = running.create(prompt, mode="live").json()
    output = answer["outputs"][0]
    assert (answer["status"], output["attempts"][0]["channel"]) == ("succeeded", "gemini")
    sent = gemini.requests[-1]
    assert sent.headers["x-goog-api-key"] == "a-made-up-key"
    assert sent.body["contents"][-1]["parts"][-1]["text"] == prompt
    image = Image.open(io.BytesIO(httpx2.get(output["url"], trust_env=False).content))
    assert image.size == (output["width"], output["height"])
    assert output["usage"]["output_image_tokens"] == 1120
    assert before - _available(running) == answer["price_micros"] > 0
    assert len(gemini.requests) == 1
    running.audit()


def test_reference_photos_options_and_turns(running: Any, gemini: FakeGemini) -> None:
    references = [
        {"data": _photo(1600, 1200), "role": "subject", "name": "Ada"},
        {"data": _photo(800, 1200), "role": "style"},
    ]
    first = running.create(
        "Ada at the beach",
        mode="live",
        references=references,
        image_size="4K",
        search_grounding=True,
        thinking_level="high",
        seed=7,
    )
    answer = first.json()
    assert answer["status"] == "succeeded", answer
    assert answer["aspect_ratio"] == "4:3"
    output = answer["outputs"][0]
    assert max(output["width"], output["height"]) > 4000
    assert output["sources"]
    assert output["search_suggestions"]
    body = gemini.requests[-1].body
    config = body["generationConfig"]
    assert config["imageConfig"] == {"aspectRatio": "4:3", "imageSize": "4K"}
    assert config["responseModalities"] == ["TEXT", "IMAGE"]
    assert sum("inlineData" in part for part in body["contents"][-1]["parts"]) == 2
    second = running.create("now at night", mode="live", previous=output["id"]).json()
    assert second["status"] == "succeeded", second
    turns = gemini.requests[-1].body["contents"]
    assert [turn["role"] for turn in turns] == ["user", "model", "user"]
    assert any(part.get("thoughtSignature") for part in turns[1]["parts"])
    running.audit()


FAULTS = [
    ([Fault("429", retry_after="1")], "succeeded", 2),
    ([Fault("503"), Fault("503")], "succeeded", 3),
    ([Fault("truncated")], "succeeded", 2),
    ([Fault("reset")], "succeeded", 2),
    ([Fault("not-an-image")], "succeeded", 2),
    ([Fault("wrong-size")], "succeeded", 1),
    ([Fault("drafts")], "succeeded", 1),
    ([Fault("no-image")], "failed", 1),
    ([Fault("blocked-image")], "failed", 1),
    ([Fault("blocked-prompt")], "failed", 1),
]


@pytest.mark.parametrize(
    ("script", "status", "hits"), FAULTS, ids=lambda each: each[0].name if isinstance(each, list) else str(each)
)
def test_upstream_faults(running: Any, gemini: FakeGemini, script: list[Fault], status: str, hits: int) -> None:
    before = _available(running)
    gemini.script.extend(script)
    answer = running.create(ENGLISH, mode="live").json()
    assert answer["status"] == status, answer
    assert len(gemini.requests) == hits
    assert before - _available(running) == answer["price_micros"] == (147_400 if status == "succeeded" else 0)
    running.audit()


def test_a_bad_key_shuts_the_channel_and_says_so(service: Any, gemini: FakeGemini) -> None:
    running = service(GEMINI_API_KEY="a-made-up-key", GOOGLE_GEMINI_BASE_URL=gemini.base_url)
    gemini.script.append(Fault("403"))
    answer = running.create(ENGLISH, mode="live").json()
    assert (answer["status"], answer["error"]["code"]) == ("failed", "upstream_unavailable")
    again = running.create(ENGLISH, mode="live")
    assert (again.status_code, again.json()["error"]["code"]) == (503, "no_channel_available")
    assert "a-made-up-key" not in running.log
    running.audit()
