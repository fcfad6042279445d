"""What the cache had for a request, and what that saved."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('generation', '0012_hedges'),
    ]

    operations = [
        migrations.AddField(
            model_name='charge',
            name='cache',
            field=models.CharField(blank=True, choices=[('hit', 'Hit'), ('miss', 'Miss')], db_default='', default='', help_text='Empty = it was not asked for.', max_length=4),
        ),
        migrations.AddField(
            model_name='charge',
            name='saved_cost_micros',
            field=models.BigIntegerField(db_default=0, default=0, help_text='What providers had billed for the stored image.'),
        ),
        migrations.AddField(
            model_name='charge',
            name='saved_price_micros',
            field=models.BigIntegerField(db_default=0, default=0, help_text='What the stored image had cost its customer, above what this one does.'),
        ),
        migrations.AddIndex(
            model_name='charge',
            index=models.Index(condition=models.Q(('cache', ''), _negated=True), fields=['account', 'mode', 'created_at'], name='charge_account_cache'),
        ),
        migrations.AddIndex(
            model_name='charge',
            index=models.Index(condition=models.Q(('cache', ''), _negated=True), fields=['mode', 'created_at'], name='charge_cache'),
        ),
    ]
