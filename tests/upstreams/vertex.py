"""Vertex AI on loopback: Gemini's generateContent and Imagen's predict below the paths of a project or of express mode.

It issues access tokens for a service account's signed claims, as strictly as Google does, and takes no other.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from generation.channels.fakes.faults import NAMES, STATUSES, UNCOMPOSED, WIRES, Fault
from generation.channels.fakes.gemini_answers import error_document
from generation.channels.fakes.gemini_api import respond as gemini_answers
from generation.channels.fakes.gemini_models import MODELS
from generation.channels.fakes.gemini_request import GoogleError, last_prompt
from generation.channels.fakes.http import Reply, Request, json_reply
from generation.channels.fakes.server import FakeUpstream
from generation.channels.fakes.studio import Studio

NAMES_PLAYED: frozenset[str] = NAMES
PREDICT_NAMES: frozenset[str] = (frozenset(STATUSES) | WIRES) | {
    "bad-base64",
    "not-an-image",
    "broken-image",
    "wrong-mime",
    "file-uri",
    "no-image",
    "blocked-prompt",
    "blocked-image",
    "two-images",
    "wrong-size",
    "jpeg",
}
# A key of express mode, which needs neither a project nor a token.
SECRET = "AQ.TheSecretOfTheExpressChannel0123456789"
PROJECT, LOCATION = "a-project", "global"
EMAIL, KEY_ID = "images@a-project.iam.gserviceaccount.com", "key-1"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
GRANT_TYPE = "urn:ietf:params:oauth:grant-type:jwt-bearer"
RAI_PROMPT = (
    "Image generation failed with the following error: The prompt could not be submitted. This prompt contains"
    " sensitive words that violate Google's Responsible AI practices. Try rephrasing the prompt. If you think this was"
    " an error, send feedback. Support codes: 42876398"
)
RAI_IMAGE = (
    "Unable to show generated images. All images were filtered out because they violated Vertex AI's usage guidelines."
    " You will not be charged for blocked images. Try rephrasing the prompt. Support codes: 15236754"
)
_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
_PATH = re.compile(
    r"/v1beta1/(?:projects/(?P<project>[^/]+)/locations/(?P<location>[^/]+)/)?"
    r"publishers/google/models/(?P<model>[^/:]+):(?P<verb>generateContent|predict)"
)
_IMAGEN = {
    "imagen-4.0-generate-001": ("1K", "2K"),
    "imagen-4.0-ultra-generate-001": ("1K", "2K"),
    "imagen-4.0-fast-generate-001": (),
}
_IMAGEN_RATIOS = ("1:1", "3:4", "4:3", "9:16", "16:9")
_PARAMETERS = {
    "sampleCount": int,
    "aspectRatio": str,
    "sampleImageSize": str,
    "seed": int,
    "addWatermark": bool,
    "includeRaiReason": bool,
}
_TIERS = ("", "flex", "priority")
_PLACE = b"the-place-of-the-picture"


def private_key() -> str:
    """The key of the one account that the stand-in knows, as PEM; it is made anew in each process."""
    form = serialization.PrivateFormat.PKCS8
    return _KEY.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


def service_account(base_url: str, **changes: Any) -> str:
    """The account's JSON, as the console of Google Cloud hands it out, with tokens from the stand-in itself."""
    fields = {
        "type": "service_account",
        "project_id": PROJECT,
        "private_key_id": KEY_ID,
        "private_key": private_key(),
        "client_email": EMAIL,
        "client_id": "123456789012345678901",
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "token_uri": f"{base_url}/token",
        "universe_domain": "googleapis.com",
    }
    return json.dumps(fields | changes, indent=2)


@dataclass(frozen=True, slots=True)
class _Asked:
    prompt: str
    aspect_ratio: str
    image_size: str
    seed: int | None
    images: tuple[bytes, ...] = ()


