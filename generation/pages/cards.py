"""A generation as its page shows it: each output with its link, its words and its receipt. Reads only."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from django.urls import reverse
from django.utils.text import Truncator

from accounts.authentication import Requester
from generation import media, queries
from generation.contract import Outcome, OutputOutcome

_ALT_CHARACTERS = 120


@dataclass(frozen=True, slots=True)
class Card:
    """One output: `link` is empty while there is no image, `charge` is None while nothing was charged."""

    output: OutputOutcome
    alt: str
    link: str
    file_name: str
    charge: dict[str, Any] | None
    attempts: tuple[dict[str, Any], ...]

    @property
    def entry_id(self) -> str:
        """The public id of the ledger entry that took the money; empty for a charge of nothing."""
        return self.charge["entry"] or "" if self.charge else ""


def image_path(output_id: str) -> str:
    """The link to an output's image on this very origin, which is all a page's policy lets it show."""
    return f"{reverse('image', args=[output_id])}?{media.signed_query(output_id)}"


def alt_text(prompt: str) -> str:
    """What a reader who cannot see the image is told: its prompt, shortened."""
    return Truncator(" ".join(prompt.split())).chars(_ALT_CHARACTERS)


def cards(requester: Requester, outcome: Outcome) -> list[Card]:
    """The outputs of a generation of the requester's own."""
    charges = queries.charges_of(requester, outcome.id)
    return [_card(outcome, output, charges.get(output.id)) for output in outcome.outputs]


def _card(outcome: Outcome, output: OutputOutcome, charge: dict[str, Any] | None) -> Card:
    has_image = output.mime_type is not None
    return Card(
        output=output,
        alt=alt_text(outcome.prompt),
        link=image_path(output.id) if has_image else "",
        file_name=f"{output.id}.{media.EXTENSIONS.get(output.mime_type or '', 'bin')}",
        charge=charge,
        attempts=tuple(_attempt(each) for each in output.attempts),
    )


def _attempt(attempt: Any) -> dict[str, Any]:
    ended, started = attempt["finished_at"], attempt["started_at"]
    return dict(attempt) | {"seconds": (ended - started).total_seconds() if ended else None}


def digest(outcome: Outcome) -> str:
    """Changes exactly when the page has something new to show."""
    seen = [(each.status, [(one["number"], one["status"]) for one in each.attempts]) for each in outcome.outputs]
    return hashlib.sha256(repr((outcome.status, seen)).encode()).hexdigest()[:16]


def progress_words(outcome: Outcome) -> str:
    """One honest sentence about where a generation is."""
    if outcome.is_finished:
        return {"succeeded": _succeeded_words(outcome), "failed": "No image, and nothing was charged."}.get(
            outcome.status, "Canceled. Nothing was charged."
        )
    tries = max((len(each.attempts) for each in outcome.outputs), default=0)
    is_running = any(each.status == "running" for each in outcome.outputs)
    if not tries:
        return "Being made." if is_running else "Waiting for a free place."
    if not is_running:
        return f"Try {tries} brought no image; the next one starts soon. Failed tries cost you nothing."
    return "Being made." if tries == 1 else f"Being made, try {tries}. Failed tries cost you nothing."


def _succeeded_words(outcome: Outcome) -> str:
    made = sum(1 for each in outcome.outputs if each.status == "succeeded")
    if made == outcome.n:
        return "The image is ready." if made == 1 else f"All {made} images are ready."
    return f"{made} of {outcome.n} images are ready. Only those were charged."
