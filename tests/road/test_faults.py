"""Crashes, lost and doubled nudges, zombies: the rows end as if nothing had happened."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import DataError, OperationalError
from django.db.models.functions import Now

from accounts import crash_points
from accounts.ledger.models import Entry, Hold
from accounts.transactions import write_transaction
from generation import execution, settlement, submission, tasks
from generation.contract import Answer, ChannelError, GenerationRequest
from generation.execution import choosing, leases, receiving, results, road
from generation.models import Attempt, Charge, Generation, Media, Output

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("audited")]


def _accept(person: Any, prompt: str = "a lighthouse", **fields: Any) -> Output:
    accepted = submission.accept(person.requester(), GenerationRequest(prompt=prompt, **fields), now=datetime.now(UTC))
    return Output.objects.get(generation_id=accepted.generation_id, index=0)


def _expire(output: Output) -> None:
    Output.objects.filter(pk=output.pk).update(lease_until=Now() - timedelta(seconds=1))


def test_a_lost_nudge_is_sent_again(alice: Any, queue: Any) -> None:
    output = _accept(alice)
    queue.sent.clear()
    Output.objects.filter(pk=output.pk).update(nudged_at=datetime.now(UTC) - timedelta(seconds=11))
    tasks.sweep()
    assert queue.sent == [output.pk]
    queue.run()
    assert Charge.objects.count() == 1


def test_a_doubled_nudge_costs_one_failed_compare_and_set(alice: Any, queue: Any) -> None:
    output = _accept(alice)
    queue.sent = [output.pk] * 3
    queue.run()
    assert (Attempt.objects.count(), Charge.objects.count()) == (1, 1)


def test_an_ancient_or_unknown_nudge_is_a_no_op(alice: Any, queue: Any) -> None:
    queue.sent = [uuid.uuid4()]
    queue.run()
    assert Attempt.objects.count() == 0


def test_a_worker_that_dies_before_sending_costs_nothing(alice: Any, queue: Any) -> None:
    output = _accept(alice)
    _claim(output)
    tasks.sweep()
    output.refresh_from_db()
    assert output.state == "leased"
    _expire(output)
    queue.run_to_the_end()
    assert list(Attempt.objects.values_list("number", "status")) == [(1, "ok")]
    assert Charge.objects.count() == 1


def _claim(output: Output) -> leases.Lease:
    lease = leases.claim_alone(output.pk)
    assert lease is not None
    return lease


def _send(output: Output) -> tuple[leases.Lease, Attempt]:
    lease = _claim(output)
    output = Output.objects.select_related("generation__price__image_model", "generation__image_model").get(
        pk=output.pk
    )
    attempt = Attempt(
        output=output,
        number=output.attempts.count() + 1,
        channel=road.registry.candidates("test", "gemini-3-pro-image")[0],
        lease_number=lease.number,
        upstream_model="gemini-3-pro-image",
        prompt_hash="x",
        started_at=datetime.now(UTC),
    )
    assert leases.send(lease, attempt)
    return lease, attempt


def test_a_worker_that_dies_while_a_call_is_out_leaves_an_unknown(alice: Any, queue: Any) -> None:
    output = _accept(alice)
    _send(output)
    _expire(output)
    queue.run_to_the_end()
    assert list(Attempt.objects.order_by("number").values_list("status", flat=True)) == ["unknown", "ok"]
    assert Charge.objects.count() == 1


def test_three_dead_workers_end_the_output_for_free(alice: Any, queue: Any) -> None:
    output = _accept(alice)
    for _ in range(3):
        Output.objects.filter(pk=output.pk).update(next_run_at=Now())
        _send(output)
        _expire(output)
        tasks.sweep()
    output.refresh_from_db()
    assert (output.state, output.error_code) == ("failed", "upstream_no_answer")
    assert Hold.objects.get().state == "released"


def _first_attempt(output: Output, lease: leases.Lease) -> Attempt:
    """What a worker holding that lease would write before it calls."""
    return Attempt(
        output=Output.objects.get(pk=output.pk),
        number=1,
        channel=road.registry.candidates("test", "gemini-3-pro-image")[0],
        lease_number=lease.number,
        upstream_model="x",
        prompt_hash="x",
        started_at=datetime.now(UTC),
    )


def test_a_zombie_finds_the_fence_closed(alice: Any, queue: Any) -> None:
    output = _accept(alice)
    lease = _claim(output)
    _expire(output)
    tasks.sweep()
    other = _claim(output)
    assert leases.send(lease, _first_attempt(output, lease)) is False
    assert Attempt.objects.count() == 0
    with write_transaction():
        leases.requeue(other, seconds=0, now=datetime.now(UTC))
    queue.run_to_the_end()


def test_an_expired_lease_does_not_pass_the_fence(alice: Any, queue: Any) -> None:
    output = _accept(alice)
    lease = _claim(output)
    _expire(output)
    assert leases.send(lease, _first_attempt(output, lease)) is False
    queue.run_to_the_end()


def _drawn(output: Output) -> Answer:
    """A real answer of the sandbox for this output, as a worker that was slow would hold it."""
    channel = road.registry.candidates("test", "gemini-3-pro-image")[0]
    output = Output.objects.select_related("generation__price__image_model", "generation__image_model").get(
        pk=output.pk
    )
    with road.call_for(output, road.Road(channel, None, 1)) as call:
        return road._call(channel, call)


def test_a_late_answer_of_a_presumed_dead_worker_is_taken_and_the_second_call_is_not_charged(
    alice: Any, queue: Any
) -> None:
    """The first durable result wins: it is one image and one charge, whoever holds the lease."""
    output = _accept(alice)
    lease, attempt = _send(output)
    answer = _drawn(output)
    _expire(output)
    tasks.sweep()
    results.answered(lease, attempt, answer, now=datetime.now(UTC))
    queue.run_to_the_end()
    output.refresh_from_db()
    assert output.state == "succeeded"
    assert list(Attempt.objects.values_list("status", "is_delivered")) == [("ok", True)]
    assert (Charge.objects.count(), Media.objects.count()) == (1, 1)


def test_two_answers_for_one_output_are_one_charge(alice: Any, queue: Any) -> None:
    output = _accept(alice)
    lease, attempt = _send(output)
    answer = _drawn(output)
    _expire(output)
    tasks.sweep()
    second_lease, second = _send(output)
    results.answered(second_lease, second, _drawn(output), now=datetime.now(UTC))
    results.answered(lease, attempt, answer, now=datetime.now(UTC))
    assert (Charge.objects.count(), Media.objects.count()) == (1, 1)
    assert sorted(Attempt.objects.values_list("status", "is_delivered")) == [("ok", False), ("ok", True)]


@contextmanager
def _power_cut_while_settling() -> Iterator[None]:
    def cut(name: str) -> None:
        if name == "settle.settling":
            raise RuntimeError("power cut")

    unwatch = crash_points.watch(cut)
    try:
        yield
    finally:
        unwatch()


def test_a_settlement_whose_commit_was_not_heard_of_is_not_undone_by_its_repetition(
    alice: Any, queue: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = _accept(alice)
    real = settlement.deliver
    heard: list[bool] = []

    def deaf(deliveries: Any) -> list[bool]:
        answers = real(deliveries)
        if not heard:
            heard.append(True)
            raise OperationalError("server closed the connection unexpectedly")
        return answers

    monkeypatch.setattr(receiving._DELIVERIES, "_work", deaf)
    queue.run()
    output.refresh_from_db()
    assert output.state == "succeeded"
    assert list(Attempt.objects.values_list("status", "is_delivered")) == [("ok", True)]
    assert (Charge.objects.count(), Media.objects.count()) == (1, 1)


def _let_settle() -> None:
    """As if the patience with a settlement that was cut off had passed."""
    Media.objects.update(created_at=datetime.now(UTC) - timedelta(seconds=6))
    Output.objects.filter(state="received").update(lease_until=None)


def test_a_crash_between_storing_and_settling_settles_without_another_call(
    alice: Any, queue: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = _accept(alice)
    with _power_cut_while_settling():
        queue.run()
    output.refresh_from_db()
    assert output.state == "received"
    _let_settle()
    tasks.sweep()
    output.refresh_from_db()
    assert output.state == "succeeded"
    assert (Attempt.objects.count(), Charge.objects.count()) == (1, 1)


def test_a_crash_inside_the_settlement_rolls_back_and_settles_once(
    alice: Any, queue: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = _accept(alice)
    with _power_cut_while_settling():
        queue.run()
    output.refresh_from_db()
    assert (output.state, Charge.objects.count(), Hold.objects.get().state) == ("received", 0, "open")
    assert Entry.objects.filter(kind="capture").count() == 0
    _let_settle()
    tasks.sweep()
    output.refresh_from_db()
    assert (output.state, Charge.objects.count()) == ("succeeded", 1)


def test_a_lost_reference_file_ends_the_output_for_free(alice: Any, queue: Any) -> None:
    from django.core.files.storage import default_storage

    from generation.contract import ReferenceInput
    from tests.images import jpeg

    output = _accept(alice, references=(ReferenceInput(data=jpeg()),))
    default_storage.delete(output.generation.references.get().storage_name)
    queue.run()
    output.refresh_from_db()
    assert (output.state, output.error_code, Attempt.objects.count()) == ("failed", "internal_error", 0)
    assert Hold.objects.get().state == "released"


def test_a_disk_that_takes_no_image_is_an_unknown_and_then_a_free_failure(
    alice: Any, queue: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from generation import media

    output = _accept(alice)

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(media, "store", full)
    queue.run_to_the_end()
    output.refresh_from_db()
    assert (output.state, output.error_code) == ("failed", "upstream_no_answer")
    assert list(Attempt.objects.values_list("status", flat=True)) == ["unknown"] * 3
    assert Hold.objects.get().state == "released"


def test_one_row_that_cannot_be_mended_does_not_keep_the_others(
    alice: Any, queue: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = _accept(alice, "one"), _accept(alice, "two")
    with _power_cut_while_settling():
        queue.run()
    _let_settle()
    real = settlement.succeed

    def poisoned(output_id: uuid.UUID, **kwargs: Any) -> bool:
        if output_id == first.pk:
            raise RuntimeError("poison")
        return real(output_id, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(settlement, "succeed", poisoned)
        tasks.sweep()
    assert list(Charge.objects.values_list("output_id", flat=True)) == [second.pk]
    _let_settle()
    tasks.sweep()
    assert Charge.objects.count() == 2


def test_a_secret_that_cannot_be_opened_shuts_the_channel_and_not_the_road(alice: Any, queue: Any) -> None:
    from generation.channels.models import Channel

    broken = Channel.objects.create(name="sealed", kind="gemini", mode="test", priority=1, sealed_secret="k1:nonsense")
    output = _accept(alice)
    queue.run_to_the_end()
    output.refresh_from_db()
    broken.refresh_from_db()
    assert output.state == "succeeded"
    assert "cannot be opened" in broken.disabled_reason


def test_a_cancellation_that_meets_an_output_on_its_way_back_is_not_lost(
    alice: Any, queue: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = _accept(alice)
    lease, attempt = _send(output)
    real = leases.requeue

    def cancel_first(*args: Any, **kwargs: Any) -> bool:
        Output.objects.filter(pk=output.pk).update(is_cancel_requested=True)
        return real(*args, **kwargs)

    monkeypatch.setattr(results, "requeue", cancel_first)
    results.errored(lease, attempt, ChannelError("busy", "503", status=503), now=datetime.now(UTC))
    output.refresh_from_db()
    assert (output.state, Hold.objects.get().state) == ("canceled", "released")


def test_a_refusal_and_its_attempt_end_together(alice: Any, queue: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash between the two would call again, and pay again, for a prompt that was refused."""
    from generation.execution import receiving

    output = _accept(alice, "sandbox:refuse")

    def crash(*args: object, **kwargs: object) -> None:
        raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(receiving, "close_attempt", crash)
        queue.run()
    output.refresh_from_db()
    assert (output.state, Attempt.objects.get().status) == ("sent", "sent")
    _expire(output)
    queue.run_to_the_end()
    assert list(Attempt.objects.order_by("number").values_list("status", flat=True)) == ["unknown", "ok"]


