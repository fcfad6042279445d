"""The fake Gemini API: Google's own SDK is content with it, and each fault breaks the wire as it says."""

import asyncio
import base64
import contextlib
import gzip
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from google import genai
from google.genai import errors, types
from PIL import Image

from generation.channels.fakes.faults import NAMES, fault_in
from generation.channels.fakes.gemini import FakeGemini, Fault

ROOT = Path(__file__).parents[2]
MODEL = "gemini-3-pro-image"
PICTURE = types.GenerateContentConfig(response_modalities=["TEXT", "IMAGE"])


@pytest.fixture
def fake():
    with FakeGemini() as server:
        yield server


@pytest.fixture
def client(fake):
    with sdk(fake) as made:
        yield made


def sdk(fake, key="any-key", version="v1beta"):
    options = types.HttpOptions(base_url=fake.base_url, api_version=version, timeout=20_000)
    return genai.Client(api_key=key, vertexai=False, http_options=options)


def final_images(response):
    return [part for part in response.parts if part.inline_data and not part.thought]


def picture_of(part) -> Image.Image:
    picture = Image.open(io.BytesIO(part.inline_data.data))
    picture.load()
    return picture


def document(prompt="a fox", **config):
    return {
        "contents": [{"role": "user", "parts": [{"text": prompt}]}],
        "generationConfig": {"responseModalities": ["TEXT", "IMAGE"], **config},
    }


def post(fake, body, path=f"/v1beta/models/{MODEL}:generateContent", headers=None):
    """Status, headers and raw body as urllib sees them."""
    request = urllib.request.Request(
        fake.base_url + path,
        data=body if isinstance(body, bytes) else json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "x-goog-api-key": "k"} if headers is None else headers,
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, response.headers, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def message(body) -> bytes:
    content = json.dumps(body).encode()
    head = f"POST /v1/models/{MODEL}:generateContent HTTP/1.1\r\nHost: x\r\nx-goog-api-key: k\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


def dial(fake) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(fake.base_url.rpartition(":")[2])), timeout=20)


def until_end(connection: socket.socket) -> bytes:
    received = b""
    while piece := connection.recv(1 << 20):
        received += piece
    return received


def eventually(condition):
    ends_at = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < ends_at, "it never came true"
        time.sleep(0.01)


# --- through Google's SDK ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["v1", "v1beta", "v1alpha"])
def test_the_sdk_gets_thought_text_and_a_signed_image_of_the_asked_size(fake, version):
    config = types.GenerateContentConfig(
        response_modalities=["TEXT", "IMAGE"], image_config=types.ImageConfig(aspect_ratio="16:9", image_size="2K")
    )
    with sdk(fake, version=version) as client:
        response = client.models.generate_content(model=MODEL, contents="a red fox", config=config)
    thought, text, image = response.parts
    assert thought.thought and thought.text
    assert text.text and not text.thought
    assert image.thought_signature and image.inline_data.mime_type == "image/png"
    assert picture_of(image).size == (2688, 1536)
    assert picture_of(image).text["Comment"] == "FAKE GEMINI - not made by a model"
    assert response.model_version == MODEL and response.response_id
    assert response.candidates[0].finish_reason == types.FinishReason.STOP
    assert fake.requests[0].path == f"/{version}/models/{MODEL}:generateContent"
    assert fake.requests[0].headers["x-goog-api-key"] == "any-key"
    assert fake.requests[0].body["contents"][0]["parts"] == [{"text": "a red fox"}]


