"""What finds the picture of an earlier turn whose client does not send it back."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("generation", "0005_uploads")]

    operations = [
        migrations.AddField(
            model_name="generation",
            name="conversation_sha256",
            field=models.CharField(blank=True, default="", db_default="", editable=False, max_length=64),
        ),
        migrations.AddIndex(
            model_name="generation",
            index=models.Index(
                condition=models.Q(("conversation_sha256", ""), _negated=True),
                fields=["account", "conversation_sha256"],
                name="generation_conversation",
            ),
        ),
    ]