def test_a_provider_that_asks_for_a_day_gets_five_minutes(alice: Any, queue: Any) -> None:
    output = _accept(alice)
    lease, attempt = _send(output)
    error = ChannelError("busy", "429", status=429, retry_after_seconds=86_400)
    results.errored(lease, attempt, error, now=datetime.now(UTC))
    output.refresh_from_db()
    assert output.next_run_at - datetime.now(UTC) <= timedelta(seconds=301)
    queue.run_to_the_end()


def test_text_a_database_does_not_take_is_cleaned(alice: Any, queue: Any) -> None:
    import dataclasses

    output = _accept(alice)
    lease, attempt = _send(output)
    answer = dataclasses.replace(
        _drawn(output), text="a\x00b\ud800c", search_suggestions="\x00", finish_reason="ST\x00OP"
    )
    results.answered(lease, attempt, answer, now=datetime.now(UTC))
    output.refresh_from_db()
    assert (output.state, output.text) == ("succeeded", "ab?c")


def test_a_size_the_operator_takes_away_still_settles_what_is_out(alice: Any, queue: Any) -> None:
    from generation.models import ImageModel

    output = _accept(alice, "sandbox:wrong-size")
    ImageModel.objects.filter(name="gemini-3-pro-image").update(sizes=["1K"])
    queue.run()
    output.refresh_from_db()
    assert output.state == "succeeded"


