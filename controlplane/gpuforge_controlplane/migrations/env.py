"""Alembic's entry: run on the connection that `migrations.upgrade` hands over."""

from __future__ import annotations

from alembic import context

from gpuforge_controlplane.storage.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,  # SQLite can, and our connection does begin explicitly
)
context.run_migrations()
