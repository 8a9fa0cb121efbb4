"""Forecasts for pages are those of alerts, and reading them costs the same however many are asked for."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from fakes.alarms import desk
from fakes.engines import Bench, budget
from fakes.records import NOON, FakeClock, FakeRecords
from palyra.alerts.alert import Kind
from palyra.budgets.policy import Policy, PolicyDefaults, parse_policy
from palyra.core.instant import NANOSECONDS, Instant, isoformat
from palyra.ledger.account import AccountKey
from palyra.lifecycle import forecasts as module
from palyra.lifecycle.checks import Checks
from palyra.lifecycle.forecasts import FRESH_NS, Forecasts, Outset
from palyra.lifecycle.hours import PAST_DAYS
from palyra.lifecycle.ports import AlertFilter
from palyra.lifecycle.usage import UsageTotals

HOUR_NS = 3_600 * NANOSECONDS
DAY_START, DAY_END = Instant(NOON - 12 * HOUR_NS), Instant(NOON + 12 * HOUR_NS)


class Counting(FakeRecords):
    """Counts the questions to the rollups; each takes a turn of the loop, as on a database."""

    asked = 0

    async def usage(self, since: Instant, until: Instant, group_by: Sequence[str]) -> Sequence[UsageTotals]:
        self.asked += 1
        await asyncio.sleep(0)
        return await super().usage(since, until, group_by)


def policy(**fields: object) -> Policy:
    document = {"id": "daily", "scope": "principal:*", "metric": "requests", "interval": "day"}
    document |= {"hard_limit": 100, **fields}
    return parse_policy(document, defaults=PolicyDefaults(), version=1, actor="-", origin="api")


def outset(entity: str, consumed: int, of: Policy | None = None) -> Outset:
    made = of or policy()
    return Outset(AccountKey(made.id, made.metric.value, entity, DAY_START), DAY_END, consumed, made)


def calls(records: FakeRecords, entity: str, days: int, each_hour: int) -> None:
    for hour in range(1, days * 24 + 1):
        at = Instant(NOON - hour * HOUR_NS)
        group = {"hour": str(at), "principal": entity, "agent": "", "model": "m", "provider": "stub"}
        records.totals.append((at, UsageTotals(group, each_hour, 0, 0, 0, 0, 0, 0, 0, 0, 0)))


async def test_a_page_says_what_the_alert_says() -> None:
    bench = Bench(budget("month", "0.015", interval="month", scope="principal:*"))
    alarms = bench.engine.alarms = desk(bench.store.records, bench.clock)
    forecasts = Forecasts(bench.store.records, bench.clock)
    checks = Checks(bench.engine, alarms, (), lambda: 0, forecasts)
    for _ in range(5 * 24):
        await bench.answered(bench.call())
        bench.clock.advance(3_600)
    await checks.run()
    (alert,) = await bench.store.records.alerts(AlertFilter())
    assert alert.kind is Kind.FORECAST_EXHAUSTION

    (account,) = bench.store.ledger.accounts.values()
    made = bench.engine.rules.snapshot.policies["month"]
    asked = Outset(account.key, account.window_end, account.posted + account.held, made)
    now = bench.clock.now()
    shown = (await forecasts.of_all([asked], now))[account.key]
    alone = (await Forecasts(bench.store.records, bench.clock).of_all([asked], now))[account.key]

    assert shown.exhausted_at is not None
    assert isoformat(shown.exhausted_at) == alert.facts["exhausted_at"]
    assert (shown.expected, shown.low, shown.high) == tuple(
        alert.facts[n] for n in ("expected", "low", "high")
    )
    assert alone == shown, "also where no check of alerts has looked yet"


async def test_reading_costs_the_same_for_one_account_and_for_many_and_once_an_hour() -> None:
    records, clock = Counting(), FakeClock()
    forecasts = Forecasts(records, clock)
    many = [outset(f"p{number}", number) for number in range(60)]
    calls(records, "p7", 5, 2)

    found = await forecasts.of_all(many, clock.now())

    assert records.asked == PAST_DAYS
    assert found[many[7].key].expected > found[many[8].key].expected, "only p7 is used to use more"
    await forecasts.of_all(many, clock.now())
    assert records.asked == PAST_DAYS
    clock.advance(3_600)
    await forecasts.of_all(many[:1], clock.now())
    assert records.asked == 2 * PAST_DAYS


async def test_pages_that_come_together_read_once() -> None:
    records, clock = Counting(), FakeClock()
    forecasts = Forecasts(records, clock)

    await asyncio.gather(*(forecasts.of_all([outset("alice", 5)], clock.now()) for _ in range(5)))

    assert records.asked == PAST_DAYS


async def test_the_accounts_nearest_to_their_limits_have_a_forecast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHOWN_MAX", 3)
    forecasts = Forecasts(FakeRecords(), FakeClock())
    asked = [outset(f"p{number}", number) for number in range(10)]

    found = await forecasts.of_all(asked, NOON)

    assert {key.entity for key in found} == {"p7", "p8", "p9"}


async def test_no_more_pasts_stay_in_memory_than_are_asked_for_and_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "SOURCES_KEPT_MAX", 3)
    records = Counting()
    forecasts = Forecasts(records, FakeClock())
    for number in range(4):
        await forecasts.of_all([outset(f"p{number}", 1)], NOON)

    await forecasts.of_all([outset("p3", 1)], NOON)
    assert records.asked == 4 * PAST_DAYS
    await forecasts.of_all([outset("p0", 1)], NOON)
    assert records.asked == 5 * PAST_DAYS


@pytest.mark.parametrize(
    ("made", "entity"),
    [
        (policy(enabled=False), "alice"),
        (policy(valid_until="2026-11-23T11:00:00Z"), "alice"),
        (policy(metric="input_tokens"), "alice"),
    ],
)
async def test_what_does_not_count_has_no_forecast(made: Policy, entity: str) -> None:
    asked = replace_metric(outset(entity, 5, made))
    assert not await Forecasts(FakeRecords(), FakeClock()).of_all([asked], NOON)


def replace_metric(asked: Outset) -> Outset:
    """The account of a time when the budget still counted requests."""
    return asked._replace(key=asked.key._replace(metric="requests"))


async def test_a_window_that_is_over_has_no_forecast() -> None:
    asked = outset("alice", 5)._replace(window_end=NOON)
    assert not await Forecasts(FakeRecords(), FakeClock()).of_all([asked], NOON)


async def test_a_forecast_is_made_anew_when_it_is_old_or_much_was_used_or_the_limit_is_another() -> None:
    clock = FakeClock()
    forecasts = Forecasts(FakeRecords(), clock)

    async def expected(consumed: int, made: Policy | None = None) -> int:
        asked = outset("alice", consumed, made or policy(hard_limit=1_000))
        return (await forecasts.of_all([asked], clock.now()))[asked.key].consumed

    assert await expected(50) == 50
    assert await expected(55) == 50, "a hundredth of the limit is nothing new"
    assert await expected(61) == 61
    assert await expected(62, replace(policy(), hard_limit=999)) == 62
    clock.advance(FRESH_NS // NANOSECONDS)
    assert await expected(63, replace(policy(), hard_limit=999)) == 63
