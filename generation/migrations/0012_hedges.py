"""A second call beside a slow one, and what it costs."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('generation', '0011_own_keys'),
    ]

    operations = [
        migrations.AddField(
            model_name='attempt',
            name='is_hedge',
            field=models.BooleanField(db_default=False, default=False, help_text='A second call beside a slow one.'),
        ),
        migrations.AddField(
            model_name='price',
            name='hedge_micros',
            field=models.BigIntegerField(blank=True, help_text='For a second call beside a slow one, mark-up included; empty = not offered.', null=True),
        ),
    ]
