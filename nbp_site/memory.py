"""How this process deals with memory, where Python would look too often and the C library keep too much."""

from __future__ import annotations

import ctypes
import gc

# New objects before the youngest are looked at. Python's 700 means several looks for each request.
_YOUNGEST = 10_000
# malloc.h of the GNU C library.
_M_ARENA_MAX = -8


def share_one_arena() -> None:
    """Have all threads allocate from one arena. Call it before there are threads.

    The GNU C library gives threads arenas of their own, each of which keeps what it had at its fullest. Threads that
    hold Python's lock in turn gain nothing by that. Elsewhere there is nothing to do.
    """
    try:
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
    except (OSError, AttributeError, TypeError):
        return


def settle() -> None:
    """What was loaded at the start stays to the end, and is not looked at again. Call it once, when all is loaded."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNGEST, 10, 10)
