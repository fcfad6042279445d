"""E: thousands of images, some of which fail: the sums are right to the micro-dollar, and no transaction is long.

The ordinary run makes two thousand of them; NBP_TEST_IMAGE_COUNT=10000 makes ten thousand, or any other count of thousands.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import pytest
from django.db import connection, connections
from django.db.models import Count, Sum
from django.db.transaction import Atomic

from accounts.ledger.models import Entry, Hold
from generation import execution, submission
from generation.channels import registry
from generation.channels.adapter import Credentials
from generation.channels.models import Channel
from generation.contract import Answer, Call, ChannelError, GenerationRequest, Refusal, SpooledImage
from generation.models import Attempt, Charge, Generation, ImageModel, Output
from tests.images import png

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("audited"),
    pytest.mark.slow,
    pytest.mark.timeout(3600),
]

PRICE_MICROS = 147_400
WORKERS = 8
WAVES = int(os.environ.get("NBP_TEST_IMAGE_COUNT", "2000")) // 1000
# Of ten images of a request: six come at once, one at the second try, one never, and two are refused.
ENDS = {"ok": 7, "refused": 2, "unanswered": 1}


class Instant:
    """An adapter that answers at once, out of its own head."""

    kind, needs_secret = "gemini", True
    abilities, lanes = frozenset({"seed"}), frozenset({"standard"})

    async def generate(self, call: Call, _credentials: Credentials) -> Answer:
        place = call.index % 10
        if place == 9 or (place == 8 and call.attempt_number == 1):
            raise ChannelError("unknown", "no complete answer")
        if place in (3, 6):
            return Answer(finish="refused", finish_reason="SAFETY")
        call.spool.mkdir(parents=True, exist_ok=True)
        path, content = call.spool / f"{uuid.uuid4().hex}.image", png(24, 24)
        path.write_bytes(content)
        image = SpooledImage(path, "image/png", len(content), sha256(content).hexdigest())
        return Answer(finish="ok", finish_reason="STOP", image=image)


@dataclass
class Longest:
    """How many transactions there were, and the most statements that one of them took."""

    statement_count: int = 0
    transaction_count: int = 0
    _local: threading.local = field(default_factory=threading.local)

    def enter(self) -> None:
        self._local.count = 0

    def count(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        self._local.count = getattr(self._local, "count", 0) + 1
        return execute(sql, params, many, context)

    def leave(self) -> None:
        self.transaction_count += 1
        self.statement_count = max(self.statement_count, self._local.count)


@pytest.fixture
def longest(monkeypatch: pytest.MonkeyPatch) -> Iterator[Longest]:
    """Watches the outermost transaction of every thread."""
    found = Longest()
    enter, leave = Atomic.__enter__, Atomic.__exit__

    def watched_enter(self: Atomic) -> None:
        if not connections[self.using or "default"].in_atomic_block:
            found.enter()
        enter(self)

    def watched_leave(self: Atomic, *error: Any) -> None:
        leave(self, *error)
        if not connections[self.using or "default"].in_atomic_block:
            found.leave()

    monkeypatch.setattr(Atomic, "__enter__", watched_enter)
    monkeypatch.setattr(Atomic, "__exit__", watched_leave)
    return found


@pytest.fixture
def road(monkeypatch: pytest.MonkeyPatch, queue: Any) -> None:
    """A live channel that answers at once."""
    monkeypatch.setitem(registry.ADAPTERS, "gemini", Instant())
    channel = Channel(name="instant", kind="gemini", mode="live")
    channel.set_secret("AIzaSyTheSecretOfTheLiveChannel01234567")
    channel.save()


def _work_off(longest: Longest) -> None:
    """Eight workers with one sweeper, until nothing is unfinished."""

    def work(output_id: uuid.UUID) -> None:
        try:
            with connection.execute_wrapper(longest.count):
                execution.run(output_id)
        finally:
            connection.close()

    with ThreadPoolExecutor(WORKERS) as workers:
        while ids := list(Output.objects.filter(state="queued").values_list("pk", flat=True)):
            list(workers.map(work, ids))
            Channel.objects.update(cool_until=None, model_health={})


def test_e8_thousands_of_images_of_which_some_fail(
    make_person: Callable[..., Any], road: None, longest: Longest, settings: Any
) -> None:
    """Requests of ten images, the most that the model takes, in waves as large as an account's queue may be."""
    n, cap = ImageModel.objects.get(is_default=True).max_n, settings.NBP_ACCOUNT_QUEUE_CAP
    assert (n, cap) == (10, 1000)
    start = WAVES * cap * PRICE_MICROS
    requester = make_person("wholesale", live_micros=start).requester("live")
    for _ in range(WAVES):
        for _ in range(cap // n):
            submission.accept(requester, GenerationRequest(prompt="x", image_size="1K", n=n), now=datetime.now(UTC))
        with pytest.raises(Refusal) as caught:
            submission.accept(requester, GenerationRequest(prompt="x"), now=datetime.now(UTC))
        assert caught.value.code == "too_many_unfinished"
        _work_off(longest)
    _prove(start, total=WAVES * cap)
    print(longest)
    assert longest.transaction_count > 0
    assert longest.statement_count < 100, longest


def test_e8_a_thousand_images_of_one_request(
    make_person: Callable[..., Any], road: None, longest: Longest, settings: Any
) -> None:
    """The most a request may ever ask for, where the operator has a model take it: still short transactions."""
    ImageModel.objects.filter(is_default=True).update(max_n=1000)
    start = 1000 * PRICE_MICROS
    requester = make_person("wholesale", live_micros=start).requester("live")
    with connection.execute_wrapper(longest.count):
        submission.accept(requester, GenerationRequest(prompt="x", image_size="1K", n=1000), now=datetime.now(UTC))
    _work_off(longest)
    _prove(start, total=1000)
    print(longest)
    assert longest.transaction_count > 0
    assert longest.statement_count < 300, longest


def _prove(start: int, *, total: int) -> None:
    """Sums taken from every table there is agree with what the upstream did."""
    tenth = total // 10
    delivered = ENDS["ok"] * tenth
    sold = delivered * PRICE_MICROS
    outputs = Counter(Output.objects.values_list("state", "error_code"))
    assert outputs == {
        ("succeeded", ""): delivered,
        ("failed", "content_refused"): ENDS["refused"] * tenth,
        ("failed", "upstream_no_answer"): ENDS["unanswered"] * tenth,
    }
    assert Counter(Hold.objects.values_list("state", flat=True)) == {
        "captured": delivered,
        "released": total - delivered,
    }
    kinds = (
        Entry.objects.filter(hold__isnull=False).values("kind").annotate(count=Count("pk"), sum=Sum("amount_micros"))
    )
    assert {each["kind"]: (each["count"], each["sum"]) for each in kinds} == {
        "hold": (total, total * PRICE_MICROS),
        "capture": (delivered, sold),
        "release": (total - delivered, (total - delivered) * PRICE_MICROS),
    }
    assert Charge.objects.aggregate(sum=Sum("price_micros"), count=Count("pk")) == {"sum": sold, "count": delivered}
    generations = Generation.objects.aggregate(price=Sum("price_micros"), open=Sum("open_count"), n=Sum("n"))
    assert generations == {"price": sold, "open": 0, "n": total}
    attempts = {"ok": delivered + ENDS["refused"] * tenth, "unknown": tenth + 3 * tenth}
    assert Counter(Attempt.objects.values_list("status", flat=True)) == attempts
    wallet = Entry.objects.latest("sequence").wallet
    assert (wallet.available_micros, wallet.held_micros) == (start - sold, 0)
