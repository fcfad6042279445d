"""`manage.py fake_stripe`: serves the fake Stripe on a loopback port until it is told to stop."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from accounts.payments.fake_stripe import FakeStripe
from accounts.payments.fake_stripe.server import FakeStripeServer


class Command(BaseCommand):
    help = "Serve a fake Stripe on 127.0.0.1: API, Checkout page and signed webhooks (docs/payments.md)."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=int, default=8898, help="0 takes a free one (default: 8898)")
        parser.add_argument("--file", default="", help="where it remembers (default: in NBP_DATA_DIR)")

    def handle(self, *_: Any, **options: Any) -> None:
        path = Path(options["file"] or Path(settings.NBP_DATA_DIR) / "fake_stripe_server.sqlite3")
        stopping = threading.Event()
        numbers = (signal.SIGINT, signal.SIGTERM)
        earlier = [signal.signal(number, lambda *_: stopping.set()) for number in numbers]
        try:
            with FakeStripeServer(lambda base_url: FakeStripe(path, pages=base_url), port=options["port"]) as server:
                self.stdout.write(
                    f"Fake Stripe at {server.base_url}, Ctrl-C stops it. Point the service at it with\n"
                    f"STRIPE_SECRET_KEY={server.fake.secret_key} NBP_STRIPE_API_BASE={server.base_url} "
                    "STRIPE_WEBHOOK_SECRET=... (from register_stripe_webhook)"
                )
                self.stdout.flush()
                stopping.wait()
        finally:
            for number, handler in zip(numbers, earlier, strict=True):
                signal.signal(number, handler)
