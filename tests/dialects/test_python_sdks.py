"""The Python SDKs, unmodified, against a running service: base URL and key are all that was changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from tests.dialects import sdks

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
MODELS = sdks.models_that_ship()


@pytest.mark.parametrize("sdk", sdks.python_sdks("openai"))
def test_openai(sdk: str, environment: dict[str, str], bought: Callable[[], int]) -> None:
    seen: dict[str, Any] = sdks.run_python(sdk, "openai_python.py", environment)
    assert sdk == f"openai-{seen['version']}"
    assert (seen["models"], seen["model"]) == (MODELS, "google/gemini-3-pro-image")
    assert seen["generate"] == [[[1248, 832], [1248, 832]], True, "1248x832"]
    assert httpx2.get(seen["url"], trust_env=False).content.startswith(b"\x89PNG")
    assert seen["extra"] == [1344, 768]
    assert seen["raw"] == ["x-generation-id", "x-request-id"]
    assert (seen["jpeg"][0], seen["jpeg"][2]) == ("ffd8", "jpeg")
    assert seen["webp"][1:] == ["WEBP", "webp"]
    assert (seen["png"][0], seen["png"][2]) == ("8950", "png")
    assert [len(each) for each in seen["edit"]] == [2, 2]
    assert seen["mask"][:3] + seen["mask"][4:] == ["BadRequestError", 400, "not_supported", "mask"]
    assert [each[0] for each in seen["stream"]] == ["image_generation.completed"]
    assert seen["edit stream"] == ["image_edit.completed"]
    assert seen["failed stream"][:3] == ["APIError", None, "moderation_blocked"]
    assert seen["chat"] == ["assistant", True, [1344, 768], pytest.approx(0.1486, abs=0.01)]
    assert seen["second turn"] > 1000, "both images of the first turn went along"
    assert seen["system"] == 1
    assert seen["chat stream"] == {"ids": 1, "text": True, "images": 1, "usage": True, "end": "stop"}
    assert "![image](http://127.0.0.1" in seen["inline"]
    assert seen["responses"] == ["completed", [1024, 1024], True]
    assert seen["responses again"] == [True, True]
    kinds = ["response.created", "response.completed", True]
    assert seen["responses stream"] == kinds
    assert seen["files"] == [True] * 5
    assert seen["batches"] == [
        ["completed", 2, 1, {"job": "x"}],
        [["n0", 1], ["n1", 2]],
        ["moderation_blocked"],
        ["completed", 1],
        1,
        ["cancelled", True],
        True,
    ]
    assert seen["async"] == [3, True]
    assert {name: each[:3] for name, each in seen["errors"].items()} == {
        "refused": ["BadRequestError", 400, "moderation_blocked"],
        "refused chat": ["BadRequestError", 400, "moderation_blocked"],
        "no image": ["BadRequestError", 400, "no_image"],
        "rejected": ["BadRequestError", 400, "upstream_rejected"],
        "model": ["NotFoundError", 404, "model_not_found"],
        "size": ["BadRequestError", 400, "image_size_not_supported"],
        "n": ["BadRequestError", 400, "n_out_of_range"],
        "prompt": ["BadRequestError", 400, "prompt_empty"],
        "style": ["BadRequestError", 400, "not_supported"],
        "unknown": ["BadRequestError", 400, "unknown_parameter"],
        "key": ["AuthenticationError", 401, "invalid_api_key"],
        "route": ["NotFoundError", 404, "not_found"],
        "image": ["BadRequestError", 400, "reference_not_decodable"],
    }
    assert seen["errors"]["style"][4] == "style"
    assert bought() == 25 + seen["batch images"]


@pytest.mark.parametrize("sdk", sdks.python_sdks("google-genai"))
def test_google_genai(sdk: str, environment: dict[str, str], bought: Callable[[], int]) -> None:
    seen: dict[str, Any] = sdks.run_python(sdk, "google_genai_python.py", environment)
    assert sdk == f"google-genai-{seen['version']}"
    assert (seen["models"], seen["model"]) == ([f"models/{each}" for each in MODELS], "Nano Banana Pro")
    assert seen["generate"] == [[2688, 1536], True, True, "gemini-3-pro-image"]
    assert [len(seen[name]) for name in ("edit", "system")] == [2, 2]
    assert len(seen["stream"][0]) == 1
    assert "STOP" in seen["stream"][1]
    assert seen["chat"][1:] == [True, True]
    assert seen["slow chat"] == [True, True]
    assert seen["tokens"] > 258
    assert seen["blocked"][0] is None
    assert "PROHIBITED_CONTENT" in seen["blocked"][1]
    assert seen["files"] == [True, True, "a picture", True]
    assert seen["file gone"] == ["ClientError", 404, "NOT_FOUND"]
    size = seen["batches"].pop(1)
    assert len(size) == 2
    assert seen["batches"] == [
        ["JOB_STATE_SUCCEEDED", "inline", 2],
        [3, True],
        ["JOB_STATE_SUCCEEDED", ["k0", "k1"]],
        [True, 3],
        "JOB_STATE_CANCELLED",
        True,
        404,
    ]
    assert seen["async"] == [3, 2]
    assert seen["errors"] == {
        "no image": ["ClientError", 400, "INVALID_ARGUMENT"],
        "rejected": ["ClientError", 400, "INVALID_ARGUMENT"],
        "model": ["ClientError", 404, "NOT_FOUND"],
        "ratio": ["ClientError", 400, "INVALID_ARGUMENT"],
        "candidates": ["ClientError", 400, "INVALID_ARGUMENT"],
        "text only": ["ClientError", 400, "INVALID_ARGUMENT"],
        "key": ["ClientError", 401, "UNAUTHENTICATED"],
        "image": ["ClientError", 400, "INVALID_ARGUMENT"],
    }
    assert bought() == 14 + seen["batch images"]
