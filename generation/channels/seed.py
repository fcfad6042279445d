"""Channels that exist by themselves: the sandbox, and Gemini where the environment has a key for it."""

from __future__ import annotations

import os
from typing import Any

from generation.channels.models import Channel

SANDBOX = "sandbox"
# Roads that lead nowhere: to what was made before, and to a drawn picture where nothing else is left.
CACHE, PLACEHOLDER = "cache", "placeholder"
HOUSE = (CACHE, PLACEHOLDER)
ENVIRONMENT_CHANNEL = "gemini"
SECRET_VARIABLES = ("GEMINI_API_KEY", "GOOGLE_API_KEY")


def environment_secret() -> str:
    """The Gemini key in this process's environment, or an empty text."""
    return next((os.environ[name] for name in SECRET_VARIABLES if os.environ.get(name)), "")


def environment_base_url() -> str:
    """Where GOOGLE_GEMINI_BASE_URL moves Gemini, as in Google's own SDK, or an empty text."""
    return os.environ.get("GOOGLE_GEMINI_BASE_URL", "")


def after_migrate(*, using: str, **_: Any) -> None:
    """Add the sandbox channel, and the Gemini channel of the environment if there is a key."""
    channels = Channel.objects.using(using)
    channels.get_or_create(name=SANDBOX, defaults={"kind": "sandbox", "mode": "test"})
    if environment_secret():
        channels.get_or_create(
            name=ENVIRONMENT_CHANNEL, defaults={"kind": "gemini", "mode": "live", "is_from_environment": True}
        )
