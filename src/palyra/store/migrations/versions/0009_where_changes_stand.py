"""Where in the journal the changes of rules stand: so that people find them without reading all of it.

A revision is frozen once released: it spells out tables and how pages are read. The changes that are in the
journal already are found here, which takes a moment for each million calls.
"""

import json
import zlib
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

ROWS_AT_ONCE = 500
_BEGINNING = b'["audit",'
_RAW_DEFLATE = -15


_PAGES = "SELECT 0, seq, body FROM journal WHERE records > 0 ORDER BY 1, 2"
_PAGES_SHARED = "SELECT node, seq, body FROM journal WHERE records > 0 ORDER BY 1, 2"


def upgrade() -> None:
    """Make the table, the same on both databases, and fill it."""
    op.create_table(
        "changes",
        *(sa.Column(name, sa.BigInteger, primary_key=True) for name in ("at", "node", "record")),
        sa.Column("page", sa.BigInteger, nullable=False),
        *map(_text, ("what", "kind", "ref", "actor")),
        sqlite_with_rowid=False,
    )
    for name in ("what", "ref", "actor"):
        op.create_index(f"changes_by_{name}", "changes", [name, "at", "node", "record"])
    connection = op.get_bind()
    is_shared = connection.dialect.name != "sqlite"
    pages = connection.execute(
        sa.text(_PAGES_SHARED if is_shared else _PAGES),
        execution_options={"yield_per": ROWS_AT_ONCE},
    )
    table = sa.table(
        "changes", *map(sa.column, ("at", "node", "record", "page", "what", "kind", "ref", "actor"))
    )
    found: list[dict[str, Any]] = []
    for node_id, seq, body in pages:
        found += _changes(node_id, seq, body)
        if len(found) >= ROWS_AT_ONCE:
            op.bulk_insert(table, found)
            found = []
    if found:
        op.bulk_insert(table, found)


def downgrade() -> None:
    """There is no way back."""
    raise NotImplementedError("revision 0009 cannot be undone; restore the backup")


def _changes(node: int, seq: int, body: bytes) -> Iterator[dict[str, Any]]:
    """The changes in a page of the journal."""
    for place, line in enumerate(zlib.decompressobj(_RAW_DEFLATE).decompress(body).split(b"\n")):
        if line.startswith(_BEGINNING):
            _, kind, ref, at, actor, *_ = json.loads(line)
            yield {
                "at": at,
                "node": node,
                "record": seq + place,
                "page": seq,
                "what": kind.partition(".")[0],
                "kind": kind,
                "ref": ref,
                "actor": actor,
            }


def _text(name: str) -> sa.Column[str]:
    """Text that is compared byte by byte, as SQLite does."""
    return sa.Column(name, sa.Text(collation="C").with_variant(sa.Text(), "sqlite"), nullable=False)
