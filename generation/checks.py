"""System checks: missing triggers, or the demo account in production, do not pass quietly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.db import connections

from accounts.ledger import triggers as ledger_triggers
from accounts.models import User
from accounts.payments import triggers as payments_triggers
from generation import triggers

DEMO_EMAIL = "demo@example.com"


@register(Tags.database)
def triggers_exist(
    app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None, **_: Any
) -> list[CheckMessage]:
    """Every trigger that guards money and states is in the database."""
    missing = [
        name
        for alias in databases or ()
        for guards in (ledger_triggers.GUARDS, payments_triggers.GUARDS, triggers.GUARDS)
        for name in guards.missing(connections[alias])
        if "ledger_wallet" in connections[alias].introspection.table_names()
    ]
    hint = "Run manage.py migrate: it makes them again."
    return [Error(f"The database has no trigger {name}.", hint=hint, id="nbp.E001") for name in missing]


@register(Tags.security, deploy=True)
def no_demo_account(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """The demo account's password lies in a file; it has no place in production."""
    connection = connections["default"]
    if settings.NBP_IS_DEVELOPMENT or User._meta.db_table not in connection.introspection.table_names():
        return []
    if not User.objects.filter(email=DEMO_EMAIL).exists():
        return []
    return [Error("The demo account exists.", hint=f"Delete or rename the user {DEMO_EMAIL}.", id="nbp.E002")]
