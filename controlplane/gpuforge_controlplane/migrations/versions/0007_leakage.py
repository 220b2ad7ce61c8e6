"""How much allocated GPUs are used, by hour and tenant."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name, kind in (("told_s", sa.BigInteger), ("used_pct_s", sa.Float)):
        op.add_column("allocation_hours", sa.Column(name, kind, nullable=False, server_default=sa.text("0")))
