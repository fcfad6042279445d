"""The adapters that exist, in one dict literal, and the credentials a channel calls with."""

from __future__ import annotations

from django.conf import settings
from django.db import transaction
from django.db.models.signals import post_delete, post_save

from accounts.compiled import CompiledSelect
from accounts.remembered import Remembered
from generation.channels.adapter import Adapter, Credentials
from generation.channels.adapters.google.adapter import GeminiAdapter
from generation.channels.adapters.sandbox import SandboxAdapter
from generation.channels.models import Channel
from generation.channels.seed import environment_base_url, environment_secret

ADAPTERS: dict[str, Adapter] = {
    "gemini": GeminiAdapter(),
    "sandbox": SandboxAdapter(),
}


def load() -> None:
    """Have everything at hand that calls need, before the first of them waits for it. For processes that work."""
    for adapter in ADAPTERS.values():
        adapter.load()


def credentials_of(channel: Channel) -> Credentials:
    """Where and as whom to call; for the environment's channel, what the environment says now."""
    if channel.is_from_environment:
        return Credentials(secret=environment_secret(), base_url=channel.base_url or environment_base_url())
    return Credentials(secret=channel.secret(), base_url=channel.base_url)


def is_ready(channel: Channel) -> bool:
    """Whether the channel has an adapter and, where one is needed, a secret."""
    adapter = ADAPTERS.get(channel.kind)
    if adapter is None:
        return False
    has_secret = bool(environment_secret() if channel.is_from_environment else channel.sealed_secret)
    return has_secret or not adapter.needs_secret


def upstream_model_of(channel: Channel, image_model: str, default: str) -> str:
    """What this road calls the model."""
    return str(channel.upstream_models.get(image_model, default))


_open = CompiledSelect(
    lambda modes: Channel.objects.filter(mode__in=modes, is_enabled=True, disabled_reason="").order_by(
        "priority", "name"
    )
)


def candidates(mode: str, image_model: str) -> list[Channel]:
    """Channels that are configured, enabled and ready for a mode and model, in order of priority."""
    rows = _open([mode])
    return [row for row in rows if is_ready(row) and (not row.only_models or image_model in row.only_models)]


# A channel that another process shut a moment ago costs nobody anything: what is accepted then ends for free.
_SERVED: Remembered[tuple[str, str], bool] = Remembered(
    lambda key: bool(candidates(*key)), seconds=lambda: settings.NBP_CATALOGUE_SECONDS
)


def is_served(mode: str, image_model: str) -> bool:
    """Whether some channel is open for a mode and model; shut elsewhere, it shows within NBP_CATALOGUE_SECONDS."""
    # That no channel is open is never remembered: the operator who opens one tries it at once.
    return _SERVED.get((mode, image_model)) or bool(candidates(mode, image_model))


def forget(**_: object) -> None:
    """Look at the rows again as soon as what changed them here is committed."""
    transaction.on_commit(_SERVED.forget)


def watch_changes() -> None:
    """Forget when this process saves or deletes a channel."""
    post_save.connect(forget, sender=Channel, dispatch_uid="channels.saved")
    post_delete.connect(forget, sender=Channel, dispatch_uid="channels.deleted")
