"""A service that speaks like OpenAI and OpenRouter, on loopback: chat completions with pictures, and the Images API.

Strict about what it is sent; where a picture stands in a chat completion is one of the DIALECTS.
"""

from __future__ import annotations

import base64
import io
import json
import re
import secrets
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any

from PIL import Image

from generation.channels.fakes.faults import NAMES, STATUSES, UNCOMPOSED, WIRES, Fault
from generation.channels.fakes.http import Reply, Request, json_reply
from generation.channels.fakes.server import FakeUpstream
from generation.channels.fakes.studio import Studio

DIALECTS = ("images", "parts", "markdown", "bare", "inline")
CHAT_NAMES = NAMES - {"long-signature"}
IMAGES_NAMES = (frozenset(STATUSES) | WIRES) | {
    "bad-base64",
    "not-an-image",
    "broken-image",
    "jpeg",
    "file-uri",
    "no-image",
    "blocked-prompt",
    "two-images",
    "wrong-size",
}
MODELS = ("google/gemini-3-pro-image", "gemini-3-pro-image", "gemini-nano-banana-2.1", "gemini-2.5-flash-image")
_MODELS = re.compile(rf"(?:google/)?(?:{'|'.join(map(re.escape, MODELS))})((?:-[24]k)?(?:-\d+x\d+)?)")
_PLACE = "the-place-of-the-picture"
_IMAGE_TOKENS = {"1K": 1120, "2K": 1120, "4K": 2000}
_THINKING = 100
_CODES = {"402": "insufficient_credits", "429": "rate_limit_exceeded", "401": "invalid_api_key"}


class _Wrong(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, message: str, code: Any = None) -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


@dataclass(frozen=True)
class _Asked:
    model: str
    prompt: str
    aspect_ratio: str
    image_size: str
    seed: int | None
    images: tuple[bytes, ...]


class _Service(FakeUpstream):
    """What both doors share. `cost` is what an answer says it costs, in dollars; None says nothing."""

    path = ""

    def __init__(self, *, cached: bool = False, cost: float | None = None) -> None:
        super().__init__()
        self.cost = cost
        self.models: list[str] = []
        self._studio = Studio(signing_key=secrets.token_bytes(16), size_bytes=0, cached=cached)

    def is_work(self, request: Request) -> bool:
        return request.method == "POST"

    def respond(self, request: Request, body: Any, fault: Fault) -> Reply:
        if fault.name in STATUSES:
            return _status_reply(fault)
        if fault.name in UNCOMPOSED:
            return json_reply(200, {})
        try:
            if not re.fullmatch(r"Bearer \S+", request.headers.get("authorization", "")):
                raise _Wrong(401, "Incorrect API key provided.", "invalid_api_key")
            if request.method == "GET" and request.path.endswith("/models"):
                return json_reply(200, {"object": "list", "data": [{"id": name} for name in self.models]})
            return self.answer(request, body, fault)
        except _Wrong as error:
            return json_reply(error.status, _error(error.status, error.message, error.code))
        except (AttributeError, TypeError, KeyError, ValueError) as error:
            return json_reply(400, _error(400, f"The request is malformed: {error}", "invalid_request_error"))

    @abstractmethod
    def answer(self, request: Request, body: Any, fault: Fault) -> Reply:
        """The answer to a request whose key is right."""

    def picture(self, asked: _Asked, fault: Fault, *, variant: int = 0) -> tuple[bytes, str]:
        size = "1K" if fault.name == "wrong-size" else asked.image_size
        if variant:
            return self._studio.picture(asked, size, variant=variant), "image/png"
        return self._studio.picture_under(fault, asked, size)


