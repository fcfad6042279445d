"""How a channel does with each model."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('channels', '0004_own_keys'),
    ]

    operations = [
        migrations.AddField(
            model_name='channel',
            name='model_health',
            field=models.JSONField(db_default=models.Value({}, models.JSONField()), default=dict, editable=False),
        ),
    ]
