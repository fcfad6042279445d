"""Draws and signs for the fake upstreams, from several threads; it never sees a request's JSON."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import random
import secrets
import struct
import zlib
from collections.abc import Sequence
from typing import Protocol

from generation.channels.drawing import ImageFormat, draw
from generation.channels.fakes.faults import Fault
from generation.pixels import pixel_size

_SEAL_BYTES = 16
_CHUNK_OVERHEAD = 12


class Scene(Protocol):
    """What a picture is drawn from. `images` are the encoded images sent along."""

    @property
    def prompt(self) -> str: ...

    @property
    def aspect_ratio(self) -> str: ...

    @property
    def seed(self) -> int | None: ...

    @property
    def images(self) -> Sequence[bytes]: ...


class Studio:
    """Pictures and thought signatures of one fake server.

    `signing_key` makes its signatures recognisable; `size_bytes` is the weight each lighter PNG is padded to; with
    `cached` there is one picture per size and ratio, whatever the prompt, so that load tests cost no drawing.
    """

    def __init__(self, *, signing_key: bytes, size_bytes: int, cached: bool) -> None:
        self._signing_key = signing_key
        self._size_bytes = size_bytes
        self._cached = cached
        self._pictures: dict[tuple[int, int, ImageFormat, int], bytes] = {}

    def sign(self, model: str, byte_count: int = 48) -> str:
        """A new thought signature of `byte_count` random bytes and a seal, as base64."""
        payload = secrets.token_bytes(byte_count)
        return base64.b64encode(payload + self._seal(payload, model)).decode()

    def is_issued(self, signature: bytes, model: str) -> bool:
        """Whether a server with this key made the signature for this model."""
        payload, seal = signature[:-_SEAL_BYTES], signature[-_SEAL_BYTES:]
        return bool(payload) and hmac.compare_digest(seal, self._seal(payload, model))

    def picture(self, asked: Scene, image_size: str, *, image_format: ImageFormat = "PNG", variant: int = 0) -> bytes:
        """A picture as base64; pictures of different variants differ."""
        width, height = pixel_size(asked.aspect_ratio, image_size)
        key = (width, height, image_format, variant)
        if key in self._pictures:
            return self._pictures[key]
        content = draw(
            "cached" if self._cached else asked.prompt,
            width,
            height,
            seed=(asked.seed or 0) + variant,
            mark="FAKE GEMINI",
            image_format=image_format,
            references=() if self._cached else [io.BytesIO(image) for image in asked.images],
        )
        encoded = base64.b64encode(padded(content, self._size_bytes) if image_format == "PNG" else content)
        if self._cached:
            self._pictures[key] = encoded
        return encoded

    def picture_under(self, fault: Fault, asked: Scene, image_size: str) -> tuple[bytes, str]:
        """The picture as base64, spoiled where a fault says so, and the MIME type it is said to have."""
        image_format: ImageFormat = "JPEG" if fault.name == "jpeg" else "PNG"
        data = self.picture(asked, image_size, image_format=image_format)
        if fault.name == "wrong-mime":
            return data, fault.argument or "image/jpeg"
        return _spoiled(fault, data), f"image/{image_format.lower()}"

    def _seal(self, payload: bytes, model: str) -> bytes:
        return hmac.digest(self._signing_key, payload + model.encode(), hashlib.sha256)[:_SEAL_BYTES]


def _spoiled(fault: Fault, picture: bytes) -> bytes:
    if fault.name == "not-an-image":
        return base64.b64encode(b"<html><body>This is no image.</body></html>" * 40)
    if fault.name == "bad-base64":
        return picture[: len(picture) // 2] + b"*!*" + picture[len(picture) // 2 :]
    if fault.name == "broken-image":
        whole = base64.b64decode(picture)
        return base64.b64encode(whole[: len(whole) // 2])
    return picture


def padded(png: bytes, byte_count: int) -> bytes:
    """The same PNG weighing `byte_count` bytes, by a private chunk of noise before its end; a heavier one stays."""
    missing = byte_count - len(png) - _CHUNK_OVERHEAD
    if missing < 0:
        return png
    body = b"fiLl" + random.Random(byte_count).randbytes(missing)
    chunk = struct.pack(">I", missing) + body + struct.pack(">I", zlib.crc32(body))
    return png[:-_CHUNK_OVERHEAD] + chunk + png[-_CHUNK_OVERHEAD:]
