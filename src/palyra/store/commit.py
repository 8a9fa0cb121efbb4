"""One transaction of many changes: a page of the journal, a page of documents, and a few rows."""

import sqlite3
from collections.abc import Iterable, Sequence

from palyra.store import sql
from palyra.store.chain import Chain, Row, account_rows, rollup_rows
from palyra.store.page import JournalPage
from palyra.store.write import Filed, Write


class Committer:
    """Writes batches over the only read-write connection."""

    def __init__(self, connection: sqlite3.Connection, pending: Iterable[Filed]) -> None:
        self._connection = connection
        row = connection.execute(sql.LAST_PAGE).fetchone()
        (documents,) = connection.execute(sql.LAST_DOCUMENTS).fetchone()
        self._chain = Chain(JournalPage(*row) if row else None, documents, pending)

    def commit(self, batch: Sequence[Write], balances: list[Row] | None) -> None:
        """Make all of these durable, or none: then it raises, maybe within a transaction.

        ``balances`` are the rows of the accounts after this batch; without them its entry lines are summed.
        """
        chapter = self._chain.chapter(batch)
        tables = (
            (sql.ADD_TO_ACCOUNTS, account_rows(batch)) if balances is None else (sql.SET_ACCOUNTS, balances),
            (sql.SAVE_CALLS, chapter.calls),
            (sql.UPSERT_ROLLUPS, rollup_rows(batch)),
        )
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        if chapter.page is not None:
            execute(sql.INSERT_PAGE, chapter.page)
        if chapter.documents is not None:
            execute(sql.INSERT_DOCUMENTS, (chapter.number, chapter.documents))
        for statements, rows in tables:
            if rows:
                sql.store(execute, statements, rows)
        for write in batch:
            if write.claim is not None:
                execute(*sql.claim(write.claim))
            if write.statement is not None:
                execute(sql.NAMED[write.statement.name], write.statement.parameters)
        execute("COMMIT")
        self._chain.follow(batch, chapter)

    def roll_back(self) -> None:
        """Undo what a failed commit began. Raises sqlite3.Error if that fails, too."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
