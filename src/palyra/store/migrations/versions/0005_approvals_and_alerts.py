"""Approvals, alerts, messages about them, and what of the configuration was recorded last.

A revision is frozen once released: it spells the tables out. They are the same on both databases; on
PostgreSQL the row of the rules also counts the changes of approvals, so that every gateway hears of them.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make four tables, none of which has to do with money."""
    op.create_table(
        "approvals",
        _text("id", primary_key=True),
        *_versioned(),
        _text("cause"),
        _text("policy_id"),
        _text("requester"),
        sa.Column("open_until", sa.BigInteger, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    _index("approvals_pending", "approvals", "cause", "state = 'pending'", unique=True)
    _index("approvals_open", "approvals", "open_until")
    op.create_table(
        "alerts",
        _text("id", primary_key=True),
        *_versioned(),
        _text("cause"),
        _text("kind"),
        _text("policy_id", nullable=True),
        _text("principal", nullable=True),
        sa.Column("over_at", sa.BigInteger),
        sa.Column("body", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    _index("alerts_firing", "alerts", "cause", "state = 'firing'", unique=True)
    _index("alerts_over", "alerts", "over_at")
    op.create_table(
        "notices",
        _text("id", primary_key=True),
        *_versioned(),
        _text("target"),
        sa.Column("due_at", sa.BigInteger, nullable=False),
        sa.Column("over_at", sa.BigInteger),
        sa.Column("body", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    _index("notices_due", "notices", "due_at", "state = 'waiting'")
    _index("notices_over", "notices", "over_at")
    op.create_table(
        "configured",
        _text("name", primary_key=True),
        sa.Column("body", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    if op.get_bind().dialect.name != "sqlite":
        op.execute("ALTER TABLE rules ADD COLUMN approvals bigint NOT NULL DEFAULT 0")


def downgrade() -> None:
    """There is no way back."""
    raise NotImplementedError("revision 0005 cannot be undone; restore the backup")


def _text(name: str, *, primary_key: bool = False, nullable: bool = False) -> sa.Column[str]:
    """Text that is compared byte by byte, as SQLite does."""
    plain = sa.Text(collation="C").with_variant(sa.Text(), "sqlite")
    return sa.Column(name, plain, primary_key=primary_key, nullable=nullable)


def _versioned() -> tuple[sa.Column[int], sa.Column[str]]:
    return sa.Column("version", sa.Integer, nullable=False), _text("state")


def _index(name: str, table: str, column: str, where: str | None = None, *, unique: bool = False) -> None:
    condition = None if where is None else sa.text(where)
    op.create_index(name, table, [column], unique=unique, sqlite_where=condition, postgresql_where=condition)
