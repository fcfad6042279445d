"""The conversation a request continues: its last output, and how many earlier turns fit into the call."""

from __future__ import annotations

from accounts.authentication import Requester
from accounts.identifiers import parse_public_id
from generation.contract import GenerationRequest, Refusal
from generation.execution import calls
from generation.models import Media, Output, Reference, State
from generation.references import output_media

_MAX_HISTORY_TURNS = 6


def find_previous(requester: Requester, request: GenerationRequest) -> Output | None:
    """The output a request continues: named itself, or by a generation that has just one."""
    if not request.previous:
        return None
    generation_id = parse_public_id("gen", request.previous)
    if generation_id is None:
        return output_media(requester, request.previous, "previous").output
    outputs = list(
        Output.objects.filter(
            generation_id=generation_id, account=requester.account, mode=requester.mode, state=State.SUCCEEDED
        )[:2]
    )
    if not outputs:
        raise Refusal("invalid", "output_not_found", "There is no finished output of yours there.", param="previous")
    if len(outputs) > 1:
        raise Refusal(
            "invalid", "previous_ambiguous", "That generation has several outputs: name one of them.", param="previous"
        )
    return output_media(requester, outputs[0].public_id, "previous").output


def history(previous: Output | None, free_images: int) -> tuple[int, int]:
    """How many earlier turns fit, newest first, and how many images they carry."""
    depth, images = 0, 0
    turn = previous
    while turn is not None and depth < _MAX_HISTORY_TURNS:
        carried = 1 + Reference.objects.filter(generation_id=turn.generation_id).count()
        if images + carried > free_images:
            break
        depth, images = depth + 1, images + carried
        turn = next(iter(calls.chain(turn.generation, 1)), None)
        if turn is not None and Media.objects.filter(output=turn).exclude(purged_at=None).exists():
            # An image that was forgotten cannot be sent along any more.
            break
    if previous is not None and not depth:
        raise Refusal(
            "invalid",
            "too_many_references",
            "There is no room left for the previous image: send fewer references.",
            param="references",
        )
    return depth, images
