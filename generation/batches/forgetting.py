"""Batches that ended long ago are forgotten; their generations stay as long as all others."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings

from accounts.transactions import write_transaction
from generation import media
from generation.batches.creation import storage_name
from generation.models import Batch

_KEPT_DAYS = 30
_AT_ONCE = 20


def kept_for() -> timedelta:
    """How long a batch is known after its end: not longer than words and images are kept."""
    days = (_KEPT_DAYS, settings.NBP_RETENTION_PROMPT_DAYS, settings.NBP_RETENTION_IMAGE_DAYS)
    return timedelta(days=min(each for each in days if each))


def purge(*, now: datetime) -> bool:
    """Forget some. True if there may be more."""
    found = list(Batch.objects.filter(ended_at__lt=now - kept_for()).values_list("pk", flat=True)[:_AT_ONCE])
    for pk in found:
        media.remove(storage_name(pk))
        with write_transaction():
            Batch.objects.filter(pk=pk).delete()
    return len(found) == _AT_ONCE
