"""Batches at OpenAI's door and at Gemini's: handed in once, made as there is room, read together, charged per image."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import OperationalError
from django.db.models.functions import Now
from django.test import Client
from django.utils import timezone

from accounts.models import Account
from generation import batches, execution, media
from generation.batches import creation, feeding, readings
from generation.models import Batch, BatchItem, Charge, Generation, IdempotencyKey, Media, Output
from tests import images
from tests.api.conftest import streamed
from tests.conftest import limited

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("audited")]
IMAGES, CHAT = "/v1/images/generations", "/v1/chat/completions"
MODEL = "gemini-3-pro-image"


@pytest.fixture
def client(transactional_db: None) -> Client:
    return Client()


def _line(name: str, prompt: str = "a fox", url: str = IMAGES, **body: Any) -> dict[str, Any]:
    return {"custom_id": name, "method": "POST", "url": url, "body": {"model": MODEL, "prompt": prompt, **body}}


def _text(lines: list[Any]) -> bytes:
    return "\n".join(each if isinstance(each, str) else json.dumps(each) for each in lines).encode()


class OpenAI:
    """OpenAI's door as its clients use it."""

    def __init__(self, client: Client, person: Any) -> None:
        self._client = client
        self.headers = person.headers()

    def send_file(self, data: bytes, purpose: str = "batch") -> str:
        part = SimpleUploadedFile("in.jsonl", data)
        form = {"purpose": purpose, "file": part}
        return str(self._client.post("/openai/v1/files", form, headers=self.headers).json()["id"])

    def create(self, lines: list[Any] | str, url: str = IMAGES, headers: Any = None, **more: Any) -> Any:
        name = lines if isinstance(lines, str) else self.send_file(_text(lines))
        body = {"input_file_id": name, "endpoint": url, "completion_window": "24h", **more}
        return self._client.post(
            "/openai/v1/batches", body, content_type="application/json", headers=self.headers | (headers or {})
        )

    def get(self, path: str) -> Any:
        return self._client.get(f"/openai/v1/{path}", headers=self.headers)

    def batch(self, name: str) -> Any:
        return self.get(f"batches/{name}").json()

    def cancel(self, name: str) -> Any:
        return self._client.post(f"/openai/v1/batches/{name}/cancel", headers=self.headers).json()

    def lines(self, file: str) -> list[Any]:
        return [json.loads(each) for each in streamed(self.get(f"files/{file}/content")).splitlines()]


@pytest.fixture
def openai(client: Client, alice: Any) -> OpenAI:
    return OpenAI(client, alice)


@pytest.fixture
def work(queue: Any) -> Callable[[], None]:
    """Workers and batches go on until nothing is left to do."""

    def run() -> None:
        for _ in range(100):
            batches.advance(now=datetime.now(UTC))
            queue.run_to_the_end()
            BatchItem.objects.filter(state="pending").update(try_at=Now())
            Batch.objects.update(try_at=None)
            if not Batch.objects.filter(ended_at=None).exists():
                return
        raise AssertionError("a batch does not end")

    return run


def _stored() -> list[str]:
    folder = Path(default_storage.path("batches"))
    return [path.name for path in folder.rglob("*") if path.is_file()] if folder.exists() else []


def test_a_batch_of_images_from_file_to_file(openai: OpenAI, alice: Any, work: Any) -> None:
    asked = [_line("one"), _line("two", n=2), _line("bad", size="7x7"), _line("no", "[sandbox:refuse] x"), ""]
    made = openai.create(asked, metadata={"job": "nightly"}).json()
    assert (made["object"], made["status"], made["endpoint"]) == ("batch", "in_progress", IMAGES)
    assert (made["metadata"], made["output_file_id"], made["expires_at"] - made["created_at"]) == (
        {"job": "nightly"},
        None,
        86400,
    )
    work()
    done = openai.batch(made["id"])
    assert (done["status"], done["request_counts"]) == ("completed", {"total": 4, "completed": 2, "failed": 2})
    outputs = openai.lines(done["output_file_id"])
    assert [each["custom_id"] for each in outputs] == ["one", "two"]
    assert [len(each["response"]["body"]["data"]) for each in outputs] == [1, 2]
    png = base64.b64decode(outputs[0]["response"]["body"]["data"][0]["b64_json"])
    assert png == media.read(Media.objects.order_by("pk")[0].storage_name)
    wrong, refused = openai.lines(done["error_file_id"])
    assert (wrong["response"]["status_code"], wrong["response"]["body"]["error"]["param"]) == (400, "size")
    assert (refused["response"]["status_code"], refused["response"]["body"]["error"]["code"]) == (
        400,
        "moderation_blocked",
    )
    assert Charge.objects.count() == 3
    assert set(Generation.objects.values_list("lane", flat=True)) == {"batch"}
    assert set(Output.objects.values_list("lane", flat=True)) == {"batch"}
    assert _stored() == [], "the requests that waited are forgotten"
    file = openai.get(f"files/{done['output_file_id']}").json()
    length = len(streamed(openai.get(f"files/{done['output_file_id']}/content")))
    assert (file["bytes"], file["purpose"]) == (length, "batch_output")


