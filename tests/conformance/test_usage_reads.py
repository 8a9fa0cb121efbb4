"""Reports over the rollups say the same on every store, and what the calls say (L2)."""

import random
from zoneinfo import ZoneInfo

import pytest

from fakes.records import NOON
from fakes.till import Till, all_decisions, decision, hold
from palyra.core.hours import HOUR_NS, HourRun, bucket_of
from palyra.core.instant import Instant
from palyra.lifecycle.usage import UsageFigure, UsageFilter, UsageRows, UsageTop, UsageTotals
from palyra.reports.stretch import Stretch
from palyra.reports.usage_buckets import Unit, cut

START = Instant(NOON - 12 * HOUR_NS)
HOURS = 48
END = Instant(START + HOURS * HOUR_NS)
ALL = UsageFilter(START, END)
EACH_HOUR = (HourRun(START, HOUR_NS, HOURS, 0),)
UNEVEN = (
    HourRun(START, 24 * HOUR_NS, 1, 0),
    HourRun(Instant(START + 24 * HOUR_NS), 23 * HOUR_NS, 1, 1),
    HourRun(Instant(START + 47 * HOUR_NS), HOUR_NS, 1, 2),
)
AGENTS = ("nightly", None, "größe ☃", "coder", "=cmd")


async def fill(till: Till, calls: int = 60, seed: int = 7, prefix: str = "req") -> None:
    """Calls of some principals, agents and models, spread over the hours."""
    dice = random.Random(seed)
    for number in range(calls):
        request_id, cost = f"{prefix}_{number:04}", dice.randrange(1, 10**12)
        made = decision(
            request_id,
            Instant(START + dice.randrange(HOURS) * HOUR_NS + dice.randrange(HOUR_NS)),
            principal=dice.choice(("alice", "bob", "carol")),
            agent=dice.choice(AGENTS),
            model=dice.choice(("small", "large")),
            provider=dice.choice(("stub", "other")),
        )
        till.reserve(request_id, hold(cost), told_of=made)
        till.settle(request_id, cost, tokens=(dice.randrange(10_000), dice.randrange(5_000)))
    denied = decision(f"{prefix}_denied", Instant(START + 5), principal="dave", outcome="deny")
    till.store.records.record_denial(denied)
    await till.flush()


async def cost_by(till: Till, name: str) -> dict[str, int]:
    """Costs as the settlements of the calls say."""
    found: dict[str, int] = {}
    for stored in await all_decisions(till.store):
        key = getattr(stored.decision, name) or ""
        cost = stored.settlement.cost if stored.settlement else 0
        found[key] = found.get(key, 0) + (cost or 0)
    return found


def row_of(sums: UsageTotals, name: str) -> str:
    return sums.group[name]


