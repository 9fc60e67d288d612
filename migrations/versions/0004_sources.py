"""Folder sources, the files found in them, and which document replaces which."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the tables of sources, and what documents and operations say about them."""
    op.create_table(
        "sources",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("owner_id", sa.String(), nullable=False),
        sa.Column("collection_id", sa.String(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("include", sa.JSON(), nullable=False),
        sa.Column("exclude", sa.JSON(), nullable=False),
        sa.Column("recursive", sa.Boolean(), nullable=False),
        sa.Column("watch", sa.Boolean(), nullable=False),
        sa.Column("device", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("scanned_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["collection_id"], ["collections.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("uq_sources_path", "sources", ["collection_id", "path"], unique=True)
    op.create_table(
        "source_files",
        sa.Column("source_id", sa.String(), nullable=False),
        sa.Column("path", sa.LargeBinary(), nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.Column("modified_ns", sa.Integer(), nullable=False),
        sa.Column("identity", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=True),
        sa.Column("document_id", sa.String(), nullable=True),
        sa.Column("skip_reason", sa.String(), nullable=True),
        sa.Column("is_missing", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["source_id"], ["sources.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("source_id", "path"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_source_files_identity", "source_files", ["source_id", "identity"], unique=False)
    op.create_index("ix_source_files_document", "source_files", ["document_id"], unique=False)
    op.create_index(
        "ix_source_files_missing",
        "source_files",
        ["source_id", "path"],
        unique=False,
        sqlite_where=sa.text("is_missing"),
    )
    op.create_index(
        "ix_source_files_skipped",
        "source_files",
        ["source_id", "path"],
        unique=False,
        sqlite_where=sa.text("skip_reason IS NOT NULL"),
    )
    op.add_column("documents", sa.Column("source_id", sa.String(), nullable=True))
    op.add_column("documents", sa.Column("replaces_id", sa.String(), nullable=True))
    op.create_index("ix_documents_source", "documents", ["source_id", "id"], unique=False)
    op.create_index("ix_documents_replaces", "documents", ["replaces_id"], unique=False)
    op.add_column("operations", sa.Column("parent_id", sa.String(), nullable=True))
    op.create_index("ix_operations_parent", "operations", ["parent_id"], unique=False)
