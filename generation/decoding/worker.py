"""A process that does nothing but take images in: `python -m generation.decoding.worker`. It must never import Django.

Its memory and its time are limited, and after its imports it can open nothing any more: no file, no socket. It ends
when its standard input does.
"""

from __future__ import annotations

import contextlib
import resource
import signal
import sys

# Pillow imports these when it first needs them, and then it could no longer open their files.
from PIL import ExifTags, Image, JpegPresets, MpoImagePlugin, TiffImagePlugin, TiffTags  # noqa: F401

from generation.decoding import exchange
from generation.decoding.references import CleanImage, take_in
from generation.decoding.verdict import Undecodable


def main() -> None:
    """Serve until nobody asks any more. Arguments: bytes of address space, seconds of computing for each image."""
    memory_bytes, cpu_seconds = int(sys.argv[1]), float(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Image.init()
    _give_up_everything(memory_bytes)
    while (asked := exchange.next_asked(sys.stdin.buffer)) is not None:
        # Seconds of computing rather than of the clock: a busy machine is no fault of the image. Then it is SIGPROF.
        signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
        said = _taken_in(*asked)
        signal.setitimer(signal.ITIMER_PROF, 0)
        exchange.answer(sys.stdout.buffer, said)


def _give_up_everything(memory_bytes: int) -> None:
    limits = {
        resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
        # The three that are open stay open.
        resource.RLIMIT_NOFILE: 3,
    }
    for name, value in limits.items():
        # A system that does not know a limit (macOS and the address space) is left without that one.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(name, (value, value))


def _taken_in(data: bytes, byte_cap: int) -> CleanImage | str:
    try:
        return take_in(data, byte_cap=byte_cap)
    except Undecodable as error:
        return error.reason
    except MemoryError:
        return exchange.TOO_MUCH_MEMORY


if __name__ == "__main__":
    main()
