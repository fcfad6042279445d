"""The ledger in the operator's admin: everything can be read, nothing can be changed, by nobody."""

from accounts.ledger.admin import rows

__all__ = ["rows"]
