"""accept(): idempotency, checks, quote, hold and rows in one short transaction, a nudge on commit."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from django.conf import settings

from accounts import crash_points, request_context
from accounts.authentication import Requester
from accounts.identifiers import new_uuid, parse_public_id
from accounts.ledger import queries as ledger_queries
from accounts.models import Account
from generation import presence, queries, references, settlement, tasks
from generation.contract import GenerationRequest, Refusal
from generation.execution import due
from generation.fingerprints import fingerprint
from generation.models import Generation, IdempotencyKey, Reference
from generation.submission import caching, saving
from generation.submission.joining import Joining, joined
from generation.submission.openness import check_channel, routing_of
from generation.submission.plans import Plan, Quote, find_model, plan

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The generation a request became, as it was accepted, or, for one that was sent before, the one it is."""

    generation_id: uuid.UUID
    reading: queries.Reading | None = None

    @property
    def is_replay(self) -> bool:
        return self.reading is None


def quote(requester: Requester, request: GenerationRequest, *, now: datetime) -> Quote:
    """What a request would cost at most. Same checks as accept, nothing fetched, nothing written."""
    found = find_model(requester, request, now=now)
    kept = caching.look(requester, request, found.image_model, now=now)
    routed = routing_of(requester, request, now=now)
    settled = plan(requester, request, found, now=now, routed=routed, kept=kept)
    return Quote(
        model=settled.image_model.name,
        image_size=settled.choices.image_size,
        aspect_ratio=settled.choices.aspect_ratio,
        n=request.n,
        per_image_micros=settled.quote_micros,
        total_micros=settled.quote_micros * request.n,
        warnings=settled.warnings,
        lane=settled.terms.lane,
        lane_reason=settled.terms.reason,
    )


def accept(
    requester: Requester,
    request: GenerationRequest,
    *,
    now: datetime,
    idempotency_key: str = "",
    joining: Joining | None = None,
    is_batch: bool = False,
) -> Accepted:
    """Accept a request, or refuse it with no trace.

    With an idempotency key, the same request answers the same generation for seven days. Without one, and with
    `joining`, its client is one who waits for the answer (see `presence`), and may get an earlier generation. What
    comes in a batch runs last.
    """
    _check_account(requester)
    found = find_model(requester, request, now=now)
    request_hash = fingerprint(request, found.image_model.name)
    joining = None if idempotency_key else joining
    known = _replayed(requester, idempotency_key, request_hash, now) or joined(requester, request_hash, joining, now)
    if known is not None:
        return Accepted(known)
    kept = caching.look(requester, request, found.image_model, now=now)
    routed = routing_of(requester, request, now=now)
    if not kept.is_hit:
        check_channel(requester, request, (found.image_model.name, *routed.routing.fallback_models), kept.has_stand_in)
    settle = partial(plan, requester, request, found, now=now, routed=routed, kept=kept, is_batch=is_batch)
    settled = settle()
    prepared = _prepare(requester, request, settled, idempotency_key)
    settled = settle(first=prepared[0]) if prepared else settled
    generation = _generation(requester, request, settled, request_hash, now)
    _connect(generation, joining)
    files = _store(generation, prepared)
    saved = _save(saving.Draft(requester, generation, files, idempotency_key, kept))
    if isinstance(saved, saving.Repeated):
        # The same idempotency key came a moment earlier; if it was for another request, this says so.
        return Accepted(_replayed(requester, idempotency_key, request_hash, now) or saved.generation_id)
    crash_points.reached("accept.saved")
    _nudge(requester, generation, saved)
    return Accepted(generation.pk, queries.reading_at_acceptance(generation, saved.outputs))


def _check_account(requester: Requester) -> None:
    if requester.account.status != Account.Status.ACTIVE:
        raise Refusal("forbidden", "account_suspended", "This account is suspended. Ask the operator of this service.")


def _connect(generation: Generation, joining: Joining | None) -> None:
    """A client that waits is there until it is known to have left."""
    if joining is not None:
        generation.is_joinable, generation.connected_until = True, presence.connected_until()
    check_presence()


def check_presence() -> None:
    """A client that has left will ask again, and finds nothing to join."""
    if presence.has_left():
        raise Refusal("unavailable", "client_left", "The client left before its request was accepted.")


def _store(generation: Generation, prepared: Sequence[references.Prepared]) -> list[Reference]:
    try:
        return references.store(generation.pk, prepared)
    except OSError as error:
        logger.exception("the references of a request cannot be stored")
        message = "This service cannot store the references now. Try again."
        raise Refusal("unavailable", "service_unavailable", message, retry_after_seconds=30) from error


