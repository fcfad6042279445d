"""Write a mail down, and send what was written down."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from django.conf import settings
from django.core.mail import send_mail
from django.db.models import F

from accounts.models import Account, Membership
from accounts.notices.models import Notice
from accounts.transactions import forbid_transaction

logger = logging.getLogger(__name__)
_TRIES = 10
_CLAIM = timedelta(minutes=2)


def tell(account: Account, *, key: str, subject: str, body: str, now: datetime) -> bool:
    """Have the account's owners told, once for each `key`. Whether this was the first time it was asked for."""
    _, is_new = Notice.objects.get_or_create(
        key=key,
        # A line break in somebody's words is no header.
        defaults={
            "account": account,
            "subject": " ".join(subject.split())[:200],
            "body": body,
            "created_at": now,
            "next_try_at": now,
        },
    )
    return is_new


def link(path: str) -> str:
    """An address of the site for a mail; only its path where the site's address is not set."""
    return f"{settings.NBP_BASE_URL.rstrip('/')}{path}"


def send_due(*, now: datetime, limit: int = 20) -> int:
    """Send what waits; several workers do not send one mail twice. Answers how many went out."""
    forbid_transaction()
    sent = 0
    for row in Notice.objects.select_related("account").filter(next_try_at__lte=now).order_by("next_try_at")[:limit]:
        claimed = Notice.objects.filter(pk=row.pk, next_try_at=row.next_try_at).update(
            next_try_at=now + _CLAIM, tries=F("tries") + 1
        )
        if claimed:
            sent += _send(row, now)
    return sent


def _send(row: Notice, now: datetime) -> bool:
    owners = Membership.objects.filter(account=row.account, role=Membership.Role.OWNER, user__is_active=True)
    addresses = list(owners.values_list("user__email", flat=True))
    try:
        if addresses:
            send_mail(row.subject, row.body, None, addresses)
    except Exception as error:
        # Whatever is wrong with one mail, the others go out.
        logger.exception("a mail could not be sent")
        again = now + timedelta(minutes=min(60, 2 ** (row.tries + 1))) if row.tries + 1 < _TRIES else None
        Notice.objects.filter(pk=row.pk).update(next_try_at=again, error=type(error).__name__)
        return False
    Notice.objects.filter(pk=row.pk).update(next_try_at=None, sent_at=now, error="")
    return True