def test_lines_for_every_endpoint(openai: OpenAI, work: Any) -> None:
    picture = f"data:image/png;base64,{base64.b64encode(images.png()).decode()}"
    chat = {"model": MODEL, "messages": [{"role": "user", "content": "a fox"}]}
    bodies = {
        CHAT: chat,
        "/v1/responses": {"model": MODEL, "input": "a fox"},
        "/v1/images/edits": {"model": MODEL, "prompt": "bluer", "images": [{"image_url": picture}]},
        IMAGES: {"model": MODEL, "prompt": "a fox", "output_format": "jpeg"},
    }
    made = {
        url: openai.create([{"custom_id": "x", "method": "POST", "url": url, "body": body}], url).json()["id"]
        for url, body in bodies.items()
    }
    work()
    answers = {}
    for url, name in made.items():
        (line,) = openai.lines(openai.batch(name)["output_file_id"])
        answers[url] = line["response"]["body"]
    assert answers[CHAT]["choices"][0]["message"]["images"][0]["image_url"]["url"].startswith("data:image/png;base64,")
    assert any(each["type"] == "image_generation_call" for each in answers["/v1/responses"]["output"])
    assert answers["/v1/images/edits"]["data"][0]["b64_json"]
    assert base64.b64decode(answers[IMAGES]["data"][0]["b64_json"])[:2] == b"\xff\xd8"
    assert Generation.objects.filter(references__isnull=False).count() == 1


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("{not json", "invalid_json"),
        ("[1]", "invalid_json_line"),
        ({"custom_id": "b", "method": "GET", "url": IMAGES, "body": {}}, "invalid_method"),
        ({"custom_id": "b", "method": "POST", "url": CHAT, "body": {}}, "invalid_url"),
        ({"custom_id": "b", "method": "POST", "url": IMAGES}, "missing_required_parameter"),
        ({"method": "POST", "url": IMAGES, "body": {}}, "missing_required_parameter"),
        (_line("a"), "duplicate_custom_id"),
    ],
)
def test_a_line_that_is_none_fails_the_whole_batch(openai: OpenAI, line: Any, code: str) -> None:
    made = openai.create([_line("a"), line]).json()
    assert (made["status"], made["errors"]["data"][0]["code"], made["errors"]["data"][0]["line"]) == ("failed", code, 2)
    assert made["failed_at"] is not None
    assert (BatchItem.objects.count(), Generation.objects.count(), _stored()) == (0, 0, [])


def test_an_empty_file_and_one_with_too_many_requests_fail(openai: OpenAI, settings: Any) -> None:
    settings.NBP_BATCH_MAX_ITEMS = 2
    assert openai.create(["", " "]).json()["errors"]["data"][0]["code"] == "empty_batch"
    made = openai.create([_line(str(each)) for each in range(3)]).json()
    assert made["errors"]["data"][0]["code"] == "too_many_requests"
    assert BatchItem.objects.count() == 0


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"endpoint": "/v1/embeddings"}, "endpoint"),
        ({"completion_window": "1h"}, "completion_window"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"fun": 1}, "fun"),
    ],
)
def test_wrong_fields_are_named(openai: OpenAI, more: Any, param: str) -> None:
    response = openai.create([_line("a")], **more)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


