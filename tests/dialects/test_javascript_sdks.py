"""The JavaScript SDKs, unmodified, against a running service: base URL and key are all that was changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.dialects import sdks

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
MAJORS = {"november-2025": 5, "previous": 6, "current": 7}
_PARTS = ["text-delta", "file", "finish"]


def _error(name: str, status: int | None) -> dict[str, Any]:
    """A failure that was said once and not asked for again."""
    return {"error": name, "status": status, "tries": 1}


@pytest.mark.parametrize("kind", sdks.javascript_sets())
def test_every_call(kind: str, environment: dict[str, str], bought: Callable[[], int]) -> None:
    major = MAJORS[kind]
    seen = sdks.run_javascript(kind, "all.mjs", environment | {"NBP_AI_MAJOR": str(major)})
    assert seen == _EVERYWHERE | (_SINCE_6 if major > 5 else {}) | _ONLY.get(major, {})
    assert bought() == {5: 34, 6: 37, 7: 38}[major]


_EVERYWHERE: dict[str, Any] = {
    "openai models": len(sdks.models_that_ship()),
    "openai generate": [2, True],
    "openai edit": True,
    "openai stream": ["image_generation.completed"],
    "openai chat": [1, True],
    "openai responses": True,
    "openai files": [True, True],
    "openai batch": ["one", True],
    "openai refused": _error("Error", 400),
    "openai key": _error("Error", 401),
    "gateway text": [1, True, True, "stop", 2],
    "gateway turns": [1, True],
    "gateway file in": 1,
    "gateway stream": _PARTS,
    "gateway failed stream": ["error", "finish"],
    "gateway image": [2, True],
    "gateway refused": _error("GatewayInvalidRequestError", 400),
    "gateway refused image": _error("GatewayInvalidRequestError", 400),
    "gateway no model": _error("GatewayModelNotFoundError", 404),
    "gateway key": _error("GatewayAuthenticationError", None),
    "gateway config": ["language", "image"] * len(sdks.models_that_ship()),
    "gateway credits": True,
    "google text": [1, True, True],
    "google turns": [1, True],
    "google stream": _PARTS,
    "compatible image": [2, True],
    "compatible chat": [True, True],
    "compatible stream": ["text-delta", "finish"],
    "compatible refused": _error("AI_APICallError", 400),
    "provider image": 1,
    "provider responses": [True, "stop"],
    "router chat": [1, True, True],
    "router turns": [1, True],
    "router stream": _PARTS,
    "router refused": _error("AI_APICallError", 400),
    "genai generate": 1,
    "genai stream": 1,
    "genai chat": True,
    "genai files": [True, 9 * 2**20],
    "genai batch": ["JOB_STATE_SUCCEEDED", "k1", True],
    "genai models": len(sdks.models_that_ship()),
    "genai tokens": True,
    "genai blocked": "PROHIBITED_CONTENT",
    "genai no model": _error("ApiError", 404),
}
_SINCE_6: dict[str, Any] = {
    "gateway edit": 1,
    "google image": 2,
    "google refused image": _error("AI_NoImageGeneratedError", None),
    "google no image": _error("AI_APICallError", 400),
    "router image": 1,
}
_ONLY: dict[int, dict[str, Any]] = {6: {"google image": 1}}
