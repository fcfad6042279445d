"""How often this process looks for garbage in cycles. Python counts on far fewer objects than a request here makes."""

from __future__ import annotations

import gc

# New objects before the youngest are looked at. Python's 700 means several looks for each request.
_YOUNGEST = 10_000


def settle() -> None:
    """What was loaded at the start stays to the end, and is not looked at again. Call it once, when all is loaded."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNGEST, 10, 10)
