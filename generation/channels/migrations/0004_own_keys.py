"""Keys that accounts bring along, without an address."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0003_default_routing'),
        ('channels', '0003_queued_tokens'),
    ]

    operations = [
        migrations.AddField(
            model_name='channel',
            name='account',
            field=models.ForeignKey(blank=True, editable=False, help_text='Whose own key this is, and who alone is served by it.', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='own_channels', to='accounts.account'),
        ),
        migrations.AddField(
            model_name='channel',
            name='is_house_allowed',
            field=models.BooleanField(db_default=False, default=False, editable=False, help_text="The house's channels may serve where this cannot."),
        ),
        migrations.AddConstraint(
            model_name='channel',
            constraint=models.CheckConstraint(condition=models.Q(('account', None), models.Q(('base_url', ''), ('mode', 'live')), _connector='OR'), name='channel_own_key_has_no_address'),
        ),
        migrations.AddConstraint(
            model_name='channel',
            constraint=models.UniqueConstraint(fields=('account', 'kind'), name='channel_one_own_key_of_a_kind'),
        ),
    ]
