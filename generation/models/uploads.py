"""Files that customers send ahead, to be named in later requests."""

from __future__ import annotations

from django.db import models

from accounts.identifiers import new_uuid
from accounts.models import MODES


class Upload(models.Model):
    """A stored file of a customer's, or one that is still coming in pieces (`is_whole` false)."""

    id = models.UUIDField(primary_key=True, default=new_uuid, editable=False)
    account = models.ForeignKey("accounts.Account", on_delete=models.PROTECT, related_name="+")
    api_key = models.ForeignKey("accounts.ApiKey", null=True, on_delete=models.PROTECT, related_name="+")
    mode = models.CharField(max_length=4, choices=MODES)
    name = models.CharField(max_length=40)
    purpose = models.CharField(max_length=20)
    filename = models.CharField(max_length=255, blank=True, default="")
    mime_type = models.CharField(max_length=120, blank=True, default="")
    byte_count = models.BigIntegerField(default=0, help_text="What it has, or, while it is coming, is said to have.")
    received_count = models.BigIntegerField(default=0, help_text="Bytes of a file in pieces that have come.")
    sha256 = models.CharField(max_length=64, blank=True, default="")
    is_whole = models.BooleanField(default=True)
    secret_sha256 = models.CharField(max_length=64, blank=True, default="", editable=False)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["expires_at"], name="upload_expires")]
        constraints = [models.UniqueConstraint(fields=["account", "mode", "name"], name="upload_name_once")]

    def __str__(self) -> str:
        return self.name
