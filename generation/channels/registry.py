"""The adapters that exist, in one dict literal, and the credentials a channel calls with."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.db.models.signals import post_delete, post_save

from accounts.compiled import CompiledSelect
from accounts.remembered import Remembered
from generation import catalog
from generation.channels.adapter import Adapter, BatchAdapter, Credentials
from generation.channels.adapters.ai_gateway.adapter import AiGatewayAdapter
from generation.channels.adapters.bfl.adapter import BflAdapter
from generation.channels.adapters.google.adapter import GeminiAdapter
from generation.channels.adapters.google.batch import GeminiBatchAdapter
from generation.channels.adapters.google.vertex import VertexAdapter
from generation.channels.adapters.house import CacheAdapter, PlaceholderAdapter
from generation.channels.adapters.openai_chat.adapter import OpenAIChatAdapter
from generation.channels.adapters.openai_images.adapter import OpenAIImagesAdapter
from generation.channels.adapters.sandbox import SandboxAdapter
from generation.channels.models import Channel
from generation.channels.seed import CACHE, HOUSE, PLACEHOLDER, SANDBOX, environment_base_url, environment_secret
from generation.contract import SIZES
from generation.models import ImageModel
from generation.pricing import CostRates

_GEMINI_BATCH = GeminiBatchAdapter()
ADAPTERS: dict[str, Adapter] = {
    "ai_gateway": AiGatewayAdapter(),
    "bfl": BflAdapter(),
    "gemini": GeminiAdapter(),
    "gemini_batch": _GEMINI_BATCH,
    "openai_chat": OpenAIChatAdapter(),
    "openai_images": OpenAIImagesAdapter(),
    "sandbox": SandboxAdapter(),
    "vertex": VertexAdapter(),
    CACHE: CacheAdapter(),
    PLACEHOLDER: PlaceholderAdapter(),
}


# Those that take images by the job.
BATCH_ADAPTERS: dict[str, BatchAdapter] = {"gemini_batch": _GEMINI_BATCH}


def load() -> None:
    """Have everything at hand that calls need, before the first of them waits for it. For processes that work."""
    for adapter in ADAPTERS.values():
        adapter.load()


def credentials_of(channel: Channel) -> Credentials:
    """Where and as whom to call; for the environment's channel, what the environment says now."""
    if channel.is_from_environment:
        secret, base_url = environment_secret(), channel.base_url or environment_base_url()
        return Credentials(secret=secret, base_url=base_url, options=channel.options)
    return Credentials(secret=channel.secret(), base_url=channel.base_url, options=channel.options)


def is_ready(channel: Channel) -> bool:
    """Whether the channel has an adapter and, where one is needed, a secret."""
    adapter = ADAPTERS.get(channel.kind)
    if adapter is None:
        return False
    has_secret = bool(environment_secret() if channel.is_from_environment else channel.sealed_secret)
    return has_secret or not adapter.needs_secret


def is_open(channel: Channel, *, now: datetime) -> bool:
    """Whether a channel may be called now."""
    is_cool = channel.cool_until is not None and channel.cool_until > now
    return channel.is_enabled and not channel.disabled_reason and not is_cool and is_ready(channel)


def upstream_model_of(channel: Channel, image_model: ImageModel) -> str:
    """What this road calls the model: in its own words, in those of its kind, or as the catalogue does."""
    return str(
        channel.upstream_models.get(image_model.name)
        or image_model.upstream_names.get(channel.kind)
        or image_model.upstream_model
    )


def serves(channel: Channel, image_model: str) -> bool:
    """Whether the operator names the model for this channel, or it is known what channels of its kind bill for it."""
    if channel.only_models:
        return image_model in channel.only_models
    is_named = image_model in channel.upstream_models or image_model in channel.call_micros
    return is_named or channel.kind == SANDBOX or catalog.has_cost(channel.kind, image_model)


def cost_rates(channel: Channel, image_model: ImageModel, *, at: datetime, lane: str) -> CostRates:
    """What the channel bills: as the operator says of it, else as channels of its kind do."""
    if channel.account_id is not None:
        # Its owner pays the provider.
        return CostRates()
    own = channel.call_micros.get(image_model.name)
    if own is not None:
        return CostRates(image_micros_by_size=own if isinstance(own, dict) else dict.fromkeys(SIZES, own))
    return catalog.cost_of(channel.kind, image_model, at=at, lane=lane)


@dataclass(frozen=True, slots=True)
class Needs:
    """What an output asks of a road beside its model, and for whom."""

    lane: str = "standard"
    abilities: frozenset[str] = frozenset()
    # An account with keys of its own; None for all others.
    owner: uuid.UUID | None = None
    # Nothing but those keys may serve, whatever the model.
    is_own_only: bool = False


_NO_NEEDS = Needs()


def abilities(**asked: bool) -> frozenset[str]:
    """The abilities that are asked for, by their names."""
    return frozenset(name for name, is_asked in asked.items() if is_asked)


