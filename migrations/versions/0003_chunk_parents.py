"""Small chunks that are found know the larger stretch of their page that is shown in their place."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the place of a chunk's parent; chunks without one are shown themselves."""
    op.add_column("chunks", sa.Column("parent_start", sa.Integer(), nullable=True))
    op.add_column("chunks", sa.Column("parent_end", sa.Integer(), nullable=True))
