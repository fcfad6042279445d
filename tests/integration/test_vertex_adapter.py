"""The Vertex adapter on the real wire: tokens, what it sends, what it reads, what each failure means; Imagen beside Gemini."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import random
import socket
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from PIL import Image

from generation.channels.adapter import Credentials
from generation.channels.adapters.google.vertex import VertexAdapter
from generation.channels.fakes.faults import STATUSES, Fault
from generation.channels.fakes.http import Reply, Request, json_reply
from generation.contract import Answer, Call, ChannelError, ImageFile, Source, Turn, Usage
from generation.egress import loop, transport
from tests.raw_server import Play, RawServer, answer, chunked, reset, then_reset
from tests.upstreams.calls import call_of, canned, closed_port, failure_of, picture_file, png, spooled, until
from tests.upstreams.vertex import (
    GRANT_TYPE,
    KEY_ID,
    LOCATION,
    PREDICT_NAMES,
    PROJECT,
    SECRET,
    FakeVertex,
    private_key,
    service_account,
)

MODEL = "gemini-3-pro-image"
IMAGEN = "imagen-4.0-generate-001"
OPTIONS = {"project": PROJECT}
MODELS = pytest.mark.parametrize("model", [MODEL, IMAGEN])
WAYS = pytest.mark.parametrize("way", ["account", "express"])


@pytest.fixture(autouse=True)
def stopped_loop() -> Iterator[None]:
    """Tokens, accounts and clients belong to the loop: each test begins without any."""
    yield
    loop.stop()


@pytest.fixture(scope="module")
def shared_fake() -> Iterator[FakeVertex]:
    with FakeVertex(cached=True) as fake:
        yield fake


@pytest.fixture
def fake(shared_fake: FakeVertex) -> FakeVertex:
    shared_fake.requests.clear()
    shared_fake.script.clear()
    shared_fake.token_requests.clear()
    shared_fake.token_replies.clear()
    shared_fake.issued.clear()
    shared_fake.token_seconds, shared_fake.token_delay_seconds = 3599, 0.0
    return shared_fake


@pytest.fixture
def call(tmp_path: Path) -> Call:
    return call_of(tmp_path, MODEL)


def account(base_url: str, options: Mapping[str, str] = OPTIONS, **changes: Any) -> Credentials:
    return Credentials(service_account(base_url, **changes), base_url, options)


def express(base_url: str) -> Credentials:
    return Credentials(SECRET, base_url)


def credentials(way: str, base_url: str) -> Credentials:
    return account(base_url) if way == "account" else express(base_url)


def ask(call: Call, who: Credentials) -> Answer:
    return loop.run(VertexAdapter().generate(call, who), timeout_seconds=60)


def failure(call: Call, who: Credentials) -> ChannelError:
    secrets = (who.secret, private_key(), private_key().splitlines()[1], "ya29.")
    return failure_of(call, lambda: ask(call, who), *secrets)


def body_of(fake: FakeVertex) -> Any:
    assert len(fake.requests) == 1
    return fake.requests[0].body


def content_of(call: Call, reply: Answer) -> bytes:
    """The picture of an answer, which must be the one file in the spool and as it is said to be."""
    assert reply.image is not None
    content = reply.image.path.read_bytes()
    assert spooled(call) == [reply.image.path]
    assert (reply.image.byte_count, reply.image.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    return content


# --- as whom and where --------------------------------------------------------------------------------------------


def test_a_service_account_asks_once_for_a_token_and_calls_with_it(call: Call, fake: FakeVertex) -> None:
    who = account(fake.base_url)
    first = ask(call, who)
    ask(replace(call, spool=call.spool / "second"), who)
    assert (first.finish, first.finish_reason) == ("ok", "STOP")
    (fields,) = fake.token_requests
    assert fields.keys() == {"grant_type", "assertion"}
    assert fields["grant_type"] == GRANT_TYPE
    head = json.loads(base64.urlsafe_b64decode(fields["assertion"].split(".")[0] + "=="))
    assert head == {"typ": "JWT", "alg": "RS256", "kid": KEY_ID}
    (token,) = fake.issued
    for request in fake.requests:
        assert (
            request.path
            == f"/v1beta1/projects/{PROJECT}/locations/{LOCATION}/publishers/google/models/{MODEL}:generateContent"
        )
        assert not request.query
        assert request.headers["authorization"] == f"Bearer {token}"
        assert not request.headers.keys() & {"x-goog-api-key", "x-goog-user-project", "x-server-timeout", "cookie"}
        assert request.headers["accept-encoding"] == "identity"
    assert len(fake.requests) == 2


def test_an_api_key_needs_no_project_and_no_token(call: Call, fake: FakeVertex) -> None:
    assert ask(call, express(fake.base_url)).finish == "ok"
    request = fake.requests[0]
    assert request.path == f"/v1beta1/publishers/google/models/{MODEL}:generateContent"
    assert request.headers["x-goog-api-key"] == SECRET
    assert "authorization" not in request.headers
    assert fake.token_requests == []


def test_the_path_of_a_base_url_is_kept(call: Call) -> None:
    body = json.dumps({"candidates": [{"finishReason": "SAFETY"}]}).encode()
    with RawServer(answer(body, "Content-Type: application/json")) as server:
        assert ask(call, express(f"{server.url}proxy/vertex/")).finish == "refused"
    path = server.requests[0].split(b" ", 2)[1]
    assert path == f"/proxy/vertex/v1beta1/publishers/google/models/{MODEL}:generateContent".encode()


@pytest.mark.parametrize(("seconds", "count"), [(120, 1), (60, 3), (0, 3)])
def test_a_token_is_used_until_a_minute_before_its_end(call: Call, fake: FakeVertex, seconds: int, count: int) -> None:
    fake.token_seconds = seconds
    who = account(fake.base_url)
    for number in range(3):
        ask(replace(call, spool=call.spool / str(number)), who)
    assert (len(fake.token_requests), len(fake.requests)) == (count, 3)


def test_calls_that_need_a_token_at_once_wait_for_the_same(call: Call, fake: FakeVertex) -> None:
    async def many() -> list[Answer]:
        adapter, who = VertexAdapter(), account(fake.base_url)
        return await asyncio.gather(*(adapter.generate(call, who) for _ in range(20)))

    fake.token_delay_seconds = 0.2
    assert {reply.finish for reply in loop.run(many(), timeout_seconds=60)} == {"ok"}
    assert (len(fake.token_requests), len(fake.requests)) == (1, 20)


def test_one_of_those_who_wait_may_leave(call: Call, fake: FakeVertex) -> None:
    async def two() -> tuple[BaseException | Answer, BaseException | Answer]:
        adapter, who = VertexAdapter(), account(fake.base_url)
        hasty = adapter.generate(replace(call, deadline_seconds=0.1), who)
        patient = adapter.generate(call, who)
        return await asyncio.gather(hasty, patient, return_exceptions=True)

    fake.token_delay_seconds = 0.5
    hasty, patient = loop.run(two(), timeout_seconds=60)
    assert isinstance(hasty, ChannelError)
    assert (hasty.kind, hasty.message) == ("unreachable", "no complete answer within 0.1 seconds")
    assert isinstance(patient, Answer)
    assert (len(fake.token_requests), len(fake.requests)) == (1, 1)


def test_those_who_wait_for_a_token_that_is_refused_are_all_told(call: Call, fake: FakeVertex) -> None:
    async def many() -> list[Answer | BaseException]:
        adapter, who = VertexAdapter(), account(fake.base_url, client_email="somebody@else")
        return await asyncio.gather(*(adapter.generate(call, who) for _ in range(5)), return_exceptions=True)

    fake.token_delay_seconds = 0.2
    errors = loop.run(many(), timeout_seconds=60)
    assert {(type(each), getattr(each, "kind", "")) for each in errors} == {(ChannelError, "unauthorized")}
    assert len({id(each) for each in errors}) == 5
    assert (len(fake.token_requests), fake.requests) == (1, [])


def test_calls_of_several_accounts_share_one_client_and_keep_their_tokens_apart(call: Call, fake: FakeVertex) -> None:
    async def many() -> list[Answer]:
        adapter = VertexAdapter()
        accounts = [account(fake.base_url, client_id=str(number)) for number in range(4)]
        return await asyncio.gather(*(adapter.generate(call, who) for who in accounts))

    async def clients() -> int:
        return sum(isinstance(key, tuple) and fake.base_url in key and "vertex" in key for key in loop.belongings())

    loop.run(many(), timeout_seconds=60)
    assert len(fake.token_requests) == 4
    sent = sorted(request.headers["authorization"] for request in fake.requests)
    assert sent == sorted(f"Bearer {token}" for token in fake.issued)
    assert loop.run(clients()) == 1


def test_a_token_that_is_refused_is_taken_no_further(call: Call, fake: FakeVertex) -> None:
    who = account(fake.base_url)
    ask(call, who)
    fake.issued.clear()
    later = replace(call, spool=call.spool / "later")
    error = failure(later, who)
    assert (error.kind, error.status) == ("unauthorized", 401)
    assert ask(later, who).finish == "ok"
    assert (len(fake.token_requests), len(fake.requests)) == (2, 3)


@pytest.mark.parametrize(
    ("way", "location", "host"),
    [
        ("account", "", "aiplatform.googleapis.com"),
        ("account", "global", "aiplatform.googleapis.com"),
        ("account", "us", "aiplatform.us.rep.googleapis.com"),
        ("account", "europe-west4", "europe-west4-aiplatform.googleapis.com"),
        ("express", "", "aiplatform.googleapis.com"),
        ("express", "europe-west4", "aiplatform.googleapis.com"),
    ],
)
def test_googles_own_hosts(call: Call, monkeypatch: pytest.MonkeyPatch, way: str, location: str, host: str) -> None:
    """No test calls Google: the loop's one client is taken by another that calls nobody."""
    asked: list[httpx2.Request] = []

    def handle(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        if request.url.path == "/token":
            return httpx2.Response(200, json={"access_token": "ya29.token", "expires_in": 3599})
        return httpx2.Response(200, json={"candidates": [{"finishReason": "SAFETY"}]})

    async def take_the_place() -> None:
        client = httpx2.AsyncClient(transport=httpx2.MockTransport(handle))
        loop.belongings()[httpx2.AsyncClient] = client
        loop.on_close(client.aclose)

    monkeypatch.setenv("GOOGLE_API_USE_MTLS_ENDPOINT", "always")
    monkeypatch.setenv("GOOGLE_VERTEX_BASE_URL", "http://127.0.0.1:9")
    loop.run(take_the_place())
    options = {**OPTIONS, "location": location}
    secret = service_account("", token_uri="https://oauth2.googleapis.com/token") if way == "account" else SECRET
    assert ask(call, Credentials(secret, "", options)).finish == "refused"
    *tokens, work = [str(request.url) for request in asked]
    assert tokens == (["https://oauth2.googleapis.com/token"] if way == "account" else [])
    place = f"projects/{PROJECT}/locations/{location or 'global'}/" if way == "account" else ""
    assert work == f"https://{host}/v1beta1/{place}publishers/google/models/{MODEL}:generateContent"


# --- what is wrong with a channel ----------------------------------------------------------------------------------


def foreign_key() -> str:
    form, none = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(serialization.Encoding.PEM, form, none).decode()


@pytest.mark.parametrize(
    "changes",
    [
        {"client_email": ""},
        {"private_key": None},
        {"token_uri": 5},
        {"token_uri": "https://oauth2.googleapis.com/token/"},
        {"token_uri": "http://127.0.0.1:9/token"},
        {"token_uri": "https://tokens.example/token"},
        {"private_key": "no key at all"},
        {"private_key": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"},
        {"private_key": foreign_key()},
    ],
)
def test_a_service_account_that_is_none_is_the_channels_fault(
    call: Call, fake: FakeVertex, changes: dict[str, Any]
) -> None:
    error = failure(call, account(fake.base_url, **changes))
    assert (error.kind, error.status) == ("unauthorized", None)
    assert (fake.token_requests, fake.requests) == ([], [])


@pytest.mark.parametrize("secret", ["", "{", "{}", '{"client_email": []}', "with space", "schl\u00fcssel", "a\nb"])
def test_a_secret_that_is_neither_is_the_channels_fault(call: Call, fake: FakeVertex, secret: str) -> None:
    with pytest.raises(ChannelError) as caught:
        ask(call, Credentials(secret, fake.base_url, OPTIONS))
    assert caught.value.kind == "unauthorized"
    assert len(secret) < 3 or secret not in caught.value.message
    assert fake.requests == []


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"project": ""},
        {"project": "../../elsewhere"},
        {"project": "a/b"},
        {"project": PROJECT, "location": "evil.example/"},
        {"project": PROJECT, "location": "a.b"},
    ],
)
def test_a_project_or_location_that_is_none_is_the_channels_fault(
    call: Call, fake: FakeVertex, options: dict[str, str]
) -> None:
    error = failure(call, account(fake.base_url, options))
    assert error.kind == "unauthorized"
    assert ("project" in error.message) or ("location" in error.message)
    assert (fake.token_requests, fake.requests) == ([], [])


