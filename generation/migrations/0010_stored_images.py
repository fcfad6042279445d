"""What stored images may answer, and what that costs."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0003_default_routing'),
        ('generation', '0009_jobs'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name='price',
            name='price_positive',
        ),
        migrations.AddField(
            model_name='generation',
            name='content_sha256',
            field=models.CharField(blank=True, db_default='', default='', editable=False, help_text='What may be the same image.', max_length=64),
        ),
        migrations.AddField(
            model_name='output',
            name='source',
            field=models.ForeignKey(help_text='Whose image it may show.', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='copies', to='generation.output'),
        ),
        migrations.AddField(
            model_name='price',
            name='cached_micros',
            field=models.BigIntegerField(db_default=0, default=0, help_text='For an image that was made before, mark-up included.'),
        ),
        migrations.AddIndex(
            model_name='generation',
            index=models.Index(condition=models.Q(('content_sha256', ''), _negated=True), fields=['account', 'mode', 'content_sha256'], name='generation_content'),
        ),
        migrations.AddConstraint(
            model_name='price',
            constraint=models.CheckConstraint(condition=models.Q(('cached_micros__gte', 0), ('grounding_micros__gte', 0), ('image_micros__gte', 0), ('input_micros_per_million_tokens__gte', 0), ('reference_micros__gte', 0)), name='price_positive'),
        ),
    ]
