"""What tells a request that is sent again from a new one, and which output an image is."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("generation", "0003_quick_reads")]

    operations = [
        migrations.AddField(
            model_name="generation",
            name="connected_until",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="generation",
            name="delivered_at",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="generation",
            name="is_joinable",
            field=models.BooleanField(
                default=False, db_default=False, help_text="Whether the same request, sent again, may join it."
            ),
        ),
        migrations.AddIndex(
            model_name="generation",
            index=models.Index(
                condition=models.Q(("is_joinable", True)),
                fields=["account", "request_sha256"],
                name="generation_joinable",
            ),
        ),
        migrations.AddIndex(model_name="media", index=models.Index(fields=["sha256"], name="media_sha256")),
    ]
