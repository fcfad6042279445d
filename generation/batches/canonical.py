"""A request as a line of JSON and back, for the time between its door and its acceptance."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from dataclasses import asdict
from typing import Any

from generation.contract import GenerationRequest, ReferenceInput, Refusal
from generation.preferences import Preferences


def line_of(request: GenerationRequest) -> bytes:
    """One line, its newline included."""
    data = asdict(request) | {"preferences": request.preferences.stored()}
    return json.dumps(data, default=_base64).encode() + b"\n"


def request_of(line: bytes) -> GenerationRequest:
    """The request that a line was made of."""
    data = json.loads(line)
    references = tuple(ReferenceInput(**{**each, "data": b64decode(each["data"])}) for each in data["references"])
    # A line of a release before this one has none.
    preferences = Preferences.of(data.get("preferences", {}))
    return GenerationRequest(
        **{**data, "references": references, "tags": tuple(data["tags"]), "preferences": preferences}
    )


def _base64(value: Any) -> str:
    if not isinstance(value, bytes):
        raise TypeError(f"{type(value)} has no place in a request")
    return b64encode(value).decode()


def error_of(refusal: Refusal) -> dict[str, Any]:
    """A refusal, to be kept with its item."""
    return {"kind": refusal.kind} | fault_of(None, refusal.code, refusal.message, refusal.param)


def fault_of(line: int | None, code: str, message: str, param: str | None) -> dict[str, Any]:
    """What is wrong with a line. Its words may be the sender's: what no database takes is left out of them."""
    return {"line": line, "code": code, "message": _clean(message), "param": param and _clean(param)}


def _clean(text: str) -> str:
    return text.replace("\x00", "").encode(errors="replace").decode()


def refusal_of(error: dict[str, Any]) -> Refusal:
    """The refusal that an item was kept with."""
    return Refusal(error["kind"], error["code"], error["message"], param=error["param"])
