"""Fields of a decoded body, each of the type it has to be, or a refusal that names it. Null is the same as absent."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any, TypeVar

from generation.contract import invalid

V = TypeVar("V")


def is_text(value: str) -> bool:
    """Whether a text can be written down as UTF-8: a surrogate alone cannot."""
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def storable(value: V, param: str) -> V:
    """The same value, a text or whatever JSON can say, if a database can keep it; else a refusal that names it."""
    text = json.dumps(value, ensure_ascii=False)
    if "\\u0000" in text or not is_text(text):
        raise invalid(param, "This has a NUL character or half of a surrogate pair.", "prompt_invalid")
    return value


class Fields:
    """An object of a body; `path` is where it stands in it."""

    def __init__(self, data: Mapping[str, Any], path: str = "") -> None:
        self._data = data
        self._path = path

    def __contains__(self, name: str) -> bool:
        return self._data.get(name) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def at(self, name: str) -> str:
        """The full name of a field."""
        return f"{self._path}.{name}" if self._path else name

    @property
    def data(self) -> Mapping[str, Any]:
        """The object as it came."""
        return self._data

    def raw(self, name: str) -> Any:
        return self._data.get(name)

    def text(self, name: str, default: str = "") -> str:
        value = self._data.get(name)
        if value is None:
            return default
        if not isinstance(value, str):
            raise invalid(self.at(name), "This is a text.")
        if "\x00" in value or not is_text(value):
            raise invalid(self.at(name), "This has a NUL character or half of a surrogate pair.", "prompt_invalid")
        return value

    def choice(self, name: str, choices: Collection[str], default: str = "") -> str:
        value = self.text(name, default)
        if name in self and value not in choices:
            raise invalid(self.at(name), f"This is one of {', '.join(choices)}.", "not_supported")
        return value

    def whole(self, name: str, low: int, high: int, code: str = "invalid_request") -> int | None:
        value = self._data.get(name)
        if value is None:
            return None
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise invalid(self.at(name), f"This is a whole number from {low} to {high}.", code)
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        value = self._data.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise invalid(self.at(name), "This is true or false.")
        return value

    def object(self, name: str) -> Fields:
        """An object; an empty one if it is absent."""
        value = self._data.get(name)
        if value is None:
            return Fields({}, self.at(name))
        if not isinstance(value, Mapping):
            raise invalid(self.at(name), "This is an object.")
        return Fields(value, self.at(name))

    def list(self, name: str) -> list[Any]:
        """A list; an empty one if it is absent."""
        value = self._data.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise invalid(self.at(name), "This is a list.")
        return value

    def objects(self, name: str) -> Iterator[Fields]:
        """The objects of a list."""
        for index, each in enumerate(self.list(name)):
            path = f"{self.at(name)}[{index}]"
            if not isinstance(each, Mapping):
                raise invalid(path, "This is an object.")
            yield Fields(each, path)

    def only(self, *known: str) -> None:
        """Refuse a field that is not known: a picture that lacks what was asked for is the wrong picture."""
        for name, value in self._data.items():
            if name not in known and value is not None:
                raise invalid(self.at(name), f"There is no field {name[:80]!r} here.", "unknown_field")

    def lacks(self, *names: str) -> None:
        """Refuse fields that the dialect has and no image model here can do."""
        for name in names:
            if name in self:
                raise invalid(self.at(name), "No image model here can do this.", "not_supported")
