"""What an image model and an API key allow: a request in, the settled choices out, or a refusal naming the field."""

from __future__ import annotations

from dataclasses import dataclass

from accounts.models import ApiKey
from generation import decoding
from generation.contract import MASK, SIZES, GenerationRequest, Refusal, invalid
from generation.models import ImageModel
from generation.pixels import pixel_size
from generation.preferences import PURPOSES, Preferences

# The image size of a request that leaves it to its purpose.
AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Choices:
    """A request's open questions, answered."""

    aspect_ratio: str
    image_size: str
    thinking_level: str


def check(request: GenerationRequest, image_model: ImageModel) -> None:
    """Everything that can be refused before a reference is fetched."""
    _check_prompt(request.prompt, image_model)
    _check_counts(request, image_model)
    _check_options(request, image_model)


def _check_prompt(prompt: str, image_model: ImageModel) -> None:
    if not prompt.strip():
        raise invalid("prompt", "The prompt is empty.", "prompt_empty")
    if "\x00" in prompt:
        raise invalid("prompt", "The prompt has a NUL character.", "prompt_invalid")
    if any("\ud800" <= character <= "\udfff" for character in prompt):
        raise invalid("prompt", "The prompt has half of a surrogate pair.", "prompt_invalid")
    if len(prompt) > image_model.max_prompt_characters:
        raise invalid(
            "prompt",
            f"The prompt has {len(prompt):,} characters; {image_model.name} takes at most "
            f"{image_model.max_prompt_characters:,}.",
            "prompt_too_long",
        )


def _check_counts(request: GenerationRequest, image_model: ImageModel) -> None:
    if not 1 <= request.n <= image_model.max_n:
        raise invalid("n", f"n must be between 1 and {image_model.max_n}.", "n_out_of_range")
    reference_count = sum(each.role != MASK for each in request.references)
    if reference_count > image_model.max_references:
        raise invalid(
            "references",
            f"{image_model.name} takes at most {image_model.max_references} references, not {reference_count}.",
            "too_many_references",
        )
    _check_mask(request, image_model)
    subject_count = sum(1 for each in request.references if each.role == "subject")
    if subject_count > image_model.max_subjects:
        raise invalid(
            "references", f"At most {image_model.max_subjects} references can be subjects.", "too_many_subjects"
        )


def _check_mask(request: GenerationRequest, image_model: ImageModel) -> None:
    masks = [place for place, each in enumerate(request.references) if each.role == MASK]
    if masks and not image_model.has_mask:
        raise invalid(f"references[{masks[0]}].role", f"{image_model.name} takes no mask.", "not_supported")
    if len(masks) > 1 or len(masks) == len(request.references) > 0:
        raise invalid("references", "A mask belongs to another reference, and there is one mask at most.")


def _check_options(request: GenerationRequest, image_model: ImageModel) -> None:
    if request.aspect_ratio is not None and request.aspect_ratio not in image_model.aspect_ratios:
        raise invalid(
            "aspect_ratio",
            f"{image_model.name} makes {', '.join(image_model.aspect_ratios)}.",
            "aspect_ratio_not_supported",
        )
    if request.image_size not in (None, AUTO) and request.image_size not in image_model.sizes:
        raise invalid(
            "image_size", f"{image_model.name} makes {', '.join(image_model.sizes)}.", "image_size_not_supported"
        )
    if request.search_grounding and not image_model.has_search_grounding:
        raise invalid("search_grounding", f"{image_model.name} has no search grounding.", "not_supported")
    if request.thinking_level is not None and request.thinking_level not in image_model.thinking_levels:
        levels = ", ".join(image_model.thinking_levels) or "no thinking level"
        raise invalid("thinking_level", f"{image_model.name} takes {levels}.", "not_supported")
    if request.previous and not image_model.has_multi_turn:
        raise invalid("previous", f"{image_model.name} has no multi-turn editing.", "not_supported")


def choose(
    request: GenerationRequest,
    image_model: ImageModel,
    first_size: tuple[int, int] | None,
    largest_size: str = "",
) -> Choices:
    """Fill in what was left open: the ratio of the first image sent in (width, height), the model's own size.

    A default above `largest_size`, what the key may ask for, is lowered to it; an explicit size is not.
    """
    ratio = request.aspect_ratio
    if ratio is None and first_size is not None:
        ratio = decoding.nearest_ratio(*first_size, image_model.aspect_ratios)
    ratio = ratio or "1:1"
    image_size = request.image_size or _default_size(image_model, largest_size)
    if image_size == AUTO:
        image_size = _fitting_size(request.preferences, image_model, ratio, largest_size)
    return Choices(
        aspect_ratio=ratio,
        image_size=image_size,
        thinking_level=request.thinking_level or "",
    )


def _fitting_size(wanted: Preferences, image_model: ImageModel, ratio: str, largest_size: str) -> str:
    """The smallest size of the model that is wide enough, and no larger than its purpose and the key allow."""
    limits = [size for size in (PURPOSES.get(wanted.purpose, ""), largest_size) if size]
    most = min((SIZES.index(size) for size in limits), default=len(SIZES) - 1)
    sizes = sorted(image_model.sizes, key=SIZES.index)
    allowed = [size for size in sizes if SIZES.index(size) <= most] or sizes[:1]
    if wanted.display_width_px is None:
        return str(allowed[-1] if wanted.purpose else sizes[0])
    wide = (size for size in allowed if pixel_size(ratio, size)[0] >= wanted.display_width_px)
    return str(next(wide, allowed[-1]))


def _default_size(image_model: ImageModel, largest_size: str) -> str:
    own = image_model.default_size
    if largest_size in image_model.sizes and SIZES.index(largest_size) < SIZES.index(own):
        return largest_size
    return own


def check_key(api_key: ApiKey | None, request: GenerationRequest, image_model: ImageModel, image_size: str) -> None:
    """The key's own limits, narrower than the model's."""
    if api_key is not None:
        _check_key_model(api_key, request, image_model, image_size)
        _check_key_counts(api_key, request)


def _check_key_model(api_key: ApiKey, request: GenerationRequest, image_model: ImageModel, image_size: str) -> None:
    if api_key.allowed_models and image_model.name not in api_key.allowed_models:
        raise _forbidden("model", f"This API key may not use {image_model.name}.")
    if api_key.max_image_size and SIZES.index(image_size) > SIZES.index(api_key.max_image_size):
        raise _forbidden("image_size", f"This API key may ask for {api_key.max_image_size} at most.")
    if request.search_grounding and not api_key.is_grounding_allowed:
        raise _forbidden("search_grounding", "This API key may not use search grounding.")


def _check_key_counts(api_key: ApiKey, request: GenerationRequest) -> None:
    if api_key.max_n is not None and request.n > api_key.max_n:
        raise _forbidden("n", f"This API key may ask for {api_key.max_n} images at once at most.")
    if api_key.max_references is not None and len(request.references) > api_key.max_references:
        raise _forbidden("references", f"This API key may send {api_key.max_references} references at most.")


def _forbidden(param: str, message: str) -> Refusal:
    return Refusal("forbidden", "not_allowed_for_key", message, param=param)
