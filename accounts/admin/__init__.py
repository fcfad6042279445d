"""Accounts, people and API keys in the operator's admin."""

from accounts.admin import api_keys, people, tenants

__all__ = ["api_keys", "people", "tenants"]
