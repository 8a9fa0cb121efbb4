"""Pages: what one commit adds to the journal or to the documents, as one row.

A page is JSON lines, deflated together. The records of a commit resemble each other, so a page takes a
tenth of their bytes, and a commit dirties a tenth of the pages of the file: writing those is what it costs.
"""

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec

from palyra.ledger.event import Expired, LedgerEvent, Released, Reserved, Settled

_WINDOW = -15
"""Raw deflate with the largest window: the chain notices damage, so that a checksum would be one too many."""
_FASTEST = 1


class Audited(msgspec.Struct, frozen=True, array_like=True, tag="audit"):
    """A change of rules: who did what to which object, and how it was before and after."""

    kind: str
    ref: str
    at: int
    actor: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


Record = LedgerEvent | Audited

AUDITED = b'["audit",'
"""How the line of a change begins. No other record begins so, and no text has it: quotes are escaped."""

_record = msgspec.json.Decoder(Reserved | Settled | Released | Expired | Audited)


def read_record(line: bytes) -> Record:
    """A line of the journal. Raises msgspec.DecodeError for what is none."""
    return _record.decode(line)


class Packer:
    """Makes pages. It keeps its working memory: setting that up for each would cost more than the page."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(_FASTEST, zlib.DEFLATED, _WINDOW)

    def pack(self, lines: Sequence[bytes]) -> bytes:
        """One page of these lines; it can be read without any other."""
        deflate = self._deflate
        return deflate.compress(b"\n".join(lines)) + deflate.flush(zlib.Z_FULL_FLUSH)


def unpack(page: bytes) -> list[bytes]:
    """The lines of a page. Raises zlib.error for what is none."""
    return zlib.decompressobj(_WINDOW).decompress(page).split(b"\n")


_Number = TypeVar("_Number")


def line_of(pages: Mapping[_Number, Sequence[bytes]], page: _Number, place: int) -> bytes:
    """One line of some unpacked pages. Raises LookupError where it is not there."""
    return pages[page][place]


class JournalPage(NamedTuple):
    """A row of the journal: ``records`` records from number ``seq`` on, the last of them made at ``at``.

    ``open_from`` is the first page that may have a reservation which was pending after this commit;
    ``documents`` is the row with the decisions of this commit, 0 if there are none.
    """

    seq: int
    records: int
    at: int
    open_from: int
    documents: int
    body: bytes
    chain: bytes

    @property
    def follows(self) -> int:
        """The number of the record after this page."""
        return self.seq + self.records


def link(
    previous: bytes, seq: int, records: int, at: int, open_from: int, documents: int, body: bytes
) -> bytes:
    """The SHA-256 of a page and its predecessor's; the numbers end where the length of the body says."""
    head = b"%d %d %d %d %d %d\n" % (seq, records, at, open_from, documents, len(body))
    return hashlib.sha256(previous + head + body).digest()
