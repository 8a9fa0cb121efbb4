"""The journal as a file for auditors who have no database of Palyra, and the check of such a file alone.

JSON lines: what is covered and the heads; one line per page; the counts and the heads again. A file is right
only byte for byte: each line must be exactly what is written for the values in it, so that nothing in it can
be changed and go unseen.
"""

import hashlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, BinaryIO, Literal, NamedTuple, NoReturn

import msgspec
from msgspec import Meta

from palyra.core.instant import Instant, isoformat
from palyra.core.invariant import InvariantViolation, invariant
from palyra.store import sql
from palyra.store.page import JournalPage, link, read_record, unpack
from palyra.store.reader import connect_read_only
from palyra.store.restore import RECORDS_PER_WORD, check_page

LINE_BYTES_MAX = 32 * 1024 * 1024
"""No page comes near it; a file with a longer line is no export, and is not read into memory."""

Tell = Callable[[int, int], None]
"""Told how much is done, of how much."""
Write = Callable[[bytes], object]

_RAW_DEFLATE = -15
_BYTES_PER_WORD = 1024 * 1024
"""Bytes between two words on how far a check is."""
_Number = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Hash = Annotated[str, Meta(pattern=r"\A([0-9a-f]{64})?\Z")]
_NOT_JSON = (msgspec.MsgspecError, ValueError, RecursionError)
"""What the decoder raises for a line that is none of an export; ValueError is for text that is not UTF-8."""


class Journal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The records ``first`` to ``last`` of a gateway; ``last`` is ``first`` - 1 where there are none.

    They are chained to the hash ``after``, empty for the beginning of a journal, and end with ``head``.
    """

    node: _Number
    first: Annotated[int, Meta(ge=1, le=2**62)]
    last: Annotated[int, Meta(ge=0, le=2**62)]
    after: _Hash
    head: _Hash


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The first line. ``sha256`` is that of the line with an empty text in its place."""

    palyra_audit_export: Literal[1] = 1
    database: str
    kind: Literal["sqlite", "postgresql"]
    made_at: str
    since: str | None
    records: _Number
    journals: list[Journal]
    sha256: _Hash = ""


