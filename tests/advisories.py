"""Asks the open database of advisories (osv.dev) about every library the product pins. No answer is not a pass in silence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

REQUIREMENTS = Path(__file__).resolve().parents[1] / "requirements" / "base.txt"
TOTAL_SECONDS = 180
ANSWER_SECONDS = 10


def asked(options: list[str]) -> list[dict[str, Any]] | str:
    """What pip-audit says of each pinned library, or in a line why it could say nothing."""
    command = [sys.executable, "-m", "pip_audit", "-r", str(REQUIREMENTS), "--disable-pip", "--require-hashes"]
    command += ["-s", "osv", "-f", "json", "--progress-spinner", "off", "--timeout", str(ANSWER_SECONDS), *options]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TOTAL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"no end after {TOTAL_SECONDS} seconds"
    try:
        return list(json.loads(done.stdout)["dependencies"])
    except (ValueError, KeyError):
        return (done.stderr.strip().splitlines() or ["no answer"])[-1][:200]


def main(options: list[str]) -> int:
    """1 if a library has a known hole. 0 otherwise, with a loud line for whatever was not looked at."""
    found = asked(options)
    if isinstance(found, str):
        print(f"SKIPPED LOUDLY: the advisories could not be read, so no library was looked at: {found}", flush=True)
        return 0
    unknown = [each["name"] for each in found if "skip_reason" in each]
    if unknown:
        print(f"SKIPPED LOUDLY: {len(unknown)} of {len(found)} libraries could not be looked at: {', '.join(unknown)}")
    holes = [(each, hole) for each in found for hole in each.get("vulns", ())]
    for each, hole in holes:
        fixed = ", ".join(hole["fix_versions"]) or "no version yet"
        print(f"{each['name']} {each['version']}: {hole['id']}, fixed in {fixed}")
    print(f"{len(found) - len(unknown)} libraries looked at, {len(holes)} known holes")
    return 1 if holes else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
