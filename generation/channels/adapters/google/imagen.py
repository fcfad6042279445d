"""Calls of the Imagen models, which make pictures only and say nothing of what they used."""

from __future__ import annotations

import inspect
import re
from dataclasses import replace

from google import genai
from google.genai import errors, models, types

from generation.channels.adapters import pictures
from generation.contract import Answer, Call
from generation.egress.transport import Exchange

# The method without the wrapper that writes on stderr that it will go one day.
_generate_images = inspect.unwrap(models.AsyncModels.generate_images)
# How a prompt that is refused before any work is told from a request that is wrong: both are a 400.
_REFUSED = re.compile(
    r"could not be submitted|response is blocked|Responsible AI|usage guidelines|Support codes?:", re.IGNORECASE
)
_PREAMBLE = "Image generation failed with the following error: "


def makes(upstream_model: str) -> bool:
    """Whether a model is one of these."""
    return upstream_model.startswith("imagen-")


async def generate(client: genai.Client, call: Call, headers: dict[str, str], record: Exchange) -> Answer:
    """Send a call for one picture and spool it. Raises what the SDK raises, ValueError for what is no answer."""
    try:
        response = await _generate_images(
            client.aio.models, model=call.upstream_model, prompt=call.prompt, config=_config(call, headers)
        )
    except errors.ClientError as error:
        if reason := _refusal(error):
            return Answer("refused", reason, upstream_request_id=_request_id(record))
        raise
    assert isinstance(response, types.GenerateImagesResponse)
    image, reading = _read(response, record)
    if image is None:
        return reading
    mime_type = image.mime_type or "application/octet-stream"
    return replace(reading, image=await pictures.from_bytes(image.image_bytes or b"", mime_type, call.spool, record))


def _config(call: Call, headers: dict[str, str]) -> types.GenerateImagesConfig:
    return types.GenerateImagesConfig(
        http_options=types.HttpOptions(headers=headers),
        number_of_images=1,
        aspect_ratio=call.aspect_ratio,
        image_size=call.image_size if call.image_sizes_selectable else None,
        seed=call.seed,
        # A seed is refused beside a watermark.
        add_watermark=False if call.seed is not None else None,
        include_rai_reason=True,
    )


def _refusal(error: errors.ClientError) -> str:
    message = str(error.message or "")
    return message.removeprefix(_PREAMBLE) if error.code == 400 and _REFUSED.search(message) else ""


def _read(response: types.GenerateImagesResponse, record: Exchange) -> tuple[types.Image | None, Answer]:
    """The picture whose bytes may stand for a file, and what else the answer says."""
    predictions = response.generated_images or []
    images = [each.image for each in predictions if each.image and each.image.image_bytes]
    shown = [image for image in images if (image.mime_type or "image/").startswith("image/")]
    reasons = [record.text_of(each.rai_filtered_reason) for each in predictions if each.rai_filtered_reason]
    request_id = _request_id(record)
    if shown:
        return shown[-1], Answer("ok", draft_count=len(shown) - 1, upstream_request_id=request_id)
    if reasons:
        return None, Answer("refused", reasons[0], upstream_request_id=request_id)
    if not images and not _is_empty(response):
        raise ValueError("the answer has neither a picture nor a reason for its absence")
    return None, Answer("no_image", "no image", upstream_request_id=request_id)


def _is_empty(response: types.GenerateImagesResponse) -> bool:
    """Whether it is an empty object or list, which is how some refusals look. The SDK takes whatever it does not know,
    and no body at all, for an empty object."""
    if response.generated_images is not None:
        return not response.generated_images
    headers = (response.sdk_http_response and response.sdk_http_response.headers) or {}
    return headers.get("content-length") in ("2", "3")


def _request_id(record: Exchange) -> str:
    return record.headers.get("x-request-id", "")
