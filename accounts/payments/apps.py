from django.apps import AppConfig
from django.db.models.signals import post_migrate, pre_migrate


class PaymentsConfig(AppConfig):
    name = "accounts.payments"
    label = "payments"
    verbose_name = "Payments"

    def ready(self) -> None:
        from accounts.payments import checks, triggers

        checks.register()
        triggers.GUARDS.connect(self, pre_migrate, post_migrate)
