"""The house's own roads: a copy of what was made before, and a drawn picture that says it is none. They call nobody."""

from __future__ import annotations

import hashlib
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

from generation.channels.adapter import Checked, Credentials, Option
from generation.channels.drawing import draw
from generation.contract import Answer, Call, SpooledImage
from generation.egress import loop
from generation.pixels import pixel_size

_MARK = "PLACEHOLDER"


class _House:
    """What both have in common: no credentials, and no request that could choose them."""

    needs_secret = False
    abilities: frozenset[str] = frozenset()
    lanes: frozenset[str] = frozenset()
    options: Mapping[str, Option] = {}

    def load(self) -> None:
        """Nothing that is not loaded anyway."""

    async def check(self, credentials: Credentials, spool: Path) -> Checked | None:
        """There is nobody to ask."""


class CacheAdapter(_House):
    """Answers with the one image of the call, byte for byte."""

    kind = "cache"

    async def generate(self, call: Call, credentials: Credentials) -> Answer:
        """Copy the image. Raises OSError where it is gone."""
        del credentials  # The protocol hands them in.
        image = call.references[0]
        path = call.spool / f"{uuid.uuid4().hex}.image"
        byte_count, digest = await loop.in_thread(_copy, image.path, path)
        return Answer("ok", "CACHED", image=SpooledImage(path, image.mime_type, byte_count, digest), cost_micros=0)


class PlaceholderAdapter(_House):
    """Draws a picture of the right shape that nobody takes for the model's."""

    kind = "placeholder"

    async def generate(self, call: Call, credentials: Credentials) -> Answer:
        """Draw it."""
        del credentials  # The protocol hands them in.
        path = call.spool / f"{uuid.uuid4().hex}.image"
        byte_count, digest = await loop.in_thread(_draw, call, path)
        image = SpooledImage(path, "image/png", byte_count, digest)
        return Answer("ok", "PLACEHOLDER", image=image, text="A placeholder: no model made this.", cost_micros=0)


def _copy(source: Path, path: Path) -> tuple[int, str]:
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, path)
    content = path.read_bytes()
    return len(content), hashlib.sha256(content).hexdigest()


def _draw(call: Call, path: Path) -> tuple[int, str]:
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = pixel_size(call.aspect_ratio, call.image_size)
    content = draw(call.prompt, width, height, mark=_MARK)
    path.write_bytes(content)
    return len(content), hashlib.sha256(content).hexdigest()
