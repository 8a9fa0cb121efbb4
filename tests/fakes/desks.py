"""A desk where people decide, over an engine on fakes."""

from dataclasses import dataclass, field
from itertools import count

from fakes.engines import Bench
from palyra.approvals.approval import Approval
from palyra.identity.keys import Role, Subject
from palyra.lifecycle.approvals import Approvals, ApprovalTerms
from palyra.lifecycle.grants import Grants
from palyra.lifecycle.ports import ApprovalRecords

_numbers = count(1)


@dataclass(slots=True)
class Desk:
    """The engine's desk, and every approval that it told of."""

    approvals: Approvals
    told: list[Approval] = field(default_factory=list[Approval])


def staff(
    bench: Bench,
    terms: ApprovalTerms | None = None,
    records: ApprovalRecords | None = None,
    *,
    shared: bool = False,
) -> Desk:
    """Give the bench a desk; ``root`` may decide at it. ``records`` as the store of another has them."""
    told: list[Approval] = []
    engine = bench.engine

    def publish(grants: Grants) -> None:
        engine.grants = grants

    engine.approvals = Approvals(
        records or bench.store.records,
        engine.rules,
        bench.clock,
        new_id=lambda: f"apr_{next(_numbers):06}",
        publish=publish,
        terms=terms or ApprovalTerms(),
        shared=shared,
        tell=told.append,
    )
    return Desk(engine.approvals, told)


def who(bench: Bench, principal: str) -> Subject:
    """The subject of one of the bench's keys."""
    found = bench.engine.rules.snapshot.subject(principal)
    assert found is not None
    return found


def operator(bench: Bench, principal: str = "root") -> Subject:
    """Somebody who may decide."""
    found = who(bench, principal)
    assert found.may_act_as(Role.OPERATOR)
    return found
