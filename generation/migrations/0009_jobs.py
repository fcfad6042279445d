"""Jobs of batch channels, with their items as attempts."""

import accounts.identifiers
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('channels', '0003_queued_tokens'),
        ('generation', '0008_lanes_and_roads'),
    ]

    operations = [
        migrations.AddField(
            model_name='attempt',
            name='lane',
            field=models.CharField(blank=True, db_default='', default='', help_text='If not that of the price.', max_length=8),
        ),
        migrations.CreateModel(
            name='Job',
            fields=[
                ('id', models.UUIDField(default=accounts.identifiers.new_uuid, editable=False, primary_key=True, serialize=False)),
                ('state', models.CharField(choices=[('open', 'Open'), ('closed', 'Closed'), ('creating', 'Creating'), ('running', 'Running'), ('ended', 'Ended')], default='open', max_length=8)),
                ('upstream_name', models.CharField(blank=True, default='', max_length=200)),
                ('outcome', models.CharField(blank=True, default='', max_length=10)),
                ('message', models.CharField(blank=True, default='', max_length=500)),
                ('item_count', models.PositiveIntegerField(default=0)),
                ('token_estimate', models.PositiveBigIntegerField(default=0)),
                ('create_count', models.PositiveIntegerField(default=0)),
                ('created_at', models.DateTimeField()),
                ('sent_at', models.DateTimeField(null=True)),
                ('ended_at', models.DateTimeField(null=True)),
                ('deadline_at', models.DateTimeField(null=True)),
                ('look_at', models.DateTimeField()),
                ('lease_until', models.DateTimeField(null=True)),
                ('channel', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='jobs', to='channels.channel')),
                ('image_model', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='generation.imagemodel')),
            ],
        ),
        migrations.AddField(
            model_name='attempt',
            name='job',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='attempts', to='generation.job'),
        ),
        migrations.AddIndex(
            model_name='job',
            index=models.Index(condition=models.Q(('state', 'ended'), _negated=True), fields=['look_at'], name='job_due'),
        ),
        migrations.AddIndex(
            model_name='job',
            index=models.Index(condition=models.Q(('state', 'ended'), _negated=True), fields=['channel', 'state'], name='job_of_channel'),
        ),
        migrations.AddConstraint(
            model_name='job',
            constraint=models.CheckConstraint(condition=models.Q(('state__in', ('open', 'closed', 'creating', 'running', 'ended'))), name='job_state'),
        ),
        migrations.AddConstraint(
            model_name='job',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('state', 'running'), _negated=True), models.Q(('upstream_name', ''), _negated=True), _connector='OR'), name='job_running_has_name'),
        ),
    ]
