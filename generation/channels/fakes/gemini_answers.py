"""Builds the JSON of the fake Gemini API's answers, as requests and faults ask; it never touches a socket."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from generation.channels.fakes.faults import Fault
from generation.channels.fakes.gemini_request import Asked, GoogleError
from generation.channels.fakes.studio import Studio

_TOKENS_PER_INPUT_IMAGE = 560
_THINKING_TOKENS = 225
_CHARACTERS_PER_TOKEN = 4
_SIGNATURE_BYTES = 48
_LONG_SIGNATURE_BYTES = 1_000_000
_WORDS_ONLY = {"no-image": "NO_IMAGE", "text-only": "STOP", "max-tokens": "MAX_TOKENS"}
_BLOCKED = {"blocked-image": "IMAGE_SAFETY", "prohibited": "PROHIBITED_CONTENT"}
_PLACE = f"picture-{secrets.token_hex(12)}"


class Composition:
    """One answer in the making: `document` holds a place for each picture until it is rendered."""

    def __init__(self, studio: Studio, asked: Asked, fault: Fault) -> None:
        self._studio = studio
        self._asked = asked
        self._fault = fault
        self._pictures: list[bytes] = []
        self.document: dict[str, Any] = self._answer()

    def whole(self) -> list[bytes]:
        """JSON in pieces, each picture a piece of its own, so that a large one is never copied."""
        return _rendered(self.document, iter(self._pictures), indent=2)

    def events(self) -> list[list[bytes]]:
        """The answer as the events of streamGenerateContent: one part in each, the finish reason in the last."""
        if "candidates" not in self.document:
            return [_rendered(self.document, iter(()), indent=None)]
        shared = {name: value for name, value in self.document.items() if name != "candidates"}
        candidate = self.document["candidates"][0]
        contents = [{"role": "model", "parts": [part]} for part in candidate["content"].get("parts", ())]
        steps: list[dict[str, Any]] = [{"candidates": [{"index": 0, "content": content}]} for content in contents]
        steps.append({"candidates": [candidate | {"content": {"role": "model", "parts": [{"text": ""}]}}]})
        pictures = iter(self._pictures)
        return [_rendered(step | shared, pictures, indent=None) for step in steps]

    def _answer(self) -> dict[str, Any]:
        name = self._fault.name
        if name == "blocked-prompt":
            feedback = {"blockReason": self._fault.argument or "PROHIBITED_CONTENT", "safetyRatings": []}
            return {"promptFeedback": feedback} | self._measured(0, 0, 0)
        if name in _BLOCKED:
            reason = self._fault.argument or _BLOCKED[name]
            candidate = {"index": 0, "content": {"role": "model"}, "finishReason": reason}
            return {"candidates": [candidate]} | self._measured(0, 0, _THINKING_TOKENS)
        if name in _WORDS_ONLY or not self._asked.has_image:
            text = "There is no picture in this answer."
            return self._candidates([_thought(), {"text": text}], _WORDS_ONLY.get(name, "STOP"))
        return self._candidates([_thought(), *self._drafts(), *self._result()], "STOP")

    def _drafts(self) -> list[dict[str, Any]]:
        if self._fault.name != "drafts":
            return []
        count = int(self._fault.number(2))
        thoughts = [
            self._image(self._studio.picture(self._asked, "1K", variant=number + 1)) | {"thought": True}
            for number in range(count)
        ]
        return [*thoughts, self._signed(self._studio.picture(self._asked, self._asked.image_size, variant=count + 1))]

    def _result(self) -> list[dict[str, Any]]:
        name = self._fault.name
        size = "1K" if name == "wrong-size" else self._asked.image_size
        words = [{"text": "Here is your picture."}] if self._asked.has_text else []
        twin = [self._signed(self._studio.picture(self._asked, size, variant=1))] if name == "two-images" else []
        if name == "file-uri":
            return [*words, {"fileData": {"mimeType": "image/png", "fileUri": self._fault.argument}}]
        return [*words, *twin, self._picture(size)]

    def _picture(self, size: str) -> dict[str, Any]:
        return self._signed(*self._studio.picture_under(self._fault, self._asked, size))

    def _signed(self, data: bytes, mime_type: str = "image/png") -> dict[str, Any]:
        byte_count = _SIGNATURE_BYTES
        if self._fault.name == "long-signature":
            byte_count = int(self._fault.number(_LONG_SIGNATURE_BYTES))
        signature = self._studio.sign(self._asked.model.name, byte_count)
        return self._image(data, mime_type) | {"thoughtSignature": signature}

    def _image(self, data: bytes, mime_type: str = "image/png") -> dict[str, Any]:
        self._pictures.append(data)
        return {"inlineData": {"mimeType": mime_type, "data": _PLACE}}

    def _candidates(self, parts: Sequence[dict[str, Any]], finish_reason: str) -> dict[str, Any]:
        candidate = {
            "index": 0,
            "content": {"role": "model", "parts": list(parts)},
            "finishReason": finish_reason,
            "safetyRatings": [{"category": "HARM_CATEGORY_HARASSMENT", "probability": "NEGLIGIBLE"}],
        }
        if self._asked.has_search:
            candidate["groundingMetadata"] = _grounding(self._asked.prompt)
        final = [part for part in parts if not part.get("thought")]
        text_length = sum(len(part.get("text", "")) for part in final)
        image_count = sum("inlineData" in part for part in final)
        return {"candidates": [candidate]} | self._measured(text_length, image_count, _THINKING_TOKENS)

    def _measured(self, text_length: int, image_count: int, thinking: int) -> dict[str, Any]:
        asked = self._asked
        size = "1K" if self._fault.name == "wrong-size" else asked.image_size
        prompt = {"TEXT": _tokens(asked.text_length), "IMAGE": asked.image_count * _TOKENS_PER_INPUT_IMAGE}
        made = {"TEXT": _tokens(text_length), "IMAGE": image_count * asked.model.tokens[size]}
        usage = {
            "promptTokenCount": sum(prompt.values()),
            "candidatesTokenCount": sum(made.values()),
            "thoughtsTokenCount": thinking,
            "totalTokenCount": sum(prompt.values()) + sum(made.values()) + thinking,
            "promptTokensDetails": _details(prompt),
            "candidatesTokensDetails": _details(made),
        }
        identity = {"modelVersion": asked.model.name, "responseId": secrets.token_urlsafe(12)}
        return {"usageMetadata": {name: value for name, value in usage.items() if value}} | identity


def error_document(error: GoogleError) -> dict[str, Any]:
    """An error in the form of every Google API."""
    body: dict[str, Any] = {"code": error.code, "message": error.message, "status": error.status}
    return {"error": body | ({"details": error.details} if error.details else {})}


def _rendered(document: Mapping[str, Any], pictures: Iterator[bytes], *, indent: int | None) -> list[bytes]:
    texts = json.dumps(document, indent=indent, ensure_ascii=False).encode("utf-8", "replace").split(_PLACE.encode())
    pieces = [texts[0]]
    for text in texts[1:]:
        pieces += [next(pictures), text]
    return pieces


def _thought() -> dict[str, Any]:
    return {"text": "**Planning the picture**\n\nA landscape will do.", "thought": True}


def _grounding(prompt: str) -> dict[str, Any]:
    link = "https://example.com/search?q=fake"
    return {
        "webSearchQueries": [" ".join(prompt.split()[:8])],
        "groundingChunks": [{"web": {"uri": "https://example.com/fake-gemini", "title": "Example Domain"}}],
        "searchEntryPoint": {"renderedContent": f'<div class="container"><a class="chip" href="{link}">fake</a></div>'},
    }


def _details(counts: Mapping[str, int]) -> list[dict[str, Any]]:
    return [{"modality": name, "tokenCount": count} for name, count in counts.items() if count]


def _tokens(characters: int) -> int:
    return -(-characters // _CHARACTERS_PER_TOKEN)
