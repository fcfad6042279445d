"""What the requests of a key say of their roads."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0002_inline_images'),
    ]

    operations = [
        migrations.AddField(
            model_name='apikey',
            name='routing',
            field=models.JSONField(blank=True, db_default=models.Value({}, models.JSONField()), default=dict, help_text='What its requests say of roads.'),
        ),
    ]