@pytest.mark.parametrize(
    ("reply", "kind", "seconds"),
    [
        (json_reply(400, {"error": "invalid_grant", "error_description": "account not found"}), "unauthorized", None),
        (json_reply(401, {"error": "invalid_client"}), "unauthorized", None),
        (json_reply(403, {}), "unauthorized", None),
        (Reply(404, {}, [b"<html>"]), "unauthorized", None),
        (json_reply(429, {"error": "rate_limit_exceeded"}, {"Retry-After": "7"}), "busy", 7.0),
        (json_reply(500, {"error": "internal_failure"}), "failed", None),
        (Reply(502, {}, [b"x" * 600_000]), "failed", None),
        (json_reply(503, {"error": "backend"}), "busy", None),
        (Reply(302, {"Location": "http://127.0.0.1:9/"}, []), "failed", None),
        (json_reply(200, {}), "failed", None),
        (json_reply(200, {"access_token": "with space", "expires_in": 3599}), "failed", None),
        (json_reply(200, {"access_token": ["a"]}), "failed", None),
        (Reply(200, {}, [b"<html>"]), "failed", None),
        (Reply(200, {}, []), "failed", None),
    ],
)
def test_a_token_endpoint_that_gives_none(
    call: Call, fake: FakeVertex, reply: Reply, kind: str, seconds: float | None
) -> None:
    fake.token_replies.append(reply)
    error = failure(call, account(fake.base_url))
    assert (error.kind, error.status, error.retry_after_seconds) == (kind, reply.status, seconds)
    assert "token" in error.message
    assert (len(fake.token_requests), fake.requests) == (1, [])
    # The next call asks again.
    assert ask(call, account(fake.base_url)).finish == "ok"


