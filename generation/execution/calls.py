"""Turns an output's rows into a `Call`: references, earlier turns, and the chosen channel's name for the model."""

from __future__ import annotations

import base64
import hashlib
import hmac
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from django.conf import settings

from generation import catalog, media, pricing
from generation.channels import registry
from generation.channels.models import Channel
from generation.contract import MASK, Call, ImageFile, Part, Role, Turn
from generation.models import Attempt, Generation, ImageModel, Media, Output, Reference

# As Google counts the images of its Pro model.
_TOKENS_OF_IMAGE, _TOKENS_OF_4K, _TOKENS_OF_INPUT_IMAGE = 1120, 2000, 560
# A heavy PNG of each size as base64.
_RESULT_BYTES: Mapping[str, int] = {"1K": 3 * 1024**2, "2K": 8 * 1024**2, "4K": 20 * 1024**2}


@dataclass(frozen=True, slots=True)
class Road:
    """Call `channel` with the attempt's number, or wait until `wait_until`, or (both None) give up.

    `image_model` is what makes the image where it is not the model asked for. `handle` names work of an earlier attempt
    that the call follows; `lane` is set where it is not that of the price;
    `source_id` is the output whose image is copied.
    """

    channel: Channel | None
    wait_until: datetime | None
    attempt_number: int
    image_model: ImageModel | None = None
    handle: str = ""
    lane: str = ""
    source_id: uuid.UUID | None = None

    @property
    def taken(self) -> Channel:
        """The channel of a road that is taken."""
        if self.channel is None:
            raise ValueError("this road leads nowhere")
        return self.channel


@dataclass(frozen=True, slots=True)
class Tried:
    """An earlier attempt of an output. A handle names work that may still go on upstream."""

    channel_id: uuid.UUID
    status: str
    handle: str = ""
    error_kind: str = ""
    image_model: str | None = None


def unanswered_count(tried: Sequence[Tried]) -> int:
    """How many of them went unanswered, and may be billed."""
    return sum(each.error_kind == "unknown" for each in tried)


def pack_parts(parts: tuple[Part, ...]) -> list[dict[str, str]]:
    """A model's turn as JSON for the output's row."""
    return [
        {"kind": part.kind, "text": part.text, "signature": base64.b64encode(part.signature).decode()} for part in parts
    ]


def _unpack_parts(parts: list[dict[str, Any]]) -> tuple[Part, ...]:
    return tuple(
        Part(kind=part["kind"], text=part["text"], signature=base64.b64decode(part["signature"])) for part in parts
    )


@contextmanager
def call_for(output: Output, road: Road) -> Iterator[Call]:
    """The call, with its images as files that exist inside the block."""
    generation = output.generation
    with ExitStack() as files:
        if road.source_id is not None:
            yield _call(output, road, (_image_of(road.source_id, files),), ())
            return
        history = tuple(_turns(generation, files))
        references = _references(generation, files)
        yield _call(output, road, references, history)


def needs_files(generation: Generation) -> bool:
    """Whether images have to be fetched before the call can be made."""
    return bool(generation.input_image_count or generation.previous_output_id)


def call_without_files(output: Output, road: Road) -> Call:
    """The call of an output that needs none."""
    return _call(output, road, (), ())


def _call(output: Output, road: Road, references: tuple[ImageFile, ...], history: tuple[Turn, ...]) -> Call:
    generation, channel = output.generation, road.taken
    image_model = road.image_model or generation.image_model
    upstream_model = registry.upstream_model_of(channel, image_model)
    if history and not _is_portable(history, str(channel.pk), upstream_model):
        # Signatures belong to the channel and model that made them; elsewhere the last image goes as a reference.
        references, history = (history[-1].image, *references), ()
    return Call(
        upstream_model=upstream_model,
        prompt=generation.prompt,
        aspect_ratio=generation.aspect_ratio,
        image_size=made_size(generation, image_model),
        spool=media.spool_directory(),
        image_sizes_selectable=image_model.are_sizes_selectable,
        is_multimodal=image_model.is_multimodal,
        lane=road.lane or generation.price.lane,
        references=tuple(each for each in references if each.role != MASK),
        mask=next((each for each in references if each.role == MASK), None),
        history=history,
        search_grounding=generation.is_grounded,
        thinking_level=generation.thinking_level if generation.thinking_level in image_model.thinking_levels else None,
        seed=None if generation.seed is None else generation.seed + output.index,
        attempt_number=road.attempt_number,
        deadline_seconds=deadline_seconds(road.lane or generation.price.lane),
        index=output.index,
        handle=road.handle,
    )