class FakeChat(_Service):
    """`POST /chat/completions`. `dialect` is where pictures stand; `links` puts a link there in place of a data URL."""

    def __init__(self, *, cached: bool = False, cost: float | None = None, dialect: str = "images") -> None:
        super().__init__(cached=cached, cost=cost)
        self.dialect = dialect
        # What the key may still spend, in dollars; None is without a limit.
        self.left: float | None = None
        self.details: list[dict[str, Any]] = []

    def prompt_of(self, body: Any) -> str:
        messages = body.get("messages") if isinstance(body, dict) else None
        content = messages[-1].get("content") if messages else ""
        if isinstance(content, list):
            return " ".join(part.get("text", "") for part in content)
        return str(content)

    def answer(self, request: Request, body: Any, fault: Fault) -> Reply:
        if (request.method, request.path) == ("GET", "/api/v1/key"):
            return json_reply(200, {"data": {"label": "sk-or-v1-x", "limit": 50, "limit_remaining": self.left}})
        if not request.path.endswith("/chat/completions"):
            raise _Wrong(404, "Not found.")
        asked = self._read(body)
        if fault.name == "blocked-prompt":
            metadata = {"reasons": [fault.argument or "violence"], "flagged_input": asked.prompt[:20]}
            return json_reply(403, _error(403, "Your prompt was flagged.", 403, metadata))
        if fault.name in ("blocked-image", "prohibited"):
            return self._words("", "content_filter", fault.argument or "IMAGE_SAFETY")
        if fault.name in ("no-image", "text-only", "max-tokens"):
            reason = "length" if fault.name == "max-tokens" else "stop"
            return self._words("There is no picture in this answer.", reason, reason.upper())
        return self._pictures(asked, fault)

    def _read(self, body: Any) -> _Asked:
        unknown = body.keys() - _CHAT_FIELDS
        if unknown:
            raise _Wrong(400, f"Unknown parameter: {sorted(unknown)[0]}.", "unknown_parameter")
        match = _MODELS.fullmatch(body["model"])
        if match is None:
            raise _Wrong(404, f"The model {body['model']} does not exist.", "model_not_found")
        assert "image" in body["modalities"]
        turns = [_turn(message) for message in body["messages"]]
        config = body.get("image_config") or {}
        if "extra_body" in body:
            config = body["extra_body"]["google"]["image_config"]
        config = {**config, **{name: body[name] for name in ("aspect_ratio", "image_size") if name in body}}
        size, ratio = _of_suffix(match[1])
        return _Asked(
            model=body["model"],
            prompt=turns[-1][0],
            aspect_ratio=config.get("aspect_ratio", ratio),
            image_size=config.get("image_size", size),
            seed=body.get("seed"),
            images=tuple(image for _, images in turns for image in images),
        )

    def _pictures(self, asked: _Asked, fault: Fault) -> Reply:
        shown = [self.picture(asked, fault)]
        if fault.name in ("two-images", "drafts"):
            shown.insert(0, self.picture(asked, fault, variant=1))
        urls = [f"data:{mime_type};base64,{_PLACE}" for _, mime_type in shown]
        if fault.name == "file-uri":
            urls = [fault.argument]
        message = {"role": "assistant", "refusal": None, **_placed(self.dialect, urls)}
        if self.details:
            message["reasoning_details"] = self.details
        return self._completion(message, "stop", "STOP", [data for data, _ in shown], asked)

    def _words(self, words: str, reason: str, native: str) -> Reply:
        return self._completion({"role": "assistant", "content": words}, reason, native, [], None)

    def _completion(
        self, message: Mapping[str, Any], reason: str, native: str, pictures: list[bytes], asked: _Asked | None
    ) -> Reply:
        image_tokens = _IMAGE_TOKENS[asked.image_size] * len(pictures) if asked else 0
        usage: dict[str, Any] = {
            "prompt_tokens": 12,
            "completion_tokens": image_tokens + _THINKING,
            "total_tokens": 12 + image_tokens + _THINKING,
            "completion_tokens_details": {"reasoning_tokens": _THINKING, "image_tokens": image_tokens},
        }
        if self.cost is not None:
            usage["cost"] = self.cost
        choice = {"index": 0, "finish_reason": reason, "native_finish_reason": native, "message": dict(message)}
        document = {"id": f"gen-{secrets.token_hex(6)}", "object": "chat.completion", "created": 1, "choices": [choice]}
        return json_reply(200, _rendered(document | {"usage": usage}, pictures))


class FakeImages(_Service):
    """`POST /images/generations` and `/images/edits`. With `refuses_format` it knows no response_format."""

    refuses_format = False

    def prompt_of(self, body: Any) -> str:
        return str(body.get("prompt", "")) if isinstance(body, dict) else ""

    def answer(self, request: Request, body: Any, fault: Fault) -> Reply:
        asked = self._read(request, body)
        if fault.name == "blocked-prompt":
            raise _Wrong(400, "Your request was rejected by the safety system.", fault.argument or "moderation_blocked")
        if fault.name == "no-image":
            return json_reply(200, {"created": 1, "data": []})
        if fault.name == "file-uri":
            return json_reply(200, {"created": 1, "data": [{"url": fault.argument}]})
        shown = [self.picture(asked, fault)[0]]
        if fault.name == "two-images":
            shown.insert(0, self.picture(asked, fault, variant=1)[0])
        tokens = _IMAGE_TOKENS[asked.image_size] * len(shown)
        usage: dict[str, Any] = {
            "input_tokens": 12,
            "output_tokens": tokens,
            "total_tokens": 12 + tokens,
            "input_tokens_details": {"text_tokens": 12, "image_tokens": 0},
            "output_tokens_details": {"text_tokens": 0, "image_tokens": tokens},
        }
        if self.cost is not None:
            usage["cost"] = self.cost
        document = {"created": 1, "data": [{"b64_json": _PLACE} for _ in shown], "usage": usage}
        return json_reply(200, _rendered(document, shown), {"x-request-id": f"req_{secrets.token_hex(6)}"})

    def _read(self, request: Request, body: Any) -> _Asked:
        images: list[bytes] = []
        if request.path.endswith("/images/edits"):
            body, images = _form(request)
            if not images:
                raise _Wrong(400, "Missing required parameter: image.", "missing_required_parameter")
        elif not request.path.endswith("/images/generations"):
            raise _Wrong(404, "Not found.")
        unknown = body.keys() - _IMAGES_FIELDS - ({"mask"} if images else set())
        if unknown or (self.refuses_format and "response_format" in body):
            raise _Wrong(400, f"Unknown parameter: {sorted(unknown)}.", "unknown_parameter")
        if body["model"] not in MODELS:
            raise _Wrong(404, f"The model {body['model']} does not exist.", "model_not_found")
        assert int(body["n"]) == 1
        size, ratio = _of_pixels(body["size"]) if "size" in body else ("1K", "1:1")
        asked = _Asked(body["model"], body["prompt"], ratio, size, None, tuple(images))
        return replace(
            asked,
            aspect_ratio=body.get("aspect_ratio", asked.aspect_ratio),
            image_size=body.get("image_size", asked.image_size),
        )


