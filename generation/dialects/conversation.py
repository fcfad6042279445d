"""A conversation, sent whole with each request as chat dialects do: what it asks for, and what that continues.

Where the model's last picture is one of ours, the request continues that output: its history is here, with all that the
client may have lost of it. Else the conversation is told anew, its pictures sent along. Pure Python.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from generation.contract import ReferenceInput, invalid

# The public id of the requester's own output that an image is, or nothing.
OwnOutput = Callable[[ReferenceInput], str]
# The same for the picture that ended a conversation, by its hash.
Ended = Callable[[str], str]
_NAMES = {"user": "User", "model": "Model"}


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side said, and the images it sent."""

    speaker: Literal["system", "user", "model"]
    text: str = ""
    images: tuple[ReferenceInput, ...] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """What a conversation asks for, in the words of a GenerationRequest."""

    prompt: str
    references: tuple[ReferenceInput, ...] = ()
    previous: str = ""
    conversation: str = ""


def asked(turns: Sequence[Turn], own_output: OwnOutput, *, param: str, ended: Ended | None = None) -> Asked:
    """What the last turn asks for. `param` names the conversation in a refusal. With `ended`, the picture of a model's
    turn that came back as words only is found by what was said before it."""
    if not any(turn.speaker == "user" for turn in turns):
        raise invalid(param, "There is no user's turn.")
    place = max((index for index, turn in enumerate(turns) if _is_picture(turn)), default=-1)
    previous = own_output(turns[place].images[-1]) if place >= 0 else ""
    if place < 0 and ended is not None:
        place = max((index for index, turn in enumerate(turns) if turn.speaker == "model"), default=-1)
        previous = ended(hash_of(turns[:place])) if place >= 0 else ""
    said = _since(turns, place) if previous else turns
    images = tuple(_known(image, own_output) for turn in said for image in turn.images)
    return Asked(_told(said), images, previous, hash_of(turns) if ended is not None else "")


def _since(turns: Sequence[Turn], place: int) -> list[Turn]:
    """What was said after a turn, under the rules that stand before all: they may have changed since."""
    return [turn for turn in turns[:place] if turn.speaker == "system"] + list(turns[place + 1 :])


def hash_of(turns: Sequence[Turn]) -> str:
    """What a conversation is known by: who said what and sent which images, but for the model's words and pictures,
    which clients change."""
    said = [turn for turn in turns if turn.speaker != "model"]
    told = [[turn.speaker, turn.text, [_digest(image) for image in turn.images]] for turn in said]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _digest(image: ReferenceInput) -> str:
    return image.url or image.output or image.file or hashlib.sha256(image.data).hexdigest()


def _is_picture(turn: Turn) -> bool:
    return turn.speaker == "model" and bool(turn.images)


def _known(image: ReferenceInput, own_output: OwnOutput) -> ReferenceInput:
    """A link to an image of ours leads back here: the image itself is meant."""
    found = own_output(image) if image.url else ""
    return ReferenceInput(output=found) if found else image


def _told(turns: Sequence[Turn]) -> str:
    """All that was said as one prompt; only where there is more than one thing said does it say by whom."""
    rules = [turn.text for turn in turns if turn.speaker == "system" and turn.text]
    spoken = [turn for turn in turns if turn.speaker != "system"]
    earlier, last = spoken[:-1], spoken[-1:]
    number, lines = 0, []
    for turn in earlier:
        marks = [f"[image {number + place}]" for place in range(1, len(turn.images) + 1)]
        number += len(turn.images)
        words = " ".join(filter(None, [turn.text, *marks]))
        lines += [f"{_NAMES[turn.speaker]}: {words}"] if words else []
    story = ["The conversation so far:\n" + "\n".join(lines)] if lines else []
    return "\n\n".join([*rules, *story, *(turn.text for turn in last if turn.text)])
