"""Lanes with prices, what a request says of its roads, work that is followed upstream, flat costs."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('generation', '0007_batches'),
    ]

    operations = [
        migrations.AddField(
            model_name='attempt',
            name='handle',
            field=models.TextField(blank=True, db_default='', default='', help_text='What names its work upstream.'),
        ),
        migrations.AddField(
            model_name='attempt',
            name='image_model',
            field=models.ForeignKey(help_text='If not the one asked for.', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='generation.imagemodel'),
        ),
        migrations.AddField(
            model_name='attempt',
            name='token_estimate',
            field=models.PositiveIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name='cost',
            name='image_micros_by_size',
            field=models.JSONField(blank=True, db_default=models.Value({}, models.JSONField()), default=dict, help_text='Flat prices, in place of tokens.'),
        ),
        migrations.AddField(
            model_name='generation',
            name='deadline_at',
            field=models.DateTimeField(help_text='Until when a batch lane may take.', null=True),
        ),
        migrations.AddField(
            model_name='generation',
            name='routing',
            field=models.JSONField(db_default=models.Value({}, models.JSONField()), default=dict, help_text='What the request says of its roads.'),
        ),
        migrations.AddField(
            model_name='imagemodel',
            name='family',
            field=models.CharField(blank=True, db_default='', default='', help_text='Drafts stay within it.', max_length=40),
        ),
        migrations.AddField(
            model_name='imagemodel',
            name='has_mask',
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddField(
            model_name='imagemodel',
            name='is_multimodal',
            field=models.BooleanField(db_default=True, default=True, help_text='It answers with words and pictures, not with pictures only.'),
        ),
        migrations.AddField(
            model_name='imagemodel',
            name='upstream_names',
            field=models.JSONField(blank=True, db_default=models.Value({}, models.JSONField()), default=dict, help_text='{"kind of channel": "what such channels call it"}'),
        ),
        migrations.AddField(
            model_name='output',
            name='image_model',
            field=models.ForeignKey(help_text='What made it, if not the one asked.', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='generation.imagemodel'),
        ),
        migrations.AlterField(
            model_name='cost',
            name='lane',
            field=models.CharField(choices=[('standard', 'standard'), ('flex', 'flex'), ('batch', 'batch')], default='standard', max_length=8),
        ),
        migrations.AlterField(
            model_name='generation',
            name='lane',
            field=models.CharField(choices=[('standard', 'standard'), ('flex', 'flex'), ('batch', 'batch')], default='standard', max_length=8),
        ),
        migrations.AlterField(
            model_name='output',
            name='lane',
            field=models.CharField(choices=[('standard', 'standard'), ('flex', 'flex'), ('batch', 'batch')], default='standard', max_length=8),
        ),
        migrations.AlterField(
            model_name='price',
            name='lane',
            field=models.CharField(choices=[('standard', 'standard'), ('flex', 'flex'), ('batch', 'batch')], default='standard', max_length=8),
        ),
    ]