BROKEN_OFF: dict[str, Play] = {
    "reset": reset,
    "cut": answer(b'{"access_token": "ya', length=500),
    "reset midway": then_reset(answer(b'{"access_', length=500)),
    "no HTTP": lambda connection: connection.sendall(b"no HTTP\r\n\r\n"),
    "too large": answer(b"x" * 1_000_000),
}


@pytest.mark.parametrize("play", BROKEN_OFF.values(), ids=BROKEN_OFF)
def test_whatever_becomes_of_a_request_for_a_token_nothing_paid_was_sent(call: Call, play: Play) -> None:
    def closing(connection: socket.socket) -> None:
        play(connection)
        connection.close()

    with RawServer(closing) as server:
        error = failure(call, account(server.url.rstrip("/")))
    assert error.kind == "unreachable"
    assert len(server.requests) == 1
    assert server.requests[0].startswith(b"POST /token ")


def test_a_token_endpoint_without_end_ends_with_the_deadline_of_the_call(call: Call, fake: FakeVertex) -> None:
    with RawServer(lambda connection: None) as server:
        error = failure(replace(call, deadline_seconds=0.3), account(server.url.rstrip("/")))
    assert (error.kind, error.message) == ("unreachable", "no complete answer within 0.3 seconds")


class Echo(FakeVertex):
    """Tells everybody what it was sent."""

    def respond(self, request: Request, body: Any, fault: Fault) -> Reply:
        if request.path == "/token" and not self.token_replies:
            return super().respond(request, body, fault)
        words = f"{request.body.decode()} {request.headers.get('authorization')} {private_key()} {json.dumps(private_key())}"
        if request.path == "/token":
            assertion = request.body.decode().partition("assertion=")[2]
            return json_reply(400, {"error": "invalid_grant", "error_description": f"{assertion} {words}"})
        return json_reply(403, {"error": {"code": 403, "status": "PERMISSION_DENIED", "message": words}})


