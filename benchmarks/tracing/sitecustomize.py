"""Python imports this at its start where this folder is on its path: each statement's time goes to a file.

One line a statement: when it began (seconds since the epoch), how long it took (seconds), its first words.
"""

import os
import time

_FOLDER = os.environ.get("NBP_BENCH_TRACE")
if _FOLDER:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.backends.utils import CursorWrapper

    # Closed by the end of the process; lines leave at once, as that may be a kill.
    _file = open(os.path.join(_FOLDER, f"{os.getpid()}.trace"), "w", buffering=1, encoding="utf-8")  # noqa: PTH118, PTH123, SIM115

    def _timed(owner, name, words):
        inner = getattr(owner, name)

        def timed(self, *args, **kwargs):
            began = time.time()
            try:
                return inner(self, *args, **kwargs)
            finally:
                _file.write(f"{began:.6f} {time.time() - began:.6f} {words(*args)}\n")

        setattr(owner, name, timed)

    def _first_words(sql, *_):
        return " ".join(str(sql).split())[:60]

    _timed(CursorWrapper, "execute", _first_words)
    _timed(CursorWrapper, "executemany", _first_words)
    _timed(BaseDatabaseWrapper, "_commit", lambda: "COMMIT")
