"""The scheduled look: what nobody asks for is found, and each alert ends by itself when its cause is gone."""

from collections.abc import Mapping

import pytest
from msgspec import structs

from fakes.alarms import desk, told
from fakes.engines import PRICES, Bench, budget
from palyra.alerts.alert import Alert, AlertState, Kind
from palyra.approvals.approval import State
from palyra.core.errors import LedgerUnavailable, PalyraError
from palyra.core.limits import LEASE_S
from palyra.lifecycle.alarms import Alarms
from palyra.lifecycle.approvals import Approvals, ApprovalTerms
from palyra.lifecycle.checks import LASTS_NS, Checks
from palyra.lifecycle.expire import expire_overdue
from palyra.lifecycle.ports import AlertFilter
from palyra.lifecycle.signals import tell_of_approval
from palyra.pricing.book import PriceBook
from palyra.pricing.entry import parse_price_entry
from palyra.routing.failure import Fault, Reason

DAY_S = 86_400
QUIET_S = 600
FAULT = Fault(Reason.SERVER_ERROR, provider_fault=True, retry_here=False, elsewhere=False)


class Watch:
    """A bench whose desk is looked after; ``doubts`` is what the ledger counts."""

    def __init__(self, *policies: Mapping[str, object]) -> None:
        self.bench = bench = Bench(*policies)
        self.alarms = bench.engine.alarms = desk(bench.store.records, bench.clock)
        self.doubts = 0
        self.checks = Checks(bench.engine, self.alarms, ("stub",), lambda: self.doubts)

    async def look(self) -> list[Alert]:
        """Check once; all alerts, oldest first."""
        await self.checks.run()
        return list(reversed(await self.bench.store.records.alerts(AlertFilter(limit=1_000))))

    async def firing(self) -> list[Kind]:
        """Check once; the kinds that are firing."""
        return [each.kind for each in await self.look() if each.state is AlertState.FIRING]

    async def ended(self) -> str:
        """Check once; why the only alert is over, empty if it is not."""
        (alert,) = await self.look()
        return alert.resolution

    async def refuse(self) -> None:
        """Make a call that a budget stops."""
        with pytest.raises(PalyraError):
            await self.bench.start(self.bench.call())

    async def set(self, document: Mapping[str, object]) -> None:
        """Make or change a budget."""
        await self.bench.engine.rules.set_policy(document, actor="test", expected_version=None)


async def exhausted(**fields: object) -> Watch:
    """A budget of the API that has stopped a call."""
    watch = Watch()
    await watch.set(budget("all", "0.0003", **fields))
    await watch.bench.answered(watch.bench.call())
    await watch.refuse()
    assert await watch.firing() == [Kind.BUDGET_EXHAUSTED]
    return watch


async def full() -> Watch:
    """A budget that is used up, and has stopped a call."""
    watch = Watch(budget("all", 1, metric="requests"))
    await watch.bench.answered(watch.bench.call())
    await watch.refuse()
    assert await watch.firing() == [Kind.BUDGET_EXHAUSTED]
    return watch


async def test_an_exhausted_budget_is_over_with_its_window_and_says_so_once() -> None:
    watch = await full()
    watch.bench.clock.advance(DAY_S // 2 - 1)
    assert await watch.firing() == [Kind.BUDGET_EXHAUSTED], "it is full, however quiet"

    watch.bench.clock.advance(1)

    assert await watch.ended() == "Its window is over."
    await watch.look()
    (alert,) = await watch.look()
    assert await told(watch.bench.store.records) == [("raised", alert.cause), ("resolved", alert.cause)]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"hard_limit": "1.00"}, "The limit was raised."),
        ({"enabled": False}, "The budget is not in force any more."),
        ({"mode": "dry_run"}, "The budget is not enforced any more."),
        ({"metric": "requests", "hard_limit": 10}, "The budget counts something else now."),
        ({"hard_limit": None, "soft_limit": "1.00"}, "The budget has no hard limit any more."),
        ({"hard_limit": "0.0002"}, ""),
        (None, "The budget was deleted."),
    ],
)
async def test_an_edit_that_takes_the_cause_away_ends_the_alert_at_once(
    change: Mapping[str, object] | None, why: str
) -> None:
    watch = await exhausted()
    document = {**budget("all", "0.0003"), **(change or {})}

    if change is None:
        await watch.bench.engine.rules.delete_policy("all", actor="test")
    else:
        await watch.set({name: value for name, value in document.items() if value is not None})

    assert await watch.ended() == why


async def test_room_that_comes_back_ends_an_alert_only_when_nothing_was_stopped_for_a_while() -> None:
    watch = await exhausted()
    watch.bench.clock.advance(QUIET_S - 1)
    await watch.refuse()
    watch.bench.clock.advance(QUIET_S - 1)
    assert await watch.ended() == ""

    watch.bench.clock.advance(1)

    assert await watch.ended() == "The budget has room again."


