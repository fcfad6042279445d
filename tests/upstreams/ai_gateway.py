"""Vercel's AI Gateway on loopback, in the protocol that @ai-sdk/gateway speaks in specification version 3.

Strict about headers, models and the types of all it is sent.
"""

from __future__ import annotations

import base64
import io
import json
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from generation.channels.fakes.faults import NAMES, STATUSES, UNCOMPOSED, WIRES, Fault
from generation.channels.fakes.gemini_models import MODELS, FakeModel
from generation.channels.fakes.http import Reply, Request, json_reply
from generation.channels.fakes.server import FakeUpstream
from generation.channels.fakes.studio import Studio
from generation.dialects.sizes import of_pixels

# A link in place of a picture is nothing that this wire can carry.
NAMES_PLAYED = NAMES - {"file-uri"}
IMAGE_NAMES_PLAYED = (
    frozenset(STATUSES)
    | WIRES
    | {"bad-base64", "not-an-image", "broken-image", "no-image", "blocked-prompt", "two-images", "wrong-size", "jpeg"}
)
_BASE = "/v3/ai"
_PLACE = "the-place-of-the-picture"
_THINKING, _INPUT_TOKENS, _WORD_TOKENS = 225, 12, 8
_SIGNATURE_BYTES, _LONG_SIGNATURE_BYTES = 48, 1_000_000
_SIDES = re.compile(r"[1-9]\d{1,3}x[1-9]\d{1,3}")
_RATIOS = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9")
_IMAGEN_RATIOS = ("1:1", "3:4", "4:3", "9:16", "16:9")
_TYPES = {
    "400": "invalid_request_error",
    "401": "authentication_error",
    "402": "insufficient_funds",
    "403": "forbidden",
    "404": "model_not_found",
    "429": "rate_limit_exceeded",
}
# What each answer without a picture ends with, as Google says it and as the gateway does.
_WORDS_ONLY = {"no-image": ("NO_IMAGE", "other"), "text-only": ("STOP", "stop"), "max-tokens": ("MAX_TOKENS", "length")}
_BLOCKED = {"blocked-image": "IMAGE_SAFETY", "prohibited": "PROHIBITED_CONTENT"}


@dataclass(frozen=True, slots=True)
class _ImageModel:
    """`longest` is the longest side of a size in pixels, 0 where only a ratio is taken."""

    file_limit: int
    ratios: tuple[str, ...] = _RATIOS
    longest: int = 0
    has_mask: bool = False
    image_size: str = "1K"


IMAGE_MODELS: Mapping[str, _ImageModel] = {
    "bfl/flux-2-pro": _ImageModel(8, longest=4096),
    "bfl/flux-2-flex": _ImageModel(8, longest=4096),
    "bfl/flux-kontext-max": _ImageModel(4),
    "bfl/flux-kontext-pro": _ImageModel(4),
    "bfl/flux-pro-1.1": _ImageModel(1, longest=1440),
    "bfl/flux-pro-1.1-ultra": _ImageModel(1, image_size="2K"),
    "bfl/flux-pro-1.0-fill": _ImageModel(1, has_mask=True),
    "google/imagen-4.0-generate": _ImageModel(0, _IMAGEN_RATIOS),
    "google/imagen-4.0-fast-generate": _ImageModel(0, _IMAGEN_RATIOS),
    "google/imagen-4.0-ultra-generate": _ImageModel(0, _IMAGEN_RATIOS),
}
LANGUAGE_MODELS: Mapping[str, FakeModel] = {f"google/{name}": model for name, model in MODELS.items()}


class _Wrong(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, message: str, kind: str = "invalid_request_error", param: Any = None) -> None:
        super().__init__(message)
        self.status, self.message, self.kind, self.param = status, message, kind, param


@dataclass(frozen=True, slots=True)
class _Asked:
    model: str
    prompt: str
    aspect_ratio: str
    image_size: str
    seed: int | None
    images: tuple[bytes, ...]
    has_image: bool = True
    warnings: tuple[Mapping[str, str], ...] = ()


