"""Operations remember the trace in which they were asked for, so that their work goes on in it."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the W3C parent; operations without one begin traces of their own."""
    op.add_column("operations", sa.Column("trace_parent", sa.String(), nullable=True))