async def test_a_level_that_only_held_amounts_reached_is_left_after_a_while() -> None:
    watch = Watch(budget("all", "0.0005", thresholds=[{"at": 0.5, "then": "notify"}]))
    await watch.bench.answered(watch.bench.call())
    assert await watch.firing() == [Kind.BUDGET_THRESHOLD]

    watch.bench.clock.advance(QUIET_S)

    assert await watch.ended() == "Less than this is used and held again."


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"thresholds": [{"at": 0.6, "then": "notify"}]}, "The budget does not have this level any more."),
        ({"hard_limit": "1.00"}, "The limit was raised."),
        ({"name": "all of it"}, ""),
    ],
)
async def test_a_level_ends_with_the_edit_that_takes_it_away(change: Mapping[str, object], why: str) -> None:
    document = budget("all", "0.0005", thresholds=[{"at": 0.2, "then": "notify"}])
    watch = Watch()
    await watch.set(document)
    await watch.bench.answered(watch.bench.call())
    assert await watch.firing() == [Kind.BUDGET_THRESHOLD]

    await watch.set({**document, **change})

    assert await watch.ended() == why


async def test_a_price_that_is_added_ends_the_alert_of_its_model() -> None:
    watch = Watch(budget("all", "1.00", unknown_price="allow"))
    await watch.bench.answered(watch.bench.call(model="unpriced"))
    assert await watch.firing() == [Kind.UNPRICED_MODEL]

    entry = parse_price_entry({"provider": "stub", "model": "unpriced", **PRICES["small"]}, "prices")
    watch.bench.engine.prices = PriceBook([entry], None)

    assert await watch.ended() == "Its price is known now."


async def test_a_model_that_nobody_calls_for_a_day_is_no_alert_any_more() -> None:
    watch = Watch(budget("all", "1.00", unknown_price="allow"))
    await watch.bench.answered(watch.bench.call(model="unpriced"))
    watch.bench.clock.advance(DAY_S - 1)
    assert await watch.firing() == [Kind.UNPRICED_MODEL]

    watch.bench.clock.advance(1)

    assert await watch.ended() == "It did not happen again for a day."


async def test_an_overrun_is_over_when_none_comes_for_a_day() -> None:
    watch = Watch(budget("all", "1.00"))
    await watch.bench.answered(watch.bench.call(), output_tokens=1_000)
    assert await watch.firing() == [Kind.OVERRUN]

    watch.bench.clock.advance(DAY_S)

    assert await watch.ended() == "It did not happen again for a day."


def fail(watch: Watch, times: int) -> None:
    """The provider fails so often."""
    providers, clock = watch.bench.engine.providers, watch.bench.clock
    model = watch.bench.engine.registry.find("small")
    for _ in range(times):
        attempt = providers.begin(model, clock.now())
        assert attempt is not None
        providers.failed(attempt, FAULT, "it answered 500", clock.now())


def succeed(watch: Watch) -> None:
    """The provider answers a probe."""
    providers, clock = watch.bench.engine.providers, watch.bench.clock
    attempt = providers.begin(watch.bench.engine.registry.find("small"), clock.now())
    assert attempt is not None
    providers.succeeded(attempt, clock.now())


async def test_a_provider_whose_breaker_opens_is_an_alert_until_it_closes() -> None:
    watch = Watch()
    fail(watch, 4)
    assert await watch.firing() == []

    fail(watch, 1)
    (alert,) = await watch.look()
    await watch.look()
    watch.bench.clock.advance(31)
    assert await watch.firing() == [Kind.PROVIDER_HEALTH], "half-open is not well"
    succeed(watch)

    assert "it answered 500" in alert.message
    assert await watch.ended() == "A call to it succeeded."
    assert (await watch.look())[0].count == 1


async def test_what_lasts_is_counted_again_every_few_minutes() -> None:
    watch = Watch()
    fail(watch, 5)
    for _ in range(10):
        await watch.look()
        watch.bench.clock.advance(60)

    assert [each.count for each in await watch.look()] == [2]