class FakeVertex(FakeUpstream):
    """Vertex AI. Express mode takes any API key.

    `token_requests` are the fields of the requests for tokens, `token_seconds` is what a token is good for,
    `token_replies` are played in place of the next tokens, and tokens in `issued` are taken until they are removed.
    """

    def __init__(self, *, cached: bool = False, latency_seconds: float = 0.0) -> None:
        super().__init__(latency_seconds=latency_seconds)
        self._studio = Studio(signing_key=secrets.token_bytes(16), size_bytes=0, cached=cached)
        self.token_requests: list[Mapping[str, str]] = []
        self.token_replies: list[Reply] = []
        self.token_seconds = 3599
        self.token_delay_seconds = 0.0
        self.issued: set[str] = set()

    def is_work(self, request: Request) -> bool:
        return request.method == "POST" and _PATH.fullmatch(request.path) is not None

    def prompt_of(self, body: Any) -> str:
        instances = body.get("instances") if isinstance(body, dict) else None
        return str(instances[0].get("prompt", "")) if instances else last_prompt(body)

    def respond(self, request: Request, body: Any, fault: Fault) -> Reply:
        if (request.method, request.path) == ("POST", "/token"):
            return self._token(request)
        try:
            if (request.method, request.path) == ("GET", "/v1beta1/publishers/google/models"):
                # The list is nobody's: whose quota pays for it, a header says.
                self._authenticate(request, has_project="x-goog-user-project" in request.headers)
                listed = [{"name": f"publishers/google/models/{name}"} for name in (*MODELS, *_IMAGEN)]
                return json_reply(200, {"publisherModels": listed})
            match = _PATH.fullmatch(request.path)
            if match is None or request.method != "POST":
                raise GoogleError(404, "NOT_FOUND", "The requested URL was not found on this server.")
            self._authenticate(request, has_project=match["project"] is not None)
            return self._work(match, request, body, fault)
        except GoogleError as error:
            return json_reply(error.code, error_document(error))
        except (AttributeError, TypeError, KeyError, IndexError):
            mistyped = GoogleError(400, "INVALID_ARGUMENT", "Invalid JSON payload received. A field has a wrong type.")
            return json_reply(400, error_document(mistyped))

    def _work(self, match: re.Match[str], request: Request, body: Any, fault: Fault) -> Reply:
        if request.headers.get("x-vertex-ai-llm-shared-request-type", "") not in _TIERS:
            raise GoogleError(400, "INVALID_ARGUMENT", "Unknown shared request type.")
        if match["verb"] == "predict" and fault.name not in STATUSES and fault.name not in UNCOMPOSED:
            return self._predict(match["model"], body, fault)
        if isinstance(body, dict) and not str(body.get("serviceTier", "SERVICE_TIER")).startswith("SERVICE_TIER"):
            raise GoogleError(400, "INVALID_ARGUMENT", f"Invalid value at 'service_tier', \"{body['serviceTier']}\"")
        if isinstance(body, dict) and not all(each.get("role") for each in body.get("contents", ())):
            raise GoogleError(400, "INVALID_ARGUMENT", "Please use a valid role: user, model.")
        headers = {**request.headers, "x-goog-api-key": "let in"}
        path = f"/v1beta/models/{match['model']}:generateContent"
        return gemini_answers(self._studio, replace(request, path=path, headers=headers), body, fault)

    def _authenticate(self, request: Request, *, has_project: bool) -> None:
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        key = request.headers.get("x-goog-api-key", "")
        is_known = kind == "Bearer" and token in self.issued and not key if has_project else key and not kind
        if not is_known:
            message = (
                "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other"
                " valid authentication credential."
            )
            raise GoogleError(401, "UNAUTHENTICATED", message)

    def _token(self, request: Request) -> Reply:
        fields = dict(parse_qsl(request.body.decode(), strict_parsing=True))
        self.token_requests.append(fields)
        time.sleep(self.token_delay_seconds)
        if self.token_replies:
            return self.token_replies.pop(0)
        if request.headers.get("content-type") != "application/x-www-form-urlencoded":
            return _grant_error("invalid_request", "The request is no form.")
        if fields.keys() != {"grant_type", "assertion"} or fields["grant_type"] != GRANT_TYPE:
            return _grant_error("unsupported_grant_type", "Invalid grant_type.")
        if problem := _problem_of(fields["assertion"], f"{self.base_url}/token"):
            return _grant_error("invalid_grant", problem)
        token = f"ya29.c.{secrets.token_urlsafe(48)}"
        self.issued.add(token)
        return json_reply(200, {"access_token": token, "expires_in": self.token_seconds, "token_type": "Bearer"})

    def _predict(self, model: str, body: Any, fault: Fault) -> Reply:
        asked = _read(model, body)
        if fault.name == "blocked-prompt":
            raise GoogleError(400, "INVALID_ARGUMENT", fault.argument or RAI_PROMPT)
        if fault.name == "blocked-image":
            return _predicted([{"raiFilteredReason": fault.argument or RAI_IMAGE}], [])
        if fault.name in ("no-image", "text-only", "max-tokens"):
            return json_reply(200, {})
        if fault.name == "file-uri":
            return _predicted([{"mimeType": "image/png", "gcsUri": fault.argument}], [])
        size = "1K" if fault.name == "wrong-size" else asked.image_size
        data, mime_type = self._studio.picture_under(fault, asked, size)
        shown = [(data, mime_type)]
        if fault.name == "two-images":
            shown.insert(0, (self._studio.picture(asked, size, variant=1), "image/png"))
        place = _PLACE.decode()
        made = [{"mimeType": name, "bytesBase64Encoded": place, "prompt": asked.prompt} for _, name in shown]
        return _predicted(made, [data for data, _ in shown])


