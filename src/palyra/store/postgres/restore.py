"""What a node leaves to whoever takes it over: slices, calls that are not over, calls in doubt."""

from collections.abc import Sequence
from typing import NamedTuple

from palyra.ledger.account import AccountKey
from palyra.ledger.book import Book
from palyra.lifecycle.decision import call_id_of, read_decision, read_settlement
from palyra.store import codec
from palyra.store.chain import Chain
from palyra.store.leftovers import decisions_of, unresolved
from palyra.store.page import JournalPage, line_of, unpack
from palyra.store.postgres import sql
from palyra.store.postgres.carried import Carried
from palyra.store.postgres.flight import Node
from palyra.store.postgres.link import Connection
from palyra.store.postgres.share import Shares
from palyra.store.write import ClaimChange, Filed, RollupDelta, rollup_delta


class Restored(NamedTuple):
    """The books of one node as the database has them."""

    book: Book
    shares: Shares
    chain: Chain
    pending: list[Filed]
    in_doubt: list[tuple[str, RollupDelta]]
    claims: list[ClaimChange]


async def restore(connection: Connection, node: Node) -> Restored:
    """Read one node back. No other process may be writing for it."""
    book = Book()
    shares = Shares(book)
    for row in await connection.fetch(sql.OWN_SLICES, node.id):
        share = shares.at(AccountKey(*row[:4]), row[4])
        share.own(*row[5:9])
        share.account.beyond_held = row[7] - row[9]
    row = await connection.fetchrow(sql.LAST_PAGE, node.id)
    last = JournalPage(*row) if row else await _carried(connection, node.id)
    pending = [] if last is None else await _pending(connection, node.id, last.open_from, book)
    in_doubt = await _in_doubt(connection, node.id, book)
    rows = await connection.fetch(sql.OPEN_CLAIMS, [call_id_of(each) for each in book.pending])
    claims = [ClaimChange(*row) for row in rows]
    return Restored(book, shares, Chain(last, node.next_page - 1, pending), pending, in_doubt, claims)


async def _carried(connection: Connection, node: int) -> JournalPage | None:
    """Where the journal stood when retention dropped the last of its pages."""
    row = await connection.fetchrow(sql.CARRIED_OF, node)
    return None if row is None else Carried.read(row).last_page()


async def _pending(connection: Connection, node: int, open_from: int, book: Book) -> list[Filed]:
    found: list[Filed] = []
    pages = [JournalPage(*row) for row in await connection.fetch(sql.PAGES, node, open_from)]
    for page, reservations in unresolved(pages):
        book.pending.update(reservations)
        decisions = decisions_of(page, await _documents(connection, node, page.documents))
        found.extend(decisions[request_id] for request_id in reservations if request_id in decisions)
    return found


async def _in_doubt(connection: Connection, node: int, book: Book) -> list[tuple[str, RollupDelta]]:
    """What each call in doubt counts for in the rollups: a late settlement takes it back (L7)."""
    found: list[tuple[str, RollupDelta]] = []
    read: dict[int, Sequence[bytes]] = {}
    for request_id, page, place, end_page, end_place, reservation in await connection.fetch(
        sql.IN_DOUBT, node
    ):
        book.in_doubt[request_id] = codec.read_reservation(reservation)
        wanted = (page, end_page)
        read = {each: read.get(each) or await _documents(connection, node, each) for each in wanted}
        decision = read_decision(line_of(read, page, place))
        settlement = read_settlement(line_of(read, end_page, end_place))
        found.append((request_id, rollup_delta(decision, settlement)))
    return found


async def _documents(connection: Connection, node: int, page: int) -> Sequence[bytes]:
    body = await connection.fetchval(sql.DOCUMENTS, node, page)
    return unpack(body) if body else []
