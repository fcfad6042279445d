"""The least a Django service could do for a request: find a key, insert a row, answer 202. It is a yardstick only."""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any

import environ
import uvicorn
from django.conf import settings

settings.configure(
    SECRET_KEY="a benchmark's",
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    USE_TZ=True,
    MIDDLEWARE=[],
    DATABASES={
        "default": {
            **environ.Env.db_url_config(os.environ["DATABASE_URL"]),
            "CONN_MAX_AGE": 0,
            "OPTIONS": {"pool": {"min_size": 2, "max_size": 20, "timeout": 20}},
        }
    },
)

from django.core.asgi import get_asgi_application  # noqa: E402
from django.db import connection, models, transaction  # noqa: E402
from django.http import HttpRequest, JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402
from django.utils import timezone  # noqa: E402

application = get_asgi_application()


class Key(models.Model):
    """A hashed key."""

    key_hash = models.CharField(max_length=64, unique=True)
    account = models.CharField(max_length=40)

    class Meta:
        app_label = "minimal"


class Job(models.Model):
    """What was asked."""

    account = models.CharField(max_length=40)
    prompt = models.TextField()
    created_at = models.DateTimeField()

    class Meta:
        app_label = "minimal"


def _hash(raw: str) -> str:
    return hashlib.sha256(raw.encode()).hexdigest()


def create(request: HttpRequest) -> JsonResponse:
    """One look-up, one INSERT in a transaction."""
    raw = request.headers.get("Authorization", "").removeprefix("Bearer ")
    key = Key.objects.filter(key_hash=_hash(raw)).first()
    if key is None:
        return JsonResponse({"error": "unknown key"}, status=401)
    body: dict[str, Any] = json.loads(request.body)
    with transaction.atomic():
        job = Job.objects.create(account=key.account, prompt=body["prompt"], created_at=timezone.now())  # noqa: TID251
    return JsonResponse({"id": job.pk, "status": "queued"}, status=202)


urlpatterns = [path("", create)]


def main() -> None:
    """Make the two tables and serve on $PORT."""
    with connection.schema_editor() as editor:
        editor.create_model(Key)
        editor.create_model(Job)
    Key.objects.bulk_create(Key(key_hash=_hash(f"key-{number}"), account=f"account {number}") for number in range(100))
    connection.close()
    server = uvicorn.Server(
        uvicorn.Config(application, port=int(os.environ["PORT"]), lifespan="off", log_level="warning", access_log=False)
    )
    startup = server.startup

    async def startup_and_say(*arguments: Any, **options: Any) -> None:
        await startup(*arguments, **options)
        print("listening", flush=True)

    server.startup = startup_and_say  # type: ignore[method-assign]
    server.run()


if __name__ == "__main__":
    main()