@pytest.mark.parametrize("has_token", [True, False])
def test_neither_key_nor_token_nor_claim_is_repeated(call: Call, has_token: bool) -> None:
    with Echo() as fake:
        if not has_token:
            fake.token_replies.append(Reply(200, {}, []))
        error = failure(call, account(fake.base_url))
        assert error.kind == "unauthorized"
        assert "[secret]" in error.message
        assert "eyJ" not in error.message
        assert len(fake.requests) == has_token


def test_nothing_shows_an_accounts_secrets(fake: FakeVertex, call: Call) -> None:
    who = account(fake.base_url)
    ask(call, who)

    async def shown() -> str:
        return repr(loop.belongings())

    text = loop.run(shown()) + repr(who)
    for secret in (private_key().splitlines()[1], *fake.issued):
        assert secret not in text


# --- Gemini: what is sent and read ---------------------------------------------------------------------------------


@WAYS
def test_a_plain_call_brings_a_picture_with_words_and_usage(call: Call, fake: FakeVertex, way: str) -> None:
    reply = ask(call, credentials(way, fake.base_url))
    assert (reply.finish, reply.finish_reason, reply.text) == ("ok", "STOP", "Here is your picture.")
    with Image.open(io.BytesIO(content_of(call, reply))) as image:
        assert image.size == (1024, 1024)
    assert reply.upstream_request_id
    assert reply.usage == Usage(4, 0, reply.usage.output_text_tokens, 1120, 225, 0)
    assert reply.cost_micros is None


