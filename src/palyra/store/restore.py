"""What a start reads back, and the proof that the books are right: journal, balances, calls not yet over."""

import gc
import sqlite3
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from palyra.core.instant import Instant
from palyra.core.invariant import invariant, unreachable
from palyra.ledger.account import AccountKey, Balance
from palyra.ledger.book import Book
from palyra.lifecycle.decision import read_decision, read_settlement
from palyra.store import codec, sql
from palyra.store.auditing import EVERY_ACCOUNT, Share, SomeAccounts, broken_at, shares_of
from palyra.store.leftovers import decisions_of, unresolved
from palyra.store.page import Audited, JournalPage, line_of, link, read_record, unpack
from palyra.store.reader import connect_read_only
from palyra.store.write import Filed, RollupDelta, rollup_delta

REPLAY_AT_START_MAX = 50_000
"""Journals up to this length are replayed in full at start-up; longer ones by ``verify``."""
RECORDS_PER_WORD = 5_000
"""Records between two words on how far an audit is."""


class Restored(NamedTuple):
    """The books as the database has them."""

    book: Book
    pending: list[Filed]
    in_doubt: list[tuple[str, RollupDelta]]


class Audit(NamedTuple):
    """What ``verify`` went through; ``head`` is the chain's last hash, an anchor to keep elsewhere."""

    records: int
    accounts: int
    head: str


def restore(connection: sqlite3.Connection, now: Instant) -> Restored:
    """Live accounts and unresolved calls as stored, checked against a journal that is short.

    Raises InvariantViolation naming D3 where they do not agree.
    """
    row = connection.execute(sql.LAST_PAGE).fetchone()
    last = JournalPage(*row) if row else None
    if last is not None and last.follows <= REPLAY_AT_START_MAX:
        replayed = Book()
        for page in _pages(connection, 0):
            apply_page(replayed, page)
        _check_balances(replayed, connection)
    with _no_collections():
        book = _accounts(connection, now)
    pending = [] if last is None else _pending(connection, last.open_from, book)
    in_doubt = list(_in_doubt(connection, book))
    _check_holds(book)
    return Restored(book, pending, in_doubt)


def verify(path: Path, progress: Callable[[int, int], None] = lambda _done, _total: None) -> Audit:
    """Check chain and balances of a database, by one snapshot of it: its owner may go on writing.

    Replays the journal once for each ACCOUNTS_AT_ONCE accounts. Raises InvariantViolation naming G3 (the
    chain is broken at a page: JournalBroken) or D3 (replay gives other balances).
    """
    connection = connect_read_only(path)
    connection.isolation_level = None
    try:
        connection.execute("BEGIN")
        row = connection.execute(sql.LAST_PAGE).fetchone()
        total = JournalPage(*row).follows - 1 if row else 0
        (stored,) = connection.execute(sql.COUNT_ACCOUNTS).fetchone()
        shares = shares_of(stored)
        audits = [
            _replay_share(
                connection, share, lambda done, turn=turn: progress(turn * total + done, len(shares) * total)
            )
            for turn, share in enumerate(shares)
        ]
        return audits[0]._replace(accounts=sum(each.accounts for each in audits))
    finally:
        connection.close()


def _replay_share(connection: sqlite3.Connection, share: Share, tell: Callable[[int], None]) -> Audit:
    """Replay the whole journal for some of the accounts."""
    book = Book()
    book.accounts = SomeAccounts(share)
    seq, chain, told = 1, b"", 0
    for page in _pages(connection, 0):
        if page.seq == 0:
            chain = page.chain  # the head of a journal in the format before revision 0002
            continue
        with broken_at(0, seq, seq - 1):
            check_page(page, seq, chain)
            apply_page(book, page)
        seq, chain = page.follows, page.chain
        if seq - 1 >= told + RECORDS_PER_WORD:
            told = seq - 1
            tell(told)
    _check_balances(book, connection, share)
    return Audit(seq - 1, len(book.accounts), chain.hex())


