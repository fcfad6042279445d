"""Files that customers send ahead, at OpenAI's door and at Gemini's: kept, listed, named in requests, forgotten."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.test.utils import override_settings

from generation import uploads
from generation.models import Reference, Upload
from tests import images
from tests.api.conftest import streamed

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("audited")]
Send = Callable[..., Any]
RESUMABLE = {"x-goog-upload-protocol": "resumable", "x-goog-upload-command": "start"}


@pytest.fixture
def client(transactional_db: None) -> Client:
    return Client()


def _openai(client: Client, person: Any, data: bytes, **fields: str) -> Any:
    part = SimpleUploadedFile("in.png", data, "image/png")
    return client.post("/openai/v1/files", {"purpose": "vision", "file": part, **fields}, headers=person.headers())


def _start(client: Client, person: Any, byte_count: int, **described: Any) -> Any:
    headers = RESUMABLE | {
        "x-goog-api-key": person.keys["test"].raw,
        "x-goog-upload-header-content-length": str(byte_count),
        "x-goog-upload-header-content-type": "image/png",
    }
    return client.post(
        "/gemini/upload/v1beta/files", {"file": described}, content_type="application/json", headers=headers
    )


def _piece(client: Client, started: Any, offset: int, data: bytes, command: str) -> Any:
    """As Google's SDK for Python sends it: without a key, and of a type that it is not."""
    address = started["x-goog-upload-url"].partition("http://testserver")[2]
    headers = {"x-goog-upload-command": command, "x-goog-upload-offset": str(offset)}
    return client.generic("POST", address, data, content_type="application/json", headers=headers)


def _stored() -> list[str]:
    folder = Path(default_storage.path("uploads"))
    return [path.name for path in folder.rglob("*") if path.is_file()] if folder.exists() else []


def test_openais_files_are_kept_listed_read_and_removed(client: Client, alice: Any) -> None:
    made = [_openai(client, alice, b"%d" % number).json() for number in range(3)]
    first = made[0]
    assert first["id"].startswith("file-")
    assert (first["object"], first["bytes"], first["status"], first["purpose"]) == ("file", 1, "processed", "vision")
    page = client.get("/openai/v1/files?limit=2", headers=alice.headers()).json()
    assert [each["id"] for each in page["data"]] == [made[2]["id"], made[1]["id"]]
    assert page["has_more"] is True
    rest = client.get(f"/openai/v1/files?after={page['last_id']}", headers=alice.headers()).json()
    assert ([each["id"] for each in rest["data"]], rest["has_more"]) == ([first["id"]], False)
    rising = client.get("/v1/files?order=asc&purpose=vision", headers=alice.headers()).json()
    assert [each["id"] for each in rising["data"]] == [each["id"] for each in made]
    path = f"/openai/v1/files/{first['id']}"
    assert client.get(path, headers=alice.headers()).json() == first
    assert streamed(client.get(f"{path}/content", headers=alice.headers())) == b"0"
    assert client.delete(path, headers=alice.headers()).json() == {
        "id": first["id"],
        "object": "file",
        "deleted": True,
    }
    assert client.get(path, headers=alice.headers()).status_code == 404
    assert len(_stored()) == Upload.objects.count() == 2


@pytest.mark.parametrize("method", ["get", "delete"])
def test_nobody_sees_anothers_file(client: Client, alice: Any, bob: Any, method: str) -> None:
    name = _openai(client, alice, b"x").json()["id"]
    for headers in (bob.headers(), alice.headers("live")):
        assert getattr(client, method)(f"/openai/v1/files/{name}", headers=headers).status_code == 404
        assert client.get(f"/openai/v1/files/{name}/content", headers=headers).status_code == 404
    assert Upload.objects.count() == 1


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"purpose": "fun"}, "purpose"),
        ({"expires_after[seconds]": "5"}, "expires_after[seconds]"),
    ],
)
def test_wrong_fields_are_named(client: Client, alice: Any, fields: dict[str, str], param: str) -> None:
    response = _openai(client, alice, b"x", **fields)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)
    assert _stored() == []


def test_a_file_in_one_piece(client: Client, alice: Any) -> None:
    data = images.png()
    started = _start(client, alice, len(data), display_name="a picture", mime_type="image/png", name="files/my-own")
    assert (started.status_code, started["x-goog-upload-status"]) == (200, "active")
    done = _piece(client, started, 0, data, "upload, finalize")
    assert done["x-goog-upload-status"] == "final"
    file = done.json()["file"]
    assert file["name"] == "files/my-own"
    assert file["uri"] == "http://testserver/gemini/v1beta/files/my-own"
    assert (file["mimeType"], file["sizeBytes"], file["state"]) == ("image/png", str(len(data)), "ACTIVE")
    assert file["sha256Hash"] == hashlib.sha256(data).hexdigest()
    headers = {"x-goog-api-key": alice.keys["test"].raw}
    assert client.get("/gemini/v1/files/my-own", headers=headers).json()["displayName"] == "a picture"
    assert streamed(client.get("/gemini/v1beta/files/my-own:download?alt=media", headers=headers)) == data
    assert [each["name"] for each in client.get("/gemini/v1beta/files", headers=headers).json()["files"]] == [
        "files/my-own"
    ]
    assert client.delete("/gemini/v1beta/files/my-own", headers=headers).json() == {}
    assert (_stored(), Upload.objects.count()) == ([], 0)


