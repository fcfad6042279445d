"""Answers with the images in them: the same bytes as the link leads to, streamed, and never half of one."""

from __future__ import annotations

import base64
import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.files.storage import default_storage
from django.test import Client, RequestFactory
from PIL import Image

from generation import media
from generation.dialects import streams
from generation.media import StoredFile
from generation.models import Generation, Media, Output

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("audited")]
BODY = {"prompt": "a kite", "image_size": "1K"}


def _made(api: Any, alice: Any, queue: Any, **fields: Any) -> dict[str, Any]:
    made: dict[str, Any] = api(alice, "POST", "generations", BODY | fields).json()
    queue.run_to_the_end()
    return made


def test_the_image_comes_as_base64_beside_its_link(api: Any, alice: Any, queue: Any, body_of: Any) -> None:
    made = _made(api, alice, queue, n=3)
    plain = api(alice, "GET", f"generations/{made['id']}").json()
    response = api(alice, "GET", f"generations/{made['id']}?response_format=b64_json")
    body = body_of(response)
    assert int(response["Content-Length"]) == len(body)
    assert response["Content-Type"] == "application/json"
    data = json.loads(body)
    for output in data["outputs"]:
        image = base64.b64decode(output.pop("b64_json"), validate=True)
        assert image == body_of(api(alice, "GET", f"outputs/{output['id']}/content"))
        assert Image.open(io.BytesIO(image)).size == (1024, 1024)
    assert data == plain
    assert "b64_json" not in plain["outputs"][0]


def test_a_create_answers_in_the_format_it_asks_for(api: Any, alice: Any, queue: Any, body_of: Any) -> None:
    wanted = BODY | {"response_format": "b64_json"}
    accepted = api(alice, "POST", "generations", wanted, headers={"Idempotency-Key": "kite"})
    assert accepted.status_code == 202
    assert accepted.json()["outputs"][0]["b64_json"] is None
    queue.run()
    again = api(alice, "POST", "generations", wanted, headers={"Idempotency-Key": "kite", "Prefer": "wait=5"})
    assert (again.status_code, again["Idempotent-Replayed"]) == (200, "true")
    assert again["Location"] == accepted["Location"]
    assert json.loads(body_of(again))["outputs"][0]["b64_json"].startswith("iVBORw0KGgo")


def test_the_format_is_no_part_of_what_is_asked(api: Any, alice: Any, queue: Any, body_of: Any) -> None:
    first = api(alice, "POST", "generations", BODY, headers={"Idempotency-Key": "one"}).json()
    queue.run()
    other = BODY | {"response_format": "b64_json"}
    second = api(alice, "POST", "generations", other, headers={"Idempotency-Key": "one"})
    assert json.loads(body_of(second))["id"] == first["id"]
    third = api(alice, "POST", "generations", BODY | {"response_format": "url"}, headers={"Idempotency-Key": "one"})
    assert (third.json()["id"], Generation.objects.count()) == (first["id"], 1)
    assert api(alice, "POST", "quotes", other).json()["n"] == 1


def test_a_form_may_ask_for_it_too(alice: Any, queue: Any) -> None:
    response = Client().post(
        "/api/v1/generations", {"prompt": "x", "response_format": "b64_json"}, headers=alice.headers()
    )
    assert (response.status_code, response.json()["outputs"][0]["b64_json"]) == (202, None)
    queue.run()


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "generations", BODY | {"response_format": "png"}),
        ("POST", "generations", BODY | {"response_format": None}),
        ("GET", "generations?response_format=b64_json", None),
        ("GET", "generations?response_format=url", None),
    ],
)
def test_what_is_no_format_is_refused_by_name(api: Any, alice: Any, method: str, path: str, body: Any) -> None:
    error = api(alice, method, path, body).json()["error"]
    assert (error["code"], error["param"]) == ("invalid_request", "response_format")
    assert Generation.objects.count() == 0


def test_one_generation_knows_two_formats(api: Any, alice: Any, queue: Any) -> None:
    made = _made(api, alice, queue)
    refused = api(alice, "GET", f"generations/{made['id']}?response_format=jpeg")
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "response_format")
    assert "b64_json" not in api(alice, "GET", f"generations/{made['id']}?response_format=url").json()["outputs"][0]