class FakeAiGateway(FakeUpstream):
    """`POST /v3/ai/language-model` and `/v3/ai/image-model`, `GET /v3/ai/config` and `GET /v1/credits`.

    `cost` is what an answer says it costs, in dollars; None says nothing.
    """

    def __init__(self, *, cached: bool = False, cost: str | None = None) -> None:
        super().__init__()
        self.cost = cost
        self.balance = "95.50"
        self._studio = Studio(signing_key=secrets.token_bytes(16), size_bytes=0, cached=cached)

    def start(self) -> None:
        super().start()
        self.base_url += _BASE

    def is_work(self, request: Request) -> bool:
        return request.method == "POST" and request.path in (f"{_BASE}/language-model", f"{_BASE}/image-model")

    def prompt_of(self, body: Any) -> str:
        prompt = body.get("prompt") if isinstance(body, dict) else None
        if isinstance(prompt, list):
            return " ".join(re.findall(r"fake:\S+", json.dumps(prompt[-1:])))
        return str(prompt)

    def respond(self, request: Request, body: Any, fault: Fault) -> Reply:
        if fault.name in STATUSES:
            return _status_reply(fault)
        if fault.name in UNCOMPOSED:
            return json_reply(200, {})
        try:
            return self._routed(request, body, fault)
        except _Wrong as error:
            return json_reply(error.status, _error(error.kind, error.message, error.param))
        except (AssertionError, AttributeError, TypeError, LookupError, ValueError, OSError) as error:
            return json_reply(400, _error("invalid_request_error", f"Invalid input: {error!r}"))

    def _routed(self, request: Request, body: Any, fault: Fault) -> Reply:
        _check_common(request.headers)
        if (request.method, request.path) == ("GET", f"{_BASE}/config"):
            return json_reply(200, {"models": [*map(_described, (*LANGUAGE_MODELS, *IMAGE_MODELS))]})
        if (request.method, request.path) == ("GET", "/v1/credits"):
            return json_reply(200, {"balance": self.balance, "total_used": "4.50"})
        if not self.is_work(request):
            raise _Wrong(404, "Not found.", "not_found")
        assert request.headers["content-type"] == "application/json"
        is_language = request.path.endswith("/language-model")
        asked = (self._language if is_language else _read_images)(request.headers, body)
        if fault.name == "blocked-prompt":
            why = fault.argument or "PROHIBITED_CONTENT"
            raise _Wrong(400, f"The prompt was blocked by the content policy of the provider: {why}.")
        return self._speak(asked, fault) if is_language else self._draw(asked, fault)

    def _language(self, headers: Mapping[str, str], body: Any) -> _Asked:
        name = _model_of(headers, "language-model", LANGUAGE_MODELS)
        _only(headers, "ai-language-model-streaming", "false")
        _known(body, "prompt seed providerOptions headers includeRawChunks temperature maxOutputTokens topP toolChoice")
        model = LANGUAGE_MODELS[name]
        config = body.get("providerOptions", {}).get("google", {})
        ratio, size = _image_config(model, config)
        turns = [self._turn(message, model) for message in body["prompt"]]
        assert body["prompt"][-1]["role"] == "user"
        return _Asked(
            model=name,
            prompt=turns[-1][0],
            aspect_ratio=ratio,
            image_size=size,
            seed=_seed(body),
            images=next((images for _, images in reversed(turns) if images), ()),
            has_image="IMAGE" in config.get("responseModalities", ()),
        )

    def _turn(self, message: Mapping[str, Any], model: FakeModel) -> tuple[str, tuple[bytes, ...]]:
        _known(message, "role content providerOptions")
        assert message["role"] in ("user", "assistant")
        assert isinstance(message["content"], list)
        words, images = [], []
        for part in message["content"]:
            if part["type"] == "text":
                _known(part, "type text providerOptions")
                words.append(_string(part["text"]))
            else:
                images.append(_file(part))
            signature = part.get("providerOptions", {}).get("google", {}).get("thoughtSignature")
            if signature is not None and not self._is_issued(signature, model.name):
                raise _Wrong(400, "Thought signature is not valid.")
        return " ".join(words), tuple(images)

    def _is_issued(self, signature: str, model: str) -> bool:
        return self._studio.is_issued(base64.b64decode(signature, validate=True), model)

    def _speak(self, asked: _Asked, fault: Fault) -> Reply:
        thought = {"type": "reasoning", "text": "**Planning the picture**"}
        if fault.name in _BLOCKED:
            return self._spoken([], fault.argument or _BLOCKED[fault.name], "content-filter", asked, [])
        if fault.name in _WORDS_ONLY or not asked.has_image:
            raw, unified = _WORDS_ONLY.get(fault.name, ("STOP", "stop"))
            words = {"type": "text", "text": "There is no picture in this answer."}
            return self._spoken([thought, words], raw, unified, asked, [])
        shown = [*self._drafts(asked, fault), self._studio.picture_under(fault, asked, _size(asked, fault))]
        byte_count = _SIGNATURE_BYTES
        if fault.name == "long-signature":
            byte_count = int(fault.number(_LONG_SIGNATURE_BYTES))
        files = [self._drawn(asked, mime_type, byte_count) for _, mime_type in shown]
        content = [thought, {"type": "text", "text": "Here is your picture."}, *files]
        return self._spoken(content, "STOP", "stop", asked, [data for data, _ in shown])

    def _drafts(self, asked: _Asked, fault: Fault) -> Iterator[tuple[bytes, str]]:
        count = {"two-images": 1, "drafts": int(fault.number(2))}.get(fault.name, 0)
        for number in range(count):
            yield self._studio.picture(asked, _size(asked, fault), variant=number + 1), "image/png"

    def _drawn(self, asked: _Asked, mime_type: str, byte_count: int) -> dict[str, Any]:
        signature = self._studio.sign(asked.model.removeprefix("google/"), byte_count)
        metadata = {"google": {"thoughtSignature": signature}}
        return {"type": "file", "mediaType": mime_type, "data": _PLACE, "providerMetadata": metadata}

    def _spoken(
        self, content: list[dict[str, Any]], raw: str, unified: str, asked: _Asked, pictures: Sequence[bytes]
    ) -> Reply:
        size = asked.image_size
        made = LANGUAGE_MODELS[asked.model].tokens[size] * len(pictures) + _WORD_TOKENS
        number = f"gen_{secrets.token_hex(6)}"
        document = {
            "content": content,
            "finishReason": {"unified": unified, "raw": raw},
            "usage": {
                "inputTokens": {"total": _INPUT_TOKENS, "noCache": _INPUT_TOKENS, "cacheRead": 0, "cacheWrite": 0},
                "outputTokens": {"total": made + _THINKING, "text": made, "reasoning": _THINKING},
            },
            "warnings": [],
            "providerMetadata": self._metadata(number),
            "response": {"id": number, "timestamp": "2026-11-24T00:00:00.000Z", "modelId": asked.model},
        }
        return json_reply(200, _rendered(document, pictures))

    def _draw(self, asked: _Asked, fault: Fault) -> Reply:
        if fault.name == "no-image":
            shown = []
        else:
            drafts = self._drafts(asked, fault) if fault.name == "two-images" else ()
            shown = [*drafts, self._studio.picture_under(fault, asked, _size(asked, fault))]
        warnings = [*asked.warnings]
        if fault.argument and not shown:
            warnings.append({"type": "other", "message": fault.argument})
        document = {
            "images": [_PLACE for _ in shown],
            "warnings": warnings,
            "providerMetadata": self._metadata(f"gen_{secrets.token_hex(6)}"),
            "usage": {"inputTokens": _INPUT_TOKENS, "outputTokens": 0, "totalTokens": _INPUT_TOKENS},
        }
        if not shown:
            document["isRetryable"] = False
        return json_reply(200, _rendered(document, [data for data, _ in shown]))

    def _metadata(self, number: str) -> dict[str, Any]:
        cost = {} if self.cost is None else {"cost": self.cost}
        return {"gateway": {"generationId": number, **cost, "routing": {"finalProvider": "vertex"}}}


