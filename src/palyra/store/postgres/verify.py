"""The proof that the books of a shared ledger are right, while its gateways run, by one snapshot."""

from collections.abc import Callable
from typing import Any

from palyra.core.invariant import invariant
from palyra.core.secret import Secret
from palyra.ledger.account import EMPTY, AccountKey, Balance
from palyra.ledger.book import Book
from palyra.store.auditing import Share, SomeAccounts, broken_at, shares_of
from palyra.store.migrate import HEAD
from palyra.store.page import JournalPage
from palyra.store.postgres import sql
from palyra.store.postgres.carried import Carried
from palyra.store.postgres.revision import WrongRevision, connect_patiently, revision_of
from palyra.store.restore import RECORDS_PER_WORD, Audit

_PAGES_AT_ONCE = 200
_ROWS_AT_ONCE = 2_000

Balances = dict[AccountKey, tuple[int, ...]]


async def verify_shared(
    url: Secret, progress: Callable[[int, int], None] = lambda _done, _total: None
) -> Audit:
    """Check every gateway's chain, and that what they replay to, added up, is what the accounts say.

    ``head`` is the chain heads of all gateways, ``node:hash`` each. Raises InvariantViolation naming G3 (a
    chain is broken at a page: JournalBroken), D3 (replay gives other balances) or L1 (claims do not add up),
    WrongRevision where there is no whole ledger of this version, and DatabaseUnreachable.
    """
    connection = await connect_patiently(url, "palyra audit")
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            found = await revision_of(connection)
            if found != HEAD:
                raise WrongRevision(f"the database is at revision {found}, this version needs {HEAD}")
            return await _verify(connection, progress)
    finally:
        await connection.close()


async def _verify(connection: Any, progress: Callable[[int, int], None]) -> Audit:
    total = await connection.fetchval(sql.COUNT_RECORDS)
    shares = shares_of(await connection.fetchval(sql.COUNT_ACCOUNTS))
    audits = [
        await _replay_share(
            connection, share, lambda done, turn=turn: progress(turn * total + done, len(shares) * total)
        )
        for turn, share in enumerate(shares)
    ]
    return audits[0]._replace(accounts=sum(each.accounts for each in audits))


async def _replay_share(connection: Any, share: Share, tell: Callable[[int], None]) -> Audit:
    """Replay all journals for some of the accounts."""
    carried = {row[0]: _of_share(Carried.read(row), share) for row in await connection.fetch(sql.CARRIED)}
    current: Carried | None = None
    records, told = 0, 0
    async for row in connection.cursor(sql.ALL_PAGES, prefetch=_PAGES_AT_ONCE):
        node, page = row[0], JournalPage(*row[1:])
        if current is None or current.node != node:
            current = carried.get(node) or _of_share(Carried.nothing(node), share)
        with broken_at(node, current.next_seq, records):
            current = carried[node] = current.after(page)
        records += page.records
        if records >= told + RECORDS_PER_WORD:
            told = records
            tell(records)
    sums: Balances = {}
    for journal in carried.values():
        _add(sums, journal.book)
    await _compare(connection, sums, share)
    heads = " ".join(f"{node}:{carried[node].chain.hex()}" for node in sorted(carried))
    return Audit(records, len(sums), heads)


def _add(sums: Balances, book: Book) -> None:
    for key, account in book.accounts.items():
        balance = account.balance()
        before = sums.get(key, EMPTY)
        sums[key] = tuple(map(sum, zip(before, balance, strict=True)))


def _of_share(carried: Carried, share: Share) -> Carried:
    carried.book.accounts = SomeAccounts(share, carried.book.accounts)
    return carried


async def _compare(connection: Any, sums: Balances, share: Share) -> None:
    """The stored balances of these accounts must be the replayed ones, and no slice may be lost (D3, L1)."""
    stored: Balances = {}
    async for row in connection.cursor(sql.ALL_BALANCES, prefetch=_ROWS_AT_ONCE):
        if not share.has(AccountKey(*row[:4])):
            continue
        stored[AccountKey(*row[:4])] = tuple(row[4:8])
        invariant(
            row["claimed"] == row["posted"] + row["held"] + row["sliced"],
            "L1",
            f"account {AccountKey(*row[:4])} has claims that no gateway knows of",
        )
    for key in stored.keys() | sums.keys():
        found, replayed = stored.get(key, tuple(EMPTY)), sums.get(key, tuple(EMPTY))
        invariant(
            found == replayed,
            "D3",
            f"account {key} stands at {Balance(*found)}, the journals say {Balance(*replayed)}",
        )
