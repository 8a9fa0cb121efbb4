"""What is left of journal pages that retention dropped: where each journal stood, and what it added up to.

A journal is replayed from there on as if the pages before were still there.
"""

import zlib
from typing import Any, NamedTuple

import msgspec

from palyra.core.invariant import invariant
from palyra.ledger.account import AccountKey, Balance
from palyra.ledger.book import Book
from palyra.ledger.event import Reserved
from palyra.store.page import JournalPage
from palyra.store.restore import apply_page, check_page

COPIED = 0
"""The node whose journal was copied from a SQLite file."""


class _Account(msgspec.Struct, array_like=True):
    """An account of a carried book."""

    key: AccountKey
    window_end: int
    balance: Balance


class _Book(msgspec.Struct, array_like=True):
    """A book as it is stored."""

    accounts: list[_Account]
    pending: list[Reserved]
    in_doubt: list[Reserved]


_book = msgspec.json.Decoder(_Book)


class Carried(NamedTuple):
    """One journal up to a page that is gone: its book, and the number and hash that the next page follows."""

    node: int
    next_seq: int
    at: int
    chain: bytes
    book: Book

    @classmethod
    def nothing(cls, node: int) -> "Carried":
        """Of a journal that nothing was dropped from."""
        return cls(node, 1, 0, b"", Book())

    @classmethod
    def read(cls, row: Any) -> "Carried":
        """From its row."""
        node, next_seq, at, chain, packed = row
        stored, book = _book.decode(zlib.decompress(packed)), Book()
        for account in stored.accounts:
            book.restore(account.key, account.window_end, account.balance)
        book.pending.update((reserved.id, reserved) for reserved in stored.pending)
        book.in_doubt.update((reserved.id, reserved) for reserved in stored.in_doubt)
        return cls(node, next_seq, at, chain, book)

    def row(self) -> tuple[int, int, int, bytes, bytes]:
        """As it is stored."""
        stored = _Book(
            [
                _Account(key, account.window_end, account.balance())
                for key, account in self.book.accounts.items()
            ],
            [self.book.reservation(each) for each in self.book.pending],
            list(self.book.in_doubt.values()),
        )
        packed = zlib.compress(msgspec.json.encode(stored))
        return self.node, self.next_seq, self.at, self.chain, packed

    def after(self, page: JournalPage) -> "Carried":
        """With one page more. Raises InvariantViolation where it does not follow (G3)."""
        if page.records == 0:
            # The head of a journal in the format before revision 0002, which was copied from a SQLite file.
            # Anywhere else such a page would hide a change of the one before it.
            is_old_head = self.node == COPIED and page.seq == 0 and self.next_seq == 1
            invariant(is_old_head, "G3", f"journal record {self.next_seq} is missing")
            return self._replace(chain=page.chain)
        check_page(page, self.next_seq, self.chain)
        apply_page(self.book, page)
        return self._replace(next_seq=page.follows, at=page.at, chain=page.chain)

    def last_page(self) -> JournalPage | None:
        """A page in whose place this stands, for a journal that goes on; None where there was none."""
        if not self.chain:
            return None
        return JournalPage(self.next_seq, 0, self.at, self.next_seq, 0, b"", self.chain)