class TestSeries:
    async def test_buckets_add_up_to_the_ledger_however_they_are_cut(self, till: Till) -> None:
        await fill(till)
        whole = sum((await cost_by(till, "principal")).values())
        for runs in (EACH_HOUR, UNEVEN):
            cells = await till.store.records.usage_series(ALL, runs)
            assert sum(each.sums.cost for each in cells) == whole
            assert sum(each.sums.denied for each in cells) == 1
            assert len({each.bucket for each in cells}) == len(cells)
            assert all(each.name is None for each in cells)
        third = [each for each in cells if each.bucket == 2]
        last = UsageFilter(Instant(END - HOUR_NS), END)
        (expected,) = await till.store.records.usage_groups(last, ()) or [None]
        assert [each.sums for each in third] == ([] if expected is None else [expected])

    @pytest.mark.parametrize("by", ["principal", "agent", "model", "provider"])
    @pytest.mark.parametrize("count", [1, 2, 20])
    async def test_the_largest_groups_have_names_and_the_rest_is_one(
        self, till: Till, by: str, count: int
    ) -> None:
        await fill(till)
        costs = await cost_by(till, by)
        cells = await till.store.records.usage_series(ALL, UNEVEN, UsageTop(by, UsageFigure.COST, count))
        told: dict[str | None, int] = {}
        for each in cells:
            told[each.name] = told.get(each.name, 0) + each.sums.cost
        largest = sorted(costs, key=lambda name: (-costs[name], name))[:count]
        assert {name: cost for name, cost in told.items() if name is not None} == {
            name: costs[name] for name in largest
        }
        assert told.get(None, 0) == sum(costs.values()) - sum(costs[name] for name in largest)
        assert (None in told) == (len(costs) > count)

    @pytest.mark.parametrize("figure", list(UsageFigure))
    async def test_groups_are_ranked_by_the_figure(self, till: Till, figure: UsageFigure) -> None:
        await fill(till)
        groups = await till.store.records.usage_groups(ALL, ("principal",))
        first = min(groups, key=lambda each: (-figure.of(each), each.group["principal"]))
        cells = await till.store.records.usage_series(ALL, EACH_HOUR, UsageTop("principal", figure, 1))
        assert {each.name for each in cells} == {None, first.group["principal"]}

    @pytest.mark.parametrize("zone", ["UTC", "Europe/Prague", "America/New_York", "Asia/Kolkata"])
    @pytest.mark.parametrize("unit", [Unit.DAY, Unit.MONTH])
    async def test_days_of_a_zone_are_the_calls_in_them(self, till: Till, zone: str, unit: Unit) -> None:
        """Also where a late end changes a day that is over."""
        await fill(till)
        late = decision("late", Instant(START + 3 * HOUR_NS), agent="coder")
        till.reserve("late", hold(10), told_of=late)
        till.expire("late")
        await till.flush()
        till.settle("late", 3, tokens=(1, 2))
        await till.flush()
        stretch = Stretch(Instant(START + HOUR_NS // 2), Instant(END - 5 * HOUR_NS))
        made = cut(stretch, unit, ZoneInfo(zone))
        expected: dict[tuple[int, str], int] = {}
        for stored in await all_decisions(till.store):
            hour = stored.decision.at - stored.decision.at % HOUR_NS
            if stored.settlement is not None and stretch.since <= hour < stretch.until:
                key = bucket_of(hour, made.runs), stored.decision.labels.agent or ""
                expected[key] = expected.get(key, 0) + (stored.settlement.cost or 0)
        found = await till.store.records.usage_series(
            UsageFilter(*stretch), made.runs, UsageTop("agent", UsageFigure.CALLS, 20)
        )
        assert {(each.bucket, each.name): each.sums.cost for each in found} == expected

    async def test_no_hour_at_all_is_no_cell(self, till: Till) -> None:
        await fill(till, 3)
        assert await till.store.records.usage_series(UsageFilter(NOON, NOON), ()) == []


class TestRows:
    @pytest.mark.parametrize("order", [*UsageFigure, None])
    @pytest.mark.parametrize("by", [("agent",), ("model", "provider")])
    async def test_pages_put_together_are_all_groups_in_order(
        self, till: Till, order: UsageFigure | None, by: tuple[str, ...]
    ) -> None:
        await fill(till)
        groups = {tuple(each.group.values()): each for each in await till.store.records.usage_groups(ALL, by)}
        found: list[tuple[str, ...]] = []
        after = None
        while True:
            page = await till.store.records.usage_rows(UsageRows(ALL, by, order, after, 2))
            if not page.rows:
                break
            assert page.cost == sum(each.cost for each in groups.values())
            for row in page.rows:
                names = tuple(row.sums.group.values())
                assert row.sums == groups[names]
                found.append(names)
            after = None if order is None else order.of(page.rows[-1].sums), found[-1]
        expected = sorted(groups, key=lambda names: (0 if order is None else -order.of(groups[names]), names))
        assert found == expected

    async def test_a_curve_adds_up_to_its_row(self, till: Till) -> None:
        await fill(till)
        spark = HourRun(START, 5 * HOUR_NS, 10, 0)
        for order in (UsageFigure.TOKENS, None):
            page = await till.store.records.usage_rows(UsageRows(ALL, ("agent",), order, None, 50, spark))
            for row in page.rows:
                assert sum(row.spark.values()) == (order or UsageFigure.COST).of(row.sums)
                assert all(0 <= bucket < 10 for bucket in row.spark)
                assert max(row.spark) == (row.last_hour - START) // (5 * HOUR_NS)

    async def test_the_hour_last_seen_is_that_of_the_last_call(self, till: Till) -> None:
        await fill(till)
        last: dict[str, int] = {}
        for stored in await all_decisions(till.store):
            name = stored.decision.labels.principal
            last[name] = max(last.get(name, 0), stored.decision.at - stored.decision.at % HOUR_NS)
        page = await till.store.records.usage_rows(UsageRows(ALL, ("principal",), None, None, 50))
        assert {row_of(row.sums, "principal"): row.last_hour for row in page.rows} == last

    @pytest.mark.parametrize(
        "names",
        [{"principal": "bob"}, {"agent": ""}, {"model": "large", "provider": "stub"}, {"agent": "größe ☃"}],
    )
    async def test_filters_count_what_they_name(self, till: Till, names: dict[str, str]) -> None:
        await fill(till)
        wanted = UsageFilter(START, END, **names)
        expected = sum(
            stored.settlement.cost or 0
            for stored in await all_decisions(till.store)
            if stored.settlement
            and all((getattr(stored.decision, name) or "") == value for name, value in names.items())
        )
        assert expected > 0
        page = await till.store.records.usage_rows(UsageRows(wanted, ("principal",), None, None, 50))
        cells = await till.store.records.usage_series(wanted, UNEVEN)
        hours = await till.store.records.usage_hours(wanted, None, 1_000)
        (group,) = await till.store.records.usage_groups(wanted, ())
        sums = (
            page.cost,
            sum(each.sums.cost for each in cells),
            sum(each.cost for each in hours),
            group.cost,
        )
        assert sums == (expected,) * 4

    async def test_w50_rows_that_come_in_between_move_no_row_of_the_next_page(self, till: Till) -> None:
        """The cursor is a place among the values, and no count of rows."""
        await fill(till, 40)
        for order in (None, UsageFigure.COST):
            question = UsageRows(ALL, ("agent",), order, None, 2)
            before = await till.store.records.usage_rows(UsageRows(ALL, ("agent",), order, None, 50))
            first = await till.store.records.usage_rows(question)
            last = first.rows[-1].sums
            for number, (agent, cost) in enumerate((("", 0), ("aaa", 9 * 10**12), ("zzz", 8 * 10**12))):
                request_id = f"late_{order}_{number}"
                made = decision(request_id, Instant(START + 1), agent=f"{agent}{order}", model="small")
                till.reserve(request_id, hold(cost), told_of=made)
                till.settle(request_id, cost)
            await till.flush()
            after = None if order is None else order.of(last), tuple(last.group.values())
            rest = await till.store.records.usage_rows(UsageRows(ALL, ("agent",), order, after, 50))
            old = {row_of(each.sums, "agent") for each in before.rows}
            told = [row_of(each.sums, "agent") for each in (*first.rows, *rest.rows)]
            assert [name for name in told if name in old] == [
                row_of(each.sums, "agent") for each in before.rows
            ]


class TestHours:
    async def test_cells_are_read_page_by_page_each_once(self, till: Till) -> None:
        await fill(till)
        found: list[UsageTotals] = []
        after = None
        while page := await till.store.records.usage_hours(ALL, after, 7):
            found += page
            after = tuple(page[-1].group.values())
        keys = [tuple(each.group.values()) for each in found]
        assert len(set(keys)) == len(keys) > 30
        assert keys == sorted(keys, key=lambda key: (int(key[0]), *key[1:]))
        assert sum(each.cost for each in found) == sum((await cost_by(till, "principal")).values())
        assert set(found[0].group) == {"hour", "principal", "agent", "model", "provider"}

    async def test_the_first_is_that_of_the_first_call(self, till: Till) -> None:
        assert await till.store.records.first_hour() is None
        await fill(till)
        first = min(each.decision.at for each in await all_decisions(till.store))
        assert await till.store.records.first_hour() == first - first % HOUR_NS


class TestGroups:
    async def test_nothing_used_is_nothing(self, till: Till) -> None:
        assert await till.store.records.usage_groups(ALL, ()) == []
        assert await till.store.records.usage_groups(ALL, ("model",)) == []

    async def test_groups_are_those_of_usage(self, till: Till) -> None:
        await fill(till)
        for by in ((), ("principal",), ("hour", "model")):
            told = await till.store.records.usage_groups(ALL, by)
            assert told == await till.store.records.usage(START, END, by)