def test_only_files_for_batches_and_only_ones_own(openai: OpenAI, client: Client, bob: Any) -> None:
    other = openai.send_file(b"x", purpose="vision")
    assert openai.create(other).json()["error"]["param"] == "input_file_id"
    assert openai.create("file-nothing").status_code == 404
    made = openai.create([_line("a")]).json()["id"]
    stranger = OpenAI(client, bob)
    assert stranger.create(openai.send_file(_text([_line("a")]))).status_code == 404
    assert stranger.get(f"batches/{made}").status_code == 404
    assert stranger.get("batches").json()["data"] == []
    assert client.post(f"/openai/v1/batches/{made}/cancel", headers=stranger.headers).status_code == 404
    assert Batch.objects.get().status == "in_progress"


def test_results_are_there_when_it_has_ended_and_for_its_owner(
    openai: OpenAI, client: Client, bob: Any, work: Any
) -> None:
    made = openai.create([_line("a")]).json()["id"]
    name = f"file-results-{made.partition('_')[2]}"
    assert openai.get(f"files/{name}/content").status_code == 404
    work()
    assert openai.batch(made)["error_file_id"] is None
    assert openai.get(f"files/{name}/content").status_code == 200
    assert openai.get(f"files/{name.replace('results', 'errors')}/content").status_code == 404
    assert OpenAI(client, bob).get(f"files/{name}/content").status_code == 404


def test_an_image_that_is_gone_is_said_in_its_line(openai: OpenAI, work: Any, monkeypatch: Any) -> None:
    made = openai.create([_line("a"), _line("b")]).json()["id"]
    work()
    lost = Media.objects.order_by("pk")[0].storage_name
    monkeypatch.setattr(media, "is_whole", lambda file: file.name != lost)
    gone, there = openai.lines(openai.batch(made)["output_file_id"])
    assert (gone["response"]["status_code"], gone["response"]["body"]["error"]["code"]) == (410, "image_gone")
    assert there["response"]["status_code"] == 200


def test_pages_of_batches(openai: OpenAI) -> None:
    name = openai.send_file(_text([_line("a")]))
    made = [openai.create(name, metadata={"n": str(number)}).json()["id"] for number in range(3)]
    page = openai.get("batches?limit=2").json()
    assert ([each["id"] for each in page["data"]], page["has_more"]) == ([made[2], made[1]], True)
    rest = openai.get(f"batches?limit=2&after={page['last_id']}").json()
    assert ([each["id"] for each in rest["data"]], rest["has_more"]) == ([made[0]], False)


# Money and places.


def test_what_the_wallet_does_not_cover_fails_by_name(client: Client, make_person: Any, work: Any) -> None:
    price = 73_700  # In a batch it is half.
    openai = OpenAI(client, make_person("carol", test_micros=2 * price + 1))
    made = openai.create([_line(str(each), image_size="2K") for each in range(4)]).json()["id"]
    work()
    done = openai.batch(made)
    assert done["request_counts"] == {"total": 4, "completed": 2, "failed": 2}
    errors = openai.lines(done["error_file_id"])
    assert {each["response"]["body"]["error"]["code"] for each in errors} == {"insufficient_quota"}
    assert Charge.objects.count() == 2


def test_half_of_the_places_are_left_to_those_who_wait(openai: OpenAI, alice: Any, queue: Any) -> None:
    Account.objects.filter(pk=alice.account.pk).update(running_cap=6)
    openai.create([_line(str(each)) for each in range(10)])
    for _ in range(3):
        batches.advance(now=datetime.now(UTC))
    assert Output.objects.filter(lane="batch").count() == 3
    queue.run_to_the_end()
    batches.advance(now=datetime.now(UTC))
    assert Output.objects.filter(lane="batch").count() == 6


def test_the_batch_lane_runs_last(openai: OpenAI, client: Client, alice: Any, queue: Any) -> None:
    openai.create([_line("a"), _line("b")])
    batches.advance(now=datetime.now(UTC))
    sync = {"content-type": "application/json", **openai.headers}
    for _ in range(2):
        answer = client.post("/api/v1/generations", {"prompt": "x"}, content_type="application/json", headers=sync)
        assert answer.status_code == 202, answer.content
    queue.sent.clear()
    Output.objects.update(nudged_at=None)
    lanes = [Output.objects.get(pk=pk).lane for pk in execution.sweep(now=datetime.now(UTC))]
    assert lanes == ["standard", "standard", "batch", "batch"]


