"""What the port ``Ledger`` promises, on every store."""

import asyncio
from dataclasses import replace

import pytest
from msgspec import structs

from fakes.till import LEASE_NS, Till, account, assert_books_agree, decision, hold
from palyra.core.instant import NANOSECONDS, Instant
from palyra.ledger.account import EMPTY, NEVER_RUN, Balance
from palyra.ledger.event import Expired, Released, Reserved, Settled
from palyra.lifecycle.decision import CallState
from palyra.lifecycle.ports import IdempotencyClaim
from palyra.pricing.usage import Usage

TOTAL = account("monthly", "*")
AGENT = account("per-agent", "nightly", "total_tokens")
DAY_S = 24 * 3600
CLAIM = IdempotencyClaim("alice", "key-1", b"\x01" * 32)


async def state_of(till: Till, request_id: str) -> CallState | None:
    await till.flush()
    stored = await till.store.records.decision(request_id)
    return stored.state if stored else None


async def test_an_account_that_nothing_was_posted_to_is_empty(till: Till) -> None:
    assert till.balance() == EMPTY


async def test_reserve_holds_on_every_account_at_once(till: Till) -> None:
    assert till.reserve("req_1", hold(100, 500), hold(100, None, TOTAL), hold(30, 40, AGENT)) is None
    assert till.balance() == Balance(0, 100, 0, 100)
    assert till.balance(TOTAL) == Balance(0, 100, 0, 100)
    assert till.balance(AGENT) == Balance(0, 30, 0, 30)
    assert [each.id for each in till.store.ledger.pending()] == ["req_1"]
    assert await state_of(till, "req_1") is CallState.PENDING
    await assert_books_agree(till)


async def test_settle_posts_what_was_used_and_gives_the_rest_back(till: Till) -> None:
    till.reserve("req_1", hold(100, 500), hold(30, 40, AGENT))
    till.settle("req_1", 60, tokens=(10, 7))
    assert till.balance() == Balance(60, 0, 60, 0)
    assert till.balance(AGENT) == Balance(17, 0, 17, 0)
    assert till.store.ledger.pending() == []
    assert await state_of(till, "req_1") is CallState.SETTLED
    await assert_books_agree(till)


async def test_release_voids_the_hold_and_counts_nothing(till: Till) -> None:
    till.reserve("req_1", hold(100, 500), hold(30, 40, AGENT))
    till.release("req_1")
    assert till.balance() == EMPTY
    assert till.balance(AGENT) == EMPTY
    assert await state_of(till, "req_1") is CallState.RELEASED
    await assert_books_agree(till)


async def test_expire_posts_what_was_held_in_doubt(till: Till) -> None:
    till.reserve("req_1", hold(100, 500), hold(30, 40, AGENT))
    till.expire("req_1")
    assert till.balance() == Balance(100, 0, 100, 0)
    assert till.balance(AGENT) == Balance(30, 0, 30, 0)
    assert till.store.ledger.pending() == []
    assert await state_of(till, "req_1") is CallState.IN_DOUBT
    await assert_books_agree(till)


async def test_a_metric_that_a_settlement_does_not_name_is_posted_as_nothing(till: Till) -> None:
    key = account("odd", metric="seconds")
    till.reserve("req_1", hold(9, 10, key))
    till.settle("req_1", 60)
    assert till.balance(key) == EMPTY