def test_usage_counts_by_modality(client):
    png = io.BytesIO()
    Image.new("RGB", (8, 8)).save(png, "PNG")
    contents = [types.Part.from_bytes(data=png.getvalue(), mime_type="image/png"), "a red fox!"]
    config = types.GenerateContentConfig(
        response_modalities=["TEXT", "IMAGE"], image_config=types.ImageConfig(image_size="4K")
    )
    usage = client.models.generate_content(model=MODEL, contents=contents, config=config).usage_metadata
    asked = {detail.modality.value: detail.token_count for detail in usage.prompt_tokens_details}
    made = {detail.modality.value: detail.token_count for detail in usage.candidates_tokens_details}
    assert asked == {"TEXT": 3, "IMAGE": 560}
    assert made["IMAGE"] == 2000 and made["TEXT"] > 0
    assert usage.prompt_token_count == 563 and usage.candidates_token_count == sum(made.values())
    assert usage.thoughts_token_count == 225
    assert usage.total_token_count == 563 + usage.candidates_token_count + 225


def test_without_the_image_modality_the_answer_is_words(client):
    response = client.models.generate_content(model=MODEL, contents="a fox")
    assert response.text and not final_images(response)


def test_the_image_modality_alone_brings_no_words(client):
    config = types.GenerateContentConfig(response_modalities=["IMAGE"])
    response = client.models.generate_content(model=MODEL, contents="a fox", config=config)
    assert [part for part in response.parts if part.text and not part.thought] == []
    assert len(final_images(response)) == 1


def test_a_chat_sends_its_signatures_back_and_goes_on(client, fake):
    chat = client.chats.create(model=MODEL, config=PICTURE)
    first = final_images(chat.send_message("a fox"))[0]
    assert len(final_images(chat.send_message("make it red"))) == 1
    model_turn = fake.requests[1].body["contents"][1]
    sent_back = [part["thoughtSignature"] for part in model_turn["parts"] if "thoughtSignature" in part]
    assert [base64.urlsafe_b64decode(value) for value in sent_back] == [first.thought_signature]


def history(signature=None):
    png = io.BytesIO()
    Image.new("RGB", (8, 8)).save(png, "PNG")
    part = types.Part(
        inline_data=types.Blob(data=png.getvalue(), mime_type="image/png"), thought_signature=signature or None
    )
    return [
        types.Content(role="user", parts=[types.Part(text="a fox")]),
        types.Content(role="model", parts=[part]),
        types.Content(role="user", parts=[types.Part(text="make it red")]),
    ]


@pytest.mark.parametrize("signature", [None, b"skip_thought_signature_validator"])
def test_an_image_without_a_signature_is_answered(client, signature):
    assert final_images(client.models.generate_content(model=MODEL, contents=history(signature), config=PICTURE))


def test_a_signature_of_somebody_else_is_refused(client):
    own = final_images(client.models.generate_content(model=MODEL, contents="a fox", config=PICTURE))[0]
    assert client.models.generate_content(model=MODEL, contents=history(own.thought_signature), config=PICTURE).parts
    foreign = [(MODEL, b"forged"), (MODEL, b"x" * 64), ("gemini-nano-banana-2.1", own.thought_signature)]
    for model, signature in foreign:
        with pytest.raises(errors.ClientError, match="signature") as caught:
            client.models.generate_content(model=model, contents=history(signature), config=PICTURE)
        assert (caught.value.code, caught.value.status) == (400, "INVALID_ARGUMENT")


def test_search_grounding_names_queries_sources_and_the_entry_point(client):
    config = types.GenerateContentConfig(
        response_modalities=["TEXT", "IMAGE"], tools=[types.Tool(google_search=types.GoogleSearch())]
    )
    response = client.models.generate_content(model=MODEL, contents="today's weather", config=config)
    grounding = response.candidates[0].grounding_metadata
    assert grounding.web_search_queries == ["today's weather"]
    assert grounding.grounding_chunks[0].web.uri.startswith("https://example.com/")
    assert grounding.grounding_chunks[0].web.title
    assert grounding.search_entry_point.rendered_content.startswith("<div")


def test_streams_arrive_in_parts_with_the_reason_in_the_last(client):
    events = list(client.models.generate_content_stream(model=MODEL, contents="a fox", config=PICTURE))
    assert len(events) == 4
    assert [event.candidates[0].finish_reason for event in events] == [None, None, None, types.FinishReason.STOP]
    assert picture_of(final_images(events[2])[0]).size == (1024, 1024)
    assert events[-1].usage_metadata.total_token_count


