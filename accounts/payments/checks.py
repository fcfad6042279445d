"""System checks: keys that do not fit the place they are used in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags
from django.core.checks import register as register_check

from accounts.payments.stripe_gateway.calls import is_live_key


def keys_fit(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """Real money is not taken with DEBUG on, nor by a server that is not Stripe's."""
    if not is_live_key(settings.STRIPE_SECRET_KEY):
        return []
    wrong: list[CheckMessage] = []
    if settings.DEBUG:
        wrong.append(Error("A live Stripe key is used with DEBUG on.", hint="Turn DEBUG off.", id="nbp.E010"))
    if settings.NBP_STRIPE_API_BASE:
        wrong.append(Error("A live Stripe key would be sent to NBP_STRIPE_API_BASE.", id="nbp.E011"))
    return wrong


def register() -> None:
    """Have Django run them."""
    register_check(keys_fit, Tags.security)
