from django.apps import AppConfig
from django.db.models.signals import post_migrate, pre_migrate


class LedgerConfig(AppConfig):
    name = "accounts.ledger"
    label = "ledger"
    verbose_name = "Ledger"

    def ready(self) -> None:
        from accounts.ledger import triggers

        triggers.GUARDS.connect(self, pre_migrate, post_migrate)