def test_models_are_listed_in_pages_and_got(client):
    names = [model.name for model in client.models.list(config={"page_size": 2})]
    assert f"models/{MODEL}" in names and len(names) == len(set(names)) == 5
    assert client.models.get(model=MODEL).display_name == "Nano Banana Pro"
    for missing in ("gemini-3-pro-image-preview", "gpt-image-2"):
        with pytest.raises(errors.ClientError) as caught:
            client.models.get(model=missing)
        assert (caught.value.code, caught.value.status) == (404, "NOT_FOUND")


def test_an_async_client_is_served_on_one_kept_connection(fake):
    async def ask() -> int:
        async with sdk(fake).aio as client:
            for _ in range(2):
                response = await client.models.generate_content(model=MODEL, contents="a fox", config=PICTURE)
        return len(final_images(response))

    assert asyncio.run(ask()) == 1
    assert len(fake.requests) == 2


# --- what it refuses --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "code", "status"),
    [("bad-key", 400, "INVALID_ARGUMENT"), ("no-permission", 403, "PERMISSION_DENIED")],
)
def test_bad_keys_are_refused(fake, key, code, status):
    with sdk(fake, key=key) as client, pytest.raises(errors.ClientError) as caught:
        client.models.generate_content(model=MODEL, contents="a fox", config=PICTURE)
    assert (caught.value.code, caught.value.status) == (code, status)
    if code == 400:
        assert caught.value.details["error"]["details"][0]["reason"] == "API_KEY_INVALID"


def test_the_key_may_stand_in_the_query_but_not_be_absent(fake):
    path = f"/v1beta/models/{MODEL}:generateContent"
    status, _, body = post(fake, document(), path, headers={})
    assert status == 400 and b"API_KEY_INVALID" in body
    assert post(fake, document(), path + "?key=k", headers={})[0] == 200


def image_part(data):
    return {"contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": data}}]}]}


REFUSED = [
    (document(imageConfig={"imageSize": "2k"}), 400),
    (document(imageConfig={"imageSize": "512"}), 400),
    (document(imageConfig={"aspectRatio": "7:5"}), 400),
    (document(imageConfig={"aspectRatio": "1:8"}), 400),
    (document(imageConfig={"outputMimeType": "image/png"}), 400),
    (document(candidateCount=2), 400),
    (document() | {"surprise": 1}, 400),
    (document() | {"generationConfig": "IMAGE"}, 400),
    ({"contents": []}, 400),
    ({"contents": [{"role": "user", "parts": []}]}, 400),
    ({"contents": [{"role": "assistant", "parts": [{"text": "a"}]}]}, 400),
    (image_part("*not base64*"), 400),
    (image_part(None), 400),
    (image_part(base64.b64encode(b"no image").decode()), 400),
    ({"contents": [{"parts": [{"fileData": {"fileUri": "https://example.com/files/a"}}]}]}, 403),
    (["contents"], 400),
    (b"{", 400),
    (b"\xff\xfe", 400),
]


@pytest.mark.parametrize(("body", "status"), REFUSED)
def test_wrong_requests_are_refused_in_googles_form(fake, body, status):
    code, headers, content = post(fake, body)
    error = json.loads(content)["error"]
    assert code == error["code"] == status
    assert error["message"] and error["status"] in ("INVALID_ARGUMENT", "PERMISSION_DENIED")
    assert headers["Content-Type"].startswith("application/json")


def test_snake_case_is_understood(fake):
    body = {
        "contents": [{"parts": [{"text": "a fox"}]}],
        "generation_config": {
            "response_modalities": ["IMAGE"],
            "image_config": {"aspect_ratio": "21:9", "image_size": "1K"},
            "candidate_count": 1,
        },
    }
    status, _, content = post(fake, body)
    part = json.loads(content)["candidates"][0]["content"]["parts"][-1]
    picture = Image.open(io.BytesIO(base64.b64decode(part["inlineData"]["data"])))
    assert status == 200 and picture.size == (1536, 672)


