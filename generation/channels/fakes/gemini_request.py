"""Reads a generateContent request as strictly as Google does, in either spelling; it never draws or answers."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image

from generation.channels.fakes.gemini_models import MODELS, STOPPED, FakeModel

# The placeholder that Google documents for conversations whose signatures were made by another model.
SKIP_SIGNATURE = b"skip_thought_signature_validator"
_TOP_LEVEL = frozenset(
    {
        "contents",
        "systemInstruction",
        "safetySettings",
        "tools",
        "toolConfig",
        "generationConfig",
        "cachedContent",
        "labels",
        "serviceTier",
        "store",
        "model",
    }
)
_ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"
_IMAGE_CONFIG = frozenset({"aspectRatio", "imageSize"})


class GoogleError(Exception):
    """An answer with an error status, in Google's words."""

    def __init__(self, code: int, status: str, message: str, details: list[dict[str, Any]] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.message = message
        self.details = details or []


@dataclass(frozen=True, slots=True)
class Asked:
    """What a valid request asks for. `images` are the encoded images of the last turn that has some."""

    model: FakeModel
    prompt: str
    aspect_ratio: str
    image_size: str
    seed: int | None
    has_image: bool
    has_text: bool
    has_search: bool
    images: tuple[bytes, ...]
    text_length: int
    image_count: int


def authenticate(headers: Mapping[str, str], query: Mapping[str, str]) -> None:
    """Refuses a missing key and "bad-key" as Google refuses an invalid one, and "no-permission" with a 403."""
    key = headers.get("x-goog-api-key") or query.get("key", "")
    if key in ("", "bad-key"):
        reason = {"@type": _ERROR_INFO, "reason": "API_KEY_INVALID", "domain": "googleapis.com"}
        message = "API key not valid. Please pass a valid API key."
        raise GoogleError(400, "INVALID_ARGUMENT", message, [reason])
    if key == "no-permission":
        raise GoogleError(403, "PERMISSION_DENIED", "Your API key may not use this model.")


def read(model_name: str, body: Any, is_issued: Callable[[bytes, str], bool]) -> Asked:
    """What `body` (parsed JSON) asks of a model; raises `GoogleError`. `is_issued` knows our own signatures."""
    model = find_model(model_name)
    request = _camel(body)
    if not isinstance(request, dict):
        raise _invalid("Invalid JSON payload received.")
    for name in request.keys() - _TOP_LEVEL:
        raise _invalid(f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.')
    config = request.get("generationConfig") or {}
    if config.get("candidateCount", 1) != 1:
        raise _invalid("Multiple candidates is not enabled for this model")
    ratio, size = _image_config(model, config.get("imageConfig") or {})
    turns = [_turn(content, number, model, is_issued) for number, content in enumerate(_contents(request))]
    modalities = {str(name).upper() for name in config.get("responseModalities") or ()}
    return Asked(
        model=model,
        prompt=next((text for role, text, _ in reversed(turns) if role == "user"), ""),
        aspect_ratio=ratio,
        image_size=size,
        seed=config.get("seed"),
        has_image="IMAGE" in modalities,
        has_text=modalities != {"IMAGE"},
        has_search=any("googleSearch" in tool for tool in request.get("tools") or ()),
        images=next((images for _, _, images in reversed(turns) if images), ()),
        text_length=sum(len(text) for _, text, _ in turns),
        image_count=sum(len(images) for _, _, images in turns),
    )


def last_prompt(body: Any) -> str:
    """The words of the last user turn, read leniently: a directive counts in a request that is wrong, too."""
    request = _camel(body)
    contents: Any = request.get("contents") if isinstance(request, dict) else None
    for content in reversed(contents) if isinstance(contents, list) else ():
        if isinstance(content, dict) and content.get("role", "user") == "user":
            parts: Any = content.get("parts")
            return " ".join(_texts(parts)) if isinstance(parts, list) else ""
    return ""


def find_model(name: str) -> FakeModel:
    """A served model; raises `GoogleError` for a stopped or unknown one."""
    if name in STOPPED:
        raise GoogleError(404, "NOT_FOUND", f"This model models/{name} is no longer available.")
    if name not in MODELS:
        message = f"models/{name} is not found for API version v1beta, or is not supported for generateContent."
        raise GoogleError(404, "NOT_FOUND", message)
    return MODELS[name]


def _image_config(model: FakeModel, config: Mapping[str, Any]) -> tuple[str, str]:
    for name in config.keys() - _IMAGE_CONFIG:
        raise _invalid(f"{name} parameter is not supported in Gemini API.")
    ratio = config.get("aspectRatio") or "1:1"
    if ratio not in model.ratios:
        raise _invalid(f"aspect_ratio must be one of {', '.join(model.ratios)}, got {ratio}.")
    size = config.get("imageSize")
    if size is not None and (not model.is_sized or size not in model.tokens):
        raise _invalid(f"image_size {size} is not supported by this model.")
    return ratio, size or "1K"


def _contents(request: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    contents = request.get("contents")
    if isinstance(contents, dict):
        contents = [contents]
    if not isinstance(contents, list) or not contents:
        raise _invalid("* GenerateContentRequest.contents: contents is not specified\n")
    return contents


def _turn(
    content: Mapping[str, Any], number: int, model: FakeModel, is_issued: Callable[[bytes, str], bool]
) -> tuple[str, str, tuple[bytes, ...]]:
    role = content.get("role", "user")
    if role not in ("user", "model"):
        raise _invalid("Please use a valid role: user, model.")
    parts = content.get("parts") or []
    if not parts and role == "user":
        raise _invalid(f"* GenerateContentRequest.contents[{number}].parts: contents.parts must not be empty.\n")
    images = tuple(_images(parts, f"contents[{number}]"))
    for part in parts:
        if "thoughtSignature" in part:
            _check_signature(part["thoughtSignature"], model, is_issued)
    return role, " ".join(_texts(parts)), images


def _check_signature(value: Any, model: FakeModel, is_issued: Callable[[bytes, str], bool]) -> None:
    signature = _decoded(value, "thought_signature")
    if signature != SKIP_SIGNATURE and not is_issued(signature, model.name):
        raise _invalid("Thought signature is not valid.")


def _texts(parts: list[Any]) -> Iterator[str]:
    for part in parts:
        if isinstance(part, dict) and isinstance(part.get("text"), str) and not part.get("thought"):
            yield part["text"]


def _images(parts: list[Mapping[str, Any]], where: str) -> Iterator[bytes]:
    for number, part in enumerate(parts):
        if "fileData" in part:
            message = "You do not have permission to access the File or it may not exist."
            raise GoogleError(403, "PERMISSION_DENIED", message)
        if "inlineData" in part and not part.get("thought"):
            data = _decoded(part["inlineData"].get("data"), f"{where}.parts[{number}].inline_data.data")
            yield _checked_image(data)


def _checked_image(data: bytes) -> bytes:
    try:
        with Image.open(io.BytesIO(data)):
            return data
    except (OSError, ValueError, SyntaxError) as error:
        raise _invalid("Unable to process input image. Please retry or report.") from error


def _decoded(value: Any, where: str) -> bytes:
    """The bytes of standard or URL-safe base64: Google takes both, and its Python SDK sends the second."""
    try:
        text = value.replace("-", "+").replace("_", "/")
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (AttributeError, TypeError, ValueError) as error:
        shown = str(value)[:64]
        message = f"Invalid value at '{where}' (TYPE_BYTES), Base64 decoding failed for \"{shown}\""
        raise _invalid(message) from error


def _camel(value: Any) -> Any:
    if isinstance(value, dict):
        return {_camel_name(name): _camel(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_camel(item) for item in value]
    return value


def _camel_name(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in rest)


def _invalid(message: str) -> GoogleError:
    return GoogleError(400, "INVALID_ARGUMENT", message)