def test_the_request_says_what_was_asked_and_nothing_else(call: Call, fake: FakeVertex) -> None:
    asked = replace(call, aspect_ratio="16:9", image_size="2K", seed=7, thinking_level="HIGH", search_grounding=True)
    reply = ask(asked, account(fake.base_url))
    body = body_of(fake)
    config = body["generationConfig"]
    assert config["responseModalities"] == ["TEXT", "IMAGE"]
    assert config["imageConfig"] == {"aspectRatio": "16:9", "imageSize": "2K"}
    assert config["seed"] == 7
    assert "HIGH" in json.dumps(config["thinkingConfig"])
    assert body["tools"] == [{"googleSearch": {}}]
    assert body["contents"] == [{"role": "user", "parts": [{"text": "a red bicycle"}]}]
    assert body.keys() == {"contents", "generationConfig", "tools"}
    assert "x-vertex-ai-llm-shared-request-type" not in fake.requests[0].headers
    assert reply.sources == (Source("Example Domain", "https://example.com/fake-gemini"),)
    assert reply.usage.search_queries == 1


@WAYS
def test_the_flex_lane_is_named_in_a_header(call: Call, fake: FakeVertex, way: str) -> None:
    assert ask(replace(call, lane="flex"), credentials(way, fake.base_url)).finish == "ok"
    assert fake.requests[0].headers["x-vertex-ai-llm-shared-request-type"] == "flex"
    assert "serviceTier" not in body_of(fake)


@pytest.mark.parametrize(("model", "location"), [(MODEL, "europe-west4"), (MODEL, "us"), (IMAGEN, "global")])
def test_flex_is_not_sent_where_it_would_be_billed_in_full(
    call: Call, fake: FakeVertex, model: str, location: str
) -> None:
    who = account(fake.base_url, {**OPTIONS, "location": location})
    error = failure(replace(call, upstream_model=model, lane="flex"), who)
    assert (error.kind, fake.token_requests, fake.requests) == ("unreachable", [], [])
    assert ask(replace(call, upstream_model=model), who).finish == "ok"
    assert f"/locations/{location}/" in fake.requests[0].path