@pytest.mark.parametrize("path", ["/", "/v1/models/x:predict", "/v2/models", f"/v1/models/{MODEL}"])
def test_other_paths_are_not_found(fake, path):
    assert post(fake, document(), path)[0] == 404
    assert fake.requests == []


def test_more_ratios_and_sizes_belong_to_the_flash_models(fake):
    path = "/v1/models/gemini-3.1-flash-image:generateContent"
    status, _, content = post(fake, document(imageConfig={"aspectRatio": "1:8", "imageSize": "512"}), path)
    assert status == 200
    assert {"modality": "IMAGE", "tokenCount": 747} in json.loads(content)["usageMetadata"]["candidatesTokensDetails"]


def test_a_model_without_sizes_refuses_one(fake):
    path = "/v1/models/gemini-2.5-flash-image:generateContent"
    assert post(fake, document(), path)[0] == 200
    assert post(fake, document(imageConfig={"imageSize": "1K"}), path)[0] == 400


# --- faults: statuses -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["400", "401", "402", "403", "404", "429", "500", "502", "503", "504"])
def test_statuses_reach_the_sdk_as_its_own_errors(client, fake, code):
    fake.script = [Fault(code)]
    expected = errors.ClientError if int(code) < 500 else errors.ServerError
    with pytest.raises(expected) as caught:
        client.models.generate_content(model=MODEL, contents="a fox", config=PICTURE)
    assert caught.value.code == int(code)
    assert client.models.generate_content(model=MODEL, contents="a fox", config=PICTURE).parts
    assert len(fake.requests) == 2


def test_a_429_tells_when_to_come_back_only_if_told_to(fake):
    fake.script = [Fault("429"), Fault("429", retry_after="3"), Fault("429", retry_delay="34s"), Fault("503")]
    answers = [post(fake, document()) for _ in range(4)]
    assert [status for status, _, _ in answers] == [429, 429, 429, 503]
    assert [headers["Retry-After"] for _, headers, _ in answers] == [None, "3", None, None]
    details = [json.loads(body)["error"].get("details") for _, _, body in answers]
    assert details[2][0]["retryDelay"] == "34s" and details[0] is details[1] is None
    assert json.loads(answers[0][2])["error"]["status"] == "RESOURCE_EXHAUSTED"


def test_a_502_is_a_page_and_html_can_come_with_200(fake):
    fake.script = [Fault("502"), Fault("html")]
    for expected in (502, 200):
        status, headers, body = post(fake, document())
        assert status == expected and headers["Content-Type"].startswith("text/html") and b"<html>" in body


# --- faults: what the answer says -------------------------------------------------------------------------------


def candidate(fake, prompt, **config):
    status, _, content = post(fake, document(prompt, **config))
    assert status == 200
    return json.loads(content)["candidates"][0]


def images_in(found, *, thought=False):
    parts = found["content"].get("parts", [])
    return [part["inlineData"] for part in parts if "inlineData" in part and part.get("thought", False) == thought]


@pytest.mark.parametrize(
    ("name", "reason", "part_count"),
    [
        ("no-image", "NO_IMAGE", 2),
        ("text-only", "STOP", 2),
        ("max-tokens", "MAX_TOKENS", 2),
        ("blocked-image", "IMAGE_SAFETY", 0),
        ("blocked-image:IMAGE_OTHER", "IMAGE_OTHER", 0),
        ("prohibited", "PROHIBITED_CONTENT", 0),
    ],
)
def test_answers_without_an_image(fake, name, reason, part_count):
    found = candidate(fake, f"a fox fake:{name}")
    assert found["finishReason"] == reason
    assert len(found["content"].get("parts", [])) == part_count and images_in(found) == []


