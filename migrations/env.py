"""Alembic's entry: runs on the connection it is handed, in the transaction that is already open."""

from alembic import context

from perplex_mono.telemetry.failpoints import failpoint

context.configure(
    connection=context.config.attributes["connection"],
    transactional_ddl=False,
    on_version_apply=lambda **_: failpoint("mid_migration"),
)
context.run_migrations()
