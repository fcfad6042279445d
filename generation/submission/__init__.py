"""The front door: accept a request (check, quote, hold, save, nudge on commit), quote one, cancel one."""

from generation.submission.acceptance import Accepted, accept, cancel, quote
from generation.submission.plans import Quote

__all__ = ["Accepted", "Quote", "accept", "cancel", "quote"]
