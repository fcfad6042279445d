"""Plays every fault once to every adapter, beside an `aiohttp` that can be imported, and counts what arrives upstream.

google-genai takes the first sight of that package as leave to use it, and to send a request again by itself when a
connection ends. `python -m tests.faults.hidden_retries` prints one JSON object: what arrived by adapter and fault, and
what went through aiohttp.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

SLOW = ("silent", "stall", "trickle", "trickle-head")


class _Session:
    """A session that counts requests and loses each connection, which is when hidden retries happen."""

    request_count = 0

    def __init__(self, *_args: object, **_options: object) -> None:
        self.closed = False

    async def request(self, *_args: object, **_options: object) -> NoReturn:
        _Session.request_count += 1
        raise sys.modules["aiohttp"].ServerDisconnectedError

    async def _request(self, method: str, url: str, *, ssl: object = None) -> NoReturn:
        await self.request(method, url, ssl=ssl)

    async def close(self) -> None:
        self.closed = True


class _Aiohttp(ModuleType):
    """As much of aiohttp as an SDK looks at; whatever else it asks for is an exception class of that name."""

    ClientSession = _Session

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        found = type(name, (Exception,), {})
        setattr(self, name, found)
        return found


def _hits(kind: str, spool: Path) -> dict[str, int]:
    """Requests upstream by fault; "" is no fault."""
    from generation.channels.adapter import Credentials
    from generation.channels.fakes.faults import Fault
    from generation.channels.registry import ADAPTERS
    from generation.contract import ChannelError
    from generation.egress import loop
    from tests.upstreams.speakers import SPEAKERS

    speaker = SPEAKERS[kind]
    fake = speaker.fake()
    fake.start()
    hits = {}
    for name in ("", *sorted(speaker.names)):
        fake.requests.clear()
        fake.script[:] = [Fault(name)] if name else []
        call = _call(speaker.upstream_model, spool, deadline_seconds=1.0 if name in SLOW else 30.0)
        try:
            loop.run(ADAPTERS[kind].generate(call, Credentials(speaker.secret, fake.base_url)), timeout_seconds=60)
        except ChannelError as error:
            assert error.kind != "unreachable", (name, error.message)
        hits[name] = len(fake.requests)
    fake.stop()
    return hits


def _call(upstream_model: str, spool: Path, *, deadline_seconds: float) -> Any:
    from generation.contract import Call

    return Call(
        upstream_model=upstream_model,
        prompt="a lighthouse",
        aspect_ratio="1:1",
        image_size="1K",
        spool=spool,
        deadline_seconds=deadline_seconds,
    )


def main() -> None:
    """Everything that may bring an SDK along is imported after aiohttp is in its place."""
    if importlib.util.find_spec("aiohttp") is None:
        sys.modules["aiohttp"] = _Aiohttp("aiohttp")
    import django

    django.setup()
    from google.genai import _api_client

    from generation.egress import loop
    from tests.upstreams.speakers import SPEAKERS

    with tempfile.TemporaryDirectory() as spool:
        hits = {kind: _hits(kind, Path(spool)) for kind in SPEAKERS}
    loop.stop()
    found = {"hits": hits, "is_aiohttp_seen": _api_client.has_aiohttp, "aiohttp_requests": _Session.request_count}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