def test_references_and_the_models_own_turns_go_along(call: Call, fake: FakeVertex, tmp_path: Path) -> None:
    who = account(fake.base_url)
    first = ask(replace(call, references=(picture_file(tmp_path, 1, "style"),)), who)
    assert first.image is not None
    assert first.usage.input_image_tokens == 560
    turn = Turn(
        prompt=call.prompt,
        references=(),
        image=ImageFile(first.image.path, first.image.mime_type),
        parts=first.parts,
        channel_id="1",
        upstream_model=MODEL,
    )
    fake.requests.clear()
    # The stand-in refuses a signature that it did not issue for this model.
    assert ask(replace(call, prompt="make it blue", history=(turn,)), who).finish == "ok"
    user, model, question = body_of(fake)["contents"]
    assert [content["role"] for content in (user, model, question)] == ["user", "model", "user"]
    assert question["parts"] == [{"text": "make it blue"}]


# --- Imagen --------------------------------------------------------------------------------------------------------


@pytest.fixture
def imagen(call: Call) -> Call:
    return replace(call, upstream_model=IMAGEN, is_multimodal=False)


def read(call: Call, body: Any, *headers: str, status: str = "200 OK") -> Answer:
    with canned(body, *headers, status=status) as server:
        reply = ask(call, express(server.url))
    assert len(server.requests) == 1
    return reply


def prediction(data: bytes, mime_type: str = "image/png", **more: Any) -> dict[str, Any]:
    return {"mimeType": mime_type, "bytesBase64Encoded": base64.b64encode(data).decode(), **more}


@WAYS
def test_imagen_is_asked_for_one_picture(imagen: Call, fake: FakeVertex, way: str) -> None:
    reply = ask(replace(imagen, aspect_ratio="16:9", image_size="2K"), credentials(way, fake.base_url))
    place = f"projects/{PROJECT}/locations/{LOCATION}/" if way == "account" else ""
    assert fake.requests[0].path == f"/v1beta1/{place}publishers/google/models/{IMAGEN}:predict"
    assert body_of(fake) == {
        "instances": [{"prompt": "a red bicycle"}],
        "parameters": {"sampleCount": 1, "aspectRatio": "16:9", "sampleImageSize": "2K", "includeRaiReason": True},
    }
    with Image.open(io.BytesIO(content_of(imagen, reply))) as image:
        assert image.size == (2688, 1536)
    assert reply.image is not None
    assert (reply.finish, reply.finish_reason, reply.image.mime_type) == ("ok", "", "image/png")
    assert (reply.usage, reply.cost_micros, reply.draft_count, reply.text) == (Usage(), None, 0, "")


def test_a_seed_goes_without_a_watermark(imagen: Call, fake: FakeVertex) -> None:
    ask(replace(imagen, seed=7), account(fake.base_url))
    parameters = body_of(fake)["parameters"]
    assert (parameters["seed"], parameters["addWatermark"]) == (7, False)


@pytest.mark.parametrize("name", ["imagen-4.0-fast-generate-001", "imagen-4.0-ultra-generate-001"])
def test_a_size_that_cannot_be_chosen_is_not_sent(imagen: Call, fake: FakeVertex, name: str) -> None:
    asked = replace(imagen, upstream_model=name, image_sizes_selectable=False)
    assert ask(asked, account(fake.base_url)).finish == "ok"
    assert "sampleImageSize" not in body_of(fake)["parameters"]


