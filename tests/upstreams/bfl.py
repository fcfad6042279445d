"""Black Forest Labs on loopback: work is submitted, asked after, and fetched by a signed link; strict as they are."""

from __future__ import annotations

import base64
import io
import secrets
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image

from generation.channels.fakes.faults import STATUSES, UNCOMPOSED, WIRES, Fault, fault_in
from generation.channels.fakes.http import Reply, Request, json_reply
from generation.channels.fakes.server import FakeUpstream, Recorded
from generation.channels.fakes.studio import Studio
from generation.decoding import nearest_ratio

# These spoil the picture on its way; every other wire and every status strikes the answer to the submission.
_DOWNLOADED = frozenset({"not-an-image", "broken-image", "jpeg", "wrong-size", "huge", "gzip-bomb"})
_LATER = _DOWNLOADED | {"file-uri", "no-image", "blocked-prompt", "blocked-image"}
NAMES_PLAYED = frozenset(STATUSES) | WIRES | _LATER
MODERATED = {"blocked-prompt": "Request Moderated", "blocked-image": "Content Moderated"}
_NO_FAULT = Fault()
_RATIOS = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9")


class _Wrong(Exception):
    """A request that is answered with an error; `detail` is a sentence or a list of fields."""

    def __init__(self, status: int, detail: Any) -> None:
        super().__init__(str(detail))
        self.status, self.detail = status, detail


@dataclass(frozen=True)
class _Model:
    """How a model is asked: multiples of `step` from `shortest` to `longest`, or by ratio, or neither."""

    images: tuple[str, ...]
    step: int = 0
    shortest: int = 64
    longest: int = 1 << 16
    has_ratio: bool = False
    required: tuple[str, ...] = ("prompt",)
    size: str = "1K"


def _inputs(count: int) -> tuple[str, ...]:
    return ("input_image", *(f"input_image_{number}" for number in range(2, count + 1)))


_MODELS = {
    "flux-2-pro": _Model(_inputs(8), step=16),
    "flux-2-max": _Model(_inputs(8), step=16),
    "flux-2-flex": _Model(_inputs(8), step=16),
    "flux-2-klein-4b": _Model(_inputs(4), step=16),
    "flux-2-klein-9b": _Model(_inputs(4), step=16),
    "flux-pro-1.1": _Model(("image_prompt",), step=32, shortest=256, longest=1440),
    "flux-pro-1.1-ultra": _Model(("image_prompt",), has_ratio=True, size="2K"),
    "flux-kontext-pro": _Model(_inputs(4), has_ratio=True),
    "flux-kontext-max": _Model(_inputs(4), has_ratio=True),
    "flux-pro-1.0-fill": _Model(("image", "mask"), required=("image",)),
}
_TYPES: Mapping[str, type] = {
    "prompt": str,
    "seed": int,
    "output_format": str,
    "safety_tolerance": int,
    "prompt_upsampling": bool,
    "webhook_url": str,
    "webhook_secret": str,
    "width": int,
    "height": int,
    "aspect_ratio": str,
}
_EVERYWHERE = frozenset(_TYPES) - {"width", "height", "aspect_ratio"}


@dataclass(frozen=True)
class _Asked:
    prompt: str
    aspect_ratio: str
    image_size: str
    seed: int | None
    images: tuple[bytes, ...]


@dataclass
class _Task:
    """Work under way. `is_struck` once its own fault has spoiled a download."""

    id: str
    asked: _Asked
    fault: Fault
    recorded: Recorded
    signature: str
    pending_polls: int
    is_struck: bool = False


