"""Whether bytes are a complete picture, what shape it has, and how strangers' pictures are made harmless.

Nothing here knows where a file came from or what it costs. Everything that decodes blocks: call it on a thread.
"""

from generation.decoding.conversions import converted
from generation.decoding.outputs import verify_output
from generation.decoding.pool import take_in_apart
from generation.decoding.previews import thumbnail
from generation.decoding.references import CleanImage, inspect_reference, take_in
from generation.decoding.shapes import SizeClass, nearest_ratio, size_class
from generation.decoding.verdict import Decoded, Kind, Undecodable

__all__ = [
    "CleanImage",
    "Decoded",
    "Kind",
    "SizeClass",
    "Undecodable",
    "converted",
    "inspect_reference",
    "nearest_ratio",
    "size_class",
    "take_in",
    "take_in_apart",
    "thumbnail",
    "verify_output",
]
