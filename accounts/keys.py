"""API keys: issue, rotate, disable, revoke. The secret is shown once; only its keyed hash is kept.

A key reads `nbp_<mode>_<public id: 12>_<secret: 43><checksum: 6>`. The checksum (CRC-32 of everything before it) lets a
typo be refused, and a leaked key be recognized, without a database.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
import zlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings

from accounts.models import Account, ApiKey, User

ALPHABET = string.digits + string.ascii_letters
SCOPES = ("generate", "read", "billing")
_PATTERN = re.compile(r"nbp_(live|test)_([0-9A-Za-z]{12})_([0-9A-Za-z]{43})([0-9A-Za-z]{6})")
ROTATION_OVERLAP = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A new key and its secret text, which nobody can read again."""

    api_key: ApiKey
    raw: str

    def __repr__(self) -> str:
        return f"IssuedKey({self.api_key.prefix})"


@dataclass(frozen=True, slots=True)
class ParsedKey:
    """A well-formed key's pieces."""

    mode: str
    key_id: str
    secret: str = field(repr=False)


def _letters(count: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(count))


def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode("ascii"))
    letters = []
    for _ in range(6):
        number, place = divmod(number, len(ALPHABET))
        letters.append(ALPHABET[place])
    return "".join(reversed(letters))


def parse(raw: str) -> ParsedKey | None:
    """The pieces of a well-formed key with a right checksum, or None."""
    match = _PATTERN.fullmatch(raw)
    if match is None or not hmac.compare_digest(_checksum(raw[:-6]), match[4]):
        return None
    return ParsedKey(mode=match[1], key_id=match[2], secret=match[3])


def hash_secret(secret: str) -> str:
    """HMAC-SHA-256 under the server's pepper. The secret has 256 random bits, so no slow hash is needed."""
    return hmac.new(settings.NBP_KEY_PEPPER.encode(), secret.encode(), hashlib.sha256).hexdigest()


def issue(*, account: Account, mode: str, name: str, created_by: User | None = None, **limits: Any) -> IssuedKey:
    """Make a key. `limits` are fields of `ApiKey` (budget_micros, expires_at, allowed_models, ...)."""
    key_id, secret = _letters(12), _letters(43)
    body = f"nbp_{mode}_{key_id}_{secret}"
    limits.setdefault("scopes", list(SCOPES))
    api_key = ApiKey.objects.create(
        account=account,
        mode=mode,
        name=name,
        created_by=created_by,
        key_id=key_id,
        key_hash=hash_secret(secret),
        **limits,
    )
    return IssuedKey(api_key=api_key, raw=body + _checksum(body))


# What narrows a key, or how it is answered, as fields of ApiKey.
LIMITS = (
    "budget_micros",
    "requests_per_minute",
    "concurrency",
    "max_image_size",
    "max_n",
    "max_references",
    "is_grounding_allowed",
    "are_images_inline",
    "allowed_models",
    "ip_list",
)
_COPIED = ("scopes", "budget_period", "expires_at", "routing", *LIMITS)
# What a key's requests may say of their roads where they say nothing themselves, and how it is written.
ROUTING: dict[str, type] = {
    "only": list,
    "order": list,
    "fallback_models": list,
    "sort": str,
    "max_price_micros": int,
    "on_failure": str,
    "hedge_after_seconds": int,
    "cache": dict,
}


def rotate(
    api_key: ApiKey, *, now: datetime, created_by: User | None = None, overlap: timedelta = ROTATION_OVERLAP
) -> IssuedKey:
    """A new key with the same limits, budget and end; the old one keeps working until `overlap` has passed.

    Both draw on one budget: rotating is no way to spend it twice.
    """
    ends_at = now + overlap
    if api_key.expires_at is None or api_key.expires_at > ends_at:
        ApiKey.objects.filter(pk=api_key.pk).update(expires_at=ends_at)
    limits = {name: getattr(api_key, name) for name in _COPIED}
    return issue(
        account=api_key.account,
        mode=api_key.mode,
        name=api_key.name,
        created_by=created_by,
        rotated_from=api_key,
        budget_owner=api_key.budget_owner or api_key,
        **limits,
    )


def revoke(api_key: ApiKey, *, now: datetime) -> None:
    """End a key for good. What it started still finishes."""
    ApiKey.objects.filter(pk=api_key.pk, revoked_at=None).update(revoked_at=now)


def disable(api_key: ApiKey, *, now: datetime) -> None:
    """Pause a key; `enable` brings it back."""
    ApiKey.objects.filter(pk=api_key.pk, disabled_at=None).update(disabled_at=now)


def enable(api_key: ApiKey) -> None:
    """Let a disabled key work again."""
    ApiKey.objects.filter(pk=api_key.pk).update(disabled_at=None)