@pytest.mark.parametrize(
    ("name", "reason"), [("blocked-prompt", "PROHIBITED_CONTENT"), ("blocked-prompt:OTHER", "OTHER")]
)
def test_a_blocked_prompt_has_no_candidates(client, name, reason):
    response = client.models.generate_content(model=MODEL, contents=f"fake:{name}", config=PICTURE)
    assert response.candidates is None and response.prompt_feedback.block_reason == reason


def test_spoiled_image_data(fake):
    broken = images_in(candidate(fake, "fake:bad-base64"))[0]["data"]
    with pytest.raises(ValueError):
        base64.b64decode(broken, validate=True)
    page = images_in(candidate(fake, "fake:not-an-image"))[0]
    assert page["mimeType"] == "image/png" and base64.b64decode(page["data"], validate=True).startswith(b"<html>")


def test_half_a_picture_another_type_and_a_link(fake):
    half = base64.b64decode(images_in(candidate(fake, "fake:broken-image"))[0]["data"], validate=True)
    with pytest.raises(OSError), Image.open(io.BytesIO(half)) as picture:
        picture.load()
    mislabeled = images_in(candidate(fake, "fake:wrong-mime"))[0]
    assert mislabeled["mimeType"] == "image/jpeg" and base64.b64decode(mislabeled["data"]).startswith(b"\x89PNG")
    fake.script = [Fault("wrong-mime", "text/html"), Fault("file-uri", "http://inside.example/")]
    assert images_in(candidate(fake, "a fox"))[0]["mimeType"] == "text/html"
    link = candidate(fake, "a fox")["content"]["parts"][-1]
    assert link == {"fileData": {"mimeType": "image/png", "fileUri": "http://inside.example/"}}


def test_two_images_differ_and_are_both_counted(fake):
    _, _, content = post(fake, document("fake:two-images"))
    answer = json.loads(content)
    first, second = images_in(answer["candidates"][0])
    assert first["data"] != second["data"]
    assert {"modality": "IMAGE", "tokenCount": 2240} in answer["usageMetadata"]["candidatesTokensDetails"]


def test_drafts_come_before_the_image(fake):
    found = candidate(fake, "fake:drafts:3")
    assert len(images_in(found, thought=True)) == 3
    earlier, last = images_in(found)
    assert earlier["data"] != last["data"] and found["content"]["parts"][-1]["inlineData"] == last


def test_wrong_size_jpeg_and_long_signatures(client):
    config = types.GenerateContentConfig(
        response_modalities=["TEXT", "IMAGE"], image_config=types.ImageConfig(image_size="2K")
    )
    small, jpeg, signed = (
        final_images(client.models.generate_content(model=MODEL, contents=f"fake:{name}", config=config))[-1]
        for name in ("wrong-size", "jpeg", "long-signature:5000")
    )
    assert picture_of(small).size == (1024, 1024)
    assert picture_of(jpeg).format == "JPEG" and jpeg.inline_data.mime_type == "image/jpeg"
    assert len(signed.thought_signature) == 5016 and len(jpeg.thought_signature) < 100


# --- faults: what the wire does ---------------------------------------------------------------------------------


def test_a_truncated_body_is_shorter_than_it_said(fake):
    fake.script = [Fault("truncated"), Fault("truncated", "10")]
    for _ in range(2):
        with dial(fake) as connection:
            connection.sendall(message(document()))
            head, _, body = until_end(connection).partition(b"\r\n\r\n")
        announced = int(re.search(rb"Content-Length: (\d+)", head)[1])
        assert head.startswith(b"HTTP/1.1 200 OK") and 0 < len(body) < announced
    assert len(body) == 10


