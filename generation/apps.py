from django.apps import AppConfig
from django.db.models.signals import post_migrate, pre_migrate


class GenerationConfig(AppConfig):
    name = "generation"
    verbose_name = "Generations"

    def ready(self) -> None:
        from generation import catalog, checks, seed, triggers  # noqa: F401
        from generation.channels import registry

        triggers.GUARDS.connect(self, pre_migrate, post_migrate)
        post_migrate.connect(seed.after_migrate, sender=self, weak=False, dispatch_uid="generation.seed")
        catalog.watch_changes()
        registry.watch_changes()
