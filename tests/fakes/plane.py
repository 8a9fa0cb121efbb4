"""What the control plane is given, on fakes: rules, a desk where people decide, and the rest."""

from collections.abc import Callable, Sequence
from itertools import count

from fakes.alarms import desk, numbered
from fakes.desk import FakeAuditDesk, FakeDesk
from fakes.records import FakeClock, FakeLedger, FakeRecords
from palyra.alerts.notices import Target
from palyra.api.deps import ApiDeps, Health, ModelDesk
from palyra.budgets.policy import Known, Policy, PolicyDefaults
from palyra.lifecycle.approvals import Approvals, ApprovalTerms
from palyra.lifecycle.forecasts import Forecasts
from palyra.lifecycle.grants import Grants
from palyra.lifecycle.listening import Changes, Figures
from palyra.lifecycle.outbox import Outbox
from palyra.lifecycle.rules import Rules
from palyra.lifecycle.sign_ins import SignIns

PREFIX = "apr_"
TARGETS = (Target("ops"), Target("pager"))
HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})


def plane_rules(
    records: FakeRecords,
    clock: FakeClock,
    policies: Sequence[Policy] = (),
    known: Callable[[], Known] = Known,
) -> Rules:
    """Rules with ids and keys that are the same in every run."""
    numbers = count()
    return Rules(
        records,
        clock,
        lambda size: next(numbers).to_bytes(size, "big"),
        lambda: f"key-{next(numbers)}",
        policies,
        (),
        known,
        PolicyDefaults(),
    )


def plane_deps(
    rules: Rules, records: FakeRecords, clock: FakeClock, models: ModelDesk | None = None
) -> ApiDeps:
    """A control plane that is well; its approvals are ``apr_001`` and so on, its alerts ``alr_0001``.

    Nobody can listen to what changes: a client of these tests would wait for the end of the stream.
    """
    numbers = count(1)
    approvals = Approvals(
        records,
        rules,
        clock,
        new_id=lambda: f"{PREFIX}{next(numbers):03}",
        publish=_nobody_calls,
        terms=ApprovalTerms(pending_max=3),
    )
    approvals.address = "http://palyra.test"
    changes = Changes(_nothing_changes)
    changes.leave()
    return ApiDeps(
        rules=rules,
        records=records,
        ledger=FakeLedger(),
        clock=clock,
        approvals=approvals,
        alarms=desk(records, clock, TARGETS),
        outbox=Outbox(records, clock, numbered(900), TARGETS),
        forecasts=Forecasts(records, clock),
        prices=lambda: {"items": []},
        models=models or FakeDesk(),
        audit=FakeAuditDesk(),
        health=lambda: Health(writable=True),
        samples=list,
        hosts=HOSTS,
        version="0",
        changes=changes,
        sign_ins=SignIns(records, rules, clock, lambda size: next(numbers).to_bytes(size, "big")),
    )


async def _nothing_changes() -> Figures:
    return {}


def _nobody_calls(_grants: Grants) -> None:
    """No call runs on a control plane alone."""
