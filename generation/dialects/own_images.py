"""Which of the requester's own outputs an image is: by our own link to it, or by its bytes."""

from __future__ import annotations

import hashlib
import re
from urllib.parse import urlsplit

from django.http import HttpRequest

from accounts.authentication import Requester
from generation import queries
from generation.contract import ReferenceInput
from generation.dialects import door
from generation.dialects.conversation import OwnOutput

_LINK = re.compile(r"/m/(out_[0-9A-Za-z]{1,40})")


def _by_link(url: str, here: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        # The fetch of it will say what is wrong.
        return ""
    match = _LINK.fullmatch(parts.path) if parts.netloc == here else None
    return match[1] if match else ""


def finder(request: HttpRequest, requester: Requester) -> OwnOutput:
    """Looks images up for a request; each only once."""
    known: dict[bytes, str] = {}
    here = urlsplit(door.absolute(request, "/")).netloc

    def find(image: ReferenceInput) -> str:
        if image.output or image.file:
            return image.output
        if image.url:
            return _by_link(image.url, here)
        digest = hashlib.sha256(image.data).digest()
        if digest not in known:
            known[digest] = queries.output_of_image(requester, digest.hex())
        return known[digest]

    return find