def test_the_sdk_says_nothing_on_stderr(imagen: Call, fake: FakeVertex, capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        ask(imagen, account(fake.base_url))
    assert capfd.readouterr().err == ""


def test_an_imagen_picture_comes_byte_for_byte(imagen: Call) -> None:
    for number, content in enumerate((png(), random.Random(2).randbytes(1_000_000))):
        asked = replace(imagen, spool=imagen.spool / str(number))
        reply = read(asked, {"predictions": [prediction(content, "image/jpeg")]}, "X-Request-Id: request-1")
        assert content_of(asked, reply) == content
        assert reply.image is not None
        assert (reply.image.mime_type, reply.upstream_request_id) == ("image/jpeg", "request-1")


def test_of_several_pictures_the_last_is_kept_and_the_others_go(imagen: Call) -> None:
    pictures = [random.Random(number).randbytes(500_000) for number in range(3)]
    reply = read(imagen, {"predictions": [prediction(each) for each in pictures]})
    assert content_of(imagen, reply) == pictures[-1]
    assert reply.draft_count == 2


def test_a_positive_prompt_is_no_picture(imagen: Call) -> None:
    safety = {"categories": ["Violence"], "scores": [0.1]}
    positive = {"contentType": "Positive Prompt", "safetyAttributes": safety}
    reply = read(imagen, {"predictions": [prediction(png()), positive]})
    assert content_of(imagen, reply) == png()
    assert reply.draft_count == 0


@pytest.mark.parametrize(
    ("fault", "finish", "reason"),
    [
        (Fault("blocked-image", "29310472"), "refused", "29310472"),
        (Fault("wrong-mime", "text.html"), "no_image", "no image"),
    ],
)
def test_imagen_says_nothing_of_what_it_used_where_it_made_no_picture(
    imagen: Call, fake: FakeVertex, fault: Fault, finish: str, reason: str
) -> None:
    fake.script.append(fault)
    reply = ask(imagen, account(fake.base_url))
    assert (reply.finish, reply.finish_reason, reply.image) == (finish, reason, None)
    assert (len(fake.requests), spooled(imagen), reply.usage) == (1, [], Usage())


@pytest.mark.parametrize(
    "message",
    [
        "Image generation failed with the following error: The response is blocked, as it may violate our policies.",
        "The prompt could not be submitted. Your current safety filter threshold prohibited one or more words.",
    ],
)
def test_a_prompt_that_imagen_refuses_by_400_is_a_refusal(imagen: Call, message: str) -> None:
    body = {"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": message}}
    reply = read(imagen, body, "X-Request-Id: request-1", status="400 Bad Request")
    assert (reply.finish, reply.upstream_request_id) == ("refused", "request-1")
    assert message.endswith(reply.finish_reason)
    assert not reply.finish_reason.startswith("Image generation failed")


@pytest.mark.parametrize("body", [{}, b"{}\n", {"predictions": []}, {"predictions": [], "model": "publishers/google"}])
def test_an_empty_answer_of_imagen_is_no_picture(imagen: Call, body: Any) -> None:
    assert read(imagen, body).finish == "no_image"


@pytest.mark.parametrize(
    "play",
    [
        answer(b"", "Content-Type: application/json"),
        chunked(b"", headers="Content-Type: application/json\r\n"),
        answer(b"null", "Content-Type: application/json"),
        answer(b'{"error": {"code": 500, "message": "an error that says 200"}}', "Content-Type: application/json"),
        answer(b'{"predictions": [{}]}', "Content-Type: application/json"),
        answer(b'{"predictions": [{"prompt": "a red bicycle"}]}', "Content-Type: application/json"),
        answer(b'"a word"', "Content-Type: application/json"),
        answer(b'{"predictions": 5}', "Content-Type: application/json"),
        answer(b'{"predictions": "none"}', "Content-Type: application/json"),
        answer(b'{"predictions": [5]}', "Content-Type: application/json"),
        answer(b'{"predictions": [{"bytesBase64Encoded": "*!*"}]}', "Content-Type: application/json"),
        answer(b'{"predictions": [{"bytesBase64Encoded": 7}]}', "Content-Type: application/json"),
        answer(b'{"predictions": [{"gcsUri": "gs://bucket/picture.png"}]}', "Content-Type: application/json"),
        answer(b'{"predictions": [{}', "Content-Type: application/json"),
        answer(b"<html></html>", "Content-Type: text/html"),
    ],
)
def test_what_is_no_answer_of_imagen_is_unknown(imagen: Call, play: Play) -> None:
    with RawServer(play) as server:
        error = failure(imagen, express(server.url))
    assert (error.kind, error.status, len(server.requests)) == ("unknown", 200, 1)


