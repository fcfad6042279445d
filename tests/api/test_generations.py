"""The contract of POST and GET /api/v1/generations."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.test import Client
from PIL import Image

from accounts.ledger.models import Wallet
from generation.models import Generation

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("audited")]


def test_a_create_answers_202_and_then_the_image(api: Any, alice: Any, queue: Any) -> None:
    response = api(alice, "POST", "generations", {"prompt": "A nano banana"})
    data = response.json()
    assert response.status_code == 202
    assert response["Location"] == f"/api/v1/generations/{data['id']}"
    assert (data["status"], data["model"], data["image_size"], data["aspect_ratio"], data["n"]) == (
        "queued",
        "gemini-3-pro-image",
        "2K",
        "1:1",
        1,
    )
    assert data["id"].startswith("gen_")
    queue.run()
    done = api(alice, "GET", f"generations/{data['id']}").json()
    output = done["outputs"][0]
    assert (done["status"], done["price_micros"], done["quote_micros"]) == ("succeeded", 147_400, 147_400)
    assert output["id"].startswith("out_")
    assert (output["width"], output["height"], output["mime_type"], output["price_micros"]) == (
        2048,
        2048,
        "image/png",
        147_400,
    )
    assert set(output) >= {
        "id",
        "status",
        "url",
        "mime_type",
        "width",
        "height",
        "text",
        "sources",
        "usage",
        "price_micros",
        "attempts",
        "error",
    }
    assert set(output["attempts"][0]) == {"number", "channel", "status", "started_at", "finished_at"}


def test_the_image_comes_by_link_and_by_key(api: Any, alice: Any, bob: Any, queue: Any, body_of: Any) -> None:
    made = api(alice, "POST", "generations", {"prompt": "x", "image_size": "1K", "aspect_ratio": "16:9"}).json()
    queue.run()
    output = api(alice, "GET", f"generations/{made['id']}").json()["outputs"][0]
    link = output["url"].removeprefix("http://testserver")
    by_link = Client().get(link)
    image = Image.open(io.BytesIO(body_of(by_link)))
    assert (by_link.status_code, image.size, by_link["Content-Type"]) == (200, (1344, 768), "image/png")
    assert "sandbox" in by_link["Content-Security-Policy"]
    by_key = api(alice, "GET", f"outputs/{output['id']}/content")
    assert len(body_of(by_key)) == output["byte_count"]
    assert Client().get(link[:-4] + "beef").status_code == 403
    assert Client().get(link.replace("expires=1", "expires=2")).status_code == 403
    assert Client().get(link.split("?")[0]).status_code == 403
    assert api(bob, "GET", f"outputs/{output['id']}/content").status_code == 404
    assert api(alice, "GET", f"outputs/{output['id']}/content", mode="live").status_code == 404


def test_test_and_live_never_see_each_other(api: Any, alice: Any, bob: Any, queue: Any) -> None:
    made = api(alice, "POST", "generations", {"prompt": "x"}).json()
    assert api(alice, "GET", f"generations/{made['id']}", mode="live").status_code == 404
    assert api(bob, "GET", f"generations/{made['id']}").status_code == 404
    assert api(bob, "POST", f"generations/{made['id']}/cancel").status_code == 404
    assert api(bob, "GET", f"generations/{made['id']}/events").status_code == 404
    assert api(alice, "GET", "generations", mode="live").json()["data"] == []
    assert api(bob, "POST", "generations", {"prompt": "x", "previous": made["id"]}).status_code == 400
    queue.run()


def test_lists_are_paged(api: Any, alice: Any, queue: Any) -> None:
    ids = [api(alice, "POST", "generations", {"prompt": f"{number}"}).json()["id"] for number in range(5)]
    first = api(alice, "GET", "generations?limit=2").json()
    assert ([each["id"] for each in first["data"]], first["has_more"]) == ([ids[4], ids[3]], True)
    second = api(alice, "GET", f"generations?limit=2&cursor={first['next_cursor']}").json()
    third = api(alice, "GET", f"generations?limit=2&cursor={second['next_cursor']}").json()
    assert [each["id"] for each in second["data"] + third["data"]] == [ids[2], ids[1], ids[0]]
    assert (third["has_more"], third["next_cursor"]) == (False, None)
    for bad in ("limit=0", "limit=101", "limit=x", "cursor=gen_x"):
        assert api(alice, "GET", f"generations?{bad}").status_code == 400
    queue.run()


def test_cancel_gives_the_money_back(api: Any, alice: Any, queue: Any) -> None:
    made = api(alice, "POST", "generations", {"prompt": "x"}).json()
    canceled = api(alice, "POST", f"generations/{made['id']}/cancel").json()
    assert (canceled["status"], canceled["outputs"][0]["status"]) == ("canceled", "canceled")
    assert Wallet.objects.get(account=alice.account, mode="test").available_micros == 100_000_000


def test_multipart_carries_files(api: Any, alice: Any, queue: Any) -> None:
    photo = io.BytesIO()
    Image.effect_noise((640, 360), 60).convert("RGB").save(photo, "JPEG")
    photo.seek(0)
    photo.name = "cat.jpg"
    response = Client().post(
        "/api/v1/generations",
        {
            "prompt": "the same cat, painted",
            "n": "1",
            "image_size": "1K",
            "search_grounding": "false",
            "cat": photo,
            "references": '[{"file": "cat", "role": "subject", "name": "Mitzi"}]',
            "tags": '["a"]',
        },
        headers=alice.headers(),
    )
    data = response.json()
    assert (response.status_code, data["aspect_ratio"], data["quote_micros"], data["tags"]) == (
        202,
        "16:9",
        148_610,
        ["a"],
    )
    row = Generation.objects.get().references.get()
    assert (row.role, row.name, row.width, row.mime_type) == ("subject", "Mitzi", 640, "image/jpeg")
    queue.run()


def test_an_alias_leads_to_its_model_with_a_warning(api: Any, alice: Any, queue: Any) -> None:
    data = api(alice, "POST", "generations", {"prompt": "x", "model": "gemini-3-pro-image-preview"}).json()
    assert data["model"] == "gemini-3-pro-image"
    assert [each["code"] for each in data["warnings"]] == ["model_alias"]
    assert "shut down" in data["warnings"][0]["message"]
    queue.run()


def test_every_size_and_model_with_a_price_is_served(api: Any, alice: Any, queue: Any) -> None:
    models = api(alice, "GET", "models").json()["data"]
    assert models[0]["id"] == "gemini-3-pro-image"
    for model in models:
        for price in model["prices"]:
            body = {"prompt": "x", "model": model["id"], "image_size": price["image_size"], "lane": price["lane"]}
            response = api(alice, "POST", "generations", body)
            assert response.status_code == 202, response.content
            assert response.json()["quote_micros"] == price["image_micros"]
    queue.run()


def test_quotes_write_nothing_and_agree_with_the_create(api: Any, alice: Any, queue: Any) -> None:
    body = {"prompt": "一只香蕉 " * 800, "n": 3, "image_size": "4K", "search_grounding": True}
    quote = api(alice, "POST", "quotes", body).json()
    assert Generation.objects.count() == 0
    assert quote["quote_micros"] == 3 * quote["per_image_micros"]
    assert api(alice, "POST", "generations", body).json()["quote_micros"] == quote["quote_micros"]
    queue.run()


def test_money_reads(api: Any, alice: Any, queue: Any) -> None:
    api(alice, "POST", "generations", {"prompt": "x"})
    queue.run()
    wallet = api(alice, "GET", "wallet").json()
    assert (wallet["mode"], wallet["available_micros"], wallet["held_micros"]) == ("test", 99_852_600, 0)
    entries = api(alice, "GET", "ledger").json()["data"]
    assert [each["kind"] for each in entries] == ["capture", "hold", "grant"]
    assert entries[0]["output"].startswith("out_")
    assert set(entries[0]) >= {
        "id",
        "kind",
        "amount_micros",
        "available_after_micros",
        "held_after_micros",
        "output",
        "created_at",
    }
    page = api(alice, "GET", "ledger?limit=2").json()
    rest = api(alice, "GET", f"ledger?limit=2&cursor={page['next_cursor']}").json()
    assert [each["kind"] for each in rest["data"]] == ["grant"]
    for group_by, group in (("model", "gemini-3-pro-image"), ("key", alice.keys["test"].api_key.public_id)):
        usage = api(alice, "GET", f"usage?group_by={group_by}").json()["data"]
        without_cache = {"hit_count": 0, "miss_count": 0, "saved_micros": 0}
        assert usage == [{"group": group, "image_count": 1, "price_micros": 147_400, **without_cache}]
    assert len(api(alice, "GET", "usage").json()["data"]) == 1
    assert api(alice, "GET", "usage?since=yesterday").status_code == 400


def test_events_tell_each_state_and_end(api: Any, alice: Any, queue: Any, body_of: Any) -> None:
    made = api(alice, "POST", "generations", {"prompt": "x"}).json()
    queue.run()
    response = api(alice, "GET", f"generations/{made['id']}/events")
    text = body_of(response).decode()
    assert response["Content-Type"] == "text/event-stream"
    assert text.startswith("event: generation\ndata: {")
    assert '"status":"succeeded"' in text


@pytest.mark.parametrize("accept", ["text/event-stream", "image/*", "text/html", "nonsense"])
def test_whatever_a_client_accepts_it_gets_the_answer(api: Any, alice: Any, queue: Any, accept: str) -> None:
    made = api(alice, "POST", "generations", {"prompt": "x", "image_size": "1K"}, headers={"accept": accept}).json()
    queue.run()
    output = api(alice, "GET", f"generations/{made['id']}", headers={"accept": accept}).json()["outputs"][0]
    assert api(alice, "GET", f"generations/{made['id']}/events", headers={"accept": accept}).status_code == 200
    assert (
        api(alice, "GET", f"outputs/{output['id']}/content", headers={"accept": accept})["Content-Type"] == "image/png"
    )


def test_unknown_routes_answer_in_the_doors_format(api: Any, alice: Any) -> None:
    response = api(alice, "GET", "nothing/here")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")
    assert api(alice, "DELETE", "generations").status_code == 405


def test_answers_carry_request_id_and_rate_limit(api: Any, alice: Any, settings: Any) -> None:
    from accounts.models import ApiKey

    ApiKey.objects.filter(pk=alice.keys["test"].api_key.pk).update(requests_per_minute=3)
    first = api(alice, "GET", "wallet")
    assert first["X-Request-Id"].startswith("req_")
    assert (first["X-RateLimit-Limit-Requests"], first["X-RateLimit-Remaining-Requests"]) == ("3", "2")
    api(alice, "GET", "wallet")
    api(alice, "GET", "wallet")
    refused = api(alice, "GET", "wallet")
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert 1 <= int(refused["Retry-After"]) <= 60
    assert refused.json()["error"]["request_id"] == refused["X-Request-Id"]
