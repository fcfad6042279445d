"""Which seeds a test run takes: a few in the suite, very many when asked, or the one that is to be seen again."""

from __future__ import annotations

import os
from collections.abc import Sequence

from django.db import connection

_CHUNK = 20
# Each statement is a round trip to PostgreSQL: it gets a share.
_SHARE_ON_POSTGRESQL = 20
_IN_THE_SUITE = {"sqlite": 120, "postgresql": 40}


def _count() -> int:
    asked = int(os.environ.get("SIMULATOR_SEEDS", "0"))
    if not asked:
        return _IN_THE_SUITE[connection.vendor]
    return asked if connection.vendor == "sqlite" else asked // _SHARE_ON_POSTGRESQL


def chunks(*, half: int) -> list[Sequence[int]]:
    """The seeds of one half (0 or 1) in chunks.

    SIMULATOR_SEEDS says how many in all, SIMULATOR_FIRST from which on, SIMULATOR_SEED names just one.
    """
    if "SIMULATOR_SEED" in os.environ:
        return [[int(os.environ["SIMULATOR_SEED"])]] if half == 0 else []
    first = int(os.environ.get("SIMULATOR_FIRST", "0"))
    own = range(first + half, first + _count(), 2)
    return [own[start : start + _CHUNK] for start in range(0, len(own), _CHUNK)]