class TestNoOverAdmission:
    """L1 and L5."""

    async def test_the_last_unit_of_a_limit_can_be_held_and_no_more(self, till: Till) -> None:
        assert till.reserve("req_1", hold(400, 500)) is None
        assert till.reserve("req_2", hold(100, 500)) is None
        shortfall = till.reserve("req_3", hold(1, 500))
        assert shortfall is not None
        assert (shortfall.account, shortfall.limit, shortfall.consumed, shortfall.amount) == (
            account(),
            500,
            500,
            1,
        )
        assert till.reserve("req_4", hold(0, 500)) is None

    async def test_posted_and_held_count_alike(self, till: Till) -> None:
        till.reserve("req_1", hold(400, 500))
        till.settle("req_1", 300)
        till.reserve("req_2", hold(100, 500))
        assert till.reserve("req_3", hold(101, 500)) is not None
        assert till.reserve("req_4", hold(100, 500)) is None
        await assert_books_agree(till)

    @pytest.mark.parametrize("place", [0, 1, 2])
    async def test_one_account_without_room_leaves_all_of_them_as_they_were(
        self, till: Till, place: int
    ) -> None:
        till.reserve("req_1", hold(10, 100), hold(10, 100, TOTAL), hold(10, 100, AGENT))
        await till.flush()
        before, told = [till.balance(key) for key in (account(), TOTAL, AGENT)], list(till.told)
        holds = [hold(50, 100), hold(50, 100, TOTAL), hold(50, 100, AGENT)]
        holds[place] = structs.replace(holds[place], amount=91)
        shortfall = till.reserve("req_2", *holds)
        await till.flush()
        assert shortfall is not None
        assert shortfall.account == holds[place].account
        assert [till.balance(key) for key in (account(), TOTAL, AGENT)] == before
        assert [each.id for each in till.store.ledger.pending()] == ["req_1"]
        assert till.told == told
        assert await till.store.records.decision("req_2") is None
        await assert_books_agree(till)

    async def test_a_shortfall_does_not_take_the_idempotency_key(self, till: Till) -> None:
        assert till.reserve("req_1", hold(11, 10), claim=CLAIM) is not None
        assert till.store.records.idempotency("alice", "key-1") is None

    async def test_a_hold_without_a_limit_is_never_short(self, till: Till) -> None:
        assert till.reserve("req_1", hold(10**15)) is None
        assert till.reserve("req_2", hold(10**15)) is None
        assert till.balance().held == 2 * 10**15
        await assert_books_agree(till)

    async def test_a_lowered_limit_stops_the_next_call_and_keeps_the_balance(self, till: Till) -> None:
        till.reserve("req_1", hold(80, 100))
        assert till.reserve("req_2", hold(1, 50)) is not None
        assert till.balance().held == 80
        assert till.reserve("req_3", hold(20, 100)) is None
        await assert_books_agree(till)

    async def test_an_overrun_is_posted_in_full_and_stops_the_next_call(self, till: Till) -> None:
        """L4."""
        till.reserve("req_1", hold(100, 100))
        till.settle("req_1", 250)
        assert till.balance() == Balance(250, 0, 250, 0)
        assert till.reserve("req_2", hold(1, 100)) is not None
        await assert_books_agree(till)

    async def test_windows_and_entities_have_accounts_of_their_own(self, till: Till) -> None:
        tomorrow = account()._replace(window_start=account().window_start + DAY_S * NANOSECONDS)
        till.reserve("req_1", hold(100, 100))
        assert till.reserve("req_2", hold(100, 100, tomorrow)) is None
        assert till.reserve("req_3", hold(100, 100, account(entity="bob"))) is None
        assert till.reserve("req_4", hold(100, 100, account("other"))) is None
        assert till.reserve("req_5", hold(100, 100, account(metric="requests"))) is None
        await assert_books_agree(till)