def _save(draft: saving.Draft) -> saving.Saved | saving.Repeated:
    answer = saving.save(draft)
    if not isinstance(answer, saving.Saved):
        references.discard(draft.references)
    if isinstance(answer, Refusal):
        raise answer
    return answer


def _prepare(
    requester: Requester, request: GenerationRequest, settled: Plan, key: str
) -> Sequence[references.Prepared]:
    """The images sent along, fetched and cleaned: not for somebody who cannot pay anyway."""
    if not request.references or settled.kept.is_hit:
        return []
    _check_funds(requester, settled.quote_micros * request.n, key)
    return references.prepare(requester, request.references)


def _nudge(requester: Requester, generation: Generation, saved: saving.Saved) -> None:
    """The request is accepted whatever happens here: what is not nudged now, the sweeper nudges."""
    request_context.note(generation=generation.public_id)
    try:
        tasks.nudge(saved.nudged if saved.is_nudged else due(requester.account.pk))
    except Exception:
        logger.exception("could not nudge; the sweeper will")


def cancel(requester: Requester, generation_id: str, *, now: datetime) -> uuid.UUID:
    """Cancel what of a generation has not been sent. What has ended stays as it ended."""
    row = Generation.objects.filter(
        pk__in=filter(None, [parse_public_id("gen", generation_id)]), account=requester.account, mode=requester.mode
    ).first()
    if row is None:
        raise Refusal("not_found", "generation_not_found", "There is no generation of yours with that id.")
    settlement.cancel(row, now=now)
    return row.pk


def _replayed(requester: Requester, key: str, request_hash: str, now: datetime) -> uuid.UUID | None:
    if not key:
        return None
    since = now - timedelta(days=settings.NBP_IDEMPOTENCY_DAYS)
    rows = IdempotencyKey.objects.filter(account=requester.account, mode=requester.mode, key=key)
    row = rows.first()
    if row is None:
        return None
    if row.created_at < since:
        rows.filter(created_at__lt=since).delete()
        return None
    if row.request_sha256 != request_hash:
        raise key_reused()
    return row.generation_id


def key_reused() -> Refusal:
    """What an idempotency key gets that comes with another request than before."""
    return Refusal(
        "unprocessable",
        "idempotency_key_reused",
        "This Idempotency-Key was used for a different request.",
        param="Idempotency-Key",
    )


def _routing(request: GenerationRequest, settled: Plan) -> dict[str, object]:
    """What the road has to know of a request's preferences."""
    more = {
        "is_run_on": request.preferences.is_run_on,
        "cache": settled.kept.use,
        "is_own_only": settled.is_own_only,
    }
    return settled.routing.stored() | {name: value for name, value in more.items() if value}


def _generation(
    requester: Requester, request: GenerationRequest, settled: Plan, request_hash: str, now: datetime
) -> Generation:
    return Generation(
        id=new_uuid(),
        account=requester.account,
        api_key=requester.api_key,
        user=requester.user,
        mode=requester.mode,
        lane=settled.terms.lane,
        deadline_at=now + settled.terms.deadline if settled.terms.deadline else None,
        routing=_routing(request, settled),
        # A copy is not looked for: it would be found in the place of what it is a copy of.
        content_sha256="" if settled.kept.is_hit else settled.kept.content_sha256,
        image_model=settled.image_model,
        price=settled.terms.price,
        model_requested=request.model or settled.image_model.name,
        prompt=request.prompt,
        aspect_ratio=settled.choices.aspect_ratio,
        image_size=settled.choices.image_size,
        n=request.n,
        previous_output=settled.previous,
        history_depth=settled.history_depth,
        input_image_count=settled.input_image_count,
        is_grounded=request.search_grounding,
        thinking_level=settled.choices.thinking_level,
        seed=request.seed,
        metadata=dict(request.metadata),
        tags=list(request.tags),
        warnings=list(settled.warnings),
        request_sha256=request_hash,
        conversation_sha256=request.conversation,
        quote_micros=settled.quote_micros * request.n,
        open_count=request.n,
        created_at=now,
    )


def _check_funds(requester: Requester, total_micros: int, key: str) -> None:
    """A look before strangers are waited for; the hold decides.

    Money that the same request, sent a moment earlier, has set aside is no reason to refuse its repetition.
    """
    wallet = ledger_queries.wallet_of(requester.account.pk, requester.mode)
    is_repeated = IdempotencyKey.objects.filter(account=requester.account, mode=requester.mode, key=key)
    if wallet.available_micros < total_micros and not (key and is_repeated.exists()):
        raise saving.insufficient(requester, total_micros)