@pytest.mark.parametrize(("size", "expected"), [("", 0.5), ("0", 0.0), ("-1", 1.0)])
def test_json_and_gzip_end_early_in_a_whole_answer(fake, size, expected):
    fake.script = [None, Fault("json-cut", size), Fault("gzip-cut", size)]
    whole = post(fake, document())[2]
    status, headers, cut = post(fake, document())
    assert (status, headers["Content-Length"]) == (200, str(len(cut)))
    assert len(cut) == pytest.approx(expected * len(whole), abs=100) and len(cut) < len(whole)
    status, headers, packed = post(fake, document())
    assert (status, headers["Content-Encoding"], headers["Content-Length"]) == (200, "gzip", str(len(packed)))
    with pytest.raises(EOFError):
        gzip.decompress(packed + b"" if packed else b"\x1f\x8b")


@pytest.mark.parametrize("size", ["", "0", "7", "-3", "999999999"])
def test_chunks_break_off_before_the_last_one(fake, size):
    fake.script = [Fault("chunk-cut", size)]
    with dial(fake) as connection:
        connection.sendall(message(document()))
        head, _, body = until_end(connection).partition(b"\r\n\r\n")
    announced, _, chunk = body.partition(b"\r\n")
    assert b"Transfer-Encoding: chunked" in head and int(announced, 16) > 10_000
    assert not body.endswith(b"0\r\n\r\n") and len(chunk) <= int(announced, 16) + 2
    assert chunk.endswith(b"\r\n") == (size == "999999999")


def test_a_stall_keeps_the_connection(fake):
    fake.script = [Fault("stall", "12")]
    with dial(fake) as connection:
        connection.sendall(message(document()))
        connection.settimeout(0.3)
        received = b""
        with pytest.raises(TimeoutError):
            while True:
                received += connection.recv(65536)
        assert received.endswith(b"\r\n\r\n" + b'{\n  "candida')
    eventually(lambda: fake.abandoned_count == 1)


def test_heads_trickle_too(fake):
    fake.script = [Fault("trickle-head", "0.001"), Fault("trickle-head", "0.02")]
    assert post(fake, document())[0] == 200
    with dial(fake) as connection:
        connection.sendall(message(document()))
        assert connection.recv(65536) == b"H"
    eventually(lambda: fake.abandoned_count == 1)


def test_noise_and_redirects(fake):
    fake.script = [Fault("noise"), Fault("redirect", "http://127.0.0.1:9/"), Fault("redirect")]
    with dial(fake) as connection:
        connection.sendall(message(document()))
        assert not until_end(connection).startswith(b"HTTP")
    for address in (b"http://127.0.0.1:9/", b"https://example.com/"):
        with dial(fake) as connection:
            connection.sendall(message(document()))
            connection.shutdown(socket.SHUT_WR)
            head = until_end(connection)
        assert head.startswith(b"HTTP/1.1 302 Found\r\n") and b"Location: " + address + b"\r\n" in head


def test_a_reset_is_a_reset(fake):
    fake.script = [Fault("reset"), Fault("reset-midway", "100")]
    for _ in range(2):
        with dial(fake) as connection:
            connection.sendall(message(document()))
            with pytest.raises(ConnectionResetError):
                until_end(connection)


def test_closing_before_the_answer_is_orderly(fake):
    fake.script = [Fault("close")]
    with dial(fake) as connection:
        connection.sendall(message(document()))
        assert until_end(connection) == b""


def test_a_trickle_comes_byte_by_byte(fake):
    fake.script = [Fault("trickle", "0.02")]
    with dial(fake) as connection:
        connection.sendall(message(document()))
        started_at, received = time.monotonic(), b""
        while b"\r\n\r\n" not in received or len(received.partition(b"\r\n\r\n")[2]) < 10:
            received += connection.recv(65536)
    assert time.monotonic() - started_at > 0.15
    assert received.partition(b"\r\n\r\n")[2].startswith(b'{\n  "cand')
    eventually(lambda: fake.abandoned_count == 1)


def test_silence_lasts_until_the_client_leaves(fake):
    fake.script = [Fault("silent")]
    with dial(fake) as connection:
        connection.sendall(message(document()))
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        assert fake.in_flight_count == 1
    eventually(lambda: fake.in_flight_count == 0)
    assert fake.abandoned_count == 1


