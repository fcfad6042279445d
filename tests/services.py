"""Finds PostgreSQL, Redis and RabbitMQ (from the environment, else on localhost), then runs a command against them."""

from __future__ import annotations

import os
import socket
import sys
from urllib.parse import urlsplit

DEFAULTS = {
    "DATABASE_URL": "postgres://postgres@127.0.0.1:5432/postgres",
    "REDIS_URL": "redis://127.0.0.1:6379/9",
    "CELERY_BROKER_URL": "redis://127.0.0.1:6379/8",
    "NBP_TEST_RABBITMQ_URL": "amqp://guest:guest@127.0.0.1:5672//",
}
PORTS = {"postgres": 5432, "postgresql": 5432, "redis": 6379, "amqp": 5672}


def is_open(url: str) -> bool:
    """Whether somebody listens where the URL points."""
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "127.0.0.1", parts.port or PORTS[parts.scheme]), timeout=2):
            return True
    except OSError:
        return False


def main() -> None:
    found = {name: os.environ.get(name) or default for name, default in DEFAULTS.items()}
    open_services = {name: url for name, url in found.items() if is_open(url)}
    for name in sorted(set(found) - set(open_services)):
        print(f"SKIPPED LOUDLY: nothing listens at {name} ({found[name].split('@')[-1]})", flush=True)
    if "DATABASE_URL" not in open_services or "REDIS_URL" not in open_services:
        print("SKIPPED LOUDLY: test-services needs PostgreSQL and Redis; set DATABASE_URL and REDIS_URL.", flush=True)
        sys.exit(0)
    if len(sys.argv) > 1:
        os.environ.update(open_services, NBP_TEST_SERVICES="1")
        os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
