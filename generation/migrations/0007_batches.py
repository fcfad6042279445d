"""Batches: many requests under one name, made in a lane that runs last."""

import accounts.identifiers
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0002_inline_images'),
        ('generation', '0006_conversations'),
    ]

    operations = [
        migrations.AlterField(
            model_name='generation',
            name='lane',
            field=models.CharField(choices=[('standard', 'standard'), ('batch', 'batch')], default='standard', max_length=8),
        ),
        migrations.AlterField(
            model_name='output',
            name='lane',
            field=models.CharField(choices=[('standard', 'standard'), ('batch', 'batch')], default='standard', max_length=8),
        ),
        migrations.CreateModel(
            name='Batch',
            fields=[
                ('id', models.UUIDField(default=accounts.identifiers.new_uuid, editable=False, primary_key=True, serialize=False)),
                ('mode', models.CharField(choices=[('live', 'live'), ('test', 'test')], max_length=4)),
                ('door', models.CharField(help_text='In whose words it was handed in.', max_length=20)),
                ('kind', models.CharField(help_text="What its requests are for, in the door's words.", max_length=120)),
                ('title', models.CharField(blank=True, default='', max_length=255)),
                ('input_file', models.CharField(blank=True, default='', max_length=40)),
                ('metadata', models.JSONField(default=dict)),
                ('request_sha256', models.CharField(max_length=64)),
                ('idempotency_key', models.CharField(blank=True, default='', max_length=255)),
                ('status', models.CharField(choices=[('validating', 'Validating'), ('in_progress', 'In Progress'), ('canceling', 'Canceling'), ('expiring', 'Expiring'), ('completed', 'Completed'), ('canceled', 'Canceled'), ('expired', 'Expired'), ('failed', 'Failed')], default='validating', max_length=12)),
                ('item_count', models.PositiveIntegerField(default=0)),
                ('faults', models.JSONField(default=list, help_text='Why it failed as a whole.')),
                ('created_at', models.DateTimeField()),
                ('started_at', models.DateTimeField(null=True)),
                ('cancel_requested_at', models.DateTimeField(null=True)),
                ('ended_at', models.DateTimeField(null=True)),
                ('expires_at', models.DateTimeField(help_text='When what has not begun is given up.')),
                ('delivered_at', models.DateTimeField(editable=False, null=True)),
                ('left_at', models.DateTimeField(editable=False, help_text='Since when its client is gone, unanswered.', null=True)),
                ('try_at', models.DateTimeField(editable=False, help_text='Until when nothing of it is accepted.', null=True)),
                ('is_hidden', models.BooleanField(default=False, help_text='Whether its owner has removed it from the list.')),
                ('account', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='accounts.account')),
                ('api_key', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='accounts.apikey')),
            ],
            options={
                'verbose_name_plural': 'batches',
            },
        ),
        migrations.CreateModel(
            name='BatchItem',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('index', models.PositiveIntegerField()),
                ('name', models.CharField(blank=True, default='', help_text='What its owner calls it.', max_length=512)),
                ('n', models.PositiveIntegerField(default=1, help_text='Images that it asks for.')),
                ('options', models.JSONField(default=dict, help_text='How its answer is to be written.')),
                ('offset', models.BigIntegerField(default=0)),
                ('byte_count', models.PositiveIntegerField(default=0)),
                ('state', models.CharField(choices=[('pending', 'Pending'), ('accepted', 'Accepted'), ('refused', 'Refused'), ('left', 'Left')], default='pending', max_length=8)),
                ('try_at', models.DateTimeField(editable=False, null=True)),
                ('error', models.JSONField(help_text='Why it was refused.', null=True)),
                ('batch', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='items', to='generation.batch')),
                ('generation', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='generation.generation')),
            ],
        ),
        migrations.AddIndex(
            model_name='batch',
            index=models.Index(fields=['account', 'mode', '-id'], name='batch_list'),
        ),
        migrations.AddIndex(
            model_name='batch',
            index=models.Index(condition=models.Q(('ended_at', None)), fields=['id'], name='batch_open'),
        ),
        migrations.AddIndex(
            model_name='batch',
            index=models.Index(fields=['ended_at'], name='batch_age'),
        ),
        migrations.AddConstraint(
            model_name='batch',
            constraint=models.UniqueConstraint(condition=models.Q(('idempotency_key', ''), _negated=True), fields=('account', 'mode', 'idempotency_key'), name='batch_idempotency_key_once'),
        ),
        migrations.AddIndex(
            model_name='batchitem',
            index=models.Index(condition=models.Q(('state', 'pending')), fields=['batch', 'index'], name='batch_item_pending'),
        ),
        migrations.AddConstraint(
            model_name='batchitem',
            constraint=models.UniqueConstraint(fields=('batch', 'index'), name='batch_item_once'),
        ),
    ]
