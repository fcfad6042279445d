"""A compact picture of what a generation left in the database, for tests to compare as one value."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from accounts.ledger.models import Entry, Hold, Wallet
from generation.models import Attempt, Charge, Generation, Output


@dataclass(frozen=True, slots=True)
class Picture:
    """Rows of one generation, in order of its outputs; `wallet` is (available, held) of its account and mode.

    `outputs` and `codes` are states and error codes; `attempts` are (status, error kind), by number; `holds` are
    states; `entries` are kinds of the entries of those holds, as they were posted; `charges` are micro-dollars.
    """

    status: str
    outputs: list[str]
    codes: list[str]
    attempts: list[tuple[str, str]]
    holds: list[str]
    entries: list[str]
    charges: list[int]
    wallet: tuple[int, int]


def picture_of(generation_id: uuid.UUID) -> Picture:
    """The picture as the database has it now."""
    generation = Generation.objects.get(pk=generation_id)
    outputs = list(Output.objects.filter(generation=generation).order_by("index").values("pk", "state", "error_code"))
    ids = [each["pk"] for each in outputs]
    attempts = Attempt.objects.filter(output__in=ids).order_by("output__index", "number")
    holds = dict(Hold.objects.filter(output_id__in=ids).values_list("output_id", "state"))
    entries = Entry.objects.filter(hold__output_id__in=ids).order_by("wallet_id", "sequence")
    charges = dict(Charge.objects.filter(output__in=ids).values_list("output_id", "price_micros"))
    wallet = Wallet.objects.get(account_id=generation.account_id, mode=generation.mode)
    return Picture(
        status=str(generation.status),
        outputs=[each["state"] for each in outputs],
        codes=[each["error_code"] for each in outputs],
        attempts=list(attempts.values_list("status", "error_kind")),
        holds=[holds[each] for each in ids if each in holds],
        entries=list(entries.values_list("kind", flat=True)),
        charges=[charges[each] for each in ids if each in charges],
        wallet=(wallet.available_micros, wallet.held_micros),
    )


def failed(code: str, attempts: list[tuple[str, str]], *, available: int) -> Picture:
    """One output that failed for free: all the money is back where it was."""
    return Picture("failed", ["failed"], [code], attempts, ["released"], ["hold", "release"], [], (available, 0))


def delivered(attempts: list[tuple[str, str]], *, price: int, quote: int, available: int) -> Picture:
    """One output that was delivered and charged once; `available` is what the wallet had before."""
    entries = ["hold", "capture", "release"] if price < quote else ["hold", "capture"]
    wallet = (available - price, 0)
    return Picture("succeeded", ["succeeded"], [""], attempts, ["captured"], entries, [price], wallet)
