"""Which channels an output may take, in what order, and which model each would make it with."""

from __future__ import annotations

import random
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from generation import catalog, pricing
from generation.channels import health, registry, routing
from generation.channels.limits import Rooms
from generation.channels.models import Channel
from generation.channels.standing import Standing, standings
from generation.contract import Usage
from generation.execution import house_roads
from generation.execution.calls import Road, Tried, made_size, token_estimate, unanswered_count
from generation.models import Attempt, Generation, ImageModel, Output

_Key = tuple[str, str, registry.Needs]
_Option = tuple[routing.Candidate, Channel, ImageModel]


def _key(channel_id: uuid.UUID, image_model: str) -> str:
    return f"{channel_id} {image_model}"


class Map:
    """The channels as they are now, looked up once for all outputs that are taken together; one may be left out."""

    def __init__(self, outputs: Sequence[Output], *, now: datetime, without: uuid.UUID | None = None) -> None:
        self._now = now
        self._without = without
        self._homes: dict[uuid.UUID, uuid.UUID | None] = {}
        self._channels: dict[_Key, list[Channel]] = {}
        found = [channel for output in outputs for _, channels in self._of(output) for channel in channels]
        self._rooms = Rooms(list({channel.pk: channel for channel in found}.values()), now=now)

    def road(self, output: Output, tried: Sequence[Tried]) -> Road:
        """The road that an output takes now."""
        generation, number = output.generation, len(tried) + 1
        if house_roads.is_hit(output, tried):
            return house_roads.to_source(output, number)
        followed = self._followed(output, tried)
        if followed is not None:
            return Road(followed[0], None, number, handle=followed[1])
        # What might be billed was asked for often enough.
        is_over = unanswered_count(tried) >= routing.MAX_UNKNOWNS
        options = [] if is_over else self._candidates(output)
        taken, wait_until = self._choose(options, self._errors(output, options, tried))
        if taken is None:
            wait = Road(None, wait_until, number)
            return wait if wait_until else house_roads.last_resort(output, tried, number) or wait
        _, channel, image_model = taken
        self._rooms.take(channel, token_estimate(generation))
        other = image_model if image_model.pk != generation.image_model_id else None
        lane = needs_of(generation, at=self._now).lane
        return Road(channel, None, number, image_model=other, lane="" if lane == generation.price.lane else lane)

    def _followed(self, output: Output, tried: Sequence[Tried]) -> tuple[Channel, str] | None:
        """The channel where an unanswered attempt may still be at work, and the name of that work.

        It is followed once: an attempt that followed it and got no answer either ends that.
        """
        last = tried[-1] if tried else None
        if last is None or not last.handle or last.status != Attempt.Status.UNKNOWN:
            return None
        if sum(each.handle == last.handle for each in tried) > 1:
            return None
        channels = [channel for _, channels in self._of(output) for channel in channels]
        channel = next((each for each in channels if each.pk == last.channel_id), None)
        return (channel, last.handle) if channel else None

    def _of(self, output: Output) -> list[tuple[ImageModel, list[Channel]]]:
        generation = output.generation
        needs = needs_of(generation, at=self._now)
        return [(model, self._open(output.mode, model.pk, needs)) for model in models_of(generation, at=self._now)]

    def _open(self, mode: str, image_model: str, needs: registry.Needs) -> list[Channel]:
        key = (mode, image_model, needs)
        if key not in self._channels:
            self._channels[key] = [each for each in registry.candidates(*key) if each.pk != self._without]
        return self._channels[key]

    def _candidates(self, output: Output) -> list[_Option]:
        generation = output.generation
        only = generation.routing.get("only")
        return [
            (self._candidate(generation, channel, image_model, rank), channel, image_model)
            for rank, (image_model, channels) in enumerate(self._of(output))
            for channel in channels
            if not only or channel.name in only
        ]

    def _candidate(
        self, generation: Generation, channel: Channel, image_model: ImageModel, rank: int
    ) -> routing.Candidate:
        full_until = self._rooms.full_until(channel, token_estimate(generation), now=self._now)
        waits = [each for each in (health.cool_until(channel, image_model.pk), full_until) if each is not None]
        return routing.Candidate(
            _key(channel.pk, image_model.pk),
            channel.priority,
            max(waits, default=None),
            weight=channel.weight,
            rank=rank,
            place=self._place(generation, channel, image_model),
        )

    def _home(self, output_id: uuid.UUID) -> uuid.UUID | None:
        """The channel that has the signatures of an earlier turn."""
        if output_id not in self._homes:
            rows = Output.objects.filter(pk=output_id).values_list("parts_channel_id", flat=True)
            self._homes[output_id] = rows.first()
        return self._homes[output_id]

    def _place(self, generation: Generation, channel: Channel, image_model: ImageModel) -> float:
        """Where an edited image was made, then named channels in their order, then all others as the request sorts."""
        if generation.previous_output_id and channel.pk == self._home(generation.previous_output_id):
            return float("-inf")
        order = generation.routing.get("order", ())
        if channel.name in order:
            return float(order.index(channel.name)) - len(order) - 1
        sort = generation.routing.get("sort")
        if sort == "price":
            return float(expected_cost(generation, channel, image_model, at=self._now))
        standing = standings(channel.mode).get(str(channel.pk), Standing()) if sort else Standing()
        return {"latency": standing.latency_ms, "success": 1 - standing.success}.get(sort or "", 0.0)

    def _choose(self, options: Sequence[_Option], errors: Mapping[str, int]) -> tuple[_Option | None, datetime | None]:
        """The option to take, or else until when to wait.

        A road that failed again and again is taken by one call alone, until that one tells how it went.
        """
        while True:
            choice = routing.choose([option[0] for option in options], errors, now=self._now, chance=random.random())
            taken = next((option for option in options if option[0] is choice.candidate), None)
            if taken is None:
                return None, choice.wait_until
            candidate, channel, image_model = taken
            is_half_open = health.is_half_open(channel, image_model.pk)
            if not is_half_open or health.take_probe(channel, image_model.pk, now=self._now):
                return taken, None
            later = replace(candidate, cool_until=health.cool_until(channel, image_model.pk))
            options = [(later, *each[1:]) if each is taken else each for each in options]

    @staticmethod
    def _errors(output: Output, options: Sequence[_Option], tried: Sequence[Tried]) -> Mapping[str, int]:
        """Answered errors by channel and model; all attempts count for all, once there were too many of them."""
        if len(tried) >= routing.MAX_ATTEMPTS:
            return {candidate.id: routing.MAX_ATTEMPTS for candidate, _, _ in options}
        asked = output.generation.image_model_id
        return Counter(
            _key(each.channel_id, each.image_model or asked) for each in tried if each.status == Attempt.Status.ERROR
        )


