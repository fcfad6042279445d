"""A raw key becomes a Requester or a named refusal. Knows no header names."""

from __future__ import annotations

import hmac
import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Q

from accounts.compiled import CompiledSelect
from accounts.keys import ParsedKey, hash_secret, parse
from accounts.models import Account, ApiKey, User
from accounts.transactions import write_transaction

_DUMMY_HASH = "0" * 64
_LAST_USED_GRAIN = timedelta(minutes=1)
_keys = CompiledSelect(
    lambda key_ids, modes: ApiKey.objects.select_related("account").filter(key_id__in=key_ids, mode__in=modes)
)


class AuthenticationFailed(Exception):
    """Why a key is not accepted. An unknown id and a wrong secret are the same refusal."""

    def __init__(self, code: str, message: str, *, is_forbidden: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.is_forbidden = is_forbidden


@dataclass(frozen=True, slots=True)
class Requester:
    """Who asks: an account in one mode, through one of its keys or as one of its users."""

    account: Account
    mode: str
    api_key: ApiKey | None = None
    user: User | None = None

    is_authenticated = True

    def may(self, scope: str) -> bool:
        return self.api_key is None or scope in self.api_key.scopes

    @property
    def requests_per_minute(self) -> int:
        own = self.api_key.requests_per_minute if self.api_key else None
        return own or int(settings.NBP_REQUESTS_PER_MINUTE)

    @property
    def rate_limit_name(self) -> str:
        return f"key:{self.api_key.pk}" if self.api_key else f"account:{self.account.pk}:{self.mode}"


def authenticate(raw: str, *, address: str, now: datetime) -> Requester:
    """The Requester behind a raw key, or AuthenticationFailed."""
    api_key = _find(parse(raw))
    if api_key is None:
        raise AuthenticationFailed("invalid_api_key", "The API key is not valid. Check that it was copied whole.")
    check_state(api_key, now)
    _check_address(api_key, address)
    _touch(api_key, now)
    return Requester(account=api_key.account, mode=api_key.mode, api_key=api_key)


def _find(parsed: ParsedKey | None) -> ApiKey | None:
    if parsed is None:
        return None
    api_key = next(iter(_keys([parsed.key_id], [parsed.mode])), None)
    # The comparison happens for unknown ids too, so that time does not tell them from wrong secrets.
    is_right = hmac.compare_digest(hash_secret(parsed.secret), api_key.key_hash if api_key else _DUMMY_HASH)
    return api_key if is_right else None


def check_state(api_key: ApiKey, now: datetime) -> None:
    """Raise AuthenticationFailed where a key, or its account, may do nothing any more."""
    if api_key.revoked_at is not None:
        raise AuthenticationFailed("api_key_revoked", "This API key was revoked.")
    if api_key.expires_at is not None and api_key.expires_at <= now:
        raise AuthenticationFailed("api_key_expired", "This API key has expired.")
    if api_key.disabled_at is not None:
        raise AuthenticationFailed("api_key_disabled", "This API key is disabled.")
    if api_key.account.status != Account.Status.ACTIVE:
        raise AuthenticationFailed(
            "account_suspended", "This account is suspended. Ask the operator of this service.", is_forbidden=True
        )


def _check_address(api_key: ApiKey, address: str) -> None:
    if not api_key.ip_list:
        return
    try:
        caller = ipaddress.ip_address(address)
        is_listed = any(caller in ipaddress.ip_network(entry, strict=False) for entry in api_key.ip_list)
    except ValueError:
        is_listed = False
    if not is_listed:
        raise AuthenticationFailed(
            "ip_not_allowed", "This API key may not be used from this address.", is_forbidden=True
        )


def _touch(api_key: ApiKey, now: datetime) -> None:
    """Note the use, at most once a minute: a write per request would cost more than it tells."""
    if api_key.last_used_at is not None and now - api_key.last_used_at < _LAST_USED_GRAIN:
        return
    not_since = Q(last_used_at=None) | Q(last_used_at__lte=now - _LAST_USED_GRAIN)
    with write_transaction():
        ApiKey.objects.filter(not_since, pk=api_key.pk).update(last_used_at=now)
