"""Alembic's entry point. `store.migrate` drives it and hands over what it needs in `config.attributes`."""

from alembic import context

from dhash_service.store.tables import metadata

given = context.config.attributes

if context.is_offline_mode():
    context.configure(dialect_name=given["dialect"], target_metadata=metadata, literal_binds=True)
else:
    # The caller holds the transaction: one revision is one transaction, on SQLite too.
    context.configure(
        connection=given["connection"], target_metadata=metadata, on_version_apply=given["on_version_apply"]
    )
context.run_migrations()
