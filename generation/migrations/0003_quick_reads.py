import django.db.models.deletion
from django.db import migrations, models

# Foreign keys (model, field, target, its name for the rows) whose index is the beginning of another one.
REDUNDANT = (
    ("attempt", "output", "generation.output", "attempts"),
    ("attempt", "channel", "channels.channel", "attempts"),
    ("charge", "account", "accounts.account", "charges"),
)


def drop_redundant(apps, schema_editor):
    """Drop the index alone: Django would make the foreign key again, or on SQLite the table, row by row."""
    connection = schema_editor.connection
    for model_name, field_name, _, _ in REDUNDANT:
        model = apps.get_model("generation", model_name)
        column = model._meta.get_field(field_name).column
        with connection.cursor() as cursor:
            found = connection.introspection.get_constraints(cursor, model._meta.db_table)
        for name, each in found.items():
            is_plain = each["index"] and not (each["unique"] or each["primary_key"])
            if is_plain and each["columns"] == [column]:
                schema_editor.execute(f"DROP INDEX {schema_editor.quote_name(name)}")


def vacuum_early(apps, schema_editor):
    """PostgreSQL reads sums from an index alone only where a vacuum has been since the rows came.

    It waits for a fifth of the table to be new, which may be months; of a table that only grows, a hundredth is cheap.
    """
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("ALTER TABLE generation_charge SET (autovacuum_vacuum_insert_scale_factor = 0.01)")


class Migration(migrations.Migration):

    dependencies = [
        ("accounts", "0001_initial"),
        ("channels", "0001_initial"),
        ("generation", "0002_purge_marks"),
        ("ledger", "0001_initial"),
    ]

    # New ones first: they keep writers waiting, but no readers. What is dropped stops both, for a moment, at the end.
    operations = [
        migrations.AddIndex(
            model_name="attempt",
            index=models.Index(
                fields=["started_at"],
                include=("channel", "cost_micros"),
                condition=models.Q(("cost_micros__gt", 0), ("is_delivered", False)),
                name="attempt_lost",
            ),
        ),
        migrations.AddIndex(
            model_name="charge",
            index=models.Index(
                fields=["account", "mode", "created_at"],
                include=("price_micros", "cost_micros", "image_model", "api_key"),
                name="charge_account_sums",
            ),
        ),
        migrations.AddIndex(
            model_name="charge",
            index=models.Index(
                fields=["mode", "created_at"], include=("price_micros", "cost_micros"), name="charge_sums"
            ),
        ),
        migrations.RemoveIndex(model_name="charge", name="charge_usage"),
        migrations.RemoveIndex(model_name="charge", name="charge_time"),
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunPython(drop_redundant, migrations.RunPython.noop)],
            state_operations=[
                migrations.AlterField(
                    model_name=model_name,
                    name=field_name,
                    field=models.ForeignKey(
                        db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name=related_name, to=to
                    ),
                )
                for model_name, field_name, to, related_name in REDUNDANT
            ],
        ),
        migrations.RunPython(vacuum_early, migrations.RunPython.noop),
    ]