class FakeBfl(FakeUpstream):
    """`POST /v1/{model}`, `GET /v1/get_result?id=`, `GET /delivery/{id}.png`. Only submissions are requests for work.

    A task is pending for `pending_polls` questions; `cost` is what it says to cost, in credits (None says nothing), and
    `ready_cost` what it says when it is ready. `poll_faults` and `download_faults` are statuses and wires of the next
    questions and downloads, `poll_words` the statuses that tasks say next, with `details`. A picture's own fault spoils
    its first download if it was scripted, and each of them if `fault_for` or the prompt asks for it.
    """

    def __init__(self, *, cached: bool = False, pending_polls: int = 1, cost: float | None = 3.0) -> None:
        super().__init__()
        self.pending_polls = pending_polls
        self.cost = self.ready_cost = cost
        self.credits = 1234.5
        self.poll_faults: list[Fault | None] = []
        self.poll_words: list[str] = []
        self.details: Any = None
        self.download_faults: list[Fault | None] = []
        self.polling_origin = ""
        self.delivered_type = "image/png"
        self.polls: list[Request] = []
        self.downloads: list[Request] = []
        self._studio = Studio(signing_key=secrets.token_bytes(16), size_bytes=0, cached=cached)
        self._tasks: dict[str, _Task] = {}

    @property
    def task_ids(self) -> list[str]:
        """The work that was accepted and not forgotten, the oldest first."""
        return list(self._tasks)

    def forget(self) -> None:
        """Know no task any more."""
        self._tasks.clear()

    def is_work(self, request: Request) -> bool:
        return request.method == "POST"

    def prompt_of(self, body: Any) -> str:
        return str(body.get("prompt", "")) if isinstance(body, dict) else ""

    def _answer(self, request: Request, received_at: float) -> tuple[Reply, Fault]:
        if self.is_work(request):
            reply, fault = super()._answer(request, received_at)
            return reply, Fault(latency_seconds=fault.latency_seconds) if fault.name in _LATER else fault
        fault = self._fault_of_get(request)
        return self.respond(request, None, fault), fault

    def respond(self, request: Request, body: Any, fault: Fault) -> Reply:
        if fault.name in STATUSES:
            return _status_reply(fault)
        if fault.name in UNCOMPOSED:
            return json_reply(200, {})
        try:
            if (request.method, request.path) == ("GET", "/v1/credits"):
                _authenticate(request)
                return json_reply(200, {"credits": self.credits})
            if self.is_work(request):
                return self._submitted(request, body, fault)
            if request.path.startswith("/delivery/"):
                return self._delivered(request, fault)
            return self._polled(request)
        except _Wrong as error:
            return json_reply(error.status, {"detail": error.detail})

    def _fault_of_get(self, request: Request) -> Fault:
        if not request.path.startswith("/delivery/"):
            self.polls.append(request)
            return (self.poll_faults.pop(0) if self.poll_faults else None) or _NO_FAULT
        self.downloads.append(request)
        if self.download_faults:
            return self.download_faults.pop(0) or _NO_FAULT
        task = self._tasks.get(_id_of(request))
        fault = self._spoils(task) if task else _NO_FAULT
        return fault if fault.name in _DOWNLOADED else _NO_FAULT

    def _spoils(self, task: _Task) -> Fault:
        if not task.is_struck:
            task.is_struck = True
            return task.fault
        asked = self.fault_for(task.recorded) if self.fault_for else None
        return asked or fault_in(task.asked.prompt) or _NO_FAULT

    def _submitted(self, request: Request, body: Any, fault: Fault) -> Reply:
        _authenticate(request)
        model = _MODELS.get(request.path.removeprefix("/v1/"))
        if model is None:
            raise _Wrong(404, "Not Found")
        asked = _read(model, body)
        task = _Task(
            id=str(uuid.uuid4()),
            asked=asked,
            fault=fault,
            recorded=Recorded(request.path, request.query, request.headers, body, time.monotonic()),
            signature=secrets.token_urlsafe(16),
            pending_polls=self.pending_polls,
        )
        self._tasks[task.id] = task
        polling_url = f"{self.polling_origin or self.base_url}/v1/get_result?id={task.id}&region=eu2"
        mega = {"input_mp": float(len(asked.images)), "output_mp": 1.0}
        return json_reply(200, {"id": task.id, "polling_url": polling_url, **_priced(self.cost), **mega})

    def _polled(self, request: Request) -> Reply:
        _authenticate(request)
        task = self._tasks.get(request.query.get("id", ""))
        if request.path != "/v1/get_result" or task is None or request.query.get("region") != "eu2":
            return json_reply(404, {"id": request.query.get("id"), "status": "Task not found", "result": None})
        if self.poll_words:
            return self._said(task, self.poll_words.pop(0), details=self.details)
        if task.pending_polls > 0:
            task.pending_polls -= 1
            return self._said(task, "Pending", progress=0.3)
        if task.fault.name in MODERATED:
            reasons = {"Moderation Reasons": [task.fault.argument]} if task.fault.argument else None
            return self._said(task, MODERATED[task.fault.name], details=reasons)
        result = {"prompt": task.asked.prompt, "seed": task.asked.seed or 42, "start_time": 1.0, "end_time": 4.0}
        sample = f"{self.base_url}/delivery/{task.id}.png?sig={task.signature}"
        fault = task.fault.name
        result["sample"] = {"file-uri": task.fault.argument, "no-image": None}.get(fault, sample)
        return self._said(task, "Ready", result={**result, "duration": 3.0}, progress=1.0, **_priced(self.ready_cost))

    @staticmethod
    def _said(task: _Task, status: str, **more: Any) -> Reply:
        known: dict[str, Any] = {"id": task.id, "status": status, "result": None, "progress": None, "details": None}
        return json_reply(200, known | more)

    def _delivered(self, request: Request, fault: Fault) -> Reply:
        task = self._tasks.get(_id_of(request))
        if task is None or request.query.get("sig") != task.signature:
            raise _Wrong(403, "The signature is not valid.")
        if "x-key" in request.headers:
            raise _Wrong(400, "A key went astray.")
        size = "1K" if fault.name == "wrong-size" else task.asked.image_size
        data, _ = self._studio.picture_under(fault, task.asked, size)
        return Reply(200, {"Content-Type": self.delivered_type}, [base64.b64decode(data)])


