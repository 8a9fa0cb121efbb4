"""What the port ``ActivityRecords`` promises, on every store: sums of sessions, tags and latencies."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from msgspec import structs

from fakes.records import NOON
from fakes.sums import EVER, HOUR_NS, assert_sums_agree, hour_of, latencies, tags
from fakes.till import Till, all_decisions, decision, hold
from palyra.core.instant import NANOSECONDS, Instant
from palyra.core.latency import bounds_of, quantile_ms
from palyra.lifecycle.activity import SessionFilter, SessionOrder, SessionPlace, TagTotals
from palyra.lifecycle.decision import AttemptRecord, ClampRecord
from palyra.pricing.usage import Usage

SECOND = NANOSECONDS
LATER = Instant(NOON + 43_200 * SECOND)
BROKE = AttemptRecord("stub", "stub-model", 0, 5, 200, "network", "cut off")
WENT_WELL = AttemptRecord("stub", "stub-model", 0, 5, 200, "ok")


def call(
    till: Till,
    request_id: str,
    cost: int = 5,
    *,
    at: int = 0,
    principal: str = "alice",
    session: str | None = "run-7",
    agent: str | None = "nightly",
    model: str = "stub-model",
    provider: str = "stub",
    tags: Mapping[str, str] | None = None,
    total_ms: int = 5,
) -> None:
    """A call that is over; ``at`` in seconds after NOON."""
    made = decision(
        request_id,
        Instant(NOON + at * SECOND),
        principal=principal,
        session=session,
        agent=agent,
        model=model,
        provider=provider,
        tags=tags,
    )
    till.reserve(request_id, hold(cost), told_of=made)
    till.settle(request_id, cost, tokens=(cost, 1), total_ms=total_ms)


async def names(till: Till, wanted: SessionFilter) -> list[tuple[str, str]]:
    return [(each.principal, each.session) for each in await till.store.records.sessions(wanted)]


class TestWhatACallCountsFor:
    async def test_every_way_to_end_is_in_every_sum_once(self, till: Till) -> None:
        """L2, with failures, doubt that is cleared up late, a chain of failovers, and refusals."""
        tags = {"team": "platform", "größe": "☃"}
        clamped = structs.replace(decision("req_01", tags=tags), clamp=ClampRecord(4_096, 256, "daily"))
        till.reserve("req_01", hold(9), told_of=clamped)
        till.settle("req_01", 7, usage=Usage(3, 4, cache_read_tokens=1, reasoning_tokens=2), total_ms=1_234)
        for request_id in (
            "req_02",
            "req_02.2",
            "req_02.3",
            "req_03",
            "req_04",
            "req_05",
            "req_06",
            "req_07",
        ):
            till.reserve(request_id, hold(10), told_of=decision(request_id, tags=tags))
        till.release("req_02", upstream_status=503)
        till.release("req_02.2", upstream_status=429)
        till.settle("req_02.3", 8, attempts=(BROKE, WENT_WELL), total_ms=40)
        till.release("req_03")
        till.expire("req_04")
        till.expire("req_05")
        till.settle("req_06", 4, source="estimated", attempts=(BROKE,), total_ms=99)
        till.store.records.record_denial(decision("req_08", outcome="deny"))
        till.store.records.record_denial(decision("req_09", outcome="ask", session="run-9"))
        await till.flush()
        till.clock.advance(2 * 3600)
        till.settle("req_05", 3, tokens=(1, 2), total_ms=7_200_000)
        await till.flush()
        await assert_sums_agree(till.store)
        (total,) = await till.store.records.usage(*EVER, ())
        assert (total.requests, total.denied, total.asked, total.clamped) == (5, 2, 1, 1)
        assert (total.failed, total.timed, total.latency_ms, total.cost) == (
            3,
            3,
            1_373,
            7 + 8 + 1_000 + 3 + 4,
        )
        (team,) = await till.store.records.tags(*EVER, "team")
        assert team == TagTotals("team", "platform", 5, 3 + 10 + 400 + 1 + 10, 4 + 5 + 1_000 + 2 + 5, 1_022)
        session = await till.store.records.session("alice", "run-7")
        assert session is not None
        assert (session.requests, session.denied, session.failed, session.cost) == (5, 1, 3, 1_022)
        assert (session.first_call, session.last_call) == ("req_01", "req_08")

    async def test_a_call_without_a_session_is_in_none(self, till: Till) -> None:
        call(till, "req_1", session=None)
        await till.flush()
        assert await till.store.records.sessions(SessionFilter()) == []

    async def test_a_hold_that_was_given_back_before_it_went_out_is_no_failure(self, till: Till) -> None:
        till.reserve("req_1", hold(5))
        till.release("req_1")
        await till.flush()
        (total,) = await till.store.records.usage(*EVER, ())
        assert total.failed == 0
        assert await till.store.records.session("alice", "run-7") is None

    async def test_one_commit_of_many_calls_is_the_sum_of_all(self, till: Till) -> None:
        for number in range(60):
            call(
                till,
                f"req_{number:02}",
                number,
                at=number * 120,
                principal=("alice", "bob")[number % 2],
                session=f"run-{number % 5}",
                tags={"team": str(number % 3), "env": "prod"},
                total_ms=number * number,
            )
        await till.flush()
        await assert_sums_agree(till.store)

    async def test_the_agent_and_the_model_are_those_of_the_last_call_whenever_it_ended(
        self, till: Till
    ) -> None:
        late = decision("req_1", NOON, agent="first", model="one")
        till.reserve("req_1", hold(5), told_of=late)
        call(till, "req_2", at=60, agent="second", model="two")
        await till.flush()
        till.settle("req_1", 5)
        await till.flush()
        session = await till.store.records.session("alice", "run-7")
        assert session is not None
        assert (session.agent, session.model) == ("second", "two")
        assert (session.first_at, session.last_at) == (NOON, NOON + 60 * SECOND)
        await assert_sums_agree(till.store)


class TestSessions:
    async def fill(self, till: Till) -> None:
        for number, (principal, session, cost, at) in enumerate(
            (
                ("alice", "a", 30, 0),
                ("bob", "a", 10, 60),
                ("alice", "b", 20, 120),
                ("carol", "a", 20, 120),
                ("alice", "c", 20, 120),
                ("bob", "b", 90, 7_200),
                ("alice", "a", 1, 3_600),
            )
        ):
            call(till, f"req_{number}", cost, principal=principal, session=session, at=at)
        await till.flush()

    @pytest.mark.parametrize(
        ("wanted", "found"),
        [
            (SessionFilter(), "bob/b alice/a carol/a alice/c alice/b bob/a"),
            (SessionFilter(order=SessionOrder.DEAREST), "bob/b alice/a carol/a alice/c alice/b bob/a"),
            (SessionFilter(principal="alice"), "alice/a alice/c alice/b"),
            (SessionFilter(principal="bob", order=SessionOrder.DEAREST), "bob/b bob/a"),
            (SessionFilter(principal="nobody"), ""),
            (SessionFilter(since=Instant(NOON + 3_600 * SECOND)), "bob/b alice/a"),
            (SessionFilter(until=Instant(NOON + 60 * SECOND)), "alice/a"),
            (
                SessionFilter(since=Instant(NOON + 90 * SECOND), until=Instant(NOON + 121 * SECOND)),
                "alice/a carol/a alice/c alice/b",
            ),
            (SessionFilter(agent="other"), ""),
            (SessionFilter(model="stub-model", limit=2), "bob/b alice/a"),
            (SessionFilter(after=SessionPlace(NOON + 120 * SECOND, "carol", "a")), "alice/c alice/b bob/a"),
            (
                SessionFilter(after=SessionPlace(NOON + 120 * SECOND, "alice", "c"), principal="alice"),
                "alice/b",
            ),
        ],
    )
    async def test_they_are_found_in_the_order_that_is_wanted(
        self, till: Till, wanted: SessionFilter, found: str
    ) -> None:
        await self.fill(till)
        assert await names(till, wanted) == [tuple(each.split("/")) for each in found.split()]

    @pytest.mark.parametrize(
        ("wanted", "found"),
        [
            (SessionFilter(agent="nightly"), "bob/b alice/a"),
            (SessionFilter(agent=""), "alice/c"),
            (SessionFilter(model="small"), "alice/c bob/b alice/a"),
            (SessionFilter(provider="other"), "alice/c alice/a"),
            (SessionFilter(provider="other", limit=1), "alice/c"),
            (SessionFilter(provider="other", principal="bob"), ""),
            (SessionFilter(model="large", provider="other"), ""),
            (SessionFilter(model="large", since=LATER), "bob/b"),
            (SessionFilter(model="large", until=LATER), "alice/a"),
            (SessionFilter(agent="nightly", model="small", provider="stub"), "bob/b alice/a"),
            (SessionFilter(agent="nightly", model="small", order=SessionOrder.DEAREST), "alice/a bob/b"),
        ],
    )
    async def test_they_are_found_by_any_call_of_theirs_and_not_by_the_last_one_alone(
        self, till: Till, wanted: SessionFilter, found: str
    ) -> None:
        for number, (principal, session, agent, model, provider) in enumerate(
            (
                ("alice", "a", "nightly", "small", "stub"),
                ("alice", "a", "nightly", "small", "other"),
                ("alice", "a", "daily", "large", "stub"),
                ("bob", "b", "nightly", "small", "stub"),
                ("bob", "b", "daily", "large", "stub"),
                ("alice", "c", None, "small", "other"),
            )
        ):
            call(
                till,
                f"req_{number}",
                at=number if number < 4 else number + 86_400,
                principal=principal,
                session=session,
                agent=agent,
                model=model,
                provider=provider,
            )
            if number % 2:
                await till.flush()
        await till.flush()
        assert await names(till, wanted) == [tuple(each.split("/")) for each in found.split()]

    @pytest.mark.parametrize("order", SessionOrder)
    async def test_an_old_day_has_those_that_went_on_after_it_however_long(
        self, till: Till, order: SessionOrder
    ) -> None:
        day = 86_400
        for number, (session, begins, ends) in enumerate(
            (
                ("over before", 0, 10),
                ("within", day, 2 * day - 5),
                ("ends soon after", day + 9, 2 * day + 60),
                ("ends a day after", 2 * day - 1, 3 * day - 1),
                ("ends much later", 2 * day - 1, 9 * day),
                ("lasts for ever", 5, 30 * day),
                ("begins after", 2 * day, 2 * day + 1),
                ("long, and begins after", 2 * day, 12 * day),
            )
        ):
            call(till, f"req_{begins:09}_{number}", 5, session=session, at=begins)
            call(till, f"req_{ends:09}_{number}", 50 - number, session=session, at=ends)
        await till.flush()
        day_two = SessionFilter(
            since=Instant(NOON + day * SECOND), until=Instant(NOON + 2 * day * SECOND), order=order
        )
        found = await names(till, day_two)
        wanted = ["within", "ends soon after", "ends a day after", "ends much later", "lasts for ever"]
        if order is SessionOrder.NEWEST:
            wanted.reverse()
        assert [session for _, session in found] == wanted
        first, second, *_ = await till.store.records.sessions(day_two)
        rest = await names(till, replace(day_two, after=second.place(order), limit=2))
        assert [first.session, second.session, *(session for _, session in rest)] == wanted[:4]

    @pytest.mark.parametrize("order", SessionOrder)
    @pytest.mark.parametrize("principal", [None, "alice"])
    async def test_pages_show_each_session_once_while_others_are_called(
        self, till: Till, order: SessionOrder, principal: str | None
    ) -> None:
        for number in range(12):
            call(till, f"req_{number:02}", 5 + number % 3, session=f"s{number}", at=number // 2)
            call(till, f"req_{number:02}b", 5, principal="bob", session=f"s{number}", at=number // 3)
        await till.flush()
        whole = await names(till, SessionFilter(principal=principal, order=order, limit=100))
        seen: list[tuple[str, str]] = []
        after: SessionPlace | None = None
        number = 0
        wanted = SessionFilter(principal=principal, order=order, limit=5)
        while page := await till.store.records.sessions(replace(wanted, after=after)):
            seen += [(each.principal, each.session) for each in page]
            after = page[-1].place(order)
            call(till, f"req_9{number}", 1_000, session=f"new{number}", at=1_000 + number)
            await till.flush()
            number += 1
        assert seen == whole

    async def test_a_session_belongs_to_its_principal(self, till: Till) -> None:
        await self.fill(till)
        assert await till.store.records.session("carol", "b") is None
        found = await till.store.records.session("bob", "b")
        assert found is not None
        assert (found.cost, found.requests) == (90, 1)


class TestTags:
    async def test_values_are_summed_the_dearest_first_over_their_hours(self, till: Till) -> None:
        for number, (team, cost, hours) in enumerate((("a", 5, 0), ("b", 9, 0), ("a", 6, 1), ("c", 11, 2))):
            call(till, f"req_{number}", cost, at=hours * 3_600, tags={"team": team, "env": "prod"})
        await till.flush()
        records = till.store.records
        assert [(each.value, each.cost) for each in await records.tags(*EVER, "team")] == [
            ("a", 11),
            ("c", 11),
            ("b", 9),
        ]
        (env,) = await records.tags(*EVER, "env")
        assert (env.requests, env.cost) == (4, 31)
        first = await records.tags(NOON, Instant(NOON + HOUR_NS), "team")
        assert [(each.value, each.cost) for each in first] == [("b", 9), ("a", 5)]
        assert await records.tags(*EVER, "none") == []


class TestStretches:
    async def test_any_stretch_has_the_calls_of_its_hours(self, till: Till) -> None:
        """Whole half-days, parts of them, several, and none."""
        for number in range(60):
            call(
                till,
                f"req_{number:02}",
                number,
                at=number * 3_100,
                model=("small", "large")[number % 2],
                tags={"team": str(number % 3)},
                total_ms=number**2,
            )
        await till.flush()
        calls = await all_decisions(till.store)
        for first, last in (
            (-50, 80),
            (0, 12),
            (0, 24),
            (1, 23),
            (5, 6),
            (3, 14),
            (11, 37),
            (12, 12),
            (60, 70),
        ):
            since, until = Instant(NOON + first * HOUR_NS - 1), Instant(NOON + last * HOUR_NS)
            within = [each for each in calls if since <= hour_of(each) < until]
            assert await till.store.records.tags(since, until) == tags(within)
            assert await till.store.records.latencies(since, until) == latencies(within)


class TestLatencies:
    async def test_quantiles_are_within_an_eighth_of_the_true_ones(self, till: Till) -> None:
        times = [3, 40, 100, 101, 250, 1_000, 1_001, 1_900, 30_000, 65_000]
        for number, total_ms in enumerate(times):
            call(till, f"req_{number}", total_ms=total_ms)
        await till.flush()
        (found,) = await till.store.records.latencies(*EVER)
        assert sum(found.calls.values()) == len(times)
        for permille, true in ((500, 250), (900, 30_000), (950, 65_000)):
            told = quantile_ms(found.calls, permille)
            assert told is not None
            assert abs(told - true) * 8 <= true
        assert min(bounds_of(bucket)[0] for bucket in found.calls) == 3

    async def test_models_and_hours_are_told_apart(self, till: Till) -> None:
        call(till, "req_1", model="b", total_ms=8)
        call(till, "req_2", model="a", at=3_600, total_ms=8)
        await till.flush()
        found = await till.store.records.latencies(*EVER)
        assert [(each.provider, each.model, dict(each.calls)) for each in found] == [
            ("stub", "a", {8: 1}),
            ("stub", "b", {8: 1}),
        ]
        assert [each.model for each in await till.store.records.latencies(NOON, Instant(NOON + HOUR_NS))] == [
            "b"
        ]
