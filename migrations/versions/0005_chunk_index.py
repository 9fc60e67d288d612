"""Chunks by their index, so that dropping one finds its own."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the index."""
    op.create_index("ix_chunks_index", "chunks", ["index_id"], unique=False)