def test_imagen_takes_no_images_and_no_turns(imagen: Call, fake: FakeVertex, tmp_path: Path) -> None:
    file = picture_file(tmp_path)
    turn = Turn("first", (), file, (), channel_id="1", upstream_model=IMAGEN)
    for asked in (replace(imagen, references=(file,)), replace(imagen, history=(turn,))):
        assert failure(asked, account(fake.base_url)).kind == "rejected"
    assert (fake.token_requests, fake.requests) == ([], [])


# --- what a failure means ------------------------------------------------------------------------------------------


@MODELS
@pytest.mark.parametrize("name", STATUSES)
def test_no_error_sends_the_operator_to_another_console(call: Call, fake: FakeVertex, model: str, name: str) -> None:
    fake.script.append(Fault(name))
    error = failure(replace(call, upstream_model=model), account(fake.base_url))
    assert "AI Studio" not in error.message


@pytest.mark.parametrize("name", sorted(PREDICT_NAMES))
def test_no_fault_makes_a_second_request_for_a_token(imagen: Call, fake: FakeVertex, name: str) -> None:
    ask(replace(imagen, spool=imagen.spool / "first"), account(fake.base_url))
    fake.requests.clear()
    fake.script.append(Fault(name, "70000000" if name in ("huge", "gzip-bomb") else ""))
    is_slow = name in ("silent", "stall", "trickle", "trickle-head")
    try:
        ask(replace(imagen, deadline_seconds=0.4 if is_slow else 20), account(fake.base_url))
    except ChannelError as error:
        assert error.kind != "unreachable", error.message
    assert (len(fake.requests), len(fake.token_requests)) == (1, 1)


@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}", "http://nowhere.invalid", "https://{fake}"])
def test_a_token_that_cannot_be_asked_for_is_unreachable(
    call: Call, fake: FakeVertex, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    # The fake takes TLS for the beginning of a long line of HTTP and waits for the rest of it.
    monkeypatch.setattr(transport, "CONNECT_SECONDS", 0.3)
    address = url.format(port=closed_port(), fake=fake.base_url.removeprefix("http://"))
    error = failure(call, account(address))
    assert (error.kind, error.status) == ("unreachable", None)
    assert fake.requests == []


@MODELS
def test_an_empty_key_is_refused_by_the_provider_too(call: Call, fake: FakeVertex, model: str) -> None:
    """The stand-in is as strict as the adapter is careful."""
    path = f"/v1beta1/publishers/google/models/{model}:predict"
    for headers in ({}, {"authorization": "Bearer ya29.made-up"}, {"x-goog-api-key": "", "authorization": "Bearer"}):
        reply = httpx2.post(fake.base_url + path, json={}, headers=headers)
        assert (reply.status_code, reply.json()["error"]["status"]) == (401, "UNAUTHENTICATED")


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        ("FAILED_PRECONDITION", "Service agents are being provisioned.", "unauthorized"),
        ("INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", "unauthorized"),
        ("INVALID_ARGUMENT", "Request contains an invalid argument.", "rejected"),
    ],
)
def test_of_requests_that_are_called_wrong_some_are_the_channels_fault(
    call: Call, status: str, message: str, kind: str
) -> None:
    body = {"error": {"code": 400, "status": status, "message": message}}
    with RawServer(answer(json.dumps(body).encode(), status="400 Bad Request")) as server:
        error = failure(call, express(server.url))
    assert (error.kind, error.message) == (kind, f"400 {status}: {message}")


@MODELS
def test_a_call_that_is_canceled_while_it_waits_for_a_token_sends_nothing(call: Call, model: str) -> None:
    # A stand-in of its own: the shared one would still be at work on the token when the next test begins.
    with FakeVertex(cached=True) as fake, ThreadPoolExecutor(1) as pool:
        fake.token_delay_seconds = 0.5
        future = pool.submit(ask, replace(call, upstream_model=model), account(fake.base_url))
        until(lambda: fake.token_requests)
        assert loop.cancel_all(5) == 0
        assert type(future.exception(5)) is loop.CallCanceled
    assert (fake.requests, spooled(call)) == ([], [])
