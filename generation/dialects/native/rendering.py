"""A generation on its way out: as JSON with links, or with its images in it."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from rest_framework.renderers import JSONRenderer

from generation import queries
from generation.contract import Refusal
from generation.dialects import door, streams
from generation.dialects.native import errors, translate


def as_data(request: HttpRequest, outcome: Any) -> dict[str, Any]:
    """A generation in the native form, with fresh links."""
    return translate.render(outcome, lambda output: door.image_link(request, output))


def status_of(reading: queries.Reading) -> int:
    """200 for what has ended, 202 for what goes on."""
    return 200 if reading.outcome.finished_at else 202


async def answer(
    request: HttpRequest, reading: queries.Reading, *, status: int = 200, with_images: bool = False
) -> HttpResponseBase:
    """The whole answer, or the plain word that the file of an image is gone."""
    if not with_images:
        response: HttpResponseBase = HttpResponse(
            as_json(as_data(request, reading.outcome)), status=status, content_type="application/json"
        )
    else:
        response = await _with_images(request, reading, status)
    # For the request's line in the log.
    response.generation_id = reading.generation_id  # type: ignore[attr-defined]
    return response


async def _with_images(request: HttpRequest, reading: queries.Reading, status: int) -> HttpResponseBase:
    splice = streams.Splice()
    data = translate.render(
        reading.outcome,
        lambda output: door.image_link(request, output),
        lambda output: splice.place(reading.files[output]),
    )
    try:
        return await streams.answer(request, as_json(data), splice, status=status)
    except streams.Gone:
        return image_gone()


def as_json(data: Any) -> bytes:
    """JSON as the views of this door write it."""
    return bytes(JSONRenderer().render(data))


def image_gone() -> HttpResponse:
    """Never a success without a body."""
    return errors.plain(Refusal("gone", "image_gone", "The stored image is no longer there."))