def _check_common(headers: Mapping[str, str]) -> None:
    if not re.fullmatch(r"Bearer \S+", headers.get("authorization", "")):
        raise _Wrong(401, "Invalid API key.", "authentication_error")
    _only(headers, "ai-gateway-protocol-version", "0.0.1")
    _only(headers, "ai-gateway-auth-method", "api-key")


def _model_of(headers: Mapping[str, str], route: str, models: Mapping[str, Any]) -> str:
    """The model of a request, which stands in a header, as the version does."""
    _only(headers, f"ai-{route}-specification-version", "3")
    name = headers["ai-language-model-id" if route == "language-model" else "ai-model-id"]
    if name not in models:
        raise _Wrong(404, f"Model '{name}' not found.", "model_not_found", {"modelId": name})
    return name


def _only(headers: Mapping[str, str], name: str, value: str) -> None:
    if headers.get(name) != value:
        raise _Wrong(400, f"The header {name} must be {value}, not {headers.get(name)}.")


def _known(value: Any, names: str) -> None:
    unknown = value.keys() - set(names.split())
    if unknown:
        raise _Wrong(400, f"Unrecognized key: {sorted(unknown)[0]}.")


def _image_config(model: FakeModel, google: Mapping[str, Any]) -> tuple[str, str]:
    """Ratio and size of the settings for Google's models, all of which are checked."""
    _known(google, "responseModalities imageConfig thinkingConfig")
    assert set(google.get("responseModalities", ())) <= {"TEXT", "IMAGE"}
    thinking = google.get("thinkingConfig", {})
    _known(thinking, "thinkingLevel includeThoughts")
    assert thinking.get("thinkingLevel", "low") in ("minimal", "low", "medium", "high")
    config = google.get("imageConfig", {})
    _known(config, "aspectRatio imageSize")
    ratio, size = config.get("aspectRatio", "1:1"), config.get("imageSize", "1K")
    if ratio not in model.ratios or size not in model.tokens or ("imageSize" in config and not model.is_sized):
        raise _Wrong(400, f"The ratio {ratio} or the size {size} is not supported by this model.")
    return ratio, size


