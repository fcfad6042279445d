"""What a road bills, its limits, its weight, and settings that only its adapter knows."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('channels', '0001_initial'),
    ]

    operations = [
        migrations.AddField(
            model_name='channel',
            name='call_micros',
            field=models.JSONField(blank=True, db_default=models.Value({}, models.JSONField()), default=dict, help_text='What this road bills for a picture: {"image model": micros} or {"image model": {"4K": micros}}.'),
        ),
        migrations.AddField(
            model_name='channel',
            name='concurrency',
            field=models.PositiveIntegerField(blank=True, help_text='Calls out at once.', null=True),
        ),
        migrations.AddField(
            model_name='channel',
            name='options',
            field=models.JSONField(blank=True, db_default=models.Value({}, models.JSONField()), default=dict, help_text='Settings of its adapter.'),
        ),
        migrations.AddField(
            model_name='channel',
            name='requests_per_minute',
            field=models.PositiveIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='channel',
            name='tokens_per_minute',
            field=models.PositiveIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='channel',
            name='weight',
            field=models.PositiveIntegerField(db_default=1, default=1, help_text='Its share among roads of one priority.'),
        ),
    ]
