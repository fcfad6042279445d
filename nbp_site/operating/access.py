"""Who may see details of the service's health: this very machine, and whoever has the operator's token."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Mapping

from django.conf import settings

# A proxy on this machine calls from loopback too, and says with one of these for whom.
_FORWARDED = ("x-forwarded-for", "x-forwarded-host", "x-real-ip", "forwarded", "via")


def is_operator(address: str, headers: Mapping[str, str]) -> bool:
    """`address` is the peer's; header names are in lower case."""
    return _has_token(headers.get("authorization", "")) or _is_local(address, headers)


def _has_token(header: str) -> bool:
    scheme, _, token = header.partition(" ")
    expected = settings.NBP_METRICS_TOKEN
    if not expected or scheme.lower() != "bearer":
        return False
    return hmac.compare_digest(token.strip().encode(), expected.encode())


def _is_local(address: str, headers: Mapping[str, str]) -> bool:
    if any(name in headers for name in _FORWARDED):
        return False
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
