"""`python -m benchmarks [name ...]`: runs benchmarks, prints one line of JSON for each and keeps the results."""

from __future__ import annotations

import argparse
import importlib
import json
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks import databases, machine, profiles

NAMES = ("burst", "cpu", "latency", "memory", "doors", "submit", "ledger", "reads", "faults", "trace")
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
RESULTS = Path("var") / "benchmarks.json"


def main() -> None:
    options = _options()
    # Said, because a shell that starts jobs in the background leaves SIGINT ignored.
    for number in _SIGNALS:
        signal.signal(number, _interrupt)
    try:
        with databases.alone():
            for name in options.names or NAMES:
                _keep(options.results, name, _measured(name))
    except databases.Missing as missing:
        sys.exit(f"The benchmarks cannot run: {missing}")
    except KeyboardInterrupt:
        sys.exit("Stopped; what was started is ended.")


def _interrupt(number: int, frame: FrameType | None) -> None:
    """The first signal ends the run; a second one must not break off the cleaning up, which takes seconds at most."""
    del number, frame
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", default=NAMES, help=f"of {', '.join(NAMES)}; all if left out")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where results are kept, merged by name")
    parser.add_argument("--profile", type=Path, metavar="FOLDER", help="profile web and worker into a folder")
    options = parser.parse_args()
    unknown = set(options.names) - set(NAMES)
    if unknown:
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}")
    if options.profile:
        try:
            profiles.enable(options.profile)
        except profiles.NoProfiler as error:
            parser.error(str(error))
    return options


def _measured(name: str) -> dict[str, Any]:
    facts = machine.facts() | {"postgresql": databases.postgresql_version(), "redis": databases.redis_version()}
    print(f"{name} ...", file=sys.stderr, flush=True)
    figures = importlib.import_module(f"benchmarks.{name}").measure()
    result = {"benchmark": name, "figures": figures, "machine": facts}
    print(json.dumps(result), flush=True)
    return result


def _keep(path: Path, name: str, result: dict[str, Any]) -> None:
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(known | {name: result}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
