"""What a journal leaves open: reservations that no record resolves, and the decisions behind them. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

import msgspec

from palyra.ledger.event import EventKind, Reserved
from palyra.lifecycle.decision import read_decision
from palyra.store.page import JournalPage, read_record, unpack
from palyra.store.write import Filed


class _Head(msgspec.Struct, array_like=True, gc=False):
    """The first two fields of a journal record: all that it takes to see which calls are over."""

    kind: str
    ref: str


_head = msgspec.json.Decoder(_Head)


def unresolved(pages: Iterable[JournalPage]) -> list[tuple[JournalPage, dict[str, Reserved]]]:
    """The pages (without their bodies) that have pending reservations, and those; in their order."""
    held: dict[str, tuple[JournalPage, bytes]] = {}
    for page in pages:
        for is_reservation, request_id, line in heads_of(page):
            if is_reservation:
                held[request_id] = page._replace(body=b""), line
            else:
                held.pop(request_id, None)
    found: dict[int, tuple[JournalPage, dict[str, Reserved]]] = {}
    for request_id, (page, line) in held.items():
        reserved = read_record(line)
        if isinstance(reserved, Reserved):
            found.setdefault(page.seq, (page, {}))[1][request_id] = reserved
    return list(found.values())


def heads_of(page: JournalPage) -> Iterator[tuple[bool, str, bytes]]:
    """Of each record of a page: whether it is a reservation, the call that it is about, and its line."""
    for line in unpack(page.body) if page.records else ():
        head = _head.decode(line)
        yield head.kind == EventKind.RESERVE, head.ref, line


def decisions_of(page: JournalPage, documents: Sequence[bytes]) -> dict[str, Filed]:
    """The decisions of one commit by request id; its settlements are passed over."""
    found: dict[str, Filed] = {}
    for place, document in enumerate(documents):
        with suppress(msgspec.ValidationError):
            decision = read_decision(document)
            request_id = decision.request_id
            found[request_id] = Filed(request_id, decision, page.documents, place, page.seq)
    return found