def _read_images(headers: Mapping[str, str], body: Any) -> _Asked:
    name = _model_of(headers, "image-model", IMAGE_MODELS)
    model = IMAGE_MODELS[name]
    _known(body, "prompt n size aspectRatio seed files mask providerOptions")
    assert body["n"] == 1
    files = tuple(map(_file, body.get("files", ())))
    if len(files) > model.file_limit or ("mask" in body and not (files and model.has_mask)):
        raise _Wrong(400, "The model takes fewer images, or no mask.")
    if "mask" in body:
        _file(body["mask"])
    ratio = body.get("aspectRatio", "1:1")
    if ratio not in model.ratios:
        raise _Wrong(400, f"The aspect ratio {ratio} is not supported by this model.")
    asked = _Asked(name, _string(body["prompt"]), ratio, model.image_size, _seed(body), files)
    vertex = body.get("providerOptions", {}).get("vertex", {})
    _known(vertex, "sampleImageSize")
    if vertex:
        assert vertex["sampleImageSize"] in ("1K", "2K")
        asked = replace(asked, image_size=vertex["sampleImageSize"])
    return _of_size(asked, body["size"], model) if "size" in body else asked


def _of_size(asked: _Asked, size: str, model: _ImageModel) -> _Asked:
    """What a size in pixels asks for; where it is not taken, a warning says so."""
    assert _SIDES.fullmatch(size)
    if not model.longest or asked.aspect_ratio != "1:1":
        return replace(asked, warnings=({"type": "unsupported", "feature": "size", "details": "It is ignored."},))
    width, height = map(int, size.split("x"))
    if max(width, height) > model.longest or width % 16 or height % 16 or width * height > 4 * 1024**2:
        raise _Wrong(422, f"The size {size} is not supported by this model.")
    return replace(asked, aspect_ratio=of_pixels(size)[0], image_size="2K" if width * height > 2 * 1024**2 else "1K")


def _file(part: Mapping[str, Any]) -> bytes:
    _known(part, "type mediaType data filename providerOptions")
    assert part["type"] == "file"
    assert part["mediaType"].startswith("image/")
    data = base64.b64decode(_string(part["data"]), validate=True)
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        assert image.get_format_mimetype() == part["mediaType"]
    return data


def _string(value: Any) -> str:
    assert isinstance(value, str)
    return value


def _seed(body: Mapping[str, Any]) -> int | None:
    seed = body.get("seed")
    assert seed is None or type(seed) is int
    return seed


def _size(asked: _Asked, fault: Fault) -> str:
    return "1K" if fault.name == "wrong-size" else asked.image_size


def _described(name: str) -> dict[str, Any]:
    specification = {"specificationVersion": "v3", "provider": name.partition("/")[0], "modelId": name}
    kind = "image" if name in IMAGE_MODELS else "language"
    return {"id": name, "name": name, "pricing": None, "specification": specification, "modelType": kind}


def _rendered(document: Mapping[str, Any], pictures: Sequence[bytes]) -> list[bytes]:
    texts = json.dumps(document).encode().split(_PLACE.encode())
    pieces = [texts[0]]
    for data, text in zip(pictures, texts[1:], strict=True):
        pieces += [data, text]
    return pieces


def _error(kind: str, message: str, param: Any = None) -> dict[str, Any]:
    error = {"message": message, "type": kind, "param": param, "code": None}
    return {"error": error, "generationId": f"gen_{secrets.token_hex(6)}"}


def _status_reply(fault: Fault) -> Reply:
    status = int(fault.name)
    if status == 502:
        return Reply(status, {"Content-Type": "text/html"}, [b"<html><title>502 Bad Gateway</title></html>"])
    headers = {"Retry-After": fault.retry_after} if fault.retry_after else {}
    kind = _TYPES.get(fault.name, "internal_server_error")
    return json_reply(status, _error(kind, STATUSES[fault.name][1]), headers)
