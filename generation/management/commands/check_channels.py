"""Say which channels are fit for work; with --probe, have each make one image."""

from __future__ import annotations

import dataclasses
import sys
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import CommandParser
from django.db.models import Q

from accounts.management.answers import AnsweringCommand
from generation.channels import probing
from generation.channels.models import Channel
from generation.channels.seed import HOUSE
from generation.egress import loop

_MODES = ("live", "test")


class Command(AnsweringCommand):
    help = "Show the state of each channel. Exit 1 if a mode has no channel that is ready."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--mode", choices=_MODES, help="look at this mode only")
        parser.add_argument(
            "--probe",
            action="store_true",
            help="one small real call by each configured channel; costs an image upstream",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        self._is_ok = False
        super().handle(*args, **options)
        if not self._is_ok:
            sys.exit(1)

    def answer(self, options: dict[str, Any]) -> dict[str, Any]:
        modes = [options["mode"]] if options["mode"] else list(_MODES)
        own_or_house = Q(account__isnull=False) | Q(kind__in=HOUSE)
        rows = Channel.objects.filter(mode__in=modes).exclude(own_or_house).order_by("mode", "priority", "name")
        try:
            channels = [_channel(row, is_calling=options["probe"]) for row in rows]
        finally:
            loop.stop()
        missing = [mode for mode in modes if not any(each["is_ready"] for each in channels if each["mode"] == mode)]
        self._is_ok = not missing
        return {"ok": not missing, "modes_without_channel": missing, "channels": channels}

    def lines(self, found: dict[str, Any]) -> list[str]:
        told = [_line(each) for each in found["channels"]]
        told += [f"No {mode} channel is ready." for mode in found["modes_without_channel"]]
        return told


def _channel(row: Channel, *, is_calling: bool) -> dict[str, Any]:
    state = probing.condition(row, now=datetime.now(UTC))
    found = probing.probe(row) if is_calling else None
    return {
        "name": row.name,
        "mode": row.mode,
        "kind": row.kind,
        "priority": row.priority,
        "is_ready": state.is_ready and (found is None or found.is_ok),
        "state": state.words,
        "check": row.check_words,
        "balance_micros": row.balance_micros,
        "probe": dataclasses.asdict(found) if found else None,
    }


def _line(channel: dict[str, Any]) -> str:
    line = f"{channel['mode']}  {channel['name']} ({channel['kind']}): {channel['state']}"
    if channel["check"]:
        line += f"; its provider: {channel['check']}"
    if channel["probe"]:
        found = channel["probe"]
        line += f"; probe {'ok' if found['is_ok'] else 'failed'} in {found['seconds']:.1f} s: {found['detail']}"
    return line