_CHAT_FIELDS = frozenset(
    {"model", "messages", "modalities", "stream", "image_config", "extra_body", "aspect_ratio", "image_size"}
    | {"seed", "reasoning"}
)
_IMAGES_FIELDS = frozenset({"model", "prompt", "n", "response_format", "size", "aspect_ratio", "image_size"})


def _turn(message: Mapping[str, Any]) -> tuple[str, list[bytes]]:
    assert message["role"] in ("user", "assistant")
    content = message["content"]
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else [*content]
    parts += message.get("images", [])
    words, images = [], []
    for part in parts:
        if part["type"] == "text":
            words.append(part["text"])
        else:
            head, _, data = part["image_url"]["url"].partition(";base64,")
            assert head.startswith("data:image/")
            images.append(_checked(base64.b64decode(data, validate=True)))
    return " ".join(words), images


def _checked(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data)) as image:
        image.load()
    return data


def _of_suffix(suffix: str) -> tuple[str, str]:
    size = {"-2k": "2K", "-4k": "4K"}.get(suffix[:3], "1K")
    ratio = re.search(r"-(\d+)x(\d+)", suffix)
    return size, f"{ratio[1]}:{ratio[2]}" if ratio else "1:1"


def _of_pixels(size: str) -> tuple[str, str]:
    from generation.dialects.sizes import of_pixels

    ratio, name = of_pixels(size)
    return name, ratio


def _form(request: Request) -> tuple[dict[str, str], list[bytes]]:
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    parts = BytesParser(policy=HTTP).parsebytes(head + request.body)
    fields: dict[str, str] = {}
    images = []
    for part in parts.iter_parts():  # type: ignore[attr-defined]
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if part.get_filename():
            _checked(content)
            if name != "mask":
                assert name in ("image", "image[]")
                images.append(content)
            fields.update({"mask": "sent"} if name == "mask" else {})
        else:
            fields[name] = content.decode()
    return fields, images


def _placed(dialect: str, urls: list[str]) -> dict[str, Any]:
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    words = "Here is your picture."
    if dialect == "images":
        return {"content": words, "images": parts}
    if dialect == "parts":
        return {"content": [{"type": "text", "text": words}, *parts]}
    if dialect == "markdown":
        return {"content": "\n".join([words, *(f"![a picture]({url})" for url in urls)])}
    if dialect == "bare":
        return {"content": "\n".join([words, *urls])}
    inline = [{"inline_data": {"mime_type": "image/png", "data": url.partition(",")[2]}} for url in urls]
    return {"content": words, "multi_mod_content": [{"text": words}, *inline]}


def _rendered(document: Mapping[str, Any], pictures: list[bytes]) -> list[bytes]:
    texts = json.dumps(document).encode().split(_PLACE.encode())
    pieces = [texts[0]]
    for data, text in zip(pictures, texts[1:], strict=False):
        pieces += [data, text]
    return pieces


def _error(status: int, message: str, code: Any, metadata: Mapping[str, Any] | None = None) -> dict[str, Any]:
    error = {"message": message, "type": "api_error", "code": code or status, "param": None}
    return {"error": error | ({"metadata": metadata} if metadata else {})}


def _status_reply(fault: Fault) -> Reply:
    status = int(fault.name)
    if status == 502:
        return Reply(status, {"Content-Type": "text/html"}, [b"<html><title>502 Bad Gateway</title></html>"])
    headers = {"Retry-After": fault.retry_after} if fault.retry_after else {}
    return json_reply(status, _error(status, STATUSES[fault.name][1], _CODES.get(fault.name)), headers)
