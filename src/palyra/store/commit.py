"""One transaction of many changes: a page of the journal, a page of documents, and a few rows."""

import sqlite3
from collections.abc import Iterable, Sequence
from operator import add

from palyra.ledger.account import AccountKey
from palyra.lifecycle.decision import CallState
from palyra.store import sql
from palyra.store.page import JournalPage, Packer, link
from palyra.store.write import Filed, RollupKey, Write

Row = tuple[object, ...]


class Committer:
    """Writes batches over the only read-write connection, and knows where journal and documents end."""

    def __init__(self, connection: sqlite3.Connection, pending: Iterable[Filed]) -> None:
        self._connection = connection
        self._packer = Packer()
        row = connection.execute(sql.LAST_PAGE).fetchone()
        last = JournalPage(*row) if row else None
        self._next_seq = last.follows if last else 1
        self._chain = last.chain if last else b""
        self._documents: int = connection.execute(sql.LAST_DOCUMENTS).fetchone()[0]
        self._unresolved: dict[int, int] = {}
        for call in sorted(pending, key=lambda each: each.seq):
            self._unresolved[call.seq] = self._unresolved.get(call.seq, 0) + 1

    def commit(self, batch: Sequence[Write], balances: list[Row] | None) -> None:
        """Make all of these durable, or none: then it raises, maybe within a transaction.

        ``balances`` are the rows of the accounts after this batch; without them its entry lines are summed.
        """
        documents, calls = _file(batch, self._documents + 1)
        page = self._page(batch, self._documents + 1 if documents else 0)
        tables = (
            (sql.ADD_TO_ACCOUNTS, _account_rows(batch)) if balances is None else (sql.SET_ACCOUNTS, balances),
            (sql.SAVE_CALLS, calls),
            (sql.UPSERT_ROLLUPS, _rollup_rows(batch)),
        )
        packed = self._packer.pack(documents) if documents else None
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        if page is not None:
            execute(sql.INSERT_PAGE, page)
        if packed is not None:
            execute(sql.INSERT_DOCUMENTS, (self._documents + 1, packed))
        for statements, rows in tables:
            if rows:
                sql.store(execute, statements, rows)
        for write in batch:
            if write.claim is not None:
                execute(*sql.claim(write.claim))
            if write.statement is not None:
                execute(sql.NAMED[write.statement.name], write.statement.parameters)
        execute("COMMIT")
        self._documents += bool(documents)
        if page is not None:
            self._next_seq, self._chain = page.follows, page.chain
            self._follow(batch, page.seq)

    def roll_back(self) -> None:
        """Undo what a failed commit began. Raises sqlite3.Error if that fails, too."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _page(self, batch: Sequence[Write], documents: int) -> JournalPage | None:
        lines = [write.line for write in batch if write.line is not None]
        if not lines:
            return None
        seq = self._next_seq
        at = max([write.at for write in batch if write.line is not None])
        # What this commit resolves still counts as open: exact enough, and right also if it fails.
        open_from = next(iter(self._unresolved), seq)
        body = self._packer.pack(lines)
        chain = link(self._chain, seq, len(lines), at, open_from, documents, body)
        return JournalPage(seq, len(lines), at, open_from, documents, body, chain)

    def _follow(self, batch: Sequence[Write], seq: int) -> None:
        """Count the reservations of each page that are pending; a page without any is forgotten."""
        unresolved = self._unresolved
        calls = [(write.state, write.call) for write in batch if write.line is not None]
        opened = [call for state, call in calls if call is not None and state is CallState.PENDING]
        for call in opened:
            call.seq = seq
        if opened:
            unresolved[seq] = len(opened)
        for state, call in calls:
            if call is not None and call.seq and state is not CallState.PENDING:
                unresolved[call.seq] -= 1
                if not unresolved[call.seq]:
                    del unresolved[call.seq]
                call.seq = 0


def _file(batch: Sequence[Write], page: int) -> tuple[list[bytes], list[Row]]:
    """The documents of a batch and, for calls that are over, the rows that say where they are."""
    documents: list[bytes] = []
    rows: list[Row] = []
    for write in batch:
        if write.flaw is not None:
            raise write.flaw
        call, state = write.call, write.state
        if call is None or state is None:
            continue
        if state is CallState.PENDING:
            call.page, call.place = page, len(documents)
        elif state is CallState.DENIED:
            call.page, call.place = page, len(documents)
            rows.append(_row(call, state, None, None, None))
        else:
            rows.append(_row(call, state, page, len(documents), write.reservation))
        documents.append(write.document)
    return documents, rows


def _row(
    call: Filed, state: CallState, end_page: int | None, end_place: int | None, reservation: bytes | None
) -> Row:
    decision = call.decision
    return (
        call.id,
        decision.at,
        state.value,
        decision.outcome,
        decision.principal,
        decision.agent,
        decision.session,
        decision.model,
        call.page,
        call.place,
        end_page,
        end_place,
        reservation,
    )


def _account_rows(batch: Sequence[Write]) -> list[Row]:
    """Entry lines summed per account: a hot account costs one row per commit."""
    sums: dict[AccountKey, list[int]] = {}
    for write in batch:
        for account, window_end, posted, held, shadow_posted, shadow_held in write.entries:
            figures = sums.get(account)
            if figures is None:
                sums[account] = [window_end, posted, held, shadow_posted, shadow_held]
            else:
                figures[1] += posted
                figures[2] += held
                figures[3] += shadow_posted
                figures[4] += shadow_held
    return [(*account, *figures) for account, figures in sums.items()]


def _rollup_rows(batch: Sequence[Write]) -> list[Row]:
    sums: dict[RollupKey, Sequence[int]] = {}
    for write in batch:
        if write.rollup is not None:
            key, delta = write.rollup
            before = sums.get(key)
            sums[key] = delta if before is None else list(map(add, before, delta))
    return [(*key, *figures) for key, figures in sums.items()]
