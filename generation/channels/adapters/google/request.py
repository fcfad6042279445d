"""Builds what the Google adapters send: a `Call` in google-genai's types; it never sends anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from google.genai import types

from generation.channels.adapters.conversation import is_restorable, label
from generation.contract import Call, ImageFile, Part


def contents(call: Call) -> list[types.Content]:
    """The earlier turns and the new one. Reads image files: blocks, and raises OSError for one that is missing."""
    turns: list[types.Content] = []
    previous: ImageFile | None = None
    for turn in call.history:
        if not is_restorable(turn):
            previous = turn.image
            continue
        turns.append(_user(turn.prompt, turn.references, previous))
        turns.append(types.Content(role="model", parts=[_restored(part, turn.image) for part in turn.parts]))
        previous = None
    return [*turns, _user(call.prompt, call.references, previous)]


def config(
    call: Call, headers: dict[str, str], service_tier: types.ServiceTier | None = None
) -> types.GenerateContentConfig:
    """The settings of one call. Its API key travels in `headers`, so that calls of several channels share a client."""
    image_size = call.image_size if call.image_sizes_selectable else None
    return types.GenerateContentConfig(
        http_options=types.HttpOptions(headers=headers),
        response_modalities=["TEXT", "IMAGE"],
        image_config=types.ImageConfig(aspect_ratio=call.aspect_ratio, image_size=image_size),
        thinking_config=_thinking(call.thinking_level),
        tools=[types.Tool(google_search=types.GoogleSearch())] if call.search_grounding else None,
        seed=call.seed,
        service_tier=service_tier,
        # Both would send further paid requests by themselves.
        automatic_continuation=False,
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
    )


def _thinking(level: str | None) -> types.ThinkingConfig | None:
    return types.ThinkingConfig(thinking_level=types.ThinkingLevel(level)) if level else None


def _user(prompt: str, references: Sequence[ImageFile], previous: ImageFile | None) -> types.Content:
    parts = [_image(previous)] if previous else []
    parts += _labeled(references)
    return types.Content(role="user", parts=[*parts, types.Part(text=prompt)])


def _labeled(references: Sequence[ImageFile]) -> Iterator[types.Part]:
    for number, reference in enumerate(references, start=1):
        if words := label(number, reference):
            yield types.Part(text=words)
        yield _image(reference)


def _image(file: ImageFile) -> types.Part:
    return types.Part(inline_data=types.Blob(data=file.path.read_bytes(), mime_type=file.mime_type))


def _restored(part: Part, image: ImageFile) -> types.Part:
    restored = _image(image) if part.kind == "image" else types.Part(text=part.text)
    restored.thought_signature = part.signature or None
    return restored