def test_huge_answers_come_without_a_length(fake):
    status, headers, body = post(fake, document("fake:huge:300000"))
    assert status == 200 and headers["Content-Length"] is None
    assert len(images_in(json.loads(body)["candidates"][0])[0]["data"]) == 300_000


def test_a_bomb_is_small_until_unpacked(fake):
    status, headers, body = post(fake, document("fake:gzip-bomb:3000000"))
    assert status == 200 and headers["Content-Encoding"] == "gzip" and len(body) < 30_000
    assert len(images_in(json.loads(gzip.decompress(body))["candidates"][0])[0]["data"]) == 3_000_000


@pytest.mark.parametrize("name", ["gzip", "chunked"])
def test_other_encodings_carry_good_answers(client, name):
    response = client.models.generate_content(model=MODEL, contents=f"fake:{name}", config=PICTURE)
    assert picture_of(final_images(response)[0]).size == (1024, 1024)


def test_latency_comes_before_the_answer_and_joins_other_faults(fake):
    started_at = time.monotonic()
    assert post(fake, document("fake:latency:0.2 fake:503"))[0] == 503
    assert time.monotonic() - started_at >= 0.2
    fake.script = [Fault(latency_seconds=0.2)]
    started_at = time.monotonic()
    assert post(fake, document())[0] == 200
    assert time.monotonic() - started_at >= 0.2


# --- the server itself ------------------------------------------------------------------------------------------


def test_faults_come_from_the_script_then_the_callable_then_the_prompt(fake):
    fake.script = [Fault("500"), None]
    fake.fault_for = lambda request: Fault("503") if "503" in str(request.body) else None
    bodies = [document(), document("fake:429"), document("503"), document("fake:429"), document()]
    assert [post(fake, body)[0] for body in bodies] == [500, 200, 503, 429, 200]
    times = [request.received_at for request in fake.requests]
    assert times == sorted(times)


def test_unknown_faults_are_mistakes_in_a_script_and_words_in_a_prompt():
    with pytest.raises(ValueError, match="no fault"):
        Fault("flood")
    assert fault_in("a fake:flood of light") is None
    assert fault_in("fake:429:3.") == Fault("429", "3", retry_after="3", retry_delay="3s")


def test_requests_in_flight_are_counted(fake):
    fake.latency_seconds = 60
    with contextlib.ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(dial(fake)).sendall(message(document()))
        eventually(lambda: fake.in_flight_count == 5)
    eventually(lambda: fake.in_flight_count == 0)
    assert fake.peak_in_flight == 5 and fake.abandoned_count == 5


def test_a_client_that_leaves_during_the_wait_is_noticed(fake):
    fake.latency_seconds = 60
    with dial(fake) as connection:
        connection.sendall(message(document()))
        eventually(lambda: fake.in_flight_count == 1)
    eventually(lambda: fake.in_flight_count == 0)
    assert fake.abandoned_count == 1


def test_kept_early_chunked_and_hesitant_requests_are_served(fake):
    fake.latency_seconds = 0.1
    content = json.dumps(document(responseModalities=["TEXT"])).encode()
    head = f"POST /v1/models/{MODEL}:generateContent?key=k HTTP/1.1\r\nHost: x\r\n".encode()
    whole = head + f"Content-Length: {len(content)}\r\n\r\n".encode() + content
    pieces = (
        b"5\r\n" + content[:5] + b"\r\n" + f"{len(content) - 5:x};x=y\r\n".encode() + content[5:] + b"\r\n0\r\n\r\n"
    )
    with dial(fake) as connection:
        connection.sendall(whole + whole + head + b"Transfer-Encoding: chunked\r\n\r\n" + pieces)
        last = head + b"Connection: close\r\nExpect: 100-continue\r\n"
        connection.sendall(last + f"Content-Length: {len(content)}\r\n\r\n".encode() + content)
        received = until_end(connection)
    assert received.count(b"HTTP/1.1 200 OK") == 4 and received.count(b"HTTP/1.1 100 Continue") == 1
    assert [request.body for request in fake.requests] == [json.loads(content)] * 4


