"""Several indexes a collection: which documents each holds, by what model it was built, and when it was put aside."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Every ready document is in the active index of its collection; no other index existed before."""
    op.add_column("indexes", sa.Column("model", sa.String(), nullable=False, server_default="bundled"))
    op.add_column("indexes", sa.Column("operation_id", sa.String(), nullable=True))
    op.add_column("indexes", sa.Column("retired_at", sa.DateTime(), nullable=True))
    op.add_column("collections", sa.Column("fallback_index_id", sa.String(), nullable=True))
    op.create_table(
        "index_entries",
        sa.Column("index_id", sa.String(), nullable=False),
        sa.Column("document_id", sa.String(), nullable=False),
        sa.Column("chunk_count", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["index_id"], ["indexes.id"]),
        sa.ForeignKeyConstraint(["document_id"], ["documents.id"]),
        sa.PrimaryKeyConstraint("index_id", "document_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_index_entries_document", "index_entries", ["document_id"], unique=False)
    op.execute(
        "INSERT INTO index_entries (index_id, document_id, chunk_count)"
        " SELECT collections.active_index_id, documents.id, documents.chunk_count"
        " FROM documents JOIN collections ON collections.id = documents.collection_id"
        " WHERE documents.status = 'ready' AND documents.chunk_count IS NOT NULL"
    )