def _authenticate(request: Request) -> None:
    if not request.headers.get("x-key"):
        raise _Wrong(401, "Not authenticated")


def _id_of(request: Request) -> str:
    return request.path.removeprefix("/delivery/").removesuffix(".png")


def _priced(cost: float | None) -> dict[str, float]:
    return {} if cost is None else {"cost": cost}


def _read(model: _Model, body: Any) -> _Asked:
    if not isinstance(body, dict):
        raise _field("", "Input should be an object")
    shape = {"width", "height"} if model.step else {"aspect_ratio"} if model.has_ratio else set()
    for name in body.keys() - _EVERYWHERE - shape - set(model.images):
        raise _field(name, "Extra inputs are not permitted")
    for name in model.required:
        if name not in body:
            raise _field(name, "Field required")
    for name, value in body.items():
        if not isinstance(value, _TYPES.get(name, str)):
            raise _field(name, f"Input should be a valid {_TYPES.get(name, str).__name__}")
    if body.get("output_format", "jpeg") not in ("jpeg", "png"):
        raise _field("output_format", "Input should be 'jpeg' or 'png'")
    ratio, size = _shape(model, body)
    images = tuple(_image(name, body[name]) for name in model.images if name in body)
    return _Asked(body.get("prompt", ""), ratio, size, body.get("seed"), images)


def _shape(model: _Model, body: Mapping[str, Any]) -> tuple[str, str]:
    if not model.step:
        ratio = body.get("aspect_ratio", "1:1")
        if ratio not in _RATIOS:
            raise _field("aspect_ratio", "Aspect ratio must be between 21:9 and 9:21")
        return ratio, model.size
    edges = body.get("width", 1024), body.get("height", 1024)
    for name, edge in zip(("width", "height"), edges, strict=True):
        if edge % model.step or not model.shortest <= edge <= model.longest:
            raise _field(name, f"Input should be a multiple of {model.step} and at least {model.shortest}")
    area = edges[0] * edges[1]
    if area > 2048 * 2048:
        raise _field("width", "The picture should have at most 4 megapixels")
    return nearest_ratio(*edges, _RATIOS), "1K" if area <= 1536 * 1024 else "2K"


def _image(name: str, value: str) -> bytes:
    try:
        data = base64.b64decode(value, validate=True)
        with Image.open(io.BytesIO(data)) as image:
            image.load()
    except (OSError, ValueError) as error:
        raise _field(name, "The image cannot be decoded") from error
    return data


def _field(name: str, message: str) -> _Wrong:
    return _Wrong(422, [{"type": "value_error", "loc": ["body", name], "msg": message}])


def _status_reply(fault: Fault) -> Reply:
    status = int(fault.name)
    if status == 502:
        return Reply(status, {"Content-Type": "text/html"}, [b"<html><title>502 Bad Gateway</title></html>"])
    headers = {"Retry-After": fault.retry_after} if fault.retry_after else {}
    detail = {"401": "Not authenticated", "402": "Insufficient credits", "404": "Not Found"}.get(fault.name)
    return json_reply(status, {"detail": detail or STATUSES[fault.name][1]}, headers)