@pytest.mark.parametrize("needs_files", [True, False])
def test_a_fault_before_sending_ends_the_output_instead_of_looping(
    alice: Any, queue: Any, monkeypatch: pytest.MonkeyPatch, needs_files: bool
) -> None:
    monkeypatch.setattr(choosing, "needs_files", lambda _: needs_files)
    place = (road, "send") if needs_files else (choosing, "claim_and_send")
    output = _accept(alice)

    def fault(*args: object, **kwargs: object) -> None:
        raise DataError("value too long")

    monkeypatch.setattr(*place, fault)
    queue.run()
    output.refresh_from_db()
    assert (output.state, output.error_code, Hold.objects.get().state) == ("failed", "internal_error", "released")


def test_what_strands_again_and_again_ends_for_free(alice: Any, queue: Any) -> None:
    output = _accept(alice)
    for _ in range(5):
        Output.objects.filter(pk=output.pk).update(next_run_at=Now())
        _claim(output)
        _expire(output)
        tasks.sweep()
    output.refresh_from_db()
    assert (output.state, output.error_code, Hold.objects.get().state) == ("failed", "internal_error", "released")


def test_our_own_restarts_do_not_use_up_an_outputs_tries(alice: Any, queue: Any) -> None:
    output = _accept(alice)
    for _ in range(4):
        Output.objects.filter(pk=output.pk).update(next_run_at=Now())
        lease, attempt = _send(output)
        results.errored(lease, attempt, ChannelError("interrupted", "the process stops"), now=datetime.now(UTC))
    queue.run_to_the_end()
    output.refresh_from_db()
    assert output.state == "succeeded"
    assert Attempt.objects.filter(status="unknown").count() == 4