@pytest.mark.parametrize("noise", [b"\x16\x03\x01\r\n\r\n", b"GET /\r\n\r\n", b"A" * 70_000 + b"\r\n\r\n", b""])
def test_noise_is_hung_up_on(fake, noise):
    with dial(fake) as connection:
        connection.sendall(noise)
        connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            assert until_end(connection) == b""
    assert post(fake, document())[0] == 200


def test_pictures_weigh_what_is_asked_and_still_decode():
    with FakeGemini(size_bytes=500_000, cached=True, is_recording=False) as fake, sdk(fake) as client:
        answers = [client.models.generate_content(model=MODEL, contents=word, config=PICTURE) for word in "ab"]
    images = [final_images(answer)[0] for answer in answers]
    assert [len(image.inline_data.data) for image in images] == [500_000] * 2
    assert images[0].inline_data.data == images[1].inline_data.data
    assert picture_of(images[0]).size == (1024, 1024)
    assert fake.requests == []


def test_the_last_users_images_are_shown_on_the_picture(client):
    png = io.BytesIO()
    Image.new("RGB", (64, 64), (255, 0, 0)).save(png, "PNG")
    contents = ["a fox", types.Part.from_bytes(data=png.getvalue(), mime_type="image/png")]
    response = client.models.generate_content(model=MODEL, contents=contents, config=PICTURE)
    bottom = picture_of(final_images(response)[0]).crop((0, 800, 1024, 1024))
    assert (255, 0, 0) in {colour for _, colour in bottom.getcolors(1_000_000)}


def test_hundreds_of_connections_wait_at_once():
    async def ask(port: int) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(message(document()))
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.readexactly(int(re.search(rb"Content-Length: (\d+)", head)[1]))
        writer.close()
        await writer.wait_closed()
        return len(body)

    async def ask_all(port: int) -> list[int]:
        return await asyncio.gather(*(ask(port) for _ in range(200)))

    with FakeGemini(latency_seconds=1, cached=True) as fake:
        sizes = asyncio.run(ask_all(int(fake.base_url.rpartition(":")[2])))
    assert min(sizes) > 50_000 and len(sizes) == 200
    assert fake.peak_in_flight > 100 and fake.abandoned_count == 0


def test_stopping_hangs_up_at_once_and_leaves_no_thread():
    before = set(threading.enumerate())
    fake = FakeGemini(latency_seconds=60)
    fake.start()
    with dial(fake) as connection, dial(fake):
        connection.sendall(message(document()))
        eventually(lambda: fake.in_flight_count == 1)
        started_at = time.monotonic()
        fake.stop()
        fake.stop()
        assert time.monotonic() - started_at < 5
        with contextlib.suppress(ConnectionResetError):
            assert until_end(connection) == b""
    assert set(threading.enumerate()) == before


def test_a_taken_port_is_told(fake):
    with pytest.raises(OSError):
        FakeGemini(port=int(fake.base_url.rpartition(":")[2])).start()


def test_every_fault_is_documented():
    text = (ROOT / "docs" / "sandbox.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`fake:([a-z0-9-]+)", text)) == NAMES | {"latency"}


PROGRAM = (
    "from django.core.management import call_command;"
    "from generation.management.commands.fake_gemini import Command;"
    "call_command(Command(), port=0, cached=True)"
)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_until_it_is_told_to_stop(number):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
    setup = "from django.conf import settings; settings.configure();"
    command = [sys.executable, "-c", setup + PROGRAM]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            address = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())[0]
            with urllib.request.urlopen(f"{address}/v1/models?key=k", timeout=10) as response:
                assert len(json.load(response)["models"]) == 5
            process.send_signal(number)
            _, complaints = process.communicate(timeout=15)
        finally:
            process.kill()
    assert (process.returncode, complaints) == (0, "")
