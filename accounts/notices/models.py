"""The outbox of mails."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from accounts.models import Account


class Notice(models.Model):
    """One mail to the owners of an account. `key` says what it is about, so that it is told once."""

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="notices")
    key = models.CharField(max_length=200, unique=True)
    subject = models.CharField(max_length=200)
    body = models.TextField()
    created_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True)
    next_try_at = models.DateTimeField(null=True)
    tries = models.PositiveIntegerField(default=0)
    error = models.CharField(max_length=300, blank=True, default="")

    class Meta:
        indexes = [models.Index(fields=["next_try_at"], condition=Q(next_try_at__isnull=False), name="notice_due")]

    def __str__(self) -> str:
        return self.subject
