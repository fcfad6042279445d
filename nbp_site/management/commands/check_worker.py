"""Is the worker of this machine at work, or only up?"""

from __future__ import annotations

import socket
import sys
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser
from django.db.models.functions import Now

from accounts.management.answers import AnsweringCommand
from nbp_site.models import WorkerProbe


class Command(AnsweringCommand):
    help = "Exit 0 if messages reach every live worker of this machine, and there is one. For health checks of workers."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--pid", type=int, help="look at this process only")

    def handle(self, *args: Any, **options: Any) -> None:
        self._is_ok = False
        super().handle(*args, **options)
        if not self._is_ok:
            sys.exit(1)

    def answer(self, options: dict[str, Any]) -> dict[str, Any]:
        since = Now() - timedelta(seconds=settings.NBP_WORKER_STALE_SECONDS)
        live = WorkerProbe.objects.filter(host=socket.gethostname(), seen_at__gte=since).order_by("pid")
        if options["pid"]:
            live = live.filter(pid=options["pid"])
        reached = set(live.filter(beaten_at__gte=since).values_list("pk", flat=True))
        workers = [{"pid": row.pid, "is_reached": row.pk in reached} for row in live]
        self._is_ok = bool(workers) and all(each["is_reached"] for each in workers)
        return {"is_ok": self._is_ok, "workers": workers}

    def lines(self, found: dict[str, Any]) -> list[str]:
        if not found["workers"]:
            return ["No worker lives on this machine."]
        words = {True: "messages reach it", False: "no message reaches it"}
        return [f"{each['pid']}: {words[each['is_reached']]}" for each in found["workers"]]