def _read(model: str, body: Any) -> _Asked:
    if model not in _IMAGEN:
        raise GoogleError(404, "NOT_FOUND", f"Publisher Model `publishers/google/models/{model}` was not found.")
    if body.keys() != {"instances", "parameters"} or len(body["instances"]) != 1:
        raise GoogleError(400, "INVALID_ARGUMENT", "Exactly one instance and its parameters are expected.")
    if body["instances"][0].keys() != {"prompt"} or not isinstance(body["instances"][0]["prompt"], str):
        raise GoogleError(400, "INVALID_ARGUMENT", "Text prompt is required.")
    parameters = body["parameters"]
    for name, value in parameters.items():
        if name not in _PARAMETERS or type(value) is not _PARAMETERS[name]:
            raise GoogleError(400, "INVALID_ARGUMENT", f"Invalid value for parameter {name}.")
    if parameters["sampleCount"] != 1 or parameters["aspectRatio"] not in _IMAGEN_RATIOS:
        raise GoogleError(400, "INVALID_ARGUMENT", "Sample count or aspect ratio is out of range.")
    size = parameters.get("sampleImageSize")
    if size is not None and size not in _IMAGEN[model]:
        raise GoogleError(400, "INVALID_ARGUMENT", f"Sample image size {size} is not supported by this model.")
    if "seed" in parameters and parameters.get("addWatermark", True):
        raise GoogleError(400, "INVALID_ARGUMENT", "Seed is not supported when watermark is enabled.")
    return _Asked(body["instances"][0]["prompt"], parameters["aspectRatio"], size or "1K", parameters.get("seed"))


def _predicted(predictions: list[dict[str, Any]], pictures: list[bytes]) -> Reply:
    texts = json.dumps({"predictions": predictions}, indent=2).encode().split(_PLACE)
    pieces = [texts[0]]
    for data, text in zip(pictures, texts[1:], strict=True):
        pieces += [data, text]
    return json_reply(200, pieces)


def _problem_of(assertion: str, audience: str) -> str:
    """What is wrong with a signed claim; "" if nothing is."""
    try:
        head, body, signature = assertion.split(".")
        header, claims = (json.loads(_decoded(part)) for part in (head, body))
        signed = f"{head}.{body}".encode()
        _KEY.public_key().verify(_decoded(signature), signed, padding.PKCS1v15(), hashes.SHA256())
    except (ValueError, InvalidSignature):
        return "Invalid JWT Signature."
    now = time.time()
    checks = {
        "Invalid JWT: unknown algorithm or key.": (header.get("alg"), header.get("kid")) == ("RS256", KEY_ID),
        "Invalid grant: account not found": claims.get("iss") == EMAIL,
        "Invalid JWT: wrong audience": claims.get("aud") == audience,
        "Invalid OAuth scope or ID token audience provided.": claims.get("scope") == SCOPE,
        "Invalid JWT: Token must be a short-lived token and in a reasonable timeframe.": (
            now - 60 <= claims.get("iat", 0) <= now + 60 and now < claims.get("exp", 0) <= claims.get("iat", 0) + 3600
        ),
    }
    return next((words for words, is_right in checks.items() if not is_right), "")


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _grant_error(code: str, description: str) -> Reply:
    return json_reply(400, {"error": code, "error_description": description})
