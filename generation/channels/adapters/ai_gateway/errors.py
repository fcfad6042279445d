"""Reads what the AI Gateway says in the body of an error: https://vercel.com/docs/ai-gateway, `errors` of its SDK."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from generation.channels.adapters.failures import REQUEST_STATUSES, Told
from generation.channels.adapters.http_json import Refused, mapping, text
from generation.contract import Answer, ErrorKind

# Types that say more than their status does; a failed dependency (424) is a provider behind the gateway.
_KINDS: Mapping[str, ErrorKind] = {
    "authentication_error": "unauthorized",
    "forbidden": "unauthorized",
    "insufficient_funds": "unauthorized",
    "model_not_found": "failed",
    "failed_dependency": "failed",
    "rate_limit_exceeded": "busy",
}
_FAILED_DEPENDENCY = 424
_UNPAID = re.compile(r"insufficient[ _](?:user[ _])?(?:funds|credit|quota|balance)", re.IGNORECASE)
_POLICY = re.compile(r"content[ _-]polic|safety|moderat", re.IGNORECASE)


def tell(error: Exception) -> Told:
    """What an answered error says."""
    if not isinstance(error, Refused):
        return Told()
    found = _error(error)
    named = ": ".join(filter(None, (text(found.get("type")), text(found.get("message")))))
    number = _generation_id(error)
    return Told(message=f"{named} ({number})" if named and number else named, kind=_kind(error.status, found))


def refusal(error: Refused) -> Answer | None:
    """The answer that a request refused for its content is; None for any other error."""
    found = _error(error)
    words = f"{text(found.get('type'))} {text(found.get('message'))}"
    if error.status not in REQUEST_STATUSES or _UNPAID.search(words) or not _POLICY.search(words):
        return None
    return Answer("refused", text(found.get("type")) or "content policy", upstream_request_id=_generation_id(error))


def _kind(status: int, error: Mapping[str, Any]) -> ErrorKind | None:
    kind = text(error.get("type"))
    if _UNPAID.search(f"{kind} {text(error.get('message'))}"):
        return "unauthorized"
    return _KINDS.get(kind) or ("failed" if status == _FAILED_DEPENDENCY else None)


def _error(error: Refused) -> Mapping[str, Any]:
    found = mapping(error.body).get("error")
    return {"message": found} if isinstance(found, str) else mapping(found)


def _generation_id(error: Refused) -> str:
    return text(mapping(error.body).get("generationId"))
