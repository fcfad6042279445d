"""Reads what Gemini answered into an `Answer` and the picture it brought; it never writes a file.

Finish reasons and block reasons: https://ai.google.dev/api/generate-content#FinishReason and #BlockReason.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from google.genai import types

from generation.contract import Answer, ChannelError, Part, Source, Usage
from generation.egress.transport import Exchange

REFUSED = frozenset(
    {
        "SAFETY",
        "PROHIBITED_CONTENT",
        "BLOCKLIST",
        "SPII",
        "RECITATION",
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
        "MODEL_ARMOR",
        "JAILBREAK",
        "ESCALATION",
    }
)
# Google's word for an API account that it has limited or closed: the channel's trouble, not the prompt's.
ACCOUNT_DISABLED = "PUP_LIMITED_DISABLED"


@dataclass(frozen=True, slots=True)
class Reading:
    """An answer whose `image` is still to be filled from `data`: the chosen picture, or the marker of its file."""

    answer: Answer
    data: bytes | None
    mime_type: str


def read(response: types.GenerateContentResponse, exchange: Exchange) -> Reading:
    """What an answer says whose long strings `exchange` may have lifted.

    Raises ValueError for what is no complete answer of generateContent, ChannelError for a disabled account.
    """
    candidate = response.candidates[0] if response.candidates else None
    parts = _final_parts(candidate)
    images = [part for part in parts if _is_image(part)]
    reason = exchange.text_of(_reason(response, candidate, has_image=bool(images)))
    if not reason and not images:
        raise ValueError("the answer has neither a picture nor a reason for its absence")
    if reason == ACCOUNT_DISABLED:
        raise ChannelError("unauthorized", f"the account is limited or disabled: {reason}", status=200)
    finish = _finish(response, reason, has_image=bool(images))
    chosen = images[-1] if images and finish == "ok" else None
    blob = chosen.inline_data if chosen else None
    answer = Answer(
        finish=finish,
        finish_reason=reason,
        text="".join(exchange.text_of(part.text) for part in parts if part.text),
        parts=tuple(_kept(parts, chosen, exchange)),
        sources=tuple(_sources(candidate, exchange)),
        search_suggestions=exchange.text_of(_suggestions(candidate)),
        usage=_usage(response.usage_metadata, _search_query_count(candidate), has_image=bool(images)),
        draft_count=max(len(images) - 1, 0),
        upstream_request_id=exchange.text_of(_request_id(response)),
    )
    return Reading(answer, blob.data if blob else None, (blob and blob.mime_type) or "application/octet-stream")


def _final_parts(candidate: types.Candidate | None) -> list[types.Part]:
    content = candidate.content if candidate else None
    return [part for part in (content.parts if content else None) or () if not part.thought]


def _is_image(part: types.Part) -> bool:
    blob = part.inline_data
    return bool(blob and blob.data and (blob.mime_type or "image/").startswith("image/"))


def _block_reason(response: types.GenerateContentResponse) -> str:
    feedback = response.prompt_feedback
    return str(feedback.block_reason.value) if feedback and feedback.block_reason else ""


def _reason(response: types.GenerateContentResponse, candidate: types.Candidate | None, *, has_image: bool) -> str:
    blocked = _block_reason(response)
    if blocked and not has_image:
        return blocked
    return str(candidate.finish_reason.value) if candidate and candidate.finish_reason else ""


def _finish(
    response: types.GenerateContentResponse, reason: str, *, has_image: bool
) -> Literal["ok", "refused", "no_image"]:
    if reason in REFUSED or (_block_reason(response) and not has_image):
        return "refused"
    return "ok" if has_image else "no_image"


def _kept(parts: Iterable[types.Part], chosen: types.Part | None, exchange: Exchange) -> Iterator[Part]:
    """What a later turn sends back: the words and the one picture, each with its signature."""
    for part in parts:
        signature = exchange.bytes_of(part.thought_signature or b"")
        if part is chosen:
            yield Part(kind="image", signature=signature)
        elif part.inline_data is None and (part.text or signature):
            yield Part(kind="text", text=exchange.text_of(part.text or ""), signature=signature)


def _grounding(candidate: types.Candidate | None) -> types.GroundingMetadata:
    return (candidate.grounding_metadata if candidate else None) or types.GroundingMetadata()


def _sources(candidate: types.Candidate | None, exchange: Exchange) -> Iterator[Source]:
    for chunk in _grounding(candidate).grounding_chunks or ():
        url = (chunk.web and chunk.web.uri) or ""
        if chunk.web and url.startswith(("https://", "http://")):
            yield Source(title=exchange.text_of(chunk.web.title or ""), url=url)


def _suggestions(candidate: types.Candidate | None) -> str:
    entry_point = _grounding(candidate).search_entry_point
    return (entry_point and entry_point.rendered_content) or ""


def _search_query_count(candidate: types.Candidate | None) -> int:
    return len(_grounding(candidate).web_search_queries or ())


def _usage(
    measured: types.GenerateContentResponseUsageMetadata | None, search_queries: int, *, has_image: bool
) -> Usage:
    """Details by modality may be missing or cover only a part: the rest is the picture's if one came, else text."""
    if measured is None:
        return Usage(search_queries=search_queries)
    input_images = _tokens_of(measured.prompt_tokens_details, types.MediaModality.IMAGE)
    output_images = _tokens_of(measured.candidates_tokens_details, types.MediaModality.IMAGE)
    output_text = max((measured.candidates_token_count or 0) - output_images, 0)
    if has_image and not output_images:
        output_text = _tokens_of(measured.candidates_tokens_details, types.MediaModality.TEXT)
        output_images = max((measured.candidates_token_count or 0) - output_text, 0)
    return Usage(
        input_text_tokens=max((measured.prompt_token_count or 0) - input_images, 0),
        input_image_tokens=input_images,
        output_text_tokens=output_text,
        output_image_tokens=output_images,
        thinking_tokens=measured.thoughts_token_count or 0,
        search_queries=search_queries,
    )


def _tokens_of(details: Sequence[types.ModalityTokenCount] | None, modality: types.MediaModality) -> int:
    return sum(detail.token_count or 0 for detail in details or () if detail.modality == modality)


def _request_id(response: types.GenerateContentResponse) -> str:
    headers = (response.sdk_http_response and response.sdk_http_response.headers) or {}
    return response.response_id or headers.get("x-request-id", "")
