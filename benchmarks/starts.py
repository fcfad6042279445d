"""How long accepted work waits for its start: accepts requests one by one in a process of the service's own kind."""

from __future__ import annotations

import argparse
import json
import os
import time
from datetime import UTC, datetime
from typing import Any

import django
from django.db import connection

_PATIENCE_SECONDS = 20.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int)
    parser.add_argument("--embedded", action="store_true", help="run the worker in this process")
    options = parser.parse_args()
    os.environ["DJANGO_SETTINGS_MODULE"] = "nbp_site.settings"
    django.setup()
    worker = _embedded_worker() if options.embedded else None
    try:
        _accepted_to_started()
        print(json.dumps([_accepted_to_started() for _ in range(options.count)]))
    finally:
        if worker is not None:
            worker.stop_consuming()
            worker.stop()


def _embedded_worker() -> Any:
    from nbp_site.embedded import EmbeddedWorker

    worker = EmbeddedWorker()
    worker.start()
    return worker


def _accepted_to_started() -> float:
    """Milliseconds from the commit of one request to the moment its attempt was begun; waits until it has ended."""
    from accounts import crash_points
    from accounts.authentication import Requester
    from accounts.models import ApiKey
    from generation import submission
    from generation.contract import GenerationRequest

    committed: list[datetime] = []
    forget = crash_points.watch(lambda name: committed.append(datetime.now(UTC)) if name == "accept.saved" else None)
    try:
        api_key = ApiKey.objects.select_related("account").get(mode="live")
        requester = Requester(account=api_key.account, mode="live", api_key=api_key)
        request = GenerationRequest(prompt="A nano banana on a marble table", image_size="1K")
        accepted = submission.accept(requester, request, now=datetime.now(UTC))
    finally:
        forget()
    return (_started_at(accepted.generation_id) - committed[0]).total_seconds() * 1000


def _started_at(generation_id: Any) -> datetime:
    from generation.models import Attempt, Generation

    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not Generation.objects.filter(pk=generation_id, finished_at__isnull=False).exists():
        if time.monotonic() > deadline:
            raise RuntimeError("the generation did not end")
        time.sleep(0.01)
    found: datetime = Attempt.objects.values_list("started_at", flat=True).get(output__generation_id=generation_id)
    connection.close()
    return found


if __name__ == "__main__":
    main()
