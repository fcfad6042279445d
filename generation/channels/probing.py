"""Is a channel fit for work: what its row says, and on request one small real call. It stores nothing, moves no money.

A real call costs the operator one image upstream; no account is charged and no attempt is written.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from datetime import datetime

from accounts.sealed import SealBroken
from generation import decoding, media
from generation.channels import registry
from generation.channels.models import Channel
from generation.contract import Answer, Call, ChannelError
from generation.egress import loop
from generation.models import ImageModel

logger = logging.getLogger(__name__)
_PROMPT = "A plain grey square."
_DEADLINE_SECONDS = 90.0
_LOOP_MARGIN_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Condition:
    """What a channel's row says of it: whether it can be called now, and in words why not."""

    is_ready: bool
    words: str


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What a probe found, in how many seconds. `detail` is for the operator only."""

    is_ok: bool
    seconds: float
    detail: str


def condition(channel: Channel, *, now: datetime) -> Condition:
    """Whether the channel is configured, enabled, without a fault and not cooling down. Calls nobody."""
    fault = _configuration_fault(channel)
    if fault:
        return Condition(False, fault)
    if not channel.is_enabled:
        return Condition(False, "switched off")
    if channel.disabled_reason:
        return Condition(False, f"disabled: {channel.disabled_reason}")
    if channel.cool_until is not None and channel.cool_until > now:
        return Condition(False, f"cooling until {channel.cool_until:%Y-%m-%d %H:%M:%S} UTC")
    return Condition(True, "ready")


def _configuration_fault(channel: Channel) -> str:
    if channel.kind not in registry.ADAPTERS:
        return f"no adapter of the kind {channel.kind!r}"
    if not registry.is_ready(channel):
        return "no credentials"
    try:
        registry.credentials_of(channel)
    except SealBroken:
        return "its credentials do not open with NBP_FIELD_KEYS: enter them again"
    return ""


def probe(channel: Channel, *, is_calling: bool = True) -> ProbeResult:
    """Check adapter and credentials and, unless told otherwise, have the channel make one cheap image.

    A channel that is switched off, faulty or cooling down is called all the same: that is what a probe is for.
    """
    fault = _configuration_fault(channel)
    if fault or not is_calling:
        return ProbeResult(not fault, 0.0, fault or "configured")
    call = _call(channel)
    started = time.monotonic()
    try:
        is_ok, detail = _tell(_answer(channel, call))
    except ChannelError as error:
        status = f" ({error.status})" if error.status else ""
        is_ok, detail = False, f"{error.kind}{status}: {error.message}"
    except (loop.CallCanceled, TimeoutError):
        is_ok, detail = False, "no answer in time"
    return ProbeResult(is_ok, round(time.monotonic() - started, 3), detail)


def _call(channel: Channel) -> Call:
    rows = ImageModel.objects.filter(is_enabled=True).order_by("-is_default", "name")
    served = (row for row in rows if registry.serves(channel, row.name) and not row.has_mask)
    image_model = next(served, None) or ImageModel.objects.get(is_default=True)
    return Call(
        upstream_model=registry.upstream_model_of(channel, image_model),
        prompt=_PROMPT,
        aspect_ratio="1:1",
        image_size="1K" if "1K" in image_model.sizes else image_model.default_size,
        image_sizes_selectable=image_model.are_sizes_selectable,
        is_multimodal=image_model.is_multimodal,
        spool=media.spool_directory(),
        deadline_seconds=_DEADLINE_SECONDS,
    )


def _answer(channel: Channel, call: Call) -> Answer:
    credentials = registry.credentials_of(channel)
    adapter = registry.ADAPTERS[channel.kind]
    timeout_seconds = call.deadline_seconds + _LOOP_MARGIN_SECONDS
    try:
        return loop.run(adapter.generate(call, credentials), timeout_seconds=timeout_seconds)
    except (ChannelError, loop.CallCanceled, TimeoutError):
        raise
    except Exception as error:
        logger.exception("adapter %s failed", channel.kind)
        raise ChannelError("unknown", f"the adapter failed: {type(error).__name__}") from error


def _tell(answer: Answer) -> tuple[bool, str]:
    """Whether a whole picture came, and what to say of it; its file is removed."""
    if answer.image is None:
        return False, f"answered without an image: {answer.finish_reason or 'no reason given'}"
    try:
        decoded = decoding.verify_output(answer.image.path)
    except decoding.Undecodable as error:
        return False, f"the image does not decode: {error}"
    finally:
        answer.image.path.unlink(missing_ok=True)
    return True, f"an image of {decoded.width} x {decoded.height} pixels, {answer.image.byte_count} bytes"
