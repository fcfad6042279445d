"""What the contract of adapters is tried with: one way of asking, its stand-in, and what that drew and sent.

A test takes `harness` and says by a mark which ways it is for: `EVERY_WAY`, `ways(...)`, or `playing(...)` for those
whose stand-in plays a fault.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from generation.channels.adapter import Credentials
from generation.channels.fakes.faults import Fault
from generation.channels.fakes.studio import Studio
from generation.channels.registry import ADAPTERS
from generation.contract import Answer, ChannelError
from generation.egress import loop
from tests import images
from tests.upstreams.calls import call_of, failure_of, png, spooled
from tests.upstreams.speakers import WAYS, Speaker, Word


def ways(fits: Callable[[Speaker], bool]) -> pytest.MarkDecorator:
    """The ways of asking that fit."""
    names = [name for name, speaker in WAYS.items() if fits(speaker)]
    return pytest.mark.parametrize("harness", names, indirect=True)


def playing(*faults: str) -> pytest.MarkDecorator:
    """Each way with each of these faults, as `fault`, that its stand-in plays."""
    return _pairs("fault", ((name, each) for name in WAYS for each in faults if each in WAYS[name].names))


def answering(words: Callable[[Speaker], Iterable[Word]]) -> pytest.MarkDecorator:
    """Each way with each of its words for an answer without a picture, as `word`."""
    return _pairs("word", ((name, word) for name, speaker in WAYS.items() for word in words(speaker)))


def _pairs(argument: str, pairs: Iterable[tuple[str, Any]]) -> pytest.MarkDecorator:
    found = [pytest.param(name, each, id=f"{name}-{_named(each)}") for name, each in pairs]
    return pytest.mark.parametrize(("harness", argument), found, indirect=["harness"])


def _named(value: str | Word) -> str:
    return value if isinstance(value, str) else f"{value[0]}-{value[1]}".replace(" ", "_")


EVERY_WAY = ways(lambda _: True)
# The secret is an API key that goes along with the one request.
WITH_KEY = ways(lambda speaker: speaker.secret_at is None)
WITH_REFERENCES = ways(lambda speaker: speaker.takes_references)


class Drawn:
    """Takes the place of drawing in every stand-in: what was asked for, and the base64 that was sent for it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.picture = png(1, 100)
        self.scenes: list[Any] = []
        self._sent: list[bytes] = []
        spoil = Studio.picture_under

        def picture(_studio: Studio, _asked: Any, _size: str, *, image_format: str = "PNG", variant: int = 0) -> bytes:
            data = images.jpeg() if image_format == "JPEG" else png(100 + variant) if variant else self.picture
            return base64.b64encode(data)

        def picture_under(studio: Studio, fault: Fault, asked: Any, image_size: str) -> tuple[bytes, str]:
            data, mime_type = spoil(studio, fault, asked, image_size)
            self.scenes.append(asked)
            self._sent.append(data)
            return data, mime_type

        monkeypatch.setattr(Studio, "picture", picture)
        monkeypatch.setattr(Studio, "picture_under", picture_under)

    @property
    def sent(self) -> list[bytes]:
        """The pictures as they were sent."""
        return [base64.b64decode(data) for data in self._sent]


class Harness:
    """One way of asking: `ask()` makes a call of the adapter to its stand-in, whose next faults are `fake.script`."""

    def __init__(self, speaker: Speaker, folder: Path, drawn: Drawn) -> None:
        self.speaker, self.drawn = speaker, drawn
        self.fake: Any = speaker.fake()
        self.call = call_of(folder, speaker.upstream_model, is_multimodal=speaker.is_multimodal)
        self.adapter = ADAPTERS[speaker.kind]

    @property
    def requests(self) -> list[Any]:
        """What the stand-in was asked to work on: a call is one of them."""
        return list(self.fake.requests)

    @property
    def spooled(self) -> list[Path]:
        return spooled(self.call)

    def play(self, name: str, argument: str = "", **hints: Any) -> None:
        """A fault of the next request."""
        self.fake.script.append(Fault(name, argument, **hints))

    def credentials(self, base_url: str | None = None, secret: str | None = None) -> Credentials:
        address = self.fake.base_url if base_url is None else base_url
        given = self.speaker.secret_at(address) if self.speaker.secret_at else self.speaker.secret
        return Credentials(given if secret is None else secret, address, self.speaker.options)

    async def generate(self) -> Answer:
        return await self.adapter.generate(self.call, self.credentials())

    def ask(self, credentials: Credentials | None = None, **changes: Any) -> Answer:
        """What the adapter answers to the call with these changes."""
        asked = replace(self.call, **changes)
        return loop.run(self.adapter.generate(asked, credentials or self.credentials()), timeout_seconds=60)

    def failure(self, credentials: Credentials | None = None, **changes: Any) -> ChannelError:
        """How a call fails; see `failure_of` for what is true of each failure."""
        given = credentials or self.credentials()
        # A service account's JSON holds a private key of several lines, and is exchanged for tokens.
        secrets = (given.secret, *given.secret.split("\\n")[1:-1], *getattr(self.fake, "issued", ()))
        return failure_of(self.call, lambda: self.ask(given, **changes), *secrets, may_fetch=self.speaker.has_links)

    def warm_up(self) -> None:
        """Make a call and forget it: the first one of a process makes its client, and takes longer than the others."""
        found = self.ask()
        assert found.image is not None
        found.image.path.unlink()
        self.fake.requests.clear()
