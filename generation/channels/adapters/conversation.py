"""What every road that speaks with a model says of references and earlier turns, whatever its wire."""

from __future__ import annotations

import json

from generation.contract import ImageFile, Turn


def label(number: int, reference: ImageFile) -> str:
    """The words before the n-th reference; none for one that has neither a name nor a role of its own."""
    if not reference.name and reference.role == "object":
        return ""
    # Quoted as JSON, so that a name cannot pass for words of the prompt.
    name = f", {json.dumps(reference.name, ensure_ascii=False)}" if reference.name else ""
    return f"Reference {number} ({reference.role}{name}):"


def is_restorable(turn: Turn) -> bool:
    """A turn whose picture we cannot send as the model's own is replaced by that picture, sent as a reference."""
    return any(part.kind == "image" for part in turn.parts)
