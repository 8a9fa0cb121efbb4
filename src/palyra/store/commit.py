"""One transaction of many changes: a page of the journal, a page of documents, and a few rows."""

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import takewhile

from palyra.store import sql
from palyra.store.chain import Chain, Row, account_rows
from palyra.store.derived import counted, derived
from palyra.store.page import JournalPage
from palyra.store.write import Filed, Overtaken, Statement, Write


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
        Raises Overtaken where a statement compares with what is not there any more.
        """
        chapter = self._chain.chapter(batch)
        sums = derived(counted(batch))
        tables = (
            (sql.ADD_TO_ACCOUNTS, account_rows(batch)) if balances is None else (sql.SET_ACCOUNTS, balances),
            (sql.SAVE_CALLS, chapter.calls),
            *zip(sql.DERIVED, sums, strict=True),
        )
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        self._execute(batch)
        if chapter.page is not None:
            execute(sql.INSERT_PAGE, chapter.page)
        if chapter.documents is not None:
            execute(sql.INSERT_DOCUMENTS, (chapter.number, chapter.documents))
        for statements, rows in tables:
            if rows:
                sql.store(execute, statements, rows)
        for change in chapter.changes:
            execute(sql.SAVE_CHANGE, change)
        for write in batch:
            if write.claim is not None:
                execute(*sql.claim(write.claim))
        execute("COMMIT")
        self._chain.follow(batch, chapter)

    def _execute(self, batch: Sequence[Write]) -> None:
        """Run the statements. Who is overtaken is found in one go, as long as nothing has to be undone."""
        overtaken: list[Write] = []
        for write in batch:
            if not write.statements:
                continue
            done = sum(1 for _ in takewhile(self._lands, write.statements))
            if done < len(write.statements):
                overtaken.append(write)
                if done:
                    break
        if overtaken:
            raise Overtaken(overtaken)

    def _lands(self, statement: Statement) -> bool:
        changed = self._connection.execute(sql.NAMED[statement.name], statement.parameters).rowcount
        return changed == 1 or not statement.compares

    def roll_back(self) -> None:
        """Undo what a failed commit began. Raises sqlite3.Error if that fails, too."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
