"""Reads of the channels for pages: never their credentials or how they are doing."""

from __future__ import annotations

from generation.channels import registry
from generation.channels.models import Channel
from generation.channels.seed import HOUSE


def live_is_open() -> bool:
    """Whether any live channel is configured, enabled and ready: while there is none, the site is in test mode."""
    rows = Channel.objects.filter(mode="live", is_enabled=True, disabled_reason="", account=None)
    return any(registry.is_ready(row) for row in rows.exclude(kind__in=HOUSE))