def can(channel: Channel, needs: Needs) -> bool:
    """Whether a channel's adapter can do what is asked."""
    adapter = ADAPTERS[channel.kind]
    return needs.lane in adapter.lanes and needs.abilities <= adapter.abilities


_open = CompiledSelect(
    lambda modes: Channel.objects.filter(
        mode__in=modes, is_enabled=True, disabled_reason="", account__isnull=True
    ).order_by("priority", "name")
)
_owned = CompiledSelect(
    lambda accounts: Channel.objects.filter(mode="live", account__in=accounts).order_by("priority", "name")
)


def candidates(mode: str, image_model: str, needs: Needs = _NO_NEEDS) -> list[Channel]:
    """Channels that are configured, enabled and ready for a mode, a model and what is asked, in order of priority.

    An account's own keys go first, and the house's channels after them only where the account allows that.
    """
    own = own_keys(mode, image_model, needs.owner)
    open_keys = [row for row in own if row.is_enabled and not row.disabled_reason and can(row, needs)]
    if needs.is_own_only or _bars_house(own):
        return open_keys
    return open_keys + [row for row in _open([mode]) if is_ready(row) and can(row, needs) and serves(row, image_model)]


def served_models(mode: str, names: Sequence[str]) -> list[str]:
    """Which of these models the house's channels of a mode serve, in whatever lane."""
    rows = [row for row in _open([mode]) if is_ready(row) and ADAPTERS[row.kind].lanes]
    return [name for name in names if any(serves(row, name) for row in rows)]


def own_keys(mode: str, image_model: str, owner: uuid.UUID | None) -> list[Channel]:
    """The owner's keys for a model, in whatever lane, those that are out of order included."""
    if owner is None or mode != "live":
        return []
    return [row for row in _owned([owner]) if is_ready(row) and serves(row, image_model)]


def is_own_only(mode: str, image_model: str, owner: uuid.UUID | None) -> bool:
    """Whether the house's channels are not to serve what is asked of this model, nor with another in its place."""
    return _bars_house(own_keys(mode, image_model, owner))


def _bars_house(own: Sequence[Channel]) -> bool:
    return bool(own) and not all(row.is_house_allowed for row in own)


def shut_channels(mode: str, image_model: str, needs: Needs) -> list[Channel]:
    """Channels that would serve what is asked, if they were not out of order."""
    own = own_keys(mode, image_model, needs.owner)
    house = Channel.objects.filter(mode=mode, is_enabled=True, account=None).exclude(kind__in=HOUSE)
    rows = own if needs.is_own_only else [*own, *(row for row in house if is_ready(row) and serves(row, image_model))]
    return [row for row in rows if row.disabled_reason and can(row, needs)]


def owner(account_id: uuid.UUID) -> uuid.UUID | None:
    """The account, if it has keys of its own."""
    return account_id if account_id in _OWNERS.get("") else None


_OWNERS: Remembered[str, frozenset[uuid.UUID]] = Remembered(
    lambda _: frozenset(
        each
        for each in Channel.objects.filter(account__isnull=False).values_list("account_id", flat=True)
        if each is not None
    ),
    seconds=lambda: settings.NBP_CATALOGUE_SECONDS,
)


def house_channel(kind: str, mode: str) -> Channel:
    """The house's own road of a kind, which leads to no provider. It is there from its first use on."""
    name = kind if mode == "live" else f"{kind} ({mode})"
    return Channel.objects.get_or_create(kind=kind, mode=mode, defaults={"name": name})[0]


def unknown_names(mode: str, names: Sequence[str], account_id: uuid.UUID) -> list[str]:
    """Which of these are the name of no channel that an account may take in a mode."""
    found = Channel.objects.filter(Q(account=None) | Q(account=account_id), mode=mode, name__in=names)
    known = set(found.values_list("name", flat=True))
    return [name for name in names if name not in known]


# A channel that another process shut a moment ago costs nobody anything: what is accepted then ends for free.
_SERVED: Remembered[tuple[str, str, Needs], bool] = Remembered(
    lambda key: bool(candidates(*key)), seconds=lambda: settings.NBP_CATALOGUE_SECONDS
)


def is_served(mode: str, image_model: str, needs: Needs = _NO_NEEDS) -> bool:
    """Whether some channel is open for what is asked; shut elsewhere, it shows within NBP_CATALOGUE_SECONDS."""
    # That no channel is open is never remembered: the operator who opens one tries it at once.
    return _SERVED.get((mode, image_model, needs)) or bool(candidates(mode, image_model, needs))


def forget(**_: object) -> None:
    """Look at the rows again as soon as what changed them here is committed."""
    transaction.on_commit(_SERVED.forget)
    transaction.on_commit(_OWNERS.forget)


def watch_changes() -> None:
    """Forget when this process saves or deletes a channel."""
    post_save.connect(forget, sender=Channel, dispatch_uid="channels.saved")
    post_delete.connect(forget, sender=Channel, dispatch_uid="channels.deleted")
