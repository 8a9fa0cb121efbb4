"""What one commit adds to a journal: a page of records, a page of documents, and rows that lead to them.

Pure but for the place where the journal stands: every page is chained to the one before it.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from palyra.ledger.account import AccountKey
from palyra.lifecycle.decision import CallState
from palyra.store.page import AUDITED, Audited, JournalPage, Packer, link, read_record
from palyra.store.write import Filed, Write

Row = tuple[object, ...]


class Chapter(NamedTuple):
    """One commit as it will be stored; ``page`` and ``documents`` are None where it has none of them."""

    page: JournalPage | None
    number: int
    """Of the page of documents."""
    documents: bytes | None
    calls: list[Row]
    changes: list[Row]
    """Of rules: at, record, page, what, kind, ref, actor."""


class Chain:
    """Where a journal and its documents end, and which of its pages have reservations that are pending."""

    def __init__(self, last: JournalPage | None, documents: int, pending: Iterable[Filed]) -> None:
        """``last`` is the newest page, ``documents`` the number of the newest page of documents."""
        self._packer = Packer()
        self.next_seq = last.follows if last else 1
        self._chain = last.chain if last else b""
        self._at = last.at if last else 0
        self.documents = documents
        self._unresolved: dict[int, int] = {}
        for call in sorted(pending, key=lambda each: each.seq):
            self._unresolved[call.seq] = self._unresolved.get(call.seq, 0) + 1

    def chapter(self, batch: Sequence[Write]) -> Chapter:
        """Lay out what a commit of ``batch`` stores. Raises the flaw of a write that cannot be stored."""
        number = self.documents + 1
        documents, calls = _file(batch, number)
        page = self._page(batch, number if documents else 0)
        packed = self._packer.pack(documents) if documents else None
        changes = [] if page is None else _changes(batch, page.seq)
        return Chapter(page, number, packed, calls, changes)

    def follow(self, batch: Sequence[Write], chapter: Chapter) -> None:
        """The commit is on disk: go on after it."""
        self.documents += chapter.documents is not None
        if chapter.page is not None:
            self.next_seq, self._chain, self._at = chapter.page.follows, chapter.page.chain, chapter.page.at
            self._count(batch, chapter.page.seq)

    def _page(self, batch: Sequence[Write], documents: int) -> JournalPage | None:
        lines = [write.line for write in batch if write.line is not None]
        if not lines:
            return None
        seq = self.next_seq
        # Never before the page before it, also where another machine goes on with the journal.
        at = max(self._at, *[write.at for write in batch if write.line is not None])
        # What this commit resolves still counts as open: exact enough, and right also if it fails.
        open_from = next(iter(self._unresolved), seq)
        body = self._packer.pack(lines)
        chain = link(self._chain, seq, len(lines), at, open_from, documents, body)
        return JournalPage(seq, len(lines), at, open_from, documents, body, chain)

    def _count(self, batch: Sequence[Write], seq: int) -> None:
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


def _changes(batch: Sequence[Write], seq: int) -> list[Row]:
    """Where the changes of rules stand that a batch journals on the page that begins with record ``seq``."""
    # Only what is no call runs statements of its own, and that is rare.
    if not any(write.statements for write in batch):
        return []
    rows: list[Row] = []
    lines = (write.line for write in batch if write.line is not None)
    for record, line in enumerate(lines, start=seq):
        if line.startswith(AUDITED):
            change = read_record(line)
            if isinstance(change, Audited):
                what = change.kind.partition(".")[0]
                rows.append((change.at, record, seq, what, change.kind, change.ref, change.actor))
    return rows


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


def account_rows(batch: Sequence[Write]) -> list[Row]:
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
