from django.apps import AppConfig


class PromotionsConfig(AppConfig):
    name = "accounts.promotions"
    label = "promotions"
    verbose_name = "Promotions"

    def ready(self) -> None:
        from accounts.promotions import signup_credit

        signup_credit.connect()
