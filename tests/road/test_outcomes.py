"""Every prompt ends in an image charged once, or in a named failure that costs nothing. Sandbox channel, real rows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import DatabaseError, transaction

from accounts.ledger.models import Entry, Hold, Wallet
from accounts.transactions import write_transaction
from generation import media, submission
from generation.contract import GenerationRequest
from generation.models import Attempt, Charge, Generation, Media, Output

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("audited")]
START = 100_000_000
PRICE = 147_400


def _accept(person: Any, prompt: str, *, mode: str = "test", key: str = "", **fields: Any) -> Generation:
    accepted = submission.accept(
        person.requester(mode), GenerationRequest(prompt=prompt, **fields), now=datetime.now(UTC), idempotency_key=key
    )
    return Generation.objects.get(pk=accepted.generation_id)


def _wallet(person: Any) -> Wallet:
    return Wallet.objects.get(account=person.account, mode="test")


def test_an_image_is_stored_and_charged_once(alice: Any, queue: Any) -> None:
    generation = _accept(alice, "A nano banana on marble")
    assert _wallet(alice).held_micros == PRICE
    queue.run()
    generation.refresh_from_db()
    output = generation.outputs.get()
    stored = Media.objects.get(output=output)
    charge = Charge.objects.get(output=output)
    assert (generation.status, output.state, output.price_micros) == ("succeeded", "succeeded", PRICE)
    assert (stored.width, stored.height, stored.mime_type) == (2048, 2048, "image/png")
    assert media.sha256_of(stored.storage_name) == stored.sha256 == charge.media_sha256
    assert (charge.price_micros, charge.entry.kind, charge.entry.amount_micros) == (PRICE, "capture", PRICE)
    assert _wallet(alice).available_micros == START - PRICE
    assert Hold.objects.get(output_id=output.pk).state == "captured"
    assert list(output.attempts.values_list("number", "status", "is_delivered")) == [(1, "ok", True)]


def test_running_it_again_changes_nothing(alice: Any, queue: Any) -> None:
    from generation import execution, settlement

    generation = _accept(alice, "twice")
    queue.run()
    before = list(Entry.objects.values_list("pk", flat=True))
    output = generation.outputs.get()
    assert execution.run(output.pk) == []
    assert settlement.succeed(output.pk, now=datetime.now(UTC)) is False
    with write_transaction():
        assert settlement.fail(output.pk, code="x", message="x", now=datetime.now(UTC)) is False
    assert list(Entry.objects.values_list("pk", flat=True)) == before


def test_several_images_are_several_outputs(alice: Any, queue: Any) -> None:
    generation = _accept(alice, "four of them", n=4, image_size="1K")
    queue.run()
    generation.refresh_from_db()
    assert (generation.status, generation.price_micros) == ("succeeded", 4 * PRICE)
    hashes = set(Media.objects.values_list("sha256", flat=True))
    assert len(hashes) == 4
    assert Charge.objects.count() == 4


# prompt, error code, attempts by status
FAILURES = [
    ("sandbox:refuse", "content_refused", ["ok"]),
    ("sandbox:no-image", "no_image", ["ok"]),
    ("sandbox:429", "upstream_unavailable", ["error"] * 5),
    ("sandbox:503", "upstream_unavailable", ["error"] * 5),
    ("sandbox:500", "upstream_unavailable", ["error"] * 5),
    ("sandbox:unauthorized", "upstream_unavailable", ["error"] * 5),
    ("sandbox:rejected", "upstream_rejected", ["error"]),
    ("sandbox:truncated", "upstream_no_answer", ["unknown"] * 3),
    ("sandbox:lost", "upstream_no_answer", ["unknown"] * 3),
    ("sandbox:garbage", "upstream_no_answer", ["unknown"] * 3),
]


@pytest.mark.parametrize(("prompt", "code", "attempts"), FAILURES, ids=[each[0] for each in FAILURES])
def test_a_failure_has_a_name_and_costs_nothing(
    alice: Any, queue: Any, prompt: str, code: str, attempts: list[str]
) -> None:
    generation = _accept(alice, f"{prompt} please")
    queue.run_to_the_end()
    generation.refresh_from_db()
    output = generation.outputs.get()
    assert (generation.status, output.state, output.error_code) == ("failed", "failed", code)
    assert output.error_message
    assert list(output.attempts.order_by("number").values_list("status", flat=True)) == attempts
    assert Hold.objects.get(output_id=output.pk).state == "released"
    assert _wallet(alice).available_micros == START
    assert Charge.objects.count() == 0


@pytest.mark.parametrize("fault", ["429", "503", "500", "truncated", "lost"])
def test_a_passing_fault_is_outlived_and_charged_once(alice: Any, queue: Any, fault: str) -> None:
    generation = _accept(alice, f"sandbox:{fault}:2 then fine")
    queue.run_to_the_end()
    generation.refresh_from_db()
    assert (generation.status, generation.price_micros) == ("succeeded", PRICE)
    assert Attempt.objects.count() == 3
    assert Charge.objects.count() == 1


def test_partial_success_is_success_with_failed_outputs(alice: Any, queue: Any) -> None:
    good = _accept(alice, "fine", n=2)
    Generation.objects.filter(pk=good.pk).update(prompt="fine")
    first, second = good.outputs.order_by("index")
    from generation import execution, settlement

    execution.run(first.pk)
    with write_transaction():
        settlement.fail(second.pk, code="no_image", message="none", now=datetime.now(UTC))
    good.refresh_from_db()
    assert (good.status, good.succeeded_count, good.failed_count, good.price_micros) == ("succeeded", 1, 1, PRICE)


def test_less_than_asked_is_charged_as_delivered(alice: Any, queue: Any) -> None:
    generation = _accept(alice, "sandbox:wrong-size", image_size="4K")
    assert generation.quote_micros == 264_000
    queue.run()
    output = generation.outputs.get()
    assert (output.price_micros, Charge.objects.get().image_size, output.media.width) == (PRICE, "1K", 1024)
    assert _wallet(alice).available_micros == START - PRICE


def test_drafts_are_neither_delivered_nor_charged(alice: Any, queue: Any) -> None:
    _accept(alice, "sandbox:drafts")
    queue.run()
    assert (Media.objects.count(), Charge.objects.count()) == (1, 1)


def test_grounding_is_charged_when_used(alice: Any, queue: Any) -> None:
    generation = _accept(alice, "weather in Berlin", search_grounding=True)
    queue.run()
    output = generation.outputs.get()
    assert output.price_micros == generation.quote_micros == 162_800
    assert output.sources
    assert output.search_suggestions


def test_an_edit_continues_the_earlier_turn(alice: Any, queue: Any) -> None:
    first = _accept(alice, "a red car")
    queue.run()
    output = first.outputs.get()
    second = _accept(alice, "make it blue", previous=output.public_id)
    assert (second.history_depth, second.input_image_count) == (1, 1)
    assert second.quote_micros == 148_610
    queue.run()
    third = _accept(alice, "and at night", previous=second.public_id)
    assert (third.history_depth, third.input_image_count, third.aspect_ratio) == (2, 2, "1:1")
    queue.run()
    third.refresh_from_db()
    assert third.status == "succeeded"


def test_a_queued_output_can_be_canceled(alice: Any, queue: Any) -> None:
    generation = _accept(alice, "never mind", n=2)
    submission.cancel(alice.requester(), generation.public_id, now=datetime.now(UTC))
    queue.run()
    generation.refresh_from_db()
    assert (generation.status, Attempt.objects.count()) == ("canceled", 0)
    assert _wallet(alice).available_micros == START


def test_what_is_out_still_settles_after_a_cancel(alice: Any, queue: Any) -> None:
    generation = _accept(alice, "sandbox:503 later")
    queue.run()
    output = generation.outputs.get()
    assert output.state == "queued"
    Output.objects.filter(pk=output.pk).update(state="sent")
    submission.cancel(alice.requester(), generation.public_id, now=datetime.now(UTC))
    output.refresh_from_db()
    assert (output.state, output.is_cancel_requested) == ("sent", True)


def test_the_price_of_the_moment_of_acceptance_counts(alice: Any, queue: Any) -> None:
    from generation.models import Price

    generation = _accept(alice, "before the rise")
    Price.objects.create(
        image_model_id="gemini-3-pro-image", image_size="2K", valid_from=datetime.now(UTC), image_micros=900_000
    )
    queue.run()
    assert generation.outputs.get().price_micros == PRICE
    assert _accept(alice, "after the rise").quote_micros == 990_000


def test_a_price_of_nothing_makes_no_hold_and_a_charge_of_nothing(alice: Any, queue: Any) -> None:
    from generation.models import Price

    Price.objects.filter(image_size="2K").update(image_micros=0)
    generation = _accept(alice, "free")
    queue.run()
    charge = Charge.objects.get()
    assert (generation.quote_micros, charge.price_micros, charge.entry) == (0, 0, None)
    assert Hold.objects.count() == 0


@pytest.mark.parametrize(
    "attack",
    [
        lambda output: Charge.objects.update(price_micros=1),
        lambda output: Charge.objects.all()._raw_delete("default"),
        lambda output: Output.objects.filter(pk=output.pk).update(state="queued", price_micros=None),
        lambda output: Output.objects.filter(pk=output.pk).update(price_micros=1),
        lambda output: Output.objects.filter(pk=output.pk).update(quote_micros=10**9),
        lambda output: Output.objects.filter(pk=output.pk)._raw_delete("default"),
        lambda output: Charge.objects.create(
            **{
                name: getattr(Charge.objects.get(), name)
                for name in (
                    "output_id",
                    "account_id",
                    "mode",
                    "image_model_id",
                    "channel_id",
                    "price_id",
                    "image_size",
                    "reference_count",
                    "quote_micros",
                    "price_micros",
                    "cost_micros",
                    "media_sha256",
                    "created_at",
                )
            }
        ),
    ],
    ids=["change a charge", "delete a charge", "reopen", "reprice", "requote", "delete an output", "charge twice"],
)
def test_the_database_keeps_what_has_ended(alice: Any, queue: Any, attack: Any) -> None:
    generation = _accept(alice, "final")
    queue.run()
    with pytest.raises(DatabaseError), transaction.atomic():
        attack(generation.outputs.get())


def test_a_live_channel_never_serves_a_test_output(alice: Any, queue: Any) -> None:
    from generation.channels.models import Channel

    generation = _accept(alice, "test only")
    live = Channel.objects.create(name="live", kind="sandbox", mode="live")
    with pytest.raises(DatabaseError), transaction.atomic():
        Attempt.objects.create(
            output=generation.outputs.get(),
            number=1,
            channel=live,
            lease_number=1,
            upstream_model="x",
            prompt_hash="x",
            started_at=datetime.now(UTC),
        )
    queue.run()
    assert Attempt.objects.get().channel.mode == "test"
