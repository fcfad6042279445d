"""What makes two requests the same: a hash over the canonical request, so that a replay is told from a new one."""

from __future__ import annotations

import hashlib
import json

from generation.contract import GenerationRequest, ReferenceInput


def fingerprint(request: GenerationRequest, image_model: str) -> str:
    """SHA-256 of the request with its resolved model. Images count by their bytes, links by their text."""
    canonical = {
        "model": image_model,
        "prompt": request.prompt,
        "n": request.n,
        "aspect_ratio": request.aspect_ratio,
        "image_size": request.image_size,
        "references": [_reference(each) for each in request.references],
        "previous": request.previous,
        "search_grounding": request.search_grounding,
        "thinking_level": request.thinking_level,
        "seed": request.seed,
        "metadata": dict(request.metadata),
        "tags": list(request.tags),
    }
    preferences = request.preferences.stored()
    if preferences:
        canonical["preferences"] = preferences
    text = json.dumps(canonical, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _reference(given: ReferenceInput) -> list[str]:
    data = hashlib.sha256(given.data).hexdigest() if given.data else ""
    return [given.role, given.name, given.url, given.output, data, *([given.file] if given.file else [])]
