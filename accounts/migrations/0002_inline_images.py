"""Keys whose chats are answered with a link in the text."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0001_initial")]

    operations = [
        migrations.AddField(
            model_name="apikey",
            name="are_images_inline",
            field=models.BooleanField(
                default=False, db_default=False, help_text="Answers of chats carry their image in the text, too, as a Markdown link."
            ),
        ),
    ]
