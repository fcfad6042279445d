"""JSON as strict as money wants it: no NaN, no infinity, no numbers or nesting beyond reason, no repeated names."""

from __future__ import annotations

import json
from typing import Any, NoReturn, Protocol

from django.conf import settings

from generation.contract import Refusal

_MAX_DEPTH = 20


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def read(stream: _Readable) -> Any:
    """What a body says. Refuses with a reason where the standard parser would guess, and above the body limit."""
    body = stream.read(settings.NBP_MAX_BODY_BYTES + 1)
    if len(body) > settings.NBP_MAX_BODY_BYTES:
        raise Refusal("too_large", "body_too_large", f"The body is larger than {settings.NBP_MAX_BODY_BYTES} bytes.")
    return loads(body)


def read_object(stream: _Readable) -> dict[str, Any]:
    """The same for a body that has to be an object."""
    value = read(stream)
    if not isinstance(value, dict):
        raise Refusal("invalid", "invalid_request", "The body must be a JSON object.")
    return value


def loads(body: bytes) -> Any:
    """What a text says, as `read`."""
    try:
        value = json.loads(
            body.decode("utf-8"),
            parse_constant=_no_constant,
            parse_float=_number,
            parse_int=_integer,
            object_pairs_hook=_object,
        )
    except RecursionError:
        raise _refuse("it is nested too deep") from None
    except UnicodeDecodeError:
        raise _refuse("it is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise _refuse(f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    _depth(value)
    return value


def _refuse(reason: str) -> Refusal:
    return Refusal("invalid", "invalid_json", f"The body is not valid JSON: {reason}.")


def _no_constant(name: str) -> NoReturn:
    raise _refuse(f"{name} is not a JSON number")


def _number(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise _refuse("a number is too large")
    return value


def _integer(text: str) -> int:
    if len(text) > 20:
        raise _refuse("a number is too large")
    return int(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise _refuse("a name stands twice in one object")
    return result


def _depth(value: Any, allowed: int = _MAX_DEPTH) -> None:
    if not allowed:
        raise _refuse(f"it is nested more than {_MAX_DEPTH} levels deep")
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for each in inner:
        if isinstance(each, dict | list):
            _depth(each, allowed - 1)
