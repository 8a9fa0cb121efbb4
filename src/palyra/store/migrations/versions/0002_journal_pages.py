"""Journal pages: one row per commit; decisions and settlements are pages of documents beside it.

A revision is frozen once released: it spells out tables, pages and hashes instead of importing today's.
The old records are not checked here. Row 0 of the new journal keeps the head of the old one, and the first
page is chained to it. Documents are kept as they were written.
"""

import hashlib
import json
import zlib
from collections.abc import Iterator
from itertools import islice
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

RECORDS_PER_PAGE = 256
CALLS_PER_PAGE = 64

_FIELDS = {
    "reserve": ("id", "at", "expires_at", "holds"),
    "settle": ("id", "at", "amounts", "late"),
    "release": ("id", "at", "reason"),
    "expire": ("id", "at", "reason"),
}
"""The order of an event's fields in the arrays of revision 0002."""


def upgrade() -> None:
    """Convert journal and decisions; everything else stays. PostgreSQL begins with revision 0003."""
    if op.get_bind().dialect.name != "sqlite":
        return
    op.rename_table("journal", "journal_0001")
    op.rename_table("decisions", "decisions_0001")
    op.drop_index("decisions_unresolved", "decisions_0001")
    op.drop_index("decisions_by_principal", "decisions_0001")
    _create_tables()
    connection = op.get_bind()
    documents = _convert_journal(connection)
    _convert_decisions(connection, documents)
    op.drop_table("journal_0001")
    op.drop_table("decisions_0001")


def downgrade() -> None:
    """There is no way back: the hashes of the old records are gone."""
    raise NotImplementedError("revision 0002 cannot be undone; restore the backup")


def _create_tables() -> None:
    op.create_table(
        "journal",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        sa.Column("records", sa.Integer, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("open_from", sa.BigInteger, nullable=False),
        sa.Column("documents", sa.BigInteger, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("chain", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "documents",
        sa.Column("page", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
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
        sa.Column("page", sa.BigInteger, nullable=False),
        sa.Column("place", sa.Integer, nullable=False),
        sa.Column("end_page", sa.BigInteger),
        sa.Column("end_place", sa.Integer),
        sa.Column("reservation", sa.LargeBinary),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "decisions_in_doubt", "decisions", ["page"], sqlite_where=sa.text("reservation IS NOT NULL")
    )
    op.create_index("decisions_by_principal", "decisions", ["principal", "request_id"])


def _convert_journal(connection: sa.Connection) -> int:
    """Write the pages; those with pending calls get their decisions. Returns the last page of documents."""
    head = connection.execute(sa.text("SELECT chain FROM journal_0001 ORDER BY seq DESC LIMIT 1")).scalar()
    if head is None:
        return 0
    chain, documents = bytes.fromhex(head), 0
    _insert_page(connection, 0, 0, 0, 0, 0, b"", chain)
    unresolved: dict[str, int] = {}
    records = _rows(connection, "SELECT seq, at, kind, ref, body FROM journal_0001 ORDER BY seq")
    while page := list(islice(records, RECORDS_PER_PAGE)):
        seq = page[0]["seq"]
        for record in page:
            if record["kind"] == "reserve":
                unresolved[record["ref"]] = seq
            elif record["kind"] in _FIELDS:
                unresolved.pop(record["ref"], None)
        pending = _pending_decisions(connection, [each["ref"] for each in page if each["kind"] == "reserve"])
        documents += bool(pending)
        if pending:
            _insert_documents(connection, documents, pending)
        open_from = min(unresolved.values(), default=seq)
        body = _pack([_line(record) for record in page])
        at = max(record["at"] for record in page)
        place = documents if pending else 0
        numbers = b"%d %d %d %d %d %d\n" % (seq, len(page), at, open_from, place, len(body))
        chain = hashlib.sha256(chain + numbers + body).digest()
        _insert_page(connection, seq, len(page), at, open_from, place, body, chain)
    return documents


def _line(record: sa.RowMapping) -> str:
    """A record of the old journal as a line of a page."""
    kind, body = record["kind"], json.loads(record["body"])
    if kind in _FIELDS:
        return _json([kind, *(body[name] for name in _FIELDS[kind] if name in body)])
    who = (body["actor"], body["before"], body["after"])
    return _json(["audit", kind, record["ref"], record["at"], *who])


def _pending_decisions(connection: sa.Connection, refs: list[str]) -> list[str]:
    query = sa.text("SELECT body FROM decisions_0001 WHERE request_id = :ref AND state = 'pending'")
    found = (connection.execute(query, {"ref": ref}).scalar() for ref in refs)
    return [body for body in found if body is not None]


def _convert_decisions(connection: sa.Connection, documents: int) -> None:
    """File decisions and settlements of calls that are over; pending ones have no row until they are."""
    calls = _rows(connection, "SELECT * FROM decisions_0001 WHERE state <> 'pending' ORDER BY request_id")
    insert = sa.text(
        "INSERT INTO decisions (request_id, at, state, outcome, principal, agent, session, model, page, "
        "place, end_page, end_place, reservation) VALUES (:request_id, :at, :state, :outcome, :principal, "
        ":agent, :session, :model, :page, :place, :end_page, :end_place, :reservation)"
    )
    while chunk := list(islice(calls, CALLS_PER_PAGE)):
        documents += 1
        lines: list[str] = []
        rows: list[dict[str, Any]] = []
        for call in chunk:
            row: dict[str, Any] = {**call, "page": documents, "place": len(lines)}
            lines.append(_one_line(call["body"]))
            ended = call["settlement"] is not None
            row |= {"end_page": documents if ended else None, "end_place": len(lines) if ended else None}
            row["reservation"] = _reservation(call)
            if ended:
                lines.append(_one_line(call["settlement"]))
            rows.append(row)
        _insert_documents(connection, documents, lines)
        connection.execute(insert, rows)


def _reservation(call: sa.RowMapping) -> bytes | None:
    """What a late settlement of a call in doubt needs."""
    if call["state"] != "in_doubt" or call["reservation"] is None:
        return None
    body = json.loads(call["reservation"])
    return _json(["reserve", *(body[name] for name in _FIELDS["reserve"])]).encode()


def _rows(connection: sa.Connection, query: str) -> Iterator[sa.RowMapping]:
    """The rows of a large table, a few at a time."""
    streaming = connection.execution_options(stream_results=True)
    return iter(streaming.execute(sa.text(query)).mappings().yield_per(1_000))


def _insert_page(
    connection: sa.Connection,
    seq: int,
    records: int,
    at: int,
    open_from: int,
    documents: int,
    body: bytes,
    chain: bytes,
) -> None:
    connection.execute(
        sa.text(
            "INSERT INTO journal (seq, records, at, open_from, documents, body, chain) "
            "VALUES (:seq, :records, :at, :open_from, :documents, :body, :chain)"
        ),
        {
            "seq": seq,
            "records": records,
            "at": at,
            "open_from": open_from,
            "documents": documents,
            "body": body,
            "chain": chain,
        },
    )


def _insert_documents(connection: sa.Connection, page: int, lines: list[str]) -> None:
    connection.execute(
        sa.text("INSERT INTO documents (page, body) VALUES (:page, :body)"),
        {"page": page, "body": _pack(lines)},
    )


def _pack(lines: list[str]) -> bytes:
    deflate = zlib.compressobj(6, zlib.DEFLATED, -15)
    return deflate.compress("\n".join(lines).encode()) + deflate.flush()


def _one_line(document: str) -> str:
    """JSON without line breaks between its parts; within its texts they are escaped."""
    return _json(json.loads(document)) if "\n" in document else document


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
