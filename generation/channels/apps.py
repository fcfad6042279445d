from django.apps import AppConfig
from django.db.models.signals import post_migrate


class ChannelsConfig(AppConfig):
    name = "generation.channels"
    label = "channels"
    verbose_name = "Channels"

    def ready(self) -> None:
        from generation.channels import seed

        post_migrate.connect(seed.after_migrate, sender=self, weak=False, dispatch_uid="channels.seed")