def test_there_is_an_end_to_all_tries(alice: Any, queue: Any) -> None:
    output = _accept(alice)
    for _ in range(20):
        Output.objects.filter(pk=output.pk).update(next_run_at=Now())
        lease, attempt = _send(output)
        results.errored(lease, attempt, ChannelError("interrupted", "the process stops"), now=datetime.now(UTC))
    queue.run_to_the_end()
    output.refresh_from_db()
    assert (output.state, output.error_code) == ("failed", "upstream_unavailable")


def test_a_forgotten_attempt_is_closed(alice: Any, queue: Any) -> None:
    output = _accept(alice)
    _, attempt = _send(output)
    with write_transaction():
        settlement.fail(output.pk, code="no_image", message="late", now=datetime.now(UTC))
    tasks.sweep()
    assert Attempt.objects.get(pk=attempt.pk).status == "sent"
    Attempt.objects.update(started_at=datetime(2026, 1, 1, tzinfo=UTC))
    tasks.sweep()
    assert Attempt.objects.get(pk=attempt.pk).status == "unknown"


def test_a_nudge_that_fails_does_not_undo_an_acceptance(
    alice: Any, queue: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from generation.submission import acceptance

    def fault(**kwargs: object) -> None:
        raise OperationalError("deadlock detected")

    with monkeypatch.context() as patch:
        patch.setattr(acceptance, "due", fault)
        output = _accept(alice)
    assert output.state == "queued"
    queue.run_to_the_end()


def test_many_cancellations_and_many_workers_do_not_wait_for_each_other(alice: Any, queue: Any) -> None:
    import threading

    from django.db import connection

    faults: list[Exception] = []
    for _ in range(4):
        generation = _accept(alice, "sandbox:refuse", n=8).generation
        ids = list(generation.outputs.values_list("pk", flat=True))

        def work(mine: list[uuid.UUID]) -> None:
            try:
                for each in mine:
                    execution.run(each)
            except Exception as fault:
                faults.append(fault)
            finally:
                connection.close()

        def cancel(target: Generation = generation) -> None:
            try:
                submission.cancel(alice.requester(), target.public_id, now=datetime.now(UTC))
            except Exception as fault:
                faults.append(fault)
            finally:
                connection.close()

        threads = [threading.Thread(target=work, args=(ids[start::3],)) for start in range(3)]
        threads.append(threading.Thread(target=cancel))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert faults == []
    queue.run_to_the_end()


def test_ten_sweepers_do_what_one_does(alice: Any, queue: Any) -> None:
    output = _accept(alice)
    _send(output)
    _expire(output)
    for _ in range(10):
        tasks.sweep()
    assert len(queue.sent) <= 2
    queue.run_to_the_end()
    assert Charge.objects.count() == 1


def test_a_cancellation_takes_effect_when_the_call_brings_nothing(alice: Any, queue: Any) -> None:
    output = _accept(alice)
    lease, attempt = _send(output)
    submission.cancel(alice.requester(), output.generation.public_id, now=datetime.now(UTC))
    results.errored(lease, attempt, ChannelError("busy", "503", status=503), now=datetime.now(UTC))
    output.refresh_from_db()
    assert (output.state, Hold.objects.get().state) == ("canceled", "released")


def test_the_running_cap_is_kept_and_accounts_take_turns(
    alice: Any, make_person: Any, queue: Any, settings: Any
) -> None:
    settings.NBP_ACCOUNT_RUNNING_CAP = 3
    carol = make_person("carol", test_micros=100_000_000)
    for _ in range(4):
        submission.accept(alice.requester(), GenerationRequest(prompt="a", n=2), now=datetime.now(UTC))
    assert len(queue.sent) == 3
    submission.accept(carol.requester(), GenerationRequest(prompt="b", n=2), now=datetime.now(UTC))
    assert len(queue.sent) == 5
    queue.run()
    assert Charge.objects.count() == 10
    assert set(Generation.objects.values_list("status", flat=True)) == {"succeeded"}


def test_a_second_channel_serves_when_the_first_is_shut(alice: Any, queue: Any) -> None:
    from generation.channels.models import Channel

    broken = Channel.objects.create(
        name="broken", kind="gemini", mode="test", priority=1, base_url="http://127.0.0.1:9"
    )
    broken.set_secret("key")
    broken.save()
    output = _accept(alice)
    queue.run_to_the_end()
    rows = list(Attempt.objects.order_by("number").values_list("channel__name", "status", "error_kind"))
    assert rows[-1] == ("sandbox", "ok", "")
    assert set(rows[:-1]) == {("broken", "error", "unreachable")}
    assert len(rows) == 6
    assert execution.run(output.pk) == []