def test_a_full_queue_and_a_channel_that_is_out_only_delay(openai: OpenAI, settings: Any, work: Any) -> None:
    settings.NBP_ACCOUNT_QUEUE_CAP = 1
    made = openai.create([_line(str(each)) for each in range(3)]).json()["id"]
    work()
    assert openai.batch(made)["request_counts"] == {"total": 3, "completed": 3, "failed": 0}


def test_a_key_revoked_meanwhile_makes_nothing_more(openai: OpenAI, alice: Any, bob: Any, work: Any) -> None:
    openai.create([_line("a")])
    limited(alice, revoked_at=timezone.now())
    work()
    assert BatchItem.objects.get().error["code"] == "api_key_revoked"
    assert Charge.objects.count() == 0


# Sent again, and stopped in between.


def test_a_resend_is_the_same_batch_and_an_order_again_is_another(openai: OpenAI, work: Any) -> None:
    name = openai.send_file(_text([_line("a")]))
    first = openai.create(name).json()["id"]
    again = {"x-stainless-retry-count": "1"}
    assert openai.create(name, headers=again).json()["id"] == first
    assert openai.create(name, headers=again, metadata={"a": "b"}).json()["id"] != first
    batches.delivered(Batch.objects.order_by("pk")[0].pk)
    assert openai.create(name).json()["id"] != first
    work()
    assert Charge.objects.count() == 3


def test_an_answer_that_nobody_took_is_given_again(openai: OpenAI, monkeypatch: Any) -> None:
    monkeypatch.setattr(batches, "left", lambda _: None)
    name = openai.send_file(_text([_line("a")]))
    first, second = openai.create(name).json()["id"], openai.create(name).json()["id"]
    assert first != second, "both may still be connected"
    for row in Batch.objects.all():
        readings.left(row.pk)
    assert {openai.create(name).json()["id"] for _ in range(2)} == {first, second}
    assert openai.create(name).json()["id"] not in (first, second)
    Batch.objects.update(started_at=timezone.now() - timedelta(minutes=1), created_at=timezone.now())
    assert openai.create(name).json()["id"] in {row.public_id for row in Batch.objects.all()}, "its process has died"
    assert Batch.objects.count() == 3


def test_an_idempotency_key_replays(openai: OpenAI) -> None:
    name = openai.send_file(_text([_line("a")]))
    key = {"idempotency-key": "one"}
    first = openai.create(name, headers=key).json()["id"]
    batches.delivered(Batch.objects.get().pk)
    assert openai.create(name, headers=key).json()["id"] == first
    assert openai.create(name, headers=key, metadata={"a": "b"}).status_code == 422
    assert Batch.objects.count() == 1


