"""`manage.py fake_gemini`: serves the fake Gemini API on a loopback port until it is told to stop."""

from __future__ import annotations

import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from generation.channels.fakes.gemini import FakeGemini


class Command(BaseCommand):
    help = "Serve a fake Gemini API on 127.0.0.1: drawn pictures, the real wire, faults on request (docs/sandbox.md)."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=int, default=8899, help="0 takes a free one (default: 8899)")
        parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer (default: 0)")
        parser.add_argument("--size-bytes", type=int, default=0, help="pad each PNG to this weight")
        parser.add_argument("--cached", action="store_true", help="draw one picture per size and ratio, for load tests")

    def handle(self, *_: Any, **options: Any) -> None:
        fake = FakeGemini(
            port=options["port"],
            latency_seconds=options["latency"],
            size_bytes=options["size_bytes"],
            cached=options["cached"],
            is_recording=False,
            # A fixed key lets a conversation go on after a restart.
            signing_key=b"fake_gemini",
        )
        stopping = threading.Event()
        numbers = (signal.SIGINT, signal.SIGTERM)
        earlier = [signal.signal(number, lambda *_: stopping.set()) for number in numbers]
        try:
            with fake:
                self.stdout.write(f"Fake Gemini API at {fake.base_url}, Ctrl-C stops it.")
                self.stdout.flush()
                stopping.wait()
        finally:
            for number, handler in zip(numbers, earlier, strict=True):
                signal.signal(number, handler)
