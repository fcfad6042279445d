"""What a decoding process and its owner say to each other, both sides of it. Neither side believes more than it must.

A request is two numbers (byte cap, length) and the bytes of an image. An answer is a line of JSON, with a reason to
refuse the image or with the shape and the length of the new one, whose bytes follow.
"""

from __future__ import annotations

import json
import struct
from typing import IO, Any

from generation.decoding.references import MAX_EDGE, CleanImage
from generation.decoding.verdict import MIME_TYPES, Undecodable

TOO_MUCH_MEMORY = "The reference takes more memory to decode than an image should."
TOO_MUCH_TIME = "The reference takes longer to decode than an image should."
_HEADER = struct.Struct(">QQ")
_LINE_BYTES = 2000
_IMAGE_BYTES = 512 * 1024 * 1024


class BrokenOff(Exception):
    """The other side ended in the middle of a sentence, or said what makes no sense."""


def ask(pipe: IO[bytes], data: bytes, byte_cap: int) -> None:
    """The owner's side: send an image. Raises OSError where nobody reads."""
    pipe.write(_HEADER.pack(byte_cap, len(data)))
    pipe.write(data)
    pipe.flush()


def next_asked(pipe: IO[bytes]) -> tuple[bytes, int] | None:
    """The process's side: the next image and its byte cap; None when nobody will ask any more."""
    head = pipe.read(_HEADER.size)
    if len(head) < _HEADER.size:
        return None
    byte_cap, length = _HEADER.unpack(head)
    return pipe.read(length), byte_cap


def answer(pipe: IO[bytes], said: CleanImage | str) -> None:
    """The process's side: the image drawn anew, or why not."""
    if isinstance(said, str):
        pipe.write(json.dumps({"reason": said}).encode() + b"\n")
    else:
        shape = {"mime_type": said.mime_type, "width": said.width, "height": said.height, "length": len(said.data)}
        pipe.write(json.dumps(shape).encode() + b"\n")
        pipe.write(said.data)
    pipe.flush()


def answered(pipe: IO[bytes]) -> CleanImage:
    """The owner's side: the image, `Undecodable` with the reason that was given, or `BrokenOff`."""
    try:
        words = json.loads(pipe.readline(_LINE_BYTES))
        if "reason" not in words:
            return _image(words, pipe)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise BrokenOff from error
    raise Undecodable(str(words["reason"])[:300])


def _image(words: dict[str, Any], pipe: IO[bytes]) -> CleanImage:
    length = _whole(words["length"], _IMAGE_BYTES)
    width, height = _whole(words["width"], MAX_EDGE), _whole(words["height"], MAX_EDGE)
    data = pipe.read(length)
    if len(data) < length or words["mime_type"] not in MIME_TYPES.values():
        raise ValueError("That is no image.")
    return CleanImage(data, words["mime_type"], width, height)


def _whole(value: Any, most: int) -> int:
    if type(value) is not int or not 1 <= value <= most:
        raise ValueError(f"{value!r} is no number of an image.")
    return value