class TestOneResolution:
    """L3: the first resolution wins, a repeat only tells."""

    @pytest.mark.parametrize("first", ["settle", "release", "expire"])
    @pytest.mark.parametrize("second", ["settle", "release", "expire"])
    async def test_a_repeat_changes_nothing_but_a_late_settle(
        self, till: Till, first: str, second: str
    ) -> None:
        till.reserve("req_1", hold(100, 500), claim=CLAIM)
        resolve(till, first, 60)
        await till.flush()
        before = till.balance(), await till.all_events(), await till.store.records.decision("req_1")
        resolve(till, second, 77)
        await till.flush()
        assert [(each.change, each.error) for each in till.told] == [
            ("reserve", None),
            (first, None),
            (second, None),
        ]
        if (first, second) == ("expire", "settle"):
            assert till.balance() == Balance(77, 0, 77, 0)
        else:
            assert (
                till.balance(),
                await till.all_events(),
                await till.store.records.decision("req_1"),
            ) == before
        await assert_books_agree(till)

    async def test_a_late_settle_is_final(self, till: Till) -> None:
        till.reserve("req_1", hold(100, 500))
        till.expire("req_1")
        till.settle("req_1", 60)
        for change in ("settle", "release", "expire"):
            resolve(till, change, 99)
        assert till.balance() == Balance(60, 0, 60, 0)
        assert await state_of(till, "req_1") is CallState.SETTLED
        await assert_books_agree(till)

    @pytest.mark.parametrize("change", ["settle", "release", "expire"])
    async def test_a_call_that_never_was_cannot_be_resolved(self, till: Till, change: str) -> None:
        till.decisions["req_9"] = decision("req_9")
        resolve(till, change, 60, "req_9")
        await till.flush()
        assert till.balance() == EMPTY
        assert await till.all_events() == []
        assert till.errors() == []

    async def test_a_repeat_is_told_after_the_first(self, till: Till) -> None:
        """D2: nobody may hear that a call is settled before it is on disk."""
        till.reserve("req_1", hold(100, 500))
        till.settle("req_1", 60)
        till.settle("req_1", 60)
        till.release("req_1")
        assert till.told == []
        await till.flush()
        assert [each.change for each in till.told] == ["reserve", "settle", "settle", "release"]


class TestLateTruth:
    """L7."""

    @pytest.mark.parametrize("actual", [0, 60, 100, 250])
    async def test_a_late_settle_corrects_what_was_posted_in_doubt(self, till: Till, actual: int) -> None:
        till.reserve("req_1", hold(100, 500), hold(30, None, AGENT))
        till.expire("req_1", cost=100, tokens=(20, 10))
        await assert_books_agree(till)
        till.settle("req_1", actual, tokens=(3, 4))
        assert till.balance() == Balance(actual, 0, actual, 0)
        assert till.balance(AGENT) == Balance(7, 0, 7, 0)
        await assert_books_agree(till)
        stored = await till.store.records.decision("req_1")
        assert stored is not None
        assert stored.settlement is not None
        assert (stored.state, stored.settlement.late) == (CallState.SETTLED, True)

    async def test_the_rollups_are_corrected_and_count_the_call_once(self, till: Till) -> None:
        till.reserve("req_1", hold(100, 500))
        till.expire("req_1", cost=100, tokens=(400, 1_000))
        till.settle("req_1", 60, tokens=(10, 7))
        await till.flush()
        (total,) = await till.store.records.usage(Instant(0), Instant(2**62), ())
        assert (total.requests, total.estimated, total.cost) == (1, 0, 60)
        assert (total.input_tokens, total.output_tokens) == (10, 7)

    async def test_the_journal_says_that_it_was_late(self, till: Till) -> None:
        till.reserve("req_1", hold(100, 500))
        till.expire("req_1")
        till.settle("req_1", 60)
        await till.flush()
        reserved, expired, settled = await till.all_events()
        assert isinstance(reserved, Reserved)
        assert isinstance(expired, Expired)
        assert isinstance(settled, Settled)
        assert settled.late


class TestShadow:
    """The balance as if the dry-run policies had been enforced."""

    async def test_a_call_that_enforcement_would_refuse_leaves_the_shadow_alone(self, till: Till) -> None:
        till.reserve("req_1", hold(100, None, shadow=NEVER_RUN))
        assert till.balance() == Balance(0, 100, 0, 0)
        till.settle("req_1", 60)
        assert till.balance() == Balance(60, 0, 0, 0)
        await assert_books_agree(till)

    @pytest.mark.parametrize(("actual", "shadow"), [(30, 30), (40, 40), (60, 40)])
    async def test_a_call_that_enforcement_would_clamp_counts_at_most_its_clamp(
        self, till: Till, actual: int, shadow: int
    ) -> None:
        till.reserve("req_1", hold(100, None, shadow=40))
        assert till.balance() == Balance(0, 100, 0, 40)
        till.settle("req_1", actual)
        assert till.balance() == Balance(actual, 0, shadow, 0)
        await assert_books_agree(till)

    @pytest.mark.parametrize("shadow", [NEVER_RUN, 0, 40, 100])
    async def test_release_and_expiry_with_a_late_settle_leave_no_shadow_held(
        self, till: Till, shadow: int
    ) -> None:
        till.reserve("req_1", hold(100, None, shadow=shadow))
        till.release("req_1")
        assert till.balance() == EMPTY
        till.reserve("req_2", hold(100, None, shadow=shadow))
        till.expire("req_2")
        till.settle("req_2", 60)
        assert till.balance() == Balance(60, 0, 0 if shadow == NEVER_RUN else min(shadow, 60), 0)
        await assert_books_agree(till)


