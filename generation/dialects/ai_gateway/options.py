"""What both kinds of models take besides what is to be made: provider options, routing, and what cannot be honoured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from generation.contract import Outcome, ReferenceInput, invalid
from generation.dialects import data_urls, steering
from generation.dialects.fields import Fields
from generation.preferences import NAME_IGNORED, Preferences

# What this service has no notion of, or what is its operator's to choose.
_NOT_ROUTED = ("byok", "zeroDataRetention")


@dataclass(frozen=True, slots=True)
class Warnings:
    """What was asked for and has no effect, as each version says it."""

    version: int
    unsupported: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    def render(self, outcome: Outcome | None = None) -> list[dict[str, str]]:
        """As the client reads them, with those of the accepted request where it is there."""
        told = outcome.warnings if outcome else ()
        others = [*self.others, *(each["message"] for each in told if each["code"] == NAME_IGNORED)]
        return [*(self._unsupported(each) for each in self.unsupported), *(self._other(each) for each in others)]

    def _unsupported(self, feature: str) -> dict[str, str]:
        if self.version == 2:
            return {"type": "unsupported-setting", "setting": feature}
        return {"type": "unsupported", "feature": feature}

    def _other(self, message: str) -> dict[str, str]:
        return {"type": "other", "message": message}


def tags_of(fields: Fields) -> tuple[str, ...]:
    """`providerOptions.gateway.tags`"""
    return tuple(str(each)[:80] for each in _gateway(fields).list("tags")[:10])


def user_of(fields: Fields) -> dict[str, str]:
    """`providerOptions.gateway.user`, kept with the generation."""
    user = _gateway(fields).text("user")
    return {"user": user[:200]} if user else {}


def preferences_of(fields: Fields) -> Preferences:
    """How `providerOptions.gateway` wants it to be made."""
    return steering.as_gateway(_gateway(fields))


def not_routed(fields: Fields) -> Iterator[str]:
    """Routing options that have no effect here."""
    gateway = _gateway(fields)
    for name in _NOT_ROUTED:
        if gateway.raw(name):
            yield f"providerOptions.gateway.{name}"


def _gateway(fields: Fields) -> Fields:
    return fields.object("providerOptions").object("gateway")


def image_of(part: Fields) -> ReferenceInput:
    """An image of a prompt, by its data, which each version writes in its own way."""
    media_type = part.text("mediaType", "image/*")
    if not media_type.startswith("image/"):
        raise invalid(part.at("mediaType"), "The models here take images only.", "not_supported")
    if "url" in part and "data" not in part:
        return _from_text(part.text("url"), part.at("url"))
    if isinstance(part.raw("data"), str):
        return _from_text(part.text("data"), part.at("data"))
    data = part.object("data")
    kind = data.choice("type", ("data", "url"), "data")
    return _from_text(data.text(kind), data.at(kind))


def _from_text(text: str, param: str) -> ReferenceInput:
    """A link, a data URL or bare base64."""
    if text.startswith(("http://", "https://")):
        return ReferenceInput(url=text)
    return ReferenceInput(data=data_urls.decoded(text, param))


def cost_of(price_micros: int) -> str:
    """US dollars as this dialect writes them."""
    whole, rest = divmod(price_micros, 1_000_000)
    return f"{whole}.{rest:06d}".rstrip("0").rstrip(".")


def gateway_metadata(generation_id: str, price_micros: int) -> dict[str, Any]:
    """`providerMetadata.gateway` of an answer."""
    return {"generationId": generation_id, "cost": cost_of(price_micros), "routing": {"finalProvider": "nbp"}}