async def test_a_gateway_that_sees_no_fault_leaves_the_alert_of_another_for_a_while() -> None:
    watch = Watch()
    fail(watch, 5)
    await watch.look()
    bench = Bench()
    bench.clock, bench.store, bench.engine.clock = watch.bench.clock, watch.bench.store, watch.bench.clock
    other = desk(bench.store.records, bench.clock, shared=True, first_id=100)
    checks = Checks(bench.engine, other, ("stub",), lambda: 0)

    await checks.run()
    assert len(other.firing) == 1

    watch.bench.clock.advance(3 * LASTS_NS // 1_000_000_000)
    await checks.run()
    assert not other.firing, "whoever raised it is gone"


async def lost(watch: Watch, alarms: Alarms | None) -> None:
    """A call whose lease ends, told to this desk."""
    watch.bench.engine.alarms = alarms
    watch.bench.start(watch.bench.call())
    await watch.bench.at_provider()
    watch.bench.clock.advance(int(LEASE_S) + 1)
    watch.doubts = await expire_overdue(watch.bench.engine)
    watch.bench.engine.alarms = watch.alarms


async def test_calls_that_another_gateway_left_behind_are_found_and_counted_once() -> None:
    watch = Watch(budget("all", "1.00"))
    await lost(watch, None)

    assert await watch.firing() == [Kind.UNSETTLED_RESERVATION]
    (alert,) = await watch.look()
    assert (alert.count, alert.cause) == (1, "unsettled_reservation:stub")
    watch.bench.upstream.calls[0].answer(1, 1)


async def test_calls_in_doubt_are_over_when_all_are_corrected_or_none_comes_for_a_day() -> None:
    watch = Watch(budget("all", "1.00"))
    await lost(watch, watch.alarms)
    assert await watch.firing() == [Kind.UNSETTLED_RESERVATION]
    watch.bench.clock.advance(QUIET_S)
    assert await watch.firing() == [Kind.UNSETTLED_RESERVATION]

    watch.bench.upstream.calls[0].answer(1, 1)
    watch.doubts = 0

    assert await watch.ended() == "No call is in doubt any more."


async def test_a_request_that_was_decided_while_nobody_listened_is_not_waited_for() -> None:
    watch = Watch(budget("all", "0.00001", action="approval_required"))
    records = watch.bench.store.records
    people = watch.bench.engine.approvals = Approvals(
        records,
        watch.bench.engine.rules,
        watch.bench.clock,
        new_id=lambda: "apr_1",
        publish=lambda grants: None,
        terms=ApprovalTerms(),
        tell=lambda approval: None,
    )
    await watch.refuse()
    (approval,) = people.open
    tell_of_approval(approval, watch.alarms)
    kinds = [Kind.APPROVAL_PENDING, Kind.BUDGET_EXHAUSTED]
    assert sorted(await watch.firing()) == kinds

    await records.save_approval(
        structs.replace(approval, version=approval.version + 1, state=State.EXPIRED), None
    )
    await people.load()

    assert await watch.firing() == [Kind.BUDGET_EXHAUSTED]


async def test_a_look_that_fails_does_not_keep_the_others_from_being_made() -> None:
    watch = await exhausted()
    fail(watch, 5)

    async def unreadable(*_: object) -> None:
        raise LedgerUnavailable("The database is away.")

    watch.bench.store.records.usage = unreadable  # pyright: ignore[reportAttributeAccessIssue]
    watch.bench.clock.advance(DAY_S)

    assert await watch.firing() == [Kind.PROVIDER_HEALTH]


async def test_every_alert_ends_alike_after_a_restart() -> None:
    watch = await exhausted()
    again = desk(watch.bench.store.records, watch.bench.clock, first_id=100)
    await again.load()
    checks = Checks(watch.bench.engine, again, ("stub",), lambda: 0)
    watch.bench.clock.advance(DAY_S)

    await checks.run()

    assert not again.firing


async def test_a_budget_that_will_not_last_is_an_alert_until_its_limit_is_raised() -> None:
    document = budget("month", "0.015", interval="month", scope="principal:*")
    watch = Watch()
    await watch.set(document)
    await use(watch, days=5, each_hour=1)

    (alert,) = await watch.look()
    assert (alert.kind, alert.principal, alert.count) == (Kind.FORECAST_EXHAUSTION, "alice", 1)
    assert alert.facts["basis"] == "hour_of_day"
    await watch.set({**document, "hard_limit": "100.00"})

    assert await watch.ended() == "As use goes on now, the budget lasts until its window ends."


async def test_a_forecast_goes_by_what_is_known_at_the_hour() -> None:
    watch = Watch(budget("month", "0.015", interval="month"))
    await watch.bench.answered(watch.bench.call())
    assert await watch.look() == []

    await use(watch, days=5, each_hour=1)

    assert [each.facts["basis"] for each in await watch.look()] == ["hour_of_day"]


async def test_a_budget_that_lasts_is_no_alert() -> None:
    watch = Watch(budget("month", "1.00", interval="month"))

    await use(watch, days=5, each_hour=1)

    assert await watch.look() == []


async def test_accounts_that_rollups_do_not_know_are_forecast_by_what_was_seen_of_them() -> None:
    watch = Watch(budget("tag", "0.0135", interval="month", scope="tag:team=*"))

    await use(watch, days=4, each_hour=1, tags="team=red", look=True)
    (alert,) = await watch.look()

    assert (alert.kind, alert.facts["entity"], alert.facts["basis"]) == (
        Kind.FORECAST_EXHAUSTION,
        "team=red",
        "hour_of_day",
    )


async def test_a_forecast_gives_way_when_the_budget_is_exhausted() -> None:
    watch = Watch(budget("month", 130, interval="month", metric="requests"))
    await use(watch, days=5, each_hour=1)
    assert await watch.firing() == [Kind.FORECAST_EXHAUSTION]

    for _ in range(10):
        await watch.bench.answered(watch.bench.call())

    (alert,) = await watch.look()
    assert alert.resolution == "The budget is exhausted already."


async def use(watch: Watch, days: int, each_hour: int, tags: str = "", *, look: bool = False) -> None:
    """So many calls in each hour of so many days."""
    headers = {"x-palyra-tags": tags} if tags else None
    for _ in range(days * 24):
        for _ in range(each_hour):
            await watch.bench.answered(watch.bench.call(headers=headers))
        if look:
            await watch.look()
        watch.bench.clock.advance(3_600)
