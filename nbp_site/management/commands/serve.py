"""Serve site, API and worker in one process."""

from __future__ import annotations

import os
import socket
from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from generation.channels import seed
from nbp_site import demo


class Command(BaseCommand):
    help = "Migrate, then serve site, API and worker in one process until Ctrl-C or SIGTERM."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--host", default=os.environ.get("HOST", "127.0.0.1"), help="loopback unless told otherwise"
        )
        parser.add_argument("--port", type=int, default=int(os.environ.get("PORT", "8000")))
        parser.add_argument("--no-worker", action="store_true", help="web only; workers run as processes of their own")
        parser.add_argument("--no-migrate", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        host, port = options["host"], options["port"]
        _check_port(host, port)
        # Database, mails and images are the owner's.
        os.umask(0o077)
        if not options["no_migrate"]:
            self._say("Preparing the database ...")
            call_command("migrate", interactive=False, verbosity=0)
        shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104 # nosec # what is printed, not what is bound
        base_url = settings.NBP_BASE_URL.rstrip("/") or f"http://{shown}:{port}"
        is_new = not demo.note_path().exists()
        note = demo.ensure(base_url=base_url, now=datetime.now(UTC)) if settings.NBP_IS_DEVELOPMENT else None
        from nbp_site.server import serve

        def introduce() -> None:
            if note:
                self._introduce(note, is_new=is_new)
            self._say(f"Serving on {base_url} - stop with Ctrl-C.")

        serve(host=host, port=port, with_worker=not options["no_worker"], on_listening=introduce)
        self._say("Stopped.")

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()

    def _introduce(self, note: dict[str, Any], *, is_new: bool) -> None:
        is_live = bool(seed.environment_secret())
        key = note["live_key"] if is_live else note["test_key"]
        # Later starts do not repeat what may have been changed since.
        password = f"  {note['password']}" if is_new else ""
        admin_password = f"  {note['admin_password']}" if is_new else ""
        self._say(
            f"\n  Site      {note['base_url']}/   {note['email']}{password}\n"
            f"  Operator  {note['admin_url']}   {note['admin_email']}{admin_password}\n"
            f"  (kept in {demo.note_path()})\n\n"
            + (
                "  The live key uses Gemini; paste this for an image:\n\n"
                if is_live
                else "  No GEMINI_API_KEY: the test key draws on the sandbox. Paste this for an image:\n\n"
            )
            + f"  curl -sS {note['base_url']}/api/v1/generations -H 'Authorization: Bearer {key}' "
            "-H 'Content-Type: application/json' -H 'Prefer: wait=60' "
            '-d \'{"prompt": "A nano banana on a marble table, studio light"}\'\n'
        )


def _check_port(host: str, port: int) -> None:
    """Say plainly, before anything is prepared, that somebody else listens there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise CommandError(
                f"Cannot listen on {host}:{port}: {error.strerror}. Try PORT={port + 1} make run"
            ) from error
