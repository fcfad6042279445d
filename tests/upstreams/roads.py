"""Live channels that lead to stand-ins."""

from __future__ import annotations

from typing import Any

from generation.channels.models import Channel

SECRET = "sk-a-made-up-secret"


def road_to(base_url: str, name: str, *, kind: str = "openai_chat", secret: str = SECRET, **fields: Any) -> Channel:
    """A live channel of a kind with a made-up secret."""
    channel = Channel(name=name, kind=kind, mode="live", base_url=base_url, **fields)
    channel.set_secret(secret)
    channel.save()
    return channel
