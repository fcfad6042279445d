"""Files that customers send ahead."""

import django.db.models.deletion
from django.db import migrations, models

import accounts.identifiers


class Migration(migrations.Migration):
    dependencies = [("accounts", "0002_inline_images"), ("generation", "0004_joins")]

    operations = [
        migrations.CreateModel(
            name="Upload",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=accounts.identifiers.new_uuid, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("mode", models.CharField(choices=[("live", "live"), ("test", "test")], max_length=4)),
                ("name", models.CharField(max_length=40)),
                ("purpose", models.CharField(max_length=20)),
                ("filename", models.CharField(blank=True, default="", max_length=255)),
                ("mime_type", models.CharField(blank=True, default="", max_length=120)),
                (
                    "byte_count",
                    models.BigIntegerField(default=0, help_text="What it has, or, while it is coming, is said to have."),
                ),
                (
                    "received_count",
                    models.BigIntegerField(default=0, help_text="Bytes of a file in pieces that have come."),
                ),
                ("sha256", models.CharField(blank=True, default="", max_length=64)),
                ("is_whole", models.BooleanField(default=True)),
                ("secret_sha256", models.CharField(blank=True, default="", editable=False, max_length=64)),
                ("created_at", models.DateTimeField()),
                ("expires_at", models.DateTimeField()),
                (
                    "account",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="accounts.account"
                    ),
                ),
                (
                    "api_key",
                    models.ForeignKey(
                        null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="accounts.apikey"
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["expires_at"], name="upload_expires")],
                "constraints": [
                    models.UniqueConstraint(fields=("account", "mode", "name"), name="upload_name_once")
                ],
            },
        ),
    ]