def test_a_file_in_pieces_of_which_one_comes_twice(client: Client, alice: Any) -> None:
    step = uploads.GRANULARITY
    data = bytes(range(256)) * (step // 128) + b"the rest"
    started = _start(client, alice, len(data))
    for offset in (0, step, step):
        piece = _piece(client, started, offset, data[offset : offset + step], "upload")
        assert piece["x-goog-upload-status"] == "active"
    early = _piece(client, started, 2 * step, b"", "finalize")
    assert early.status_code == 400
    done = _piece(client, started, 2 * step, data[2 * step :], "upload, finalize")
    assert done.json()["file"]["sha256Hash"] == hashlib.sha256(data).hexdigest()
    assert len(_stored()) == 1
    # Its address is of no more use.
    assert _piece(client, started, 0, b"x", "upload, finalize").status_code == 404


@pytest.mark.parametrize(
    ("offset", "count"),
    [(0, 5), (0, 0), (7, uploads.GRANULARITY), (uploads.GRANULARITY, 9), (0, 2 * uploads.GRANULARITY)],
    ids=["small", "empty", "elsewhere", "too far", "too long"],
)
def test_a_piece_of_the_wrong_size_or_place_is_refused(client: Client, alice: Any, offset: int, count: int) -> None:
    started = _start(client, alice, uploads.GRANULARITY + 10)
    assert _piece(client, started, offset, bytes(count), "upload").status_code == 400
    assert (_stored(), Upload.objects.get().received_count) == ([], 0)


def test_a_wrong_address_is_refused(client: Client, alice: Any) -> None:
    started = _start(client, alice, 10)
    address = started["x-goog-upload-url"].partition("http://testserver")[2]
    for wrong in (address[:-1] + ("a" if address[-1] != "a" else "b"), address.partition(".")[0], address + "%00"):
        assert client.generic("POST", wrong, b"x", headers={"x-goog-upload-command": "upload"}).status_code == 404
    taken = _start(client, alice, 1, name="files/twice")
    assert (taken.status_code, _start(client, alice, 1, name="files/twice").status_code) == (200, 409)
    assert _start(client, alice, 1, name="files/Not-Ours").status_code == 400
    assert _start(client, alice, 0).status_code == 400


def test_files_have_their_limits(client: Client, alice: Any) -> None:
    with override_settings(NBP_UPLOAD_BYTES=10):
        assert _openai(client, alice, b"x" * 8).status_code == 200
        assert _openai(client, alice, b"x" * 8).status_code == 413
        assert _start(client, alice, 8).status_code == 413
        assert _start(client, alice, 2).status_code == 200
        assert _start(client, alice, 1).status_code == 413, "what is about to come counts, too"
    assert (Upload.objects.count(), len(_stored())) == (2, 1)


def test_files_are_named_in_requests(client: Client, alice: Any, queue: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data = images.png()
    name = _openai(client, alice, data).json()["id"]
    monkeypatch.setattr("generation.dialects.making.DEADLINE_SECONDS", 0.1)
    content = [{"type": "input_text", "text": "red"}, {"type": "input_image", "file_id": name}]
    answer = client.post(
        "/openai/v1/responses",
        {"input": [{"role": "user", "content": content}]},
        content_type="application/json",
        headers=alice.headers(),
    )
    assert answer.status_code == 504, answer.content
    assert answer["x-generation-id"].startswith("gen_")
    part = {"fileData": {"file_uri": f"http://testserver/gemini/v1beta/files/{name.removeprefix('file-')}"}}
    answer = client.post(
        "/gemini/v1beta/models/gemini-3-pro-image:generateContent",
        {"contents": [{"parts": [part, {"text": "blue"}]}]},
        content_type="application/json",
        headers=alice.headers(),
    )
    assert answer.status_code == 504, answer.content
    assert Reference.objects.count() == 2
    queue.run_to_the_end()


def test_what_is_past_its_days_is_forgotten(client: Client, alice: Any) -> None:
    now = datetime.now(UTC)
    _openai(client, alice, b"x")
    _openai(client, alice, b"y", **{"expires_after[seconds]": "3600"})
    started = _start(client, alice, 10)
    _piece(client, started, 0, b"1234567890", "upload")
    uploads.purge(now=now + timedelta(hours=2))
    assert Upload.objects.count() == 2
    uploads.purge(now=now + timedelta(hours=25))
    assert Upload.objects.count() == len(_stored()) == 1
    uploads.purge(now=now + timedelta(days=31))
    assert (Upload.objects.count(), _stored()) == (0, [])