def test_only_what_succeeded_has_an_image(api: Any, alice: Any, queue: Any, body_of: Any) -> None:
    refused = _made(api, alice, queue, prompt="sandbox:refuse")
    output = api(alice, "GET", f"generations/{refused['id']}?response_format=b64_json").json()["outputs"][0]
    assert (output["status"], output["b64_json"]) == ("failed", None)


@pytest.mark.parametrize("damage", ["gone", "short"])
def test_a_missing_image_is_named_before_the_first_byte(
    api: Any, alice: Any, queue: Any, damage: str, body_of: Any
) -> None:
    made = _made(api, alice, queue, n=2)
    stored = Media.objects.order_by("-pk")[0].storage_name
    kept = media.read(stored)
    default_storage.delete(stored)
    if damage == "short":
        media.store(stored, kept[:-1])
    response = api(alice, "GET", f"generations/{made['id']}?response_format=b64_json")
    assert (response.status_code, response.json()["error"]["code"]) == (410, "image_gone")
    content = api(alice, "GET", f"outputs/{Output.objects.get(media__storage_name=stored).public_id}/content")
    assert (content.status_code, content.json()["error"]["code"]) == (410, "image_gone")
    assert api(alice, "GET", f"generations/{made['id']}").status_code == 200
    default_storage.delete(stored)
    media.store(stored, kept)


def test_a_head_request_reads_no_image(
    api: Any, alice: Any, queue: Any, body_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = _made(api, alice, queue)
    path = f"generations/{made['id']}?response_format=b64_json"
    length = len(body_of(api(alice, "GET", path)))
    monkeypatch.setattr(media, "opened", lambda name: pytest.fail("an image was opened"))
    response = api(alice, "HEAD", path)
    assert (response.status_code, int(response["Content-Length"]), response.content) == (200, length, b"")


def _stored(name: str, content: bytes) -> StoredFile:
    media.store(name, content)
    return StoredFile(name, len(content))


@pytest.mark.parametrize("light_bytes", [0, 10_000_000], ids=["in pieces", "in one go"])
@pytest.mark.parametrize("byte_count", [0, 1, 2, 3, 4, 196_607, 196_608, 196_609, 1_000_000])
def test_what_is_sent_is_the_base64_of_the_whole(
    byte_count: int, light_bytes: int, body_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_LIGHT_BYTES", light_bytes)
    content = bytes(range(256)) * (byte_count // 256) + bytes(byte_count % 256)
    splice = streams.Splice()
    document = json.dumps({"a": splice.place(_stored("outputs/x.bin", content)), "b": 'base64:"\\u00e9'}).encode()
    response = async_to_sync(streams.answer)(RequestFactory().get("/"), document, splice)
    body = body_of(response)
    assert response.streaming == (not light_bytes)
    assert len(body) == int(response["Content-Length"])
    assert base64.b64decode(json.loads(body)["a"], validate=True) == content
    assert json.loads(body)["b"] == 'base64:"\\u00e9'


def test_images_may_stand_in_any_order_and_more_than_once(body_of: Any) -> None:
    splice = streams.Splice()
    first, second = (splice.place(_stored(f"outputs/{name}.bin", name.encode() * 5)) for name in ("p", "q"))
    document = f'["{second}", "{first}", "{second}"]'.encode()
    body = body_of(async_to_sync(streams.answer)(RequestFactory().get("/"), document, splice))
    assert [base64.b64decode(each) for each in json.loads(body)] == [b"qqqqq", b"ppppp", b"qqqqq"]


def test_a_large_answer_never_lies_in_memory(tmp_path: Path) -> None:
    """Three images of 20 MB: what is held at any moment is less than 2 MB."""
    splice = streams.Splice()
    document = json.dumps([splice.place(_stored(f"outputs/{n}.bin", bytes(20_000_000))) for n in range(3)]).encode()

    async def sent() -> int:
        response = await streams.answer(RequestFactory().get("/"), document, splice)
        tracemalloc.reset_peak()
        return sum([len(piece) async for piece in response])

    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        assert async_to_sync(sent)() > 80_000_000
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000, peak


def test_a_file_that_shrinks_on_the_way_breaks_the_answer_off(body_of: Any) -> None:
    splice = streams.Splice()
    file = _stored("outputs/x.bin", bytes(1_000_000))
    response = async_to_sync(streams.answer)(RequestFactory().get("/"), splice.place(file).encode(), splice)
    default_storage.delete(file.name)
    media.store(file.name, bytes(500_000))
    with pytest.raises(OSError, match="ends early"):
        body_of(response)
