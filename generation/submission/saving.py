"""Transaction A: a request's rows, hold and idempotency key, all or none. Requests that come together share one."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.db.models.functions import Now

from accounts import crash_points
from accounts.authentication import Requester
from accounts.group_commit import GroupCommit
from accounts.ledger import operations
from accounts.ledger.budgets import BudgetExceeded
from accounts.ledger.limits import SpendingLimitExceeded
from accounts.money import usd
from accounts.row_writes import insert_each
from accounts.transactions import repeatable, write_transaction
from generation.contract import Refusal
from generation.models import Generation, IdempotencyKey, Output, Reference
from generation.submission.caching import Kept
from generation.submission.load import Load


@dataclass(frozen=True, slots=True)
class Draft:
    """A request that passed every check but that of the money."""

    requester: Requester
    generation: Generation
    references: Sequence[Reference] = ()
    idempotency_key: str = ""
    kept: Kept = field(default_factory=Kept)

    @property
    def per_image_micros(self) -> int:
        return self.generation.quote_micros // self.generation.n


@dataclass(frozen=True, slots=True)
class Saved:
    """The outputs, and those to nudge at once, if it is sure that all of them may run; else somebody has to look."""

    outputs: Sequence[Output]
    nudged: tuple[uuid.UUID, ...] = ()

    @property
    def is_nudged(self) -> bool:
        return bool(self.nudged)


@dataclass(frozen=True, slots=True)
class Repeated:
    """Not saved: the generation that the same idempotency key belongs to since a moment ago."""

    generation_id: uuid.UUID


Answer = Saved | Repeated | Refusal


def save(draft: Draft) -> Answer:
    """Save a request, together with others that come at the same time."""
    return _SAVES.do(draft)


@repeatable
def save_many(drafts: Sequence[Draft]) -> list[Answer]:
    """Save several requests; those that are refused leave nothing behind."""
    now = drafts[0].generation.created_at
    with write_transaction():
        batch = _Batch(drafts)
        answers = [batch.add(draft) for draft in drafts]
        batch.write(now=now)
        crash_points.reached("accept.saving")
    return answers


_SAVES = GroupCommit(save_many, max_size=32)


class _Batch:
    """Requests on their way into one transaction. Wallets are locked first: so of two requests of an account neither
    the last money, nor the last place, nor an idempotency key can be had twice."""

    def __init__(self, drafts: Sequence[Draft]) -> None:
        self._holds = operations.HoldBatch([(each.generation.account_id, each.generation.mode) for each in drafts])
        self._keys = _known_keys(drafts)
        self._load = Load([each.generation for each in drafts])
        self._kept: list[tuple[Draft, list[Output]]] = []
        self._contents: dict[tuple[uuid.UUID, str, str, int], uuid.UUID | None] = {}
        self._shared_keys: list[IdempotencyKey] = []

    def add(self, draft: Draft) -> Answer:
        """What becomes of a draft. One that is refused leaves nothing behind."""
        key = _key_of(draft)
        if key in self._keys:
            return Repeated(self._keys[key])
        shared = self._shared(draft)
        if shared is not None:
            return self._repeated(draft, shared)
        outputs = list(_outputs(draft))
        try:
            self._load.check(draft.generation, draft.requester.api_key)
            self._hold(draft, outputs)
        except Refusal as refusal:
            return refusal
        if draft.idempotency_key:
            self._keys[key] = draft.generation.pk
        self._kept.append((draft, outputs))
        if draft.kept.max_age is not None and not draft.kept.is_hit:
            asked = draft.generation
            self._contents[asked.account_id, asked.mode, asked.content_sha256, asked.n] = asked.pk
        return self._saved(draft, outputs)

    def _shared(self, draft: Draft) -> uuid.UUID | None:
        """The generation of the same content that is being made for the account, if the request may share it."""
        kept, asked = draft.kept, draft.generation
        if kept.max_age is None or kept.is_hit:
            return None
        content = (asked.account_id, asked.mode, asked.content_sha256, asked.n)
        if content not in self._contents:
            running = Generation.objects.filter(
                account=asked.account_id,
                mode=asked.mode,
                content_sha256=asked.content_sha256,
                n=asked.n,
                finished_at=None,
                created_at__gte=asked.created_at - kept.max_age,
            )
            self._contents[content] = running.order_by("-pk").values_list("pk", flat=True).first()
        return self._contents[content]

    def _repeated(self, draft: Draft, generation_id: uuid.UUID) -> Repeated:
        """A key that comes with a shared request belongs to what is shared."""
        if draft.idempotency_key:
            self._keys[_key_of(draft)] = generation_id
            self._shared_keys.append(_key_row(draft, generation_id))
        return Repeated(generation_id)

    def _hold(self, draft: Draft, outputs: Sequence[Output]) -> None:
        generation, amount = draft.generation, draft.per_image_micros
        try:
            self._holds.add(
                account_id=generation.account_id,
                mode=generation.mode,
                amounts={output.pk: amount for output in outputs} if amount else {},
                api_key=draft.requester.api_key,
                now=generation.created_at,
            )
        except BudgetExceeded:
            message = "This API key's budget does not cover this request."
            raise Refusal("payment", "budget_exceeded", message) from None
        except SpendingLimitExceeded:
            message = "This account's spending limit for the month does not cover this request."
            raise Refusal("payment", "spending_limit_exceeded", message) from None
        except operations.WalletNotActive:
            message = f"The {generation.mode} wallet of this account is frozen. Ask the operator of this service."
            raise Refusal("payment", "wallet_frozen", message) from None
        except operations.InsufficientFunds:
            raise insufficient(draft.requester, amount * generation.n) from None

    def _saved(self, draft: Draft, outputs: Sequence[Output]) -> Saved:
        self._load.add(draft.generation)
        if not self._load.may_run(draft.generation):
            return Saved(outputs)
        for output in outputs:
            output.nudged_at = Now()
        return Saved(outputs, tuple(output.pk for output in outputs))

    def write(self, *, now: datetime) -> None:
        drafts = [draft for draft, _ in self._kept]
        insert_each(draft.generation for draft in drafts)
        insert_each(_key_row(draft, draft.generation.pk) for draft in drafts if draft.idempotency_key)
        insert_each(self._shared_keys)
        insert_each(output for _, outputs in self._kept for output in outputs)
        insert_each(reference for draft in drafts for reference in draft.references)
        self._holds.write(now=now)


_Key = tuple[uuid.UUID, str, str]


def _key_of(draft: Draft) -> _Key:
    return draft.generation.account_id, draft.generation.mode, draft.idempotency_key


def _known_keys(drafts: Sequence[Draft]) -> dict[_Key, uuid.UUID]:
    asked = [_key_of(draft) for draft in drafts if draft.idempotency_key]
    if not asked:
        return {}
    rows = IdempotencyKey.objects.filter(
        account_id__in=[each[0] for each in asked], key__in=[each[2] for each in asked]
    )
    return {(row.account_id, row.mode, row.key): row.generation_id for row in rows}


def _key_row(draft: Draft, generation_id: uuid.UUID) -> IdempotencyKey:
    account_id, mode, key = _key_of(draft)
    return IdempotencyKey(
        account_id=account_id,
        mode=mode,
        key=key,
        request_sha256=draft.generation.request_sha256,
        generation_id=generation_id,
        created_at=draft.generation.created_at,
    )


def _outputs(draft: Draft) -> Iterator[Output]:
    generation = draft.generation
    for index in range(generation.n):
        yield Output(
            generation=generation,
            account_id=generation.account_id,
            api_key_id=generation.api_key_id,
            mode=generation.mode,
            lane=generation.lane,
            index=index,
            source=draft.kept.outputs[index] if draft.kept.outputs else None,
            next_run_at=Now(),
            quote_micros=draft.per_image_micros,
            created_at=generation.created_at,
        )


def insufficient(requester: Requester, total_micros: int) -> Refusal:
    """The wallet has less than a request may cost."""
    return Refusal(
        "payment",
        "insufficient_credit",
        f"The {requester.mode} wallet does not cover this request: it may cost up to {usd(total_micros)}.",
    )
