"""The rows of the road: catalogue and price book, generations with their outputs, and what an output leaves behind."""

from generation.models.batches import Batch, BatchItem
from generation.models.catalogue import Cost, ImageModel, ModelAlias, Price
from generation.models.jobs import Job
from generation.models.records import Attempt, Charge, Media, Reference
from generation.models.requests import IN_JOB, LIVE_STATES, TERMINAL_STATES, Generation, IdempotencyKey, Output, State
from generation.models.uploads import Upload

__all__ = [
    "IN_JOB",
    "LIVE_STATES",
    "TERMINAL_STATES",
    "Attempt",
    "Batch",
    "BatchItem",
    "Charge",
    "Cost",
    "Generation",
    "IdempotencyKey",
    "ImageModel",
    "Job",
    "Media",
    "ModelAlias",
    "Output",
    "Price",
    "Reference",
    "State",
    "Upload",
]
