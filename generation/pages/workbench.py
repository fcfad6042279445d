"""What the playground's form shows: the choices of the chosen model, the image being edited, and the price."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from accounts.authentication import Requester
from generation import queries, submission
from generation.contract import ROLES, ReferenceInput, Refusal, Role
from generation.pages import cards
from generation.pages.forms import PlaygroundForm

_NO_MODEL: dict[str, Any] = {
    "id": "",
    "sizes": [],
    "default_size": "",
    "prices": [],
    "aspect_ratios": [],
    "max_n": 1,
    "max_references": 0,
}
# Stands in for a prompt not yet typed, so that a price can be shown from the start.
_ANY_PROMPT = "An image"


@dataclass(frozen=True, slots=True)
class Choice:
    """One radio button. `shape` is the name of a style, `price_micros` is what an image of it costs."""

    value: str
    label: str
    is_checked: bool
    shape: str = ""
    price_micros: int | None = None


@dataclass(frozen=True, slots=True)
class Quoted:
    """The most the form as it stands may cost, or why it cannot be priced."""

    total_micros: int | None = None
    per_image_micros: int | None = None
    n: int = 1
    is_covered: bool = True
    problem: str = ""

    @property
    def shown(self) -> str:
        """Equal exactly when two quotes look the same."""
        return f"{self.total_micros}:{self.n}:{self.is_covered}:{self.problem}"


def workbench(requester: Requester, form: PlaygroundForm, roles: Sequence[Role], *, now: datetime) -> dict[str, Any]:
    """The context of the form's template."""
    models = queries.image_models(now=now)
    chosen = _chosen(models, str(form["model"].value() or ""))
    # A page of a refused try keeps its errors; the price is reckoned from a copy that has none.
    priced = PlaygroundForm(form.data)
    return {
        "form": form,
        "image_models": models,
        "chosen": chosen,
        "sizes": _sizes(chosen, str(form["image_size"].value() or "")),
        "ratios": _ratios(chosen, str(form["aspect_ratio"].value() or "")),
        "roles": ROLES,
        "previous": _previous(requester, str(form["previous"].value() or "")),
        "quoted": _quoted(requester, priced, roles, now),
    }


def _chosen(models: Sequence[dict[str, Any]], name: str) -> dict[str, Any]:
    named = (each for each in models if name == each["id"] or name in each["aliases"])
    return next(named, models[0] if models else _NO_MODEL)


def _sizes(model: dict[str, Any], value: str) -> list[Choice]:
    value = value if value in model["sizes"] else model["default_size"]
    return [
        Choice(price["image_size"], price["image_size"], price["image_size"] == value, "", price["image_micros"])
        for price in model["prices"]
        if price["lane"] == "standard"
    ]


def _ratios(model: dict[str, Any], value: str) -> list[Choice]:
    value = value if value in model["aspect_ratios"] else ""
    automatic = Choice("", "Auto", value == "", "auto")
    named = [Choice(each, each, each == value, each.replace(":", "x")) for each in model["aspect_ratios"]]
    return [automatic, *named]


def _previous(requester: Requester, output_id: str) -> dict[str, Any] | None:
    """The image that is being edited, if it is still the requester's own."""
    if not output_id:
        return None
    try:
        row = queries.media_of(requester, output_id)
    except Refusal:
        return None
    return {
        "id": output_id,
        "link": cards.image_path(output_id),
        "alt": cards.alt_text(row.output.generation.prompt),
        "width": row.width,
        "height": row.height,
    }


def _quoted(requester: Requester, form: PlaygroundForm, roles: Sequence[Role], now: datetime) -> Quoted:
    if not form.is_valid():
        return Quoted(problem="The form has a mistake.")
    placeholders = [ReferenceInput(role=role) for role in roles]
    try:
        found = submission.quote(requester, form.to_request(placeholders, blank_prompt=_ANY_PROMPT), now=now)
    except Refusal as refusal:
        return Quoted(problem=refusal.message)
    available = queries.wallet(requester)["available_micros"]
    return Quoted(found.total_micros, found.per_image_micros, found.n, found.total_micros <= available)