def made_size(generation: Generation, image_model: ImageModel) -> str:
    """The size that a model is asked for: the one of the request, or a stand-in's largest below it."""
    if image_model.pk == generation.image_model_id:
        return generation.image_size
    return catalog.size_made(image_model, generation.image_size)


def deadline_seconds(lane: str) -> float:
    """How long a call of a lane may take: who pays half the price waits for room."""
    return float(settings.NBP_FLEX_DEADLINE_SECONDS if lane == "flex" else settings.NBP_CALL_DEADLINE_SECONDS)


def attempt_for(output: Output, road: Road, call: Call, *, lease_number: int, now: datetime) -> Attempt:
    """The row that says the call is going out."""
    return Attempt(
        output=output,
        number=call.attempt_number,
        channel=road.taken,
        image_model=road.image_model,
        lane=road.lane,
        handle=call.handle,
        token_estimate=token_estimate(output.generation),
        lease_number=lease_number,
        upstream_model=call.upstream_model,
        prompt_hash=_prompt_hash(output),
        started_at=now,
    )


def _prompt_hash(output: Output) -> str:
    """A keyed hash: equal prompts of one account can be recognized, no prompt can be guessed from it."""
    text = f"{output.account_id}|{output.generation.prompt}"
    return hmac.new(settings.NBP_KEY_PEPPER.encode(), text.encode(), hashlib.sha256).hexdigest()


def token_estimate(generation: Generation) -> int:
    """About how many tokens a call takes, for a provider's limit: words, images sent, and the image that comes."""
    made = _TOKENS_OF_4K if generation.image_size == "4K" else _TOKENS_OF_IMAGE
    images = generation.input_image_count * _TOKENS_OF_INPUT_IMAGE
    return pricing.estimate_tokens(generation.prompt) + images + made


def result_bytes(image_size: str) -> int:
    """About how many bytes a picture of a size takes in the results of a job."""
    return _RESULT_BYTES[image_size]


def _is_portable(history: tuple[Turn, ...], channel_id: str, upstream_model: str) -> bool:
    return all(turn.channel_id == channel_id and turn.upstream_model == upstream_model for turn in history)


def _references(generation: Generation, files: ExitStack) -> tuple[ImageFile, ...]:
    if not generation.input_image_count:
        return ()
    rows = Reference.objects.filter(generation=generation).order_by("index")
    return tuple(
        ImageFile(
            path=files.enter_context(media.local_file(row.storage_name)),
            mime_type=row.mime_type,
            role=cast(Role, row.role),
            name=row.name,
        )
        for row in rows
    )


def chain(generation: Generation, depth: int) -> list[Output]:
    """The outputs this generation continues, oldest first, at most `depth` of them."""
    found: list[Output] = []
    current: Generation | None = generation
    while current is not None and current.previous_output_id and len(found) < depth:
        output = Output.objects.select_related("generation").get(pk=current.previous_output_id)
        found.append(output)
        current = output.generation
    return list(reversed(found))


def _image_of(output_id: uuid.UUID, files: ExitStack) -> ImageFile:
    stored = Media.objects.get(output=output_id)
    return ImageFile(path=files.enter_context(media.local_file(stored.storage_name)), mime_type=stored.mime_type)


def _turns(generation: Generation, files: ExitStack) -> Iterator[Turn]:
    for output in chain(generation, generation.history_depth):
        image = _image_of(output.pk, files)
        yield Turn(
            prompt=output.generation.prompt,
            references=_references(output.generation, files),
            image=image,
            parts=_unpack_parts(output.parts),
            channel_id=str(output.parts_channel_id or ""),
            upstream_model=output.parts_upstream_model,
        )
