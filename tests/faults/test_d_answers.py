"""D: a whole answer that is not quite what was asked is delivered as it is and charged as it is, or not at all."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from generation import submission
from generation.contract import GenerationRequest, Refusal
from generation.models import Charge, Cost, Generation, Price
from tests.faults.pictures import Picture, delivered
from tests.faults.upstreams import OK, START_MICROS, UNKNOWN, Upstream

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("audited")]

PictureOf = Callable[[uuid.UUID], Picture]


def test_d11_1k_delivered_for_more_is_charged_as_1k(upstream: Upstream, rows: PictureOf) -> None:
    quote = upstream.quote(image_size=upstream.speaker.larger)
    price = upstream.price_micros
    upstream.play(upstream.fault("wrong-size"))
    made = upstream.make(image_size=upstream.speaker.larger)
    assert quote > price
    assert rows(made) == delivered([OK], price=price, quote=quote, available=START_MICROS)
    assert (Charge.objects.get().image_size, Charge.objects.get().quote_micros) == ("1K", quote)
    assert [(each.width, each.height) for each in upstream.pictures(made)] == [(1024, 1024)]
    assert upstream.hits == 1


def test_d12_of_two_pictures_the_last_is_delivered_and_one_is_charged(upstream: Upstream, rows: PictureOf) -> None:
    plain = upstream.make()
    upstream.play(upstream.fault("two-images"))
    made = upstream.make()
    assert rows(made) == upstream.delivered([OK])
    # The stand-in draws the same picture each time; of two it is the second.
    assert upstream.pictures(made)[0].sha256 == upstream.pictures(plain)[0].sha256
    assert upstream.hits == 2


def test_d12_fewer_pictures_than_asked_are_charged_as_delivered(upstream: Upstream, rows: PictureOf) -> None:
    price = upstream.price_micros
    upstream.play(None, upstream.fault("no-image"), None)
    found = rows(upstream.make(n=3))
    assert (found.status, found.charges) == ("succeeded", [price] * 2)
    assert sorted(found.outputs) == ["failed", "succeeded", "succeeded"]
    assert sorted(found.codes) == ["", "", "no_image"]
    assert sorted(found.holds) == ["captured", "captured", "released"]
    assert sorted(found.entries) == ["capture"] * 2 + ["hold"] * 3 + ["release"]
    assert (found.attempts, upstream.hits) == ([OK] * 3, 3)
    assert found.wallet == (START_MICROS - 2 * price, 0)


@pytest.mark.parametrize(
    ("name", "argument", "mime_type"),
    [
        ("wrong-mime", "image/jpeg", "image/png"),
        ("wrong-mime", "image/x-unheard-of", "image/png"),
        ("jpeg", "", "image/jpeg"),
    ],
)
def test_d11_the_bytes_decide_what_a_picture_is_and_not_its_label(
    upstream: Upstream, rows: PictureOf, settings: Any, name: str, argument: str, mime_type: str
) -> None:
    upstream.play(upstream.fault(name, argument))
    made = upstream.make()
    assert rows(made) == upstream.delivered([OK])
    stored = upstream.pictures(made)[0]
    assert stored.mime_type == mime_type
    with Image.open(Path(settings.STORAGES["default"]["OPTIONS"]["location"]) / stored.storage_name) as image:
        assert image.get_format_mimetype() == mime_type


def test_d11_what_calls_itself_no_picture_is_none(upstream: Upstream, rows: PictureOf) -> None:
    upstream.play(upstream.fault("wrong-mime", "text/html"))
    made = upstream.make()
    assert rows(made) == upstream.failed("no_image", [OK])
    assert upstream.hits == 1


@pytest.mark.parametrize("name", ["not-an-image", "broken-image"])
def test_d11_what_does_not_decode_is_neither_stored_nor_charged(
    upstream: Upstream, rows: PictureOf, settings: Any, name: str
) -> None:
    upstream.play(upstream.fault(name))
    made = upstream.make()
    assert rows(made) == upstream.delivered([UNKNOWN, OK])
    folder = Path(settings.STORAGES["default"]["OPTIONS"]["location"])
    assert len([each for each in folder.rglob("*") if each.is_file()]) == 1


def test_d18_an_unknown_model_and_one_without_a_price_are_refused_at_the_quote(upstream: Upstream) -> None:
    Price.objects.filter(image_model_id=upstream.speaker.other_model).delete()
    unpriced = {"model": upstream.speaker.other_model}
    for fields, code in (({"model": "gemini-9-pro-image"}, "model_not_found"), (unpriced, "price_not_set")):
        for door in (submission.quote, submission.accept):
            with pytest.raises(Refusal) as caught:
                door(
                    upstream.person.requester("live"),
                    GenerationRequest(prompt="a lighthouse", image_size="1K", **fields),
                    now=datetime.now(UTC),
                )
            assert (caught.value.kind, caught.value.code) == ("invalid", code)
    assert (Generation.objects.count(), upstream.queue.sent, upstream.hits) == (0, [], 0)


def test_d18_a_model_the_upstream_no_longer_knows_is_free(upstream: Upstream, rows: PictureOf) -> None:
    from generation.channels.models import Channel

    Channel.objects.filter(pk=upstream.channel.pk).update(
        upstream_models={upstream.speaker.model: "gemini-9-pro-image"}
    )
    made = upstream.make()
    assert rows(made) == upstream.failed("upstream_unavailable", [("error", "failed")] * 5)
    assert upstream.hits == 5


def test_d18_a_dearer_provider_is_the_houses_matter(upstream: Upstream, rows: PictureOf) -> None:
    before = upstream.make()
    cost = Cost.objects.get(channel_kind=upstream.kind, image_model=upstream.speaker.model, lane="standard")
    cost.pk, cost.valid_from = None, datetime.now(UTC)
    cost.image_output_micros_per_million_tokens *= 10
    cost.image_micros_by_size = {size: 10 * micros for size, micros in cost.image_micros_by_size.items()}
    cost.save()
    after = upstream.make()
    assert rows(after) == upstream.delivered([OK])
    assert upstream.cost_micros(after) > 5 * upstream.cost_micros(before)
