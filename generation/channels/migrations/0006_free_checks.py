"""What a provider says of a channel when it is asked for free."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('channels', '0005_model_health'),
    ]

    operations = [
        migrations.AddField(
            model_name='channel',
            name='balance_micros',
            field=models.BigIntegerField(editable=False, help_text='What money its provider says is left.', null=True),
        ),
        migrations.AddField(
            model_name='channel',
            name='check_words',
            field=models.CharField(blank=True, db_default='', default='', editable=False, max_length=300),
        ),
        migrations.AddField(
            model_name='channel',
            name='checked_at',
            field=models.DateTimeField(editable=False, help_text='When its provider was last asked for free.', null=True),
        ),
    ]
