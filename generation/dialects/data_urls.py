"""Images that stand in requests as links, data URLs or bare base64."""

from __future__ import annotations

import re

from generation.contract import ReferenceInput, invalid

try:
    from pybase64 import b64decode
except ImportError:
    from base64 import b64decode  # type: ignore[assignment]

_DATA_URL = re.compile(r"data:([a-zA-Z0-9.+*/-]*)(?:;[a-zA-Z0-9=._-]+)*?;base64,", re.IGNORECASE)
_URL_SAFE = str.maketrans("-_", "+/")


def reference_of(text: str, param: str) -> ReferenceInput:
    """A reference: fetched from an http(s) link, or decoded from a data URL. `param` names it in a refusal."""
    if text.startswith(("https://", "http://")):
        return ReferenceInput(url=text)
    match = _DATA_URL.match(text)
    if match is None:
        raise invalid(param, "An image is an http(s) link or a data URL with base64.", "reference_not_decodable")
    return ReferenceInput(data=decoded(text[match.end() :], param))


def decoded(text: str, param: str) -> bytes:
    """The bytes of base64 in either alphabet, with or without padding; of a data URL, too."""
    match = _DATA_URL.match(text)
    bare = text[match.end() :] if match else text
    bare = bare.translate(_URL_SAFE) if "-" in bare or "_" in bare else bare
    try:
        data = b64decode((bare.rstrip("=") + "=" * (-len(bare.rstrip("=")) % 4)).encode("ascii"), validate=True)
    except ValueError:
        raise invalid(param, "This is not base64.", "reference_not_decodable") from None
    if not data:
        raise invalid(param, "The image is empty.", "reference_not_decodable")
    return bytes(data)
