"""The models the fake Gemini API serves and what each takes; facts of November 2026, not the product's catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_TEN_RATIOS = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9")
_FOURTEEN_RATIOS = (*_TEN_RATIOS, "1:4", "4:1", "1:8", "8:1")
_PRO_TOKENS = {"1K": 1120, "2K": 1120, "4K": 2000}
_FLASH_TOKENS = {"512": 747, "1K": 1120, "2K": 1680, "4K": 2520}


@dataclass(frozen=True, slots=True)
class FakeModel:
    """`tokens` of one output image by size; `is_sized` is False where a request may not name a size."""

    name: str
    display_name: str
    ratios: tuple[str, ...]
    tokens: Mapping[str, int]
    is_sized: bool = True


_ALL = (
    FakeModel("gemini-3-pro-image", "Nano Banana Pro", _TEN_RATIOS, _PRO_TOKENS),
    FakeModel("gemini-nano-banana-2.1", "Nano Banana 2.1", _FOURTEEN_RATIOS, {"1K": 1120, "2K": 1680, "4K": 2520}),
    FakeModel("gemini-3.1-flash-image", "Nano Banana 2", _FOURTEEN_RATIOS, _FLASH_TOKENS),
    FakeModel("gemini-3.1-flash-lite-image", "Nano Banana 2 Lite", _TEN_RATIOS, {"1K": 1120}),
    FakeModel("gemini-2.5-flash-image", "Nano Banana", _TEN_RATIOS, {"1K": 1290}, is_sized=False),
)
MODELS: Mapping[str, FakeModel] = {model.name: model for model in _ALL}
STOPPED = frozenset({"gemini-3-pro-image-preview", "gemini-2.5-flash-image-preview", "imagen-4.0-generate-001"})


def described(model: FakeModel) -> dict[str, Any]:
    """A model as `GET /{version}/models/{model}` shows it."""
    return {
        "name": f"models/{model.name}",
        "baseModelId": model.name,
        "version": "001",
        "displayName": model.display_name,
        "description": f"A fake of {model.display_name}.",
        "inputTokenLimit": 65536,
        "outputTokenLimit": 32768,
        "supportedGenerationMethods": ["generateContent"],
        "temperature": 1,
        "topP": 0.95,
        "topK": 64,
        "thinking": True,
    }


def listed(page_size: int, page_token: str) -> dict[str, Any]:
    """One page of models; the token of the next page is left out on the last."""
    start = int(page_token) if page_token.isdecimal() else 0
    page: dict[str, Any] = {"models": [described(model) for model in _ALL[start : start + page_size]]}
    if start + page_size < len(_ALL):
        page["nextPageToken"] = str(start + page_size)
    return page
