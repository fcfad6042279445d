"""The signature on a picture, for clients that expect one and send it back; here the picture itself says what it is."""

from __future__ import annotations

import base64


def signature_of(output_id: str) -> str:
    """What we sign a picture with, in base64 as thought signatures are."""
    return base64.b64encode(f"nbp:{output_id}".encode()).decode()
