"""Reading the history of a ledger: pages of earlier versions, and pages that do not fit."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from fakes.till import decision, settlement
from palyra.core.instant import Instant
from palyra.core.invariant import InvariantViolation
from palyra.ledger.event import Settled
from palyra.lifecycle.decision import CallState
from palyra.lifecycle.history import read_call
from palyra.store.codec import encode
from palyra.store.history import SqliteHistory
from palyra.store.page import Packer

OLD_DECISION = encode({"request_id": "req_old", "at": 5})
OLD_END = encode({"at": 6, "state": "settled"})


class Tables:
    """A journal and documents of one commit each."""

    def __init__(self, journal: Sequence[bytes], documents: Sequence[bytes]) -> None:
        packer = Packer()
        self._answers: Mapping[str, Sequence[Sequence[Any]]] = {
            "history_ends": [(1, 1)],
            "history_from": [(1, 10)],
            "history_before": [],
            "history_journal": [(1, len(journal), 1 if journal else 0, packer.pack(journal))],
            "history_documents": [(1, packer.pack(documents))],
        }

    async def rows(self, name: str, *parameters: int) -> Sequence[Sequence[Any]]:
        if name == "history_documents" and parameters[0] >= 1:
            return []
        if name == "history_journal" and parameters[0] > 1:
            return []
        return self._answers[name]


async def told(tables: Tables) -> list[tuple[str, bool]]:
    reading = await SqliteHistory(tables.rows).read(Instant(0))
    lines = await reading.next()
    assert lines is not None
    assert await reading.next() is None
    return [(each.request_id, each.ends) for each in lines]


def ended(request_id: str) -> bytes:
    return encode(Settled(request_id, Instant(9), {"requests": 1}))


async def test_an_end_is_of_the_call_that_the_journal_names() -> None:
    documents = [encode(decision("req_1")), encode(settlement(CallState.SETTLED))]
    assert await told(Tables([ended("req_0")], documents)) == [("", False), ("req_0", True)]


async def test_an_end_that_was_filed_by_an_upgrade_is_of_the_decision_before_it() -> None:
    documents = [
        encode(decision("req_1")),
        encode(settlement(CallState.SETTLED)),
        encode(decision("req_2")),
        OLD_DECISION,
        OLD_END,
    ]
    assert await told(Tables([b'["audit","policy.created"]'], documents)) == [
        ("", False),
        ("req_1", True),
        ("", False),
        ("", False),
        ("req_old", True),
    ]


async def test_an_end_of_no_call_is_a_broken_ledger() -> None:
    with pytest.raises(InvariantViolation, match="G3"):
        await told(Tables([], [encode(settlement(CallState.SETTLED))]))


def test_a_decision_of_an_earlier_version_is_read_like_any_other() -> None:
    made = decision("req_1")
    parts = {name: getattr(made, name) for name in made.__struct_fields__}
    for name in ("labels", "estimate"):
        part = parts[name]
        parts[name] = {field: getattr(part, field) for field in part.__struct_fields__}
    past = read_call(encode(parts))
    assert (past.request_id, past.labels, past.estimate) == ("req_1", made.labels, made.estimate)
    assert past.routing_record is None
    assert past.evaluation_records == ()
