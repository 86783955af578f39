"""What Alembic runs: revisions within the transaction of `probes.store.schema.upgrade`."""

from alembic import context

from probes.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
