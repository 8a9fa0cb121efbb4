"""Sign-ins of the console, by the hash of their token.

A revision is frozen once released: it spells the table out, which is the same on both databases.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Make one table, which has nothing to do with money."""
    op.create_table(
        "sign_ins",
        _text("token_sha256", primary_key=True),
        _text("key_id"),
        _text("seal"),
        sa.Column("signed_in_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("sign_ins_by_key", "sign_ins", ["key_id", "signed_in_at"])
    op.create_index("sign_ins_over", "sign_ins", ["expires_at"])


def downgrade() -> None:
    """There is no way back."""
    raise NotImplementedError("revision 0007 cannot be undone; restore the backup")


def _text(name: str, *, primary_key: bool = False) -> sa.Column[str]:
    """Text that is compared byte by byte, as SQLite does."""
    plain = sa.Text(collation="C").with_variant(sa.Text(), "sqlite")
    return sa.Column(name, plain, primary_key=primary_key, nullable=False)
