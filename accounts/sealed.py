"""Encrypted fields: AES-256-GCM bound to table, row and field, under a ring of keys.

`NBP_FIELD_KEYS` reads `k2:<64 hex>,k1:<64 hex>`: the first key seals, all of them open. A key is rotated by putting a
new one in front and sealing again. A text that does not open is an error, never silently something else.
"""

from __future__ import annotations

import base64
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings


class SealBroken(Exception):
    """The sealed text cannot be opened: another row's, another key's, or damaged."""


def _ring() -> dict[str, AESGCM]:
    ring = {}
    for item in settings.NBP_FIELD_KEYS.split(","):
        name, _, key = item.strip().partition(":")
        ring[name] = AESGCM(bytes.fromhex(key))
    return ring


def seal(plain: str, *, place: str) -> str:
    """Encrypt for one `place` ("table:row:field"); it opens nowhere else."""
    ring = _ring()
    name = next(iter(ring))
    nonce = secrets.token_bytes(12)
    body = ring[name].encrypt(nonce, plain.encode(), f"{name}|{place}".encode())
    return f"{name}:{base64.urlsafe_b64encode(nonce + body).decode()}"


def unseal(sealed: str, *, place: str) -> str:
    """The plain text, or SealBroken."""
    name, _, body = sealed.partition(":")
    cipher = _ring().get(name)
    if cipher is None:
        raise SealBroken(f"No key {name!r} in NBP_FIELD_KEYS.")
    try:
        raw = base64.urlsafe_b64decode(body)
        return cipher.decrypt(raw[:12], raw[12:], f"{name}|{place}".encode()).decode()
    except (InvalidTag, ValueError) as error:
        raise SealBroken(f"The sealed text does not belong to {place}.") from error