class _Page(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A page: ``entries`` is what ``body`` says, for people."""

    node: _Number
    seq: _Number
    records: Annotated[int, Meta(ge=1, le=2**31)]
    at: str
    at_ns: _Number
    open_from: _Number
    documents: _Number
    chain: _Hash
    body: bytes
    entries: msgspec.Raw


class _End(msgspec.Struct, frozen=True):
    """The last line."""

    pages: int
    records: int
    heads: Mapping[str, str]


class ExportFlaw(ValueError):
    """An export is not what was written: at this line, and at this record of this node where there is one."""

    def __init__(self, reason: str, line: int, node: int | None = None, seq: int | None = None) -> None:
        place = f"line {line}" if node is None else f"line {line}, node {node}, record {seq}"
        super().__init__(f"{place}: {reason}")
        self.line = line
        self.node = node
        self.seq = seq


class Request(NamedTuple):
    """What is to be exported: pages of [since, until), or all. ``database`` is what it is called there."""

    database: str
    made_at: Instant
    since: Instant | None = None
    until: Instant | None = None


class Contents(NamedTuple):
    """What is in an export."""

    header: Header
    pages: int

    @property
    def head(self) -> str:
        """The chain head, as ``palyra audit verify`` prints it for the same ledger."""
        heads = {each.node: each.head for each in self.header.journals if each.head}
        if self.header.kind == "sqlite":
            return heads.get(0, "")
        return " ".join(f"{node}:{heads[node]}" for node in sorted(heads))


def read_heads(text: str) -> dict[int, str]:
    """Chain heads as ``palyra audit verify`` prints them, by node: a hash alone is node 0's.

    Raises ValueError for a text that is none.
    """
    heads: dict[int, str] = {}
    for word in text.lower().replace("none yet", "").split():
        node, colon, head = word.rpartition(":")
        if len(head) != 64 or not set(head) <= set("0123456789abcdef"):
            raise ValueError(
                f"{word[:80]!r} is no chain head: 64 hex digits, with the node in front if shared"
            )
        if colon and not (node.isascii() and node.isdigit() and len(node) < 19):
            raise ValueError(f"{node[:80]!r} is no number of a gateway")
        heads[int(node or 0)] = head
    return heads


def covered(node: int, before: JournalPage | None, last: JournalPage | None) -> Journal:
    """The journal between the page before the first one to be exported and the last one.

    There is nothing between them where the last one does not come after the other. A page 0 holds the head
    of a journal in the format before revision 0002; the records begin behind it.
    """
    first = max(before.follows, 1) if before else 1
    if before is not None and (last is None or last.seq < before.seq):
        last = before
    return Journal(
        node=node,
        first=first,
        last=max(last.follows, 1) - 1 if last else first - 1,
        after=before.chain.hex() if before else "",
        head=last.chain.hex() if last else "",
    )


class Exporter:
    """Writes an export, page by page; it writes only what is whole."""

    def __init__(
        self,
        request: Request,
        kind: Literal["sqlite", "postgresql"],
        journals: Sequence[Journal],
        write: Write,
        tell: Tell,
    ) -> None:
        """Writes the first line."""
        since = None if request.since is None else isoformat(request.since)
        records = sum(each.last + 1 - each.first for each in journals)
        header = Header(
            database=request.database,
            kind=kind,
            made_at=isoformat(request.made_at),
            since=since,
            records=records,
            journals=list(journals),
        )
        self._header = msgspec.structs.replace(header, sha256=_digest(header))
        self._write = write
        self._tell = tell
        self._pages = self._records = self._told = 0
        write(_line(self._header))

    def page(self, course: "Course", page: JournalPage) -> None:
        """Write one page. Raises InvariantViolation where it does not follow the one before (G3)."""
        course.follow(page)
        line = _line(_written(course.journal.node, page))
        invariant(len(line) <= LINE_BYTES_MAX, "V2", f"the page of record {page.seq} is too long to export")
        self._write(line)
        self._pages += 1
        self._records += page.records
        if self._records >= self._told + RECORDS_PER_WORD:
            self._told = self._records
            self._tell(self._records, self._header.records)

    def end(self) -> Contents:
        """Write the last line."""
        contents = Contents(self._header, self._pages)
        self._write(_last_line(contents))
        return contents


class Course:
    """How far a journal is written."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self._seq = journal.first
        self._chain = bytes.fromhex(journal.after)

    def follow(self, page: JournalPage) -> None:
        """Go on after this page. Raises InvariantViolation where it does not follow (G3)."""
        invariant(page.records > 0, "G3", f"journal record {self._seq} is missing")
        check_page(page, self._seq, self._chain)
        self._seq, self._chain = page.follows, page.chain

    def end(self) -> None:
        """Raise InvariantViolation unless the journal is at its head (G3)."""
        whole = self._seq == self.journal.last + 1 and self._chain.hex() == self.journal.head
        invariant(whole, "G3", f"journal record {self._seq} is missing")


def export_file(
    path: Path, request: Request, write: Write, tell: Tell = lambda _done, _total: None
) -> Contents:
    """Export the journal of a SQLite file, by one snapshot of it: its owner may go on writing.

    Raises InvariantViolation (G3) where its chain is broken; then no last line is written.
    """
    connection = connect_read_only(path)
    connection.isolation_level = None
    try:
        connection.execute("BEGIN")
        last = connection.execute(sql.LAST_PAGE)
        if request.until is not None:
            last = connection.execute(sql.LAST_PAGE_BEFORE, (request.until,))
        rows = connection.execute(sql.PAGE_BEFORE, (request.since or 0,)).fetchone(), last.fetchone()
        journal = covered(0, *(JournalPage(*row) if row else None for row in rows))
        exporter = Exporter(request, "sqlite", [journal], write, tell)
        course = Course(journal)
        for row in connection.execute(sql.PAGES, (journal.first,)):
            page = JournalPage(*row)
            if page.seq > journal.last:
                break
            exporter.page(course, page)
        course.end()
        return exporter.end()
    finally:
        connection.close()


def check_export(
    file: BinaryIO,
    recorded: Mapping[int, str] | None = None,
    tell: Callable[[int], None] = lambda _done: None,
) -> Contents:
    """Read an export to its end, a line at a time; with ``recorded`` heads it must end with these.

    Raises ExportFlaw at the first line that is not what was written, whatever is in the file.
    """
    lines = _Lines(file, tell)
    header = _read_header(lines)
    seen: dict[int, int] = {}
    pages = 0
    for journal in header.journals:
        seq, chain = journal.first, journal.after
        while seq <= journal.last:
            page = _read_page(lines, journal, seq, chain)
            seq, chain = page.seq + page.records, page.chain
            pages += 1
            if recorded and recorded.get(journal.node) == chain:
                seen[journal.node] = seq - 1
        if chain != journal.head:
            raise ExportFlaw(
                "the journal does not end with the head in the first line",
                lines.number,
                journal.node,
                seq - 1,
            )
    contents = Contents(header, pages)
    _read_end(lines, contents)
    if recorded is not None:
        _compare_heads(header, recorded, seen, lines.number)
    return contents


class _Lines:
    """The lines of a file, by number."""

    def __init__(self, file: BinaryIO, tell: Callable[[int], None]) -> None:
        self._file = file
        self._tell = tell
        self._read = self._told = 0
        self.number = 0

    def next(self, node: int | None = None, seq: int | None = None) -> bytes:
        """The next line. Raises ExportFlaw where there is no whole one."""
        line = self._file.readline(LINE_BYTES_MAX + 1)
        self.number += 1
        self._read += len(line)
        if self._read >= self._told + _BYTES_PER_WORD:
            self._told = self._read
            self._tell(self._read)
        if line.endswith(b"\n") and len(line) <= LINE_BYTES_MAX:
            return line
        if not line:
            reason = "the file ends here, before its last line: it was cut"
        elif len(line) > LINE_BYTES_MAX:
            reason = "the line is longer than any that is written"
        else:
            reason = "the file ends within this line: it was cut"
        raise ExportFlaw(reason, self.number, node, seq)

    def is_over(self) -> bool:
        """Whether there is nothing more."""
        return not self._file.read(1)


def _read_header(lines: _Lines) -> Header:
    line = lines.next()
    try:
        header = _header_of.decode(line)
    except _NOT_JSON as error:
        raise ExportFlaw(f"this is not the first line of an export: {error}", 1) from None
    nodes = [each.node for each in header.journals]
    is_sealed = header.sha256 == _digest(msgspec.structs.replace(header, sha256=""))
    if not is_sealed or _line(header) != line:
        raise ExportFlaw("the first line was changed", 1)
    records = sum(each.last + 1 - each.first for each in header.journals)
    is_in_order = nodes == sorted(set(nodes)) and all(each.last >= each.first - 1 for each in header.journals)
    if not is_in_order or records != header.records:
        raise ExportFlaw("what the first line covers does not add up", 1)
    return header


def _read_page(lines: _Lines, journal: Journal, seq: int, chain: str) -> _Page:
    """The page that begins with record ``seq`` and follows the hash ``chain``."""
    line = lines.next(journal.node, seq)

    def flaw(reason: str) -> NoReturn:
        raise ExportFlaw(reason, lines.number, journal.node, seq)

    try:
        page = _page_of.decode(line)
    except _NOT_JSON as error:
        flaw(f"this is no page of a journal: {error}")
    if (page.node, page.seq) != (journal.node, seq):
        flaw(f"the record is missing: here is record {page.seq} of node {page.node}")
    numbers = (page.seq, page.records, page.at_ns, page.open_from, page.documents)
    if link(bytes.fromhex(chain), *numbers, page.body).hex() != page.chain:
        flaw("the page was changed: its chain does not follow from the page before")
    if page.seq + page.records > journal.last + 1:
        flaw(f"the journal goes on behind record {journal.last}, where the first line lets it end")
    reason = _misread(page)
    if reason is not None:
        flaw(reason)
    if page.at != isoformat(page.at_ns) or _line(page) != line:
        flaw("the line was changed")
    return page


def _misread(page: _Page) -> str | None:
    """Why the entries of a page are not what its body says; None if they are."""
    entries = bytes(page.entries)
    try:
        # No more than the entries that it must equal: a body may say a thousand times its length.
        text = zlib.decompressobj(_RAW_DEFLATE).decompress(page.body, len(entries))
    except zlib.error:
        return "the body cannot be read"
    records = text.split(b"\n")
    if entries != _entries(records):
        return "the entries are not what the body says"
    if len(records) != page.records:
        return f"the body has {len(records)} records, not {page.records}"
    try:
        for record in records:
            read_record(record)
    except _NOT_JSON as error:
        return f"the body has a record of no known kind: {error}"
    return None


def _read_end(lines: _Lines, contents: Contents) -> None:
    if lines.next() != _last_line(contents):
        raise ExportFlaw(
            "this is not the last line for what stands before it: it was changed, or there are pages more",
            lines.number,
        )
    if not lines.is_over():
        raise ExportFlaw("the file goes on behind its last line", lines.number + 1)


def _compare_heads(header: Header, recorded: Mapping[int, str], seen: Mapping[int, int], line: int) -> None:
    """The heads must be the recorded ones."""
    found = {each.node: each for each in header.journals if each.head}
    for node in sorted(found.keys() | recorded.keys()):
        journal = found.get(node)
        if journal is None:
            raise ExportFlaw(f"the journal of node {node} is missing, whose head was recorded", line)
        if journal.head == recorded.get(node):
            continue
        if node in seen:
            reason = f"the recorded head is that of record {seen[node]}: the journal goes on behind it"
        elif node in recorded:
            reason = f"the journal ends with {journal.head}, not with the recorded head: cut, or another one"
        else:
            reason = "no head of this node was recorded"
        raise ExportFlaw(reason, line, node, journal.last)


def _written(node: int, page: JournalPage) -> _Page:
    """A page as it is exported. Raises InvariantViolation where nobody could read it (G3)."""
    try:
        records = unpack(page.body)
    except zlib.error as error:
        raise InvariantViolation("G3", f"the page of record {page.seq} cannot be read: {error}") from error
    return _Page(
        node=node,
        seq=page.seq,
        records=page.records,
        at=isoformat(page.at),
        at_ns=page.at,
        open_from=page.open_from,
        documents=page.documents,
        chain=page.chain.hex(),
        body=page.body,
        entries=msgspec.Raw(_entries(records)),
    )


def _last_line(contents: Contents) -> bytes:
    header = contents.header
    heads = {str(each.node): each.head for each in header.journals}
    return _line(_End(contents.pages, header.records, heads))


def _entries(records: Sequence[bytes]) -> bytes:
    """Records as they are, as one JSON array."""
    return b",".join(records).join((b"[", b"]"))


def _digest(header: Header) -> str:
    return hashlib.sha256(_line(header)).hexdigest()


def _line(value: msgspec.Struct) -> bytes:
    return msgspec.json.encode(value) + b"\n"


_header_of = msgspec.json.Decoder(Header)
_page_of = msgspec.json.Decoder(_Page)
