"""How many tokens may wait in the jobs of a channel."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('channels', '0002_settings_of_roads'),
    ]

    operations = [
        migrations.AddField(
            model_name='channel',
            name='queued_tokens',
            field=models.PositiveBigIntegerField(blank=True, help_text="Tokens that may wait in its jobs: 2,000,000 in Google's tier 1.", null=True),
        ),
    ]
