"""Foundation: journal, accounts, decisions, idempotency, rollups, policies, keys.

A revision is frozen once released: it spells the tables out instead of reading today's metadata.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create every table of the first release. PostgreSQL came with revision 0003, and begins there."""
    if op.get_bind().dialect.name != "sqlite":
        return
    _create_money_tables()
    _create_record_tables()


def downgrade() -> None:
    """Drop them again."""
    for table in ("keys", "policies", "rollups", "idempotency", "decisions", "accounts", "journal"):
        op.drop_table(table)


def _create_money_tables() -> None:
    op.create_table(
        "journal",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("ref", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("chain", sa.Text, nullable=False),
    )
    op.create_table(
        "accounts",
        sa.Column("policy_id", sa.Text, primary_key=True),
        sa.Column("metric", sa.Text, primary_key=True),
        sa.Column("entity", sa.Text, primary_key=True),
        sa.Column("window_start", sa.BigInteger, primary_key=True),
        sa.Column("window_end", sa.BigInteger, nullable=False),
        *(
            sa.Column(figure, sa.BigInteger, nullable=False)
            for figure in ("posted", "held", "shadow_posted", "shadow_held")
        ),
        *_exact("posted", "held", "shadow_posted", "shadow_held"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "rollups",
        sa.Column("hour", sa.BigInteger, primary_key=True),
        *(
            sa.Column(group, sa.Text, primary_key=True)
            for group in ("principal", "agent", "model", "provider")
        ),
        *(
            sa.Column(figure, sa.BigInteger, nullable=False)
            for figure in (
                "requests",
                "denied",
                "estimated",
                "unpriced",
                "input_tokens",
                "output_tokens",
                "cache_read_tokens",
                "cache_write_tokens",
                "reasoning_tokens",
                "cost",
                "metered_bytes",
                "metered_input_tokens",
            )
        ),
        *_exact("cost", "input_tokens", "output_tokens"),
        sqlite_with_rowid=False,
    )


def _exact(*figures: str) -> list[sa.CheckConstraint]:
    """SQLite turns a sum beyond 64 bits into a float without a word; PostgreSQL refuses it by itself."""
    if op.get_bind().dialect.name != "sqlite":
        return []
    return [sa.CheckConstraint(f"typeof({figure}) = 'integer'") for figure in figures]


def _create_record_tables() -> None:
    op.create_table(
        "decisions",
        sa.Column("request_id", sa.Text, primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("principal", sa.Text, nullable=False),
        sa.Column("agent", sa.Text),
        sa.Column("session", sa.Text),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("reservation", sa.Text),
        sa.Column("settlement", sa.Text),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "decisions_unresolved",
        "decisions",
        ["state"],
        sqlite_where=sa.text("state IN ('pending', 'in_doubt')"),
    )
    op.create_index("decisions_by_principal", "decisions", ["principal", "request_id"])
    op.create_table(
        "idempotency",
        sa.Column("principal", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("finished", sa.Integer, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "policies",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("deleted", sa.Integer, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "keys",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("sha256", sa.Text, nullable=False, unique=True),
        sa.Column("body", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
