"""What an empty development database is given: a demo account with credit and keys, and a staff login."""

from __future__ import annotations

import json
import secrets
from datetime import datetime
from pathlib import Path
from typing import Any

from allauth.account.models import EmailAddress
from django.conf import settings

from accounts import keys, registration
from accounts.ledger import adjustments
from accounts.models import User
from generation.checks import DEMO_EMAIL
from nbp_site.environment import write_private

_ADMIN_EMAIL = "admin@example.com"
_GRANT_MICROS = 10_000_000


def note_path() -> Path:
    """Where the demo logins and keys are written, readable by the owner only."""
    return Path(settings.NBP_DATA_DIR) / "quickstart.json"


def ensure(*, base_url: str, now: datetime) -> dict[str, Any] | None:
    """The demo's logins and keys; made on an empty database, None where the database is somebody's own."""
    path = note_path()
    if User.objects.exists():
        return _known(path, base_url) if path.exists() else None
    note = _make(base_url, now)
    write_private(path, json.dumps(note, indent=1))
    return note


def _known(path: Path, base_url: str) -> dict[str, Any]:
    note: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if note["base_url"] != base_url:
        note |= {"base_url": base_url, "admin_url": f"{base_url}/admin/"}
        write_private(path, json.dumps(note, indent=1))
    return note


def _make(base_url: str, now: datetime) -> dict[str, Any]:
    password, admin_password = secrets.token_urlsafe(12), secrets.token_urlsafe(12)
    owner = User.objects.create_user(DEMO_EMAIL, password)
    admin = User.objects.create_superuser(_ADMIN_EMAIL, admin_password)
    for user in (owner, admin):
        EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    account = registration.open_account(name="Demo", owner=owner, now=now)
    adjustments.grant(
        account=account,
        mode="live",
        amount_micros=_GRANT_MICROS,
        actor="system",
        reason="Credit of the demo account",
        now=now,
    )
    issued = {
        mode: keys.issue(account=account, mode=mode, name="Quickstart", created_by=owner) for mode in ("live", "test")
    }
    return {
        "base_url": base_url,
        "email": owner.email,
        "password": password,
        "live_key": issued["live"].raw,
        "test_key": issued["test"].raw,
        "admin_url": f"{base_url}/admin/",
        "admin_email": admin.email,
        "admin_password": admin_password,
    }
