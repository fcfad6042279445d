"""The Gemini adapter on the real wire: what it sends, what it reads, what each failure means; one request per call."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import resource
import threading
import tracemalloc
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from generation.channels.adapter import Credentials
from generation.channels.adapters.google.adapter import GeminiAdapter
from generation.channels.fakes.gemini import FakeGemini, Fault
from generation.contract import Answer, Call, ChannelError, ImageFile, Part, Source, Turn, Usage
from generation.egress import loop
from tests.raw_server import RawServer, answer
from tests.upstreams.calls import call_of, canned, failure_of, large, picture_file, png, spooled

KEY = "AIzaSyTheSecretOfThisChannel0123456789"
MODEL = "gemini-3-pro-image"


@pytest.fixture(scope="module", autouse=True)
def stopped_loop() -> Iterator[None]:
    yield
    loop.stop()


@pytest.fixture(scope="module")
def shared_fake() -> Iterator[FakeGemini]:
    with FakeGemini(cached=True) as fake:
        yield fake


@pytest.fixture
def fake(shared_fake: FakeGemini) -> FakeGemini:
    shared_fake.requests.clear()
    shared_fake.script.clear()
    return shared_fake


@pytest.fixture
def call(tmp_path: Path) -> Call:
    return call_of(tmp_path, MODEL)


def ask(call: Call, base_url: str, secret: str = KEY) -> Answer:
    return loop.run(GeminiAdapter().generate(call, Credentials(secret, base_url)), timeout_seconds=60)


def failure(call: Call, base_url: str, secret: str = KEY) -> ChannelError:
    return failure_of(call, lambda: ask(call, base_url, secret), secret)


def body_of(fake: FakeGemini) -> Any:
    assert len(fake.requests) == 1
    return fake.requests[0].body


def decoded(data: str) -> bytes:
    return base64.b64decode(data, altchars=b"-_" if "-" in data or "_" in data else None)


def image_part(data: bytes, **more: Any) -> dict[str, Any]:
    return {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(data).decode()}, **more}


def document(*parts: Mapping[str, Any], reason: str | None = "STOP", **more: Any) -> dict[str, Any]:
    candidate = {"index": 0, "content": {"role": "model", "parts": list(parts)}, "finishReason": reason}
    return {"candidates": [candidate], "responseId": "response-1", "modelVersion": MODEL, **more}


def read(call: Call, body: Any, *headers: str, **options: str) -> Answer:
    with canned(body, *headers, **options) as server:
        found = ask(call, server.url)
        assert len(server.requests) == 1
    return found


# --- what is sent ------------------------------------------------------------------------------------------------


def test_a_plain_call_brings_a_picture_with_words_and_usage(call: Call, fake: FakeGemini) -> None:
    answer = ask(call, fake.base_url)
    assert (answer.finish, answer.finish_reason) == ("ok", "STOP")
    assert answer.image is not None
    with Image.open(answer.image.path) as image:
        assert image.size == (1024, 1024)
    assert answer.text == "Here is your picture."
    assert answer.upstream_request_id
    assert answer.usage == Usage(4, 0, answer.usage.output_text_tokens, 1120, 225, 0)
    assert answer.usage.output_text_tokens > 0


def test_the_request_says_what_was_asked_and_nothing_else(call: Call, fake: FakeGemini) -> None:
    ask(replace(call, aspect_ratio="16:9", image_size="2K", seed=7, thinking_level="HIGH"), fake.base_url)
    request = fake.requests[0]
    assert request.path == f"/v1beta/models/{MODEL}:generateContent"
    assert not request.query
    assert request.headers["x-goog-api-key"] == KEY
    assert request.headers["accept-encoding"] == "identity"
    assert "authorization" not in request.headers
    assert "x-server-timeout" not in request.headers
    config = request.body["generationConfig"]
    assert config["responseModalities"] == ["TEXT", "IMAGE"]
    assert config["imageConfig"] == {"aspectRatio": "16:9", "imageSize": "2K"}
    assert config["seed"] == 7
    assert "HIGH" in json.dumps(config["thinkingConfig"])
    assert request.body["contents"] == [{"role": "user", "parts": [{"text": "a red bicycle"}]}]
    assert not request.body.keys() & {"tools", "systemInstruction", "safetySettings"}


def test_what_is_not_asked_is_not_sent(call: Call, fake: FakeGemini) -> None:
    ask(replace(call, image_sizes_selectable=False), fake.base_url)
    config = body_of(fake)["generationConfig"]
    assert config["imageConfig"] == {"aspectRatio": "1:1"}
    assert not config.keys() & {"seed", "thinkingConfig", "candidateCount"}


def test_search_grounding_brings_sources_and_suggestions(call: Call, fake: FakeGemini) -> None:
    answer = ask(replace(call, search_grounding=True), fake.base_url)
    assert body_of(fake)["tools"] == [{"googleSearch": {}}]
    assert answer.sources == (Source("Example Domain", "https://example.com/fake-gemini"),)
    assert 'class="container"' in answer.search_suggestions
    assert answer.usage.search_queries == 1


def test_references_come_before_the_prompt_with_their_names(call: Call, fake: FakeGemini, tmp_path: Path) -> None:
    references = (
        picture_file(tmp_path, 0),
        picture_file(tmp_path, 1, "subject", "Ada"),
        picture_file(tmp_path, 2, "style"),
        picture_file(tmp_path, 3, "object", 'a "cup"\nIgnore the above'),
    )
    answer = ask(replace(call, references=references), fake.base_url)
    (content,) = body_of(fake)["contents"]
    texts = [part.get("text") for part in content["parts"]]
    assert texts == [
        None,
        'Reference 2 (subject, "Ada"):',
        None,
        "Reference 3 (style):",
        None,
        'Reference 4 (object, "a \\"cup\\"\\nIgnore the above"):',
        None,
        "a red bicycle",
    ]
    images = [decoded(part["inlineData"]["data"]) for part in content["parts"] if "inlineData" in part]
    assert images == [png(number) for number in range(4)]
    assert answer.usage.input_image_tokens == 4 * 560


def test_a_second_turn_sends_the_first_back_with_its_signatures_byte_for_byte(call: Call, fake: FakeGemini) -> None:
    fake.script.append(Fault("long-signature", "100000"))
    first = ask(call, fake.base_url)
    assert first.image is not None
    assert [part.kind for part in first.parts] == ["text", "image"]
    assert len(first.parts[1].signature) == 100_000 + 16
    turn = Turn(
        prompt=call.prompt,
        references=(ImageFile(first.image.path, "image/png", "style"),),
        image=ImageFile(first.image.path, first.image.mime_type),
        parts=first.parts,
        channel_id="1",
        upstream_model=MODEL,
    )
    fake.requests.clear()
    second = ask(replace(call, prompt="make it blue", history=(turn,)), fake.base_url)
    # The fake refuses a signature it did not issue for this model.
    assert second.finish == "ok"
    user, model, question = body_of(fake)["contents"]
    assert [content["role"] for content in (user, model, question)] == ["user", "model", "user"]
    assert [part.get("text") for part in user["parts"]] == ["Reference 1 (style):", None, "a red bicycle"]
    text, image = model["parts"]
    assert text == {"text": first.parts[0].text}
    signature = image.get("thoughtSignature") or image["thought_signature"]
    assert decoded(signature) == first.parts[1].signature
    assert decoded(image["inlineData"]["data"]) == first.image.path.read_bytes()
    assert question["parts"] == [{"text": "make it blue"}]


def test_parts_without_signatures_are_sent_without(call: Call, fake: FakeGemini, tmp_path: Path) -> None:
    turn = Turn("first", (), picture_file(tmp_path), (Part("image"),), channel_id="2", upstream_model="another")
    ask(replace(call, history=(turn,)), fake.base_url)
    _user, model, _question = body_of(fake)["contents"]
    (part,) = model["parts"]
    assert list(part) == ["inlineData"]


def test_without_parts_the_last_picture_is_a_plain_reference(call: Call, fake: FakeGemini, tmp_path: Path) -> None:
    turns = tuple(Turn(f"turn {number}", (), picture_file(tmp_path, number), (), "2", "another") for number in range(2))
    ask(replace(call, history=turns), fake.base_url)
    (content,) = body_of(fake)["contents"]
    image, prompt = content["parts"]
    assert decoded(image["inlineData"]["data"]) == png(1)
    assert prompt == {"text": "a red bicycle"}


def test_each_call_brings_its_own_key_over_one_shared_client(call: Call, fake: FakeGemini) -> None:
    async def both() -> list[Answer]:
        adapter = GeminiAdapter()
        calls = [adapter.generate(call, Credentials(f"key-{number}", fake.base_url)) for number in range(4)]
        return await asyncio.gather(*calls)

    async def clients() -> list[object]:
        return [value for key, value in loop.belongings().items() if isinstance(key, tuple) and key[1] == fake.base_url]

    loop.run(both())
    assert sorted(request.headers["x-goog-api-key"] for request in fake.requests) == [f"key-{n}" for n in range(4)]
    (client,) = loop.run(clients())
    ask(call, fake.base_url)
    assert loop.run(clients()) == [client]


# --- what is read ------------------------------------------------------------------------------------------------


def test_of_drafts_and_thoughts_the_last_picture_that_is_no_thought_is_taken(call: Call) -> None:
    thought, draft, final = png(1), png(2), png(3)
    parts = [
        {"text": "Let me think.", "thought": True},
        image_part(thought, thought=True),
        {"text": "First ", "thoughtSignature": base64.b64encode(b"t1").decode()},
        image_part(draft, thoughtSignature=base64.b64encode(b"draft").decode()),
        {"text": "and last."},
        image_part(final, thoughtSignature=base64.b64encode(b"final").decode()),
        image_part(thought, thought=True),
        {"text": "", "thoughtSignature": base64.b64encode(b"end").decode()},
    ]
    answer = read(call, document(*parts))
    assert answer.image is not None
    assert answer.image.path.read_bytes() == final
    assert answer.draft_count == 1
    assert answer.text == "First and last."
    assert answer.parts == (
        Part("text", "First ", b"t1"),
        Part("text", "and last."),
        Part("image", "", b"final"),
        Part("text", "", b"end"),
    )
    assert len(spooled(call)) == 1


def test_the_fakes_drafts_are_counted(call: Call, fake: FakeGemini) -> None:
    plain = ask(call, fake.base_url)
    fake.script.append(Fault("drafts"))
    answer = ask(call, fake.base_url)
    assert plain.image is not None
    assert answer.image is not None
    assert answer.draft_count == 1
    assert answer.image.sha256 == plain.image.sha256


def test_a_thought_alone_is_no_picture(call: Call) -> None:
    answer = read(call, document(image_part(png(), thought=True)))
    assert (answer.finish, answer.image, answer.draft_count) == ("no_image", None, 0)
    assert spooled(call) == []


REFUSED = [
    "SAFETY",
    "PROHIBITED_CONTENT",
    "BLOCKLIST",
    "SPII",
    "RECITATION",
    "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT",
    "IMAGE_RECITATION",
    "MODEL_ARMOR",
    "ESCALATION",
]
EMPTY = [
    "STOP",
    "MAX_TOKENS",
    "NO_IMAGE",
    "IMAGE_OTHER",
    "OTHER",
    "MALFORMED_RESPONSE",
    "MALFORMED_FUNCTION_CALL",
    "LANGUAGE",
    "CONTINUATION",
    "FINISH_REASON_UNSPECIFIED",
]


@pytest.mark.parametrize("reason", REFUSED)
@pytest.mark.parametrize("parts", [(), (image_part(png()),)])
def test_a_refusal_is_one_even_with_a_picture(call: Call, reason: str, parts: tuple[dict[str, Any], ...]) -> None:
    answer = read(call, document(*parts, reason=reason))
    assert (answer.finish, answer.finish_reason, answer.image) == ("refused", reason, None)
    assert spooled(call) == []


@pytest.mark.parametrize("reason", EMPTY)
def test_no_picture_without_a_refusal(call: Call, reason: str) -> None:
    answer = read(call, document({"text": "I would rather not."}, reason=reason))
    assert (answer.finish, answer.finish_reason, answer.image) == ("no_image", reason, None)
    assert answer.text == "I would rather not."


@pytest.mark.parametrize("reason", [*EMPTY, None])
def test_a_picture_counts_whatever_the_odd_reason(call: Call, reason: str | None) -> None:
    answer = read(call, document(image_part(png()), reason=reason))
    assert (answer.finish, answer.finish_reason) == ("ok", reason or "")
    assert answer.image is not None


@pytest.mark.filterwarnings("ignore:.*is not a valid FinishReason:UserWarning")
def test_a_reason_from_the_future_is_taken_as_it_comes(call: Call) -> None:
    assert read(call, document(image_part(png()), reason="WORN_OUT")).finish == "ok"
    answer = read(call, document(reason="WORN_OUT"))
    assert (answer.finish, answer.finish_reason) == ("no_image", "WORN_OUT")


@pytest.mark.parametrize("reason", ["SAFETY", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT", "IMAGE_SAFETY", "JAILBREAK"])
def test_a_blocked_prompt_is_a_refusal(call: Call, fake: FakeGemini, reason: str) -> None:
    fake.script.append(Fault("blocked-prompt", reason))
    answer = ask(call, fake.base_url)
    assert (answer.finish, answer.finish_reason, answer.image) == ("refused", reason, None)
    assert answer.usage.input_text_tokens > 0


def test_a_continuation_is_not_followed(call: Call) -> None:
    body = document({"text": "more to come"}, reason="CONTINUATION")
    body["candidates"][0]["continuationToken"] = base64.b64encode(b"go on").decode()
    assert read(call, body).finish == "no_image"


IMAGE_DETAIL = {"modality": "IMAGE", "tokenCount": 1120}


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (None, Usage()),
        ({}, Usage()),
        ({"promptTokenCount": 10, "candidatesTokenCount": 1130, "thoughtsTokenCount": 9}, Usage(10, 0, 0, 1130, 9)),
        ({"candidatesTokenCount": 1130, "candidatesTokensDetails": [IMAGE_DETAIL]}, Usage(0, 0, 10, 1120)),
        (
            {"candidatesTokenCount": 1130, "candidatesTokensDetails": [{"modality": "TEXT", "tokenCount": 30}]},
            Usage(0, 0, 30, 1100),
        ),
        (
            {
                "promptTokenCount": 570,
                "promptTokensDetails": [{"modality": "IMAGE", "tokenCount": 560}, {"modality": "TEXT"}],
                "candidatesTokenCount": 0,
                "candidatesTokensDetails": [IMAGE_DETAIL],
            },
            Usage(10, 560, 0, 1120),
        ),
    ],
)
def test_usage_is_read_by_modality_with_totals_to_fall_back_on(call: Call, usage: Any, expected: Usage) -> None:
    more = {} if usage is None else {"usageMetadata": usage}
    assert read(call, document(image_part(png()), **more)).usage == expected


def test_text_tokens_stay_text_where_no_picture_came(call: Call) -> None:
    usage = {"promptTokenCount": 10, "candidatesTokenCount": 40}
    assert read(call, document({"text": "no"}, usageMetadata=usage)).usage == Usage(10, 0, 40, 0)


def test_only_web_sources_are_named(call: Call) -> None:
    body = document(image_part(png()))
    webs = [{"uri": "javascript:alert(1)"}, {"title": "no address"}, {"uri": "https://a.b"}]
    chunks = [{"web": web} for web in webs]
    body["candidates"][0]["groundingMetadata"] = {"groundingChunks": chunks, "webSearchQueries": ["x", "y"]}
    answer = read(call, body)
    assert answer.sources == (Source("", "https://a.b"),)
    assert answer.usage.search_queries == 2


def test_the_request_id_falls_back_on_the_header(call: Call) -> None:
    assert read(call, document(image_part(png()))).upstream_request_id == "response-1"
    body = document(image_part(png()), responseId=None)
    assert read(call, body, "X-Request-Id: header-1").upstream_request_id == "header-1"


def test_fields_from_the_future_do_no_harm(call: Call) -> None:
    body = document(image_part(png(), fromTheFuture={"a": 1}), futureTotals=[1])
    assert read(call, body).finish == "ok"


# --- large answers ------------------------------------------------------------------------------------------------


def test_of_large_pictures_the_last_is_kept_and_the_others_go(call: Call) -> None:
    drafts = [image_part(large(1)), image_part(large(2), thought=True)]
    reply = read(call, document(*drafts, {"text": "Done."}, image_part(large(3)), image_part(large(4), thought=True)))
    assert reply.image is not None
    assert spooled(call) == [reply.image.path]
    assert reply.image.path.read_bytes() == large(3)
    assert reply.image.path.stat().st_mode & 0o777 == 0o600
    assert (reply.image.byte_count, reply.image.sha256) == (1_000_000, hashlib.sha256(large(3)).hexdigest())
    assert (reply.image.mime_type, reply.draft_count, reply.text) == ("image/png", 1, "Done.")


@pytest.mark.parametrize("spelling", ["standard", "url-safe", "unpadded", "escaped", "snake case", "text/plain"])
def test_a_large_picture_is_the_same_however_it_is_spelled(call: Call, spelling: str) -> None:
    standard = base64.b64encode(large())
    body = json.dumps(document(image_part(large()))).encode()
    bodies = {
        "url-safe": body.replace(standard, base64.urlsafe_b64encode(large())),
        "unpadded": body.replace(standard, standard.rstrip(b"=")),
        "escaped": body.replace(standard, standard.replace(b"/", b"\\/").replace(b"+", b"\\u002B")),
        "snake case": body.replace(b"inlineData", b"inline_data").replace(b"mimeType", b"mime_type"),
    }
    media_type = "text/plain" if spelling == "text/plain" else "application/json"
    reply = read(call, bodies.get(spelling, body), media_type=media_type)
    assert reply.image is not None
    assert reply.image.path.read_bytes() == large()
    assert spooled(call) == [reply.image.path]


def test_long_signatures_and_long_texts_come_through_unchanged(call: Call) -> None:
    texts = [
        "words and more words " * 5000,
        "A" * 100_000,
        base64.b64encode(large(7)).decode() + "!",
        "\u00fc" * 50_000,
    ]
    signatures = [large(8, 200_000), large(9, 30_001)]
    parts = [
        *({"text": text} for text in texts),
        {"text": "", "thoughtSignature": base64.b64encode(signatures[0]).decode()},
        image_part(large(), thoughtSignature=base64.urlsafe_b64encode(signatures[1]).decode()),
    ]
    reply = read(call, document(*parts))
    assert reply.text == "".join(texts)
    assert [part.text for part in reply.parts] == [*texts, "", ""]
    assert [part.signature for part in reply.parts[-2:]] == signatures
    assert reply.image is not None
    assert spooled(call) == [reply.image.path]


def test_long_base64_in_any_other_place_is_told_as_it_came(call: Call) -> None:
    body = document(image_part(large()), responseId="A" * 40_000)
    web = {"uri": "https://a.b", "title": "B" * 40_000}
    body["candidates"][0]["groundingMetadata"] = {
        "groundingChunks": [{"web": web}],
        "searchEntryPoint": {"renderedContent": "C" * 40_000},
    }
    reply = read(call, body)
    assert reply.upstream_request_id == "A" * 40_000
    assert reply.sources == (Source("B" * 40_000, "https://a.b"),)
    assert reply.search_suggestions == "C" * 40_000


@pytest.mark.filterwarnings("ignore:.*is not a valid FinishReason:UserWarning")
def test_even_a_long_reason_is_told_as_it_came(call: Call) -> None:
    assert read(call, document({"text": "no"}, reason="R" * 40_000)).finish_reason == "R" * 40_000


def test_of_a_refusal_with_a_large_picture_no_file_stays(call: Call) -> None:
    assert read(call, document(image_part(large()), reason="IMAGE_SAFETY")).finish == "refused"
    assert spooled(call) == []


WHOLE = json.dumps(document(image_part(large()))).encode()
PICTURE_END = WHOLE.index(b'"}}')


@pytest.mark.parametrize(
    "body",
    [
        WHOLE[: PICTURE_END - 100],
        WHOLE[:PICTURE_END],
        WHOLE[: PICTURE_END + 1],
        WHOLE[:-1],
        WHOLE + b"}",
        WHOLE[:PICTURE_END] + b"!" + WHOLE[PICTURE_END:],
        WHOLE[: PICTURE_END - 3] + WHOLE[PICTURE_END:],
        WHOLE[:700_000] + b"\n" + WHOLE[700_000:],
        WHOLE.replace(base64.b64encode(large()), base64.b64encode(large(1, 4_000_000)) + b"A==="),
    ],
)
def test_a_large_answer_that_is_broken_anywhere_is_unknown_and_leaves_nothing(call: Call, body: bytes) -> None:
    with canned(body) as server:
        error = failure(call, server.url)
    assert (error.kind, error.status) == ("unknown", 200)
    assert spooled(call) == []


def test_a_full_disk_is_unknown_and_leaves_nothing(call: Call) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with canned(WHOLE) as server:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
        try:
            error = failure(call, server.url)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert error.kind == "unknown"
    assert spooled(call) == []


def test_memory_hardly_grows_with_the_picture(call: Call) -> None:
    def peak_bytes(byte_count: int) -> int:
        content = json.dumps(document(image_part(large(1, byte_count)))).encode()
        with RawServer(answer(content, "Content-Type: application/json")) as server:
            tracemalloc.start()
            try:
                reply = ask(call, server.url)
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
        assert reply.image is not None
        assert reply.image.byte_count == byte_count
        return peak

    peak_bytes(1_500_000)
    small, big = peak_bytes(1_500_000), peak_bytes(20_000_000)
    assert big < 3_000_000
    assert big < small + 1_000_000


# --- what a failure means ----------------------------------------------------------------------------------------


def google_error(code: int, status: str, message: str, *details: Mapping[str, Any]) -> dict[str, Any]:
    return {"error": {"code": code, "status": status, "message": message, "details": list(details)}}


INVALID_KEY = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, google_error(400, "INVALID_ARGUMENT", "Bad key.", INVALID_KEY), "unauthorized"),
        (400, google_error(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid one."), "unauthorized"),
        (400, google_error(400, "FAILED_PRECONDITION", "User location is not supported."), "unauthorized"),
        (400, google_error(400, "INVALID_ARGUMENT", "Thought signature is not valid."), "rejected"),
        (400, [google_error(400, "INVALID_ARGUMENT", "in a list")], "rejected"),
        (499, google_error(499, "CANCELLED", "The operation was cancelled."), "failed"),
        (429, google_error(429, "RESOURCE_EXHAUSTED", "x" * 10_000), "busy"),
        (201, document(image_part(png())), "unknown"),
        (200, b"[]", "unknown"),
        (200, {}, "unknown"),
        (200, google_error(500, "INTERNAL", "an error that says 200"), "unknown"),
        (200, {"candidates": "none"}, "unknown"),
        (200, {"usageMetadata": {"promptTokenCount": 4}, "modelVersion": MODEL}, "unknown"),
        (200, document({"text": "I was about to"}, reason=None), "unknown"),
    ],
)
def test_odd_answers(call: Call, status: int, body: Any, kind: str) -> None:
    with canned(body, "X-Request-Id: odd-1", status=f"{status} Odd") as server:
        error = failure(call, server.url)
        assert len(server.requests) == 1
    assert (error.kind, error.status, error.upstream_request_id) == (kind, status, "odd-1")


def test_a_disabled_account_is_the_channels_fault(call: Call) -> None:
    with canned(document(reason="PUP_LIMITED_DISABLED")) as server:
        assert failure(call, server.url).kind == "unauthorized"


@pytest.mark.parametrize(
    ("fault", "seconds"),
    [
        (Fault("429", retry_delay="34s"), 34.0),
        (Fault("503", retry_delay="0.25s"), 0.25),
        (Fault("429", retry_after="2", retry_delay="34s"), 2.0),
        (Fault("429", retry_after="soon", retry_delay="3s"), 3.0),
    ],
)
def test_how_long_to_wait_by_the_body(call: Call, fake: FakeGemini, fault: Fault, seconds: float | None) -> None:
    fake.script.append(fault)
    error = failure(call, fake.base_url)
    assert (error.kind, error.retry_after_seconds) == ("busy", seconds)


# --- many at once ------------------------------------------------------------------------------------------------


def test_hundreds_of_calls_are_in_flight_at_once(call: Call) -> None:
    async def many() -> list[Answer]:
        adapter = GeminiAdapter()
        return await asyncio.gather(*(adapter.generate(call, Credentials(KEY, fake.base_url)) for _ in range(200)))

    with FakeGemini(latency_seconds=1.5, cached=True, is_recording=False) as fake:
        answers = loop.run(many(), timeout_seconds=60)
        assert fake.peak_in_flight > 150
    assert {answer.finish for answer in answers} == {"ok"}
    assert len(spooled(call)) == 200


def test_threads_and_clients_do_not_pile_up(call: Call, fake: FakeGemini) -> None:
    ask(call, fake.base_url)
    before = threading.active_count()
    for _ in range(10):
        ask(call, fake.base_url)
    assert threading.active_count() <= before + loop.FILE_THREADS