class TestIdempotency:
    """K1."""

    async def test_a_key_is_in_flight_then_finished(self, till: Till) -> None:
        records = till.store.records
        assert records.idempotency("alice", "key-1") is None
        till.reserve("req_1", hold(1), claim=CLAIM)
        entry = records.idempotency("alice", "key-1")
        assert entry is not None
        assert (entry.request_id, entry.fingerprint, entry.finished) == ("req_1", CLAIM.fingerprint, False)
        till.settle("req_1", 1)
        entry = records.idempotency("alice", "key-1")
        assert entry is not None
        assert entry.finished
        assert entry.expires_at == till.clock.now() + DAY_S * NANOSECONDS

    async def test_a_key_belongs_to_its_principal(self, till: Till) -> None:
        till.reserve("req_1", hold(1), claim=CLAIM)
        assert till.store.records.idempotency("bob", "key-1") is None
        assert till.store.records.idempotency("alice", "key-2") is None

    async def test_a_released_call_frees_its_key(self, till: Till) -> None:
        till.reserve("req_1", hold(1), claim=CLAIM)
        till.release("req_1")
        assert till.store.records.idempotency("alice", "key-1") is None
        till.reserve("req_2", hold(1), claim=replace(CLAIM, fingerprint=b"\x02" * 32))
        entry = till.store.records.idempotency("alice", "key-1")
        assert entry is not None
        assert entry.request_id == "req_2"

    async def test_a_call_in_doubt_keeps_its_key(self, till: Till) -> None:
        """The provider may have done the work: a repeat must not run again."""
        till.reserve("req_1", hold(1), claim=CLAIM)
        till.expire("req_1")
        entry = till.store.records.idempotency("alice", "key-1")
        assert entry is not None
        assert entry.finished
        till.settle("req_1", 1)
        assert till.store.records.idempotency("alice", "key-1") == entry

    async def test_a_finished_key_lives_a_day(self, till: Till) -> None:
        till.reserve("req_1", hold(1), claim=CLAIM)
        till.settle("req_1", 1)
        till.clock.advance(DAY_S - 1)
        assert till.store.records.idempotency("alice", "key-1") is not None
        till.clock.advance(1)
        assert till.store.records.idempotency("alice", "key-1") is None

    async def test_a_key_in_flight_does_not_end_with_the_day(self, till: Till) -> None:
        till.reserve("req_1", hold(1), claim=CLAIM)
        till.clock.advance(2 * DAY_S)
        assert till.store.records.idempotency("alice", "key-1") is not None

    async def test_old_keys_are_forgotten_without_being_asked_for(self, till: Till) -> None:
        """V2: a client that never uses a key twice must not fill the memory."""
        for number in range(5):
            claim = replace(CLAIM, key=f"old-{number}")
            till.reserve(f"req_{number}", hold(1), claim=claim)
            till.settle(f"req_{number}", 1)
        till.clock.advance(DAY_S)
        till.reserve("req_9", hold(1), claim=replace(CLAIM, key="new"))
        await till.flush()
        assert till.store.ledger.claims_kept == 1
        assert till.store.records.idempotency("alice", "new") is not None

    async def test_an_old_key_behind_one_in_flight_is_kept_until_that_ends(self, till: Till) -> None:
        till.reserve("req_1", hold(1), claim=replace(CLAIM, key="running"))
        till.reserve("req_2", hold(1), claim=replace(CLAIM, key="over"))
        till.settle("req_2", 1)
        till.clock.advance(DAY_S)
        till.reserve("req_3", hold(1), claim=replace(CLAIM, key="new"))
        assert till.store.ledger.claims_kept == 3
        assert till.store.records.idempotency("alice", "running") is not None
        assert till.store.records.idempotency("alice", "over") is None


