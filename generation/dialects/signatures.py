"""The signature on a picture that clients send back unchanged: it names the output that the picture is."""

from __future__ import annotations

import base64

_MARK = b"nbp:"


def signature_of(output_id: str) -> str:
    """What we sign a picture with, in base64 as thought signatures are."""
    return base64.b64encode(_MARK + output_id.encode()).decode()


def output_of(signature: str) -> str:
    """The output that a signature of ours names, or nothing."""
    try:
        raw = base64.b64decode(signature, validate=True)
    except ValueError:
        return ""
    return raw.removeprefix(_MARK).decode("ascii", "replace") if raw.startswith(_MARK) else ""