def test_a_process_that_died_between_acceptance_and_its_note_buys_nothing_twice(
    openai: OpenAI, work: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = openai.create([_line("a"), _line("b")]).json()["id"]
    through = feeding._through_the_door

    def die(*args: Any) -> Any:
        through(*args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(feeding, "_through_the_door", die)
        batches.advance(now=datetime.now(UTC))
    assert Generation.objects.count() == 1
    assert not BatchItem.objects.exclude(generation=None).exists()
    # The same request would be another one today.
    IdempotencyKey.objects.update(request_sha256="0" * 64)
    work()
    assert openai.batch(made)["request_counts"]["completed"] == 2
    assert Generation.objects.count() == Charge.objects.count() == 2


def test_what_was_accepted_and_not_noted_is_cancelled_with_its_batch(
    openai: OpenAI, work: Any, monkeypatch: Any
) -> None:
    made = openai.create([_line("a")]).json()["id"]
    with monkeypatch.context() as patch:
        patch.setattr(feeding, "_note", lambda *_, **__: None)
        batches.advance(now=datetime.now(UTC))
    assert Generation.objects.count() == 1
    BatchItem.objects.update(try_at=Now())
    openai.cancel(made)
    batches.advance(now=datetime.now(UTC))
    item = BatchItem.objects.get()
    assert (item.state, item.generation_id) == ("accepted", Generation.objects.get().pk)
    assert (Generation.objects.get().status, openai.batch(made)["status"]) == ("canceled", "cancelled")


def test_an_item_that_cannot_be_accepted_fails_alone(openai: OpenAI, work: Any, monkeypatch: Any) -> None:
    made = openai.create([_line("a"), _line("b")]).json()["id"]
    accept = feeding.submission.accept

    def broken(*args: Any, **more: Any) -> Any:
        if more["idempotency_key"].endswith(":0"):
            raise RuntimeError("broken")
        return accept(*args, **more)

    monkeypatch.setattr(feeding.submission, "accept", broken)
    work()
    done = openai.batch(made)
    assert done["request_counts"] == {"total": 2, "completed": 1, "failed": 1}
    assert openai.lines(done["error_file_id"])[0]["response"]["status_code"] == 500


def test_an_account_whose_images_come_slowly_waits_ten_times_as_long(openai: OpenAI, monkeypatch: Any) -> None:
    openai.create([_line("a"), _line("b")])
    openai.create([_line("c")])
    monkeypatch.setattr(feeding, "_SLOW_SECONDS", 0.0)
    batches.advance(now=datetime.now(UTC))
    batches.advance(now=datetime.now(UTC))
    assert Generation.objects.count() == 2, "what was looked at in the first round is done"
    assert Batch.objects.filter(try_at__gt=timezone.now()).count() == 2


def test_what_asks_for_more_than_there_is_fails_by_name(openai: OpenAI, alice: Any, work: Any) -> None:
    limited(alice, concurrency=2)
    made = openai.create([_line("a"), _line("b", n=3)]).json()["id"]
    work()
    assert openai.batch(made)["request_counts"] == {"total": 2, "completed": 1, "failed": 1}
    assert BatchItem.objects.get(name="b").error["code"] == "concurrency_limit"


@pytest.mark.parametrize("text", ["\x00", "\ud800"])
def test_texts_that_no_database_takes_are_refused(openai: OpenAI, gemini: Gemini, work: Any, text: str) -> None:
    made = openai.create([_line("a"), _line("b", **{f"field{text}": 1})]).json()
    assert made["status"] == "in_progress"
    assert openai.create([{**_line("a"), f"field{text}": 1}]).json()["status"] == "failed"
    assert openai.create([_line("a")], metadata={text: "x"}).status_code == 400
    source = _inline("a fox")
    source["requests"]["requests"][0]["metadata"] = {"key": text}
    assert gemini.create(**source).status_code == 400
    source = _inline("a fox")
    source["requests"]["requests"][0]["request"]["labels"] = {"key": text}
    assert gemini.create(**source).status_code == 200
    responses = {"model": MODEL, "input": "x", "metadata": {text: "x"}}
    line = {"custom_id": "x", "method": "POST", "url": "/v1/responses", "body": responses}
    assert openai.create([line], "/v1/responses").status_code == 200
    work()
    assert BatchItem.objects.filter(state="refused").count() == 3


@pytest.mark.parametrize("limit", ["0", "101", "0019", "00019999999999999999999", "9" * 5000, "x"])
def test_pages_have_a_sensible_size(openai: OpenAI, limit: str) -> None:
    assert openai.get(f"batches?limit={limit}").status_code == 400


def test_two_processes_share_the_items(openai: OpenAI, work: Any) -> None:
    openai.create([_line(str(each)) for each in range(4)])
    batch = Batch.objects.select_related("account", "api_key").get()
    claimed = [feeding._claim(batch) for _ in range(5)]
    assert [each and each.index for each in claimed] == [0, 1, 2, 3, None]


def test_a_process_that_died_while_it_read_leaves_a_batch_that_fails(openai: OpenAI, monkeypatch: Any) -> None:
    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(creation, "_store", die)
        openai.create([_line("a"), _line("b", size="7x7")])
    name = Batch.objects.get().public_id
    batches.advance(now=datetime.now(UTC))
    assert openai.batch(name)["status"] == "validating"
    batches.advance(now=datetime.now(UTC) + timedelta(minutes=11))
    failed = openai.batch(name)
    assert (failed["status"], failed["errors"]["data"][0]["code"]) == ("failed", "internal_error")
    assert (failed["error_file_id"], BatchItem.objects.count()) == (None, 0)


def test_what_cannot_be_stored_leaves_nothing(openai: OpenAI, monkeypatch: Any) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    name = openai.send_file(_text([_line("a")]))
    with monkeypatch.context() as patch:
        patch.setattr(creation.media, "store", full)
        assert openai.create(name).status_code == 503
    assert (Batch.objects.count(), BatchItem.objects.count()) == (0, 0)
    assert openai.create(name).status_code == 200


def test_an_account_has_so_many_open_batches(openai: OpenAI, monkeypatch: Any) -> None:
    monkeypatch.setattr(creation, "MAX_OPEN", 1)
    openai.create([_line("a")])
    response = openai.create([_line("b")])
    assert (response.status_code, response.json()["error"]["code"]) == (429, "too_many_batches")


def test_a_batch_taken_in_although_nobody_heard_of_it_goes_on(openai: OpenAI, work: Any, monkeypatch: Any) -> None:
    fill = creation._fill

    def lost(*args: Any) -> None:
        fill(*args)
        raise OperationalError("the connection was lost after the commit")

    name = openai.send_file(_text([_line("a")]))
    with monkeypatch.context() as patch:
        patch.setattr(creation, "_fill", lost)
        assert openai.create(name).status_code == 503
    assert openai.create(name, headers={"x-stainless-retry-count": "1"}).json()["status"] == "in_progress"
    work()
    assert (Batch.objects.count(), Charge.objects.count()) == (1, 1)


# Given up.


def test_cancelled_what_has_not_begun_is_left_and_what_runs_is_cancelled(
    openai: OpenAI, alice: Any, queue: Any, work: Any
) -> None:
    Account.objects.filter(pk=alice.account.pk).update(running_cap=4)
    made = openai.create([_line(str(each)) for each in range(5)]).json()["id"]
    batches.advance(now=datetime.now(UTC))
    execution.run(queue.sent.pop(0))
    assert openai.cancel(made)["status"] == "cancelling"
    work()
    done = openai.batch(made)
    assert (done["status"], done["request_counts"]) == ("cancelled", {"total": 5, "completed": 1, "failed": 1})
    errors = openai.lines(done["error_file_id"])
    assert [each["error"] and each["error"]["code"] for each in errors] == [None, *["batch_cancelled"] * 3]
    assert errors[0]["response"]["body"]["error"]["code"] == "canceled"
    assert Charge.objects.count() == 1
    assert openai.cancel(made)["status"] == "cancelled", "it stays as it ended"


def test_after_a_day_what_has_not_begun_expires(openai: OpenAI, work: Any, monkeypatch: Any) -> None:
    made = openai.create([_line("a")]).json()["id"]
    Batch.objects.update(expires_at=timezone.now())
    batches.advance(now=datetime.now(UTC))
    work()
    done = openai.batch(made)
    assert (done["status"], done["expired_at"] is not None) == ("expired", True)
    (line,) = openai.lines(done["error_file_id"])
    assert (line["response"], line["error"]["code"]) == (None, "batch_expired")
    assert Generation.objects.count() == 0


def test_an_item_in_the_midst_of_acceptance_is_waited_for(openai: OpenAI) -> None:
    made = openai.create([_line("a")]).json()["id"]
    batch = Batch.objects.select_related("account", "api_key").get()
    item = feeding._claim(batch)
    assert item is not None
    openai.cancel(made)
    batches.advance(now=datetime.now(UTC))
    assert openai.batch(made)["status"] == "cancelling"
    assert feeding._claim(batch) is None, "nothing of a batch that was given up is claimed"
    feeding._accept(item)
    for _ in range(2):
        batches.advance(now=datetime.now(UTC))
    assert openai.batch(made)["status"] == "cancelled"
    assert Generation.objects.get().status == "canceled"


def test_one_batch_that_cannot_go_on_does_not_hold_up_the_others(openai: OpenAI, monkeypatch: Any, work: Any) -> None:
    bad, good = (openai.create([_line(name)]).json()["id"] for name in ("a", "b"))
    claim = feeding._claim
    first = Batch.objects.order_by("pk")[0].pk

    def fail(batch: Batch) -> Any:
        if batch.pk == first:
            raise RuntimeError("broken")
        return claim(batch)

    with monkeypatch.context() as patch:
        patch.setattr(feeding, "_claim", fail)
        batches.advance(now=datetime.now(UTC))
    assert Generation.objects.count() == 1
    work()
    assert [openai.batch(each)["status"] for each in (bad, good)] == ["completed", "completed"]


def test_after_thirty_days_a_batch_is_forgotten_and_its_images_stay(openai: OpenAI, work: Any) -> None:
    made = openai.create([_line("a")]).json()["id"]
    work()
    Path(default_storage.path(creation.storage_name(Batch.objects.get().pk))).write_text("left behind by a crash")
    batches.purge(now=datetime.now(UTC) + timedelta(days=29))
    assert Batch.objects.count() == 1
    batches.purge(now=datetime.now(UTC) + timedelta(days=31))
    assert (Batch.objects.count(), BatchItem.objects.count(), Media.objects.count(), _stored()) == (0, 0, 1, [])
    assert openai.get(f"batches/{made}").status_code == 404


# Gemini's door.


class Gemini:
    """Gemini's door as its clients use it."""

    def __init__(self, client: Client, person: Any) -> None:
        self._client = client
        self.headers = {"x-goog-api-key": person.keys["test"].raw}

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        data = json.dumps(body).encode() if body is not None else b""
        return self._client.generic(
            method, f"/gemini/v1beta/{path}", data, content_type="application/json", headers=self.headers
        )

    def create(self, **source: Any) -> Any:
        body = {"batch": {"displayName": "nightly", "inputConfig": source}}
        return self.ask("POST", f"models/{MODEL}:batchGenerateContent", body)

    def get(self, path: str) -> Any:
        return json.loads(streamed(self.ask("GET", path)))


@pytest.fixture
def gemini(client: Client, alice: Any) -> Gemini:
    return Gemini(client, alice)


def _asked(prompt: str, **more: Any) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": [{"text": prompt}]}], **more}


def _inline(*prompts: str) -> dict[str, Any]:
    each = [{"request": _asked(prompt), "metadata": {"key": f"k_{index}"}} for index, prompt in enumerate(prompts)]
    return {"requests": {"requests": each}}


def test_requests_inline_come_back_in_their_order(gemini: Gemini, work: Any) -> None:
    bad = {"request": _asked("x", generationConfig={"candidateCount": 9}), "metadata": {"my_own": {"snake_case": 1}}}
    source = _inline("a fox", "[sandbox:refuse] x", "a hare")
    source["requests"]["requests"].append(bad)
    made = gemini.create(**source).json()
    assert (made["metadata"]["state"], made["metadata"]["batchStats"]["requestCount"]) == ("BATCH_STATE_RUNNING", "4")
    assert "done" not in made
    work()
    done = gemini.get(made["name"])
    assert (done["done"], done["metadata"]["state"]) == (True, "BATCH_STATE_SUCCEEDED")
    results = done["metadata"]["output"]["inlinedResponses"]["inlinedResponses"]
    assert done["response"]["inlinedResponses"]["inlinedResponses"] == results
    assert [each.get("metadata") for each in results] == [
        {"key": "k_0"},
        {"key": "k_1"},
        {"key": "k_2"},
        {"my_own": {"snake_case": 1}},
    ]
    parts = results[0]["response"]["candidates"][0]["content"]["parts"]
    stored = media.read(Media.objects.order_by("pk")[0].storage_name)
    assert base64.b64decode(parts[-1]["inlineData"]["data"]) == stored
    assert results[1]["response"]["promptFeedback"]["blockReason"] == "PROHIBITED_CONTENT"
    assert results[3]["error"]["code"] == 3
    assert "candidateCount" in results[3]["error"]["message"]
    assert Charge.objects.count() == 2


def _upload(client: Client, gemini: Gemini, data: bytes) -> str:
    headers = gemini.headers | {
        "x-goog-upload-protocol": "resumable",
        "x-goog-upload-command": "start",
        "x-goog-upload-header-content-length": str(len(data)),
    }
    started = client.post(
        "/gemini/upload/v1beta/files", {"file": {"mimeType": "jsonl"}}, content_type="application/json", headers=headers
    )
    address = started["x-goog-upload-url"].partition("http://testserver")[2]
    headers = {"x-goog-upload-command": "upload, finalize", "x-goog-upload-offset": "0"}
    done = client.generic("POST", address, data, content_type="application/json", headers=headers)
    return str(done.json()["file"]["name"])


def test_requests_of_a_file_come_back_as_a_file(gemini: Gemini, client: Client, work: Any) -> None:
    lines = [
        {"key": "one", "request": _asked("a fox", generation_config={"response_modalities": ["TEXT", "IMAGE"]})},
        {"key": "two", "request": {"model": "models/nothing", **_asked("a fox")}},
        {"key": "three", "request": _asked("sandbox:rejected a fox")},
    ]
    name = _upload(client, gemini, _text(lines))
    made = gemini.create(fileName=name).json()
    assert gemini.ask("GET", f"files/results-{made['name'].partition('/')[2]}").status_code == 404
    work()
    done = gemini.get(made["name"])
    results = done["metadata"]["output"]["responsesFile"]
    content = streamed(gemini.ask("GET", f"{results}:download?alt=media"))
    answers = [json.loads(each) for each in content.splitlines()]
    assert [each["key"] for each in answers] == ["one", "two", "three"]
    assert answers[0]["response"]["candidates"][0]["content"]["parts"]
    assert answers[1]["error"] == {"code": 5, "message": answers[1]["error"]["message"]}
    assert (answers[2]["error"]["code"], "upstream_rejected" in answers[2]["error"]["message"]) == (3, True)
    shown = gemini.get(results)
    assert (shown["sizeBytes"], shown["source"]) == (str(len(content)), "GENERATED")


@pytest.mark.parametrize("data", [b"{no", b"[1]", b'{"key": "x"}', b'{"key": "x", "request": {}, "more": 1}', b""])
def test_a_file_that_cannot_be_read_is_refused_whole(gemini: Gemini, client: Client, data: bytes) -> None:
    name = _upload(client, gemini, _text([{"key": "a", "request": _asked("a fox")}]) + b"\n" + data if data else b"\n")
    response = gemini.create(fileName=name)
    assert (response.status_code, response.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert not Batch.objects.exclude(status="failed").exists()
    assert BatchItem.objects.count() == 0


def test_many_requests_are_sent_as_a_file(gemini: Gemini) -> None:
    assert gemini.create(**_inline(*["a fox"] * 201)).status_code == 400
    assert Batch.objects.count() == 0


def test_a_batch_of_geminis_is_listed_cancelled_and_removed(gemini: Gemini, openai: OpenAI, work: Any) -> None:
    names = [gemini.create(**_inline(f"fox {number}")).json()["name"] for number in range(3)]
    openai.create([_line("a")])
    page = gemini.get("batches?pageSize=2")
    assert [each["name"] for each in page["operations"]] == [names[2], names[1]]
    rest = gemini.get(f"batches?pageSize=2&pageToken={page['nextPageToken']}")
    assert [each["name"] for each in rest["operations"]] == [names[0]]
    assert gemini.ask("POST", f"{names[0]}:cancel", {}).json() == {}
    work()
    done = gemini.get(names[0])
    assert done["metadata"]["state"] == "BATCH_STATE_CANCELLED"
    assert done["metadata"]["output"]["inlinedResponses"]["inlinedResponses"][0]["error"]["code"] == 1
    assert gemini.ask("DELETE", names[0], {}).json() == {}
    assert gemini.ask("GET", names[0]).status_code == 404
    assert gemini.ask("GET", "batches/nothing").status_code == 404
    assert Charge.objects.count() == 3


def test_the_same_request_again_is_another_batch_once_it_was_answered(gemini: Gemini) -> None:
    first = gemini.create(**_inline("a fox")).json()["name"]
    Batch.objects.update(started_at=timezone.now() - timedelta(minutes=1), created_at=timezone.now())
    assert gemini.create(**_inline("a fox")).json()["name"] == first
    assert gemini.create(**_inline("a hare")).json()["name"] != first
    for row in Batch.objects.all():
        batches.delivered(row.pk)
    assert gemini.create(**_inline("a fox")).json()["name"] != first