class TestTelling:
    async def test_changes_are_told_in_the_order_of_the_calls(self, till: Till) -> None:
        for number in range(50):
            till.reserve(f"req_{number:02}", hold(1))
        for number in range(50):
            till.settle(f"req_{number:02}", 1)
        assert till.told == [], "nothing is told within the call"
        await till.flush()
        expected = [(change, f"req_{number:02}") for change in ("reserve", "settle") for number in range(50)]
        assert [(each.change, each.request_id) for each in till.told] == expected
        assert till.errors() == []

    async def test_a_callback_that_raises_does_not_keep_the_others_waiting(self, till: Till) -> None:
        raised: list[dict[str, object]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: raised.append(context))

        def broken(_error: Exception | None) -> None:
            raise RuntimeError("a caller's bug")

        now = till.clock.now()
        event = Reserved("req_1", now, Instant(now + LEASE_NS), (hold(1),))
        till.store.ledger.reserve(event, decision("req_1"), None, broken)
        till.reserve("req_2", hold(1))
        await till.flush()
        assert [each.request_id for each in till.told] == ["req_2"]
        assert len(raised) == 1


async def test_a_store_that_is_well_says_so(till: Till) -> None:
    assert till.store.writable


async def test_the_ratio_of_tokens_to_bytes_is_known_after_enough_calls(till: Till) -> None:
    ratio = till.store.ledger.input_ratio
    for number in range(4):
        till.reserve(f"req_{number}", hold(1), told_of=decision(f"req_{number}", input_bytes=600))
        assert ratio("stub", "stub-model") is None
        till.settle(f"req_{number}", 1, tokens=(150, 1))
    assert ratio("stub", "stub-model") == 0.25
    assert till.store.records.input_ratio("stub", "stub-model") == 0.25
    assert ratio("stub", "other") is None


async def test_estimates_do_not_calibrate_estimates(till: Till) -> None:
    till.reserve("req_1", hold(1), told_of=decision("req_1", input_bytes=9_000))
    till.settle("req_1", 1, source="estimated")
    assert till.store.ledger.input_ratio("stub", "stub-model") is None


async def test_every_class_of_tokens_reaches_the_rollups(till: Till) -> None:
    till.reserve("req_1", hold(1))
    used = Usage(
        20, 10, cache_read_tokens=3, cache_write_5m_tokens=4, cache_write_1h_tokens=5, reasoning_tokens=6
    )
    till.settle("req_1", 7, usage=used)
    await till.flush()
    (total,) = await till.store.records.usage(Instant(0), Instant(2**62), ())
    assert (total.cache_read_tokens, total.cache_write_tokens, total.reasoning_tokens) == (3, 9, 6)


async def test_the_events_are_stored_as_they_were_given(till: Till) -> None:
    till.reserve("req_1", hold(5, 9), hold(7, None, AGENT, shadow=NEVER_RUN))
    till.release("req_1")
    await till.flush()
    now = till.clock.now()
    assert await till.all_events() == [
        Reserved(
            "req_1",
            now,
            Instant(now + LEASE_NS),
            (hold(5, 9), hold(7, None, AGENT, shadow=NEVER_RUN)),
        ),
        Released("req_1", now, "the provider said no"),
    ]


def resolve(till: Till, change: str, cost: int, request_id: str = "req_1") -> None:
    match change:
        case "settle":
            till.settle(request_id, cost)
        case "release":
            till.release(request_id)
        case _:
            till.expire(request_id, cost=100)
