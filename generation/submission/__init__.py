"""The front door: accept a request (check, quote, hold, save, nudge on commit), quote one, cancel one."""

from generation.submission.acceptance import Accepted, accept, cancel, check_presence, key_reused, quote
from generation.submission.joining import Joining
from generation.submission.plans import Quote

__all__ = ["Accepted", "Joining", "Quote", "accept", "cancel", "check_presence", "key_reused", "quote"]
