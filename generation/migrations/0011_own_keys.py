"""The fee for images made with an account's own key."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('generation', '0010_stored_images'),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name='price',
            name='price_positive',
        ),
        migrations.AddField(
            model_name='price',
            name='own_key_micros',
            field=models.BigIntegerField(db_default=0, default=0, help_text="The fee for an image made with the account's own key, mark-up included."),
        ),
        migrations.AddConstraint(
            model_name='price',
            constraint=models.CheckConstraint(condition=models.Q(('cached_micros__gte', 0), ('grounding_micros__gte', 0), ('image_micros__gte', 0), ('input_micros_per_million_tokens__gte', 0), ('own_key_micros__gte', 0), ('reference_micros__gte', 0)), name='price_positive'),
        ),
    ]