def may_run_on(generation: Generation) -> bool:
    """Whether an output whose day is over is made at once instead, as its request allowed and its hold covers."""
    return bool(generation.routing.get("is_run_on"))


def needs_of(generation: Generation, *, at: datetime) -> registry.Needs:
    """What an output of this generation asks of a road at a moment. Past its deadline it may run on at once."""
    is_late = generation.deadline_at is not None and generation.deadline_at <= at
    lane = "standard" if is_late and may_run_on(generation) else generation.price.lane
    abilities = registry.abilities(
        grounding=generation.is_grounded,
        thinking=bool(generation.thinking_level),
        mask=generation.image_model.has_mask and bool(generation.input_image_count),
    )
    owner = registry.owner(generation.account_id)
    # What was quoted for an own key is not made by the house, whatever became of the key since.
    is_own_only = bool(generation.routing.get("is_own_only")) or registry.is_own_only(
        generation.mode, generation.image_model_id, owner
    )
    return registry.Needs(lane, abilities, owner, is_own_only)


def models_of(generation: Generation, *, at: datetime) -> list[ImageModel]:
    """The model asked for, and those that may stand in for it and are still there, in order."""
    names = generation.routing.get("fallback_models", ())
    return [generation.image_model, *catalog.named(names, at=at)] if names else [generation.image_model]


def expected_cost(generation: Generation, channel: Channel, image_model: ImageModel, *, at: datetime) -> int:
    """What a channel is expected to bill for one image, in micros."""
    rates = registry.cost_rates(channel, image_model, at=at, lane=generation.price.lane)
    usage = Usage(input_text_tokens=pricing.estimate_tokens(generation.prompt))
    return pricing.cost(rates, usage=usage, image_size=made_size(generation, image_model), has_image=True)


def another_is_ready(attempt: Attempt, *, now: datetime) -> bool:
    """Whether an output need not wait for the channel that just asked to be left alone."""
    output = attempt.output
    failed = attempt.image_model_id or output.generation.image_model_id
    only = output.generation.routing.get("only")
    for image_model in models_of(output.generation, at=now):
        for channel in registry.candidates(output.mode, image_model.pk, needs_of(output.generation, at=now)):
            until = health.cool_until(channel, image_model.pk)
            is_the_same = channel.pk == attempt.channel_id and image_model.pk == failed
            is_ready = until is None or until <= now
            if not is_the_same and is_ready and (not only or channel.name in only):
                return True
    return False
