"""What the processes of an installation write down about themselves."""

from __future__ import annotations

from django.db import models


class WorkerProbe(models.Model):
    """A worker process: `seen_at` moves while its sweeper lives, `beaten_at` only when a message came all the way.

    All times are the database's clock. Rows of processes that are gone are removed after a while.
    """

    name = models.CharField(max_length=80, primary_key=True)
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField()
    beaten_at = models.DateTimeField(null=True)
    calls_in_flight = models.PositiveIntegerField(default=0)
    is_stalled = models.BooleanField(default=False)

    class Meta:
        indexes = [models.Index(fields=["seen_at"], name="worker_probe_seen")]

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}"