@contextmanager
def _no_collections() -> Generator[None]:
    """A million accounts are no garbage: looking for some among them would take longer than reading them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _accounts(connection: sqlite3.Connection, now: Instant) -> Book:
    """A book of the live accounts. What many of them have in common is in memory once."""
    book = Book()
    shared: dict[Any, Any] = {}
    share = shared.setdefault
    for policy_id, metric, entity, start, end, *figures in connection.execute(sql.LIVE_ACCOUNTS, (now,)):
        key = AccountKey(share(policy_id, policy_id), share(metric, metric), entity, share(start, start))
        book.restore(key, share(end, end), Balance(*figures))
    return book


def _pages(connection: sqlite3.Connection, first: int) -> Iterator[JournalPage]:
    for row in connection.execute(sql.PAGES, (first,)):
        yield JournalPage(*row)


def check_page(page: JournalPage, seq: int, chain: bytes) -> None:
    """Raise InvariantViolation unless the page is record ``seq`` on and follows the head ``chain`` (G3)."""
    invariant(page.seq == seq, "G3", f"journal record {seq} is missing")
    seal = link(chain, page.seq, page.records, page.at, page.open_from, page.documents, page.body)
    invariant(page.chain == seal, "G3", f"journal records {page.seq} to {page.follows - 1} were changed")


def apply_page(book: Book, page: JournalPage) -> None:
    """Replay the events of a page."""
    if page.records:
        for line in unpack(page.body):
            record = read_record(line)
            if not isinstance(record, Audited):
                book.apply(record)


def _pending(connection: sqlite3.Connection, open_from: int, book: Book) -> list[Filed]:
    """Put the reservations that no record resolves into the book; returns where their decisions are."""
    found: list[Filed] = []
    for page, reservations in unresolved(_pages(connection, open_from)):
        book.pending.update(reservations)
        decisions = decisions_of(page, _documents(connection, page.documents))
        found.extend(decisions[request_id] for request_id in reservations if request_id in decisions)
    return found


def _in_doubt(connection: sqlite3.Connection, book: Book) -> Iterator[tuple[str, RollupDelta]]:
    """What each call in doubt counts for in the rollups: a late settlement takes it back (L7)."""
    read: dict[int, list[bytes]] = {}
    for request_id, page, place, end_page, end_place, reservation in connection.execute(sql.IN_DOUBT):
        book.in_doubt[request_id] = codec.read_reservation(reservation)
        read = {each: read.get(each) or _documents(connection, each) for each in (page, end_page)}
        decision = read_decision(line_of(read, page, place))
        settlement = read_settlement(line_of(read, end_page, end_place))
        yield request_id, rollup_delta(decision, settlement)


def _documents(connection: sqlite3.Connection, page: int) -> list[bytes]:
    row = connection.execute(sql.DOCUMENTS, (page,)).fetchone()
    return unpack(row[0]) if row else []


def _check_holds(book: Book) -> None:
    """What is held must be what the pending reservations hold (D3)."""
    held_by: dict[AccountKey, int] = {}
    for reserved in book.pending.values():
        for hold in reserved.holds:
            held_by[hold.account] = held_by.get(hold.account, 0) + hold.amount
    for key, account in book.accounts.items():
        if account.held != held_by.get(key, 0):
            unreachable("D3", f"account {key} holds what no reservation explains")


def _check_balances(book: Book, connection: sqlite3.Connection, share: Share = EVERY_ACCOUNT) -> None:
    """The stored balances of these accounts must be the replayed ones (D3)."""
    found = 0
    for row in connection.execute(sql.ACCOUNTS):
        key = AccountKey(*row[:4])
        if not share.has(key):
            continue
        found += key in book.accounts
        _check_balance(key, Balance(*row[5:]), book)
    if found < len(book.accounts):
        stored = {AccountKey(*row[:4]) for row in connection.execute(sql.ACCOUNTS)}
        for key in book.accounts.keys() - stored:
            _check_balance(key, None, book)


def _check_balance(key: AccountKey, stored: Balance | None, book: Book) -> None:
    account = book.accounts.get(key)
    replayed = account.balance() if account else None
    if stored != replayed:
        unreachable("D3", f"account {key} stands at {stored}, the journal says {replayed}")
