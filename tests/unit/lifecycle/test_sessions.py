"""Which model a session runs on: kept, forgotten in time, shared with other gateways, bounded."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from fakes.records import NOON, FakeClock
from palyra.core.instant import NANOSECONDS, Instant
from palyra.lifecycle.ports import SlotGrant
from palyra.lifecycle.sessions import READ_AGAIN_NS, SESSIONS_MAX, Sessions
from palyra.lifecycle.waiting import Wait

STICKY_S = 600
AGAIN_S = READ_AGAIN_NS // NANOSECONDS


@dataclass
class Shared:
    """What the gateways share, told at once: the first choice of a session stands, unless it moves."""

    clock: FakeClock
    rows: dict[tuple[str, str], tuple[str, Instant]] = field(
        default_factory=dict[tuple[str, str], tuple[str, Instant]]
    )
    looked: int = 0
    kept: list[tuple[str, bool]] = field(default_factory=list[tuple[str, bool]])

    async def claim_slots(self, scope: str, wanted: int, most: int) -> SlotGrant:
        raise NotImplementedError

    def look_up(self, principal: str, session: str, found: Callable[[str, Instant], None]) -> Wait:
        self.looked += 1
        row = self.rows.get((principal, session))
        if row is not None:
            found(*row)
        done = Wait()
        done.tell()
        return done

    def keep(
        self,
        principal: str,
        session: str,
        model: str,
        moved: bool,
        sticky_ns: int,
        kept: Callable[[str], None],
    ) -> None:
        self.kept.append((model, moved))
        now, row = self.clock.now(), self.rows.get((principal, session))
        stands = row is not None and now - row[1] < sticky_ns and not moved
        winner = row[0] if row is not None and stands else model
        self.rows[principal, session] = (winner, now)
        kept(winner)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def gateways(clock: FakeClock, count: int = 2) -> tuple[Shared, list[Sessions]]:
    shared = Shared(clock)
    return shared, [Sessions(STICKY_S * NANOSECONDS, shared) for _ in range(count)]


def alone() -> Sessions:
    return Sessions(STICKY_S * NANOSECONDS)


def model_of(
    sessions: Sessions, clock: FakeClock, session: str | None = "s", principal: str = "alice"
) -> str | None:
    return sessions.model_of(principal, session, clock.now())


# Alone.


def test_a_session_has_the_model_that_it_ran_on_last(clock: FakeClock) -> None:
    sessions = alone()
    assert model_of(sessions, clock) is None
    sessions.keep("alice", "s", "small", clock.now())
    sessions.keep("alice", "s", "large", clock.now())
    assert model_of(sessions, clock) == "large"
    assert model_of(sessions, clock, "other") is None
    assert model_of(sessions, clock, principal="bob") is None


def test_it_is_forgotten_when_it_was_not_used_for_so_long(clock: FakeClock) -> None:
    sessions = alone()
    sessions.keep("alice", "s", "small", clock.now())
    clock.advance(STICKY_S - 1)
    assert model_of(sessions, clock) == "small"
    sessions.keep("alice", "s", "small", clock.now())
    clock.advance(STICKY_S - 1)
    assert model_of(sessions, clock) == "small"
    clock.advance(1)
    assert model_of(sessions, clock) is None


def test_calls_without_a_session_keep_nothing(clock: FakeClock) -> None:
    sessions = alone()
    sessions.keep("alice", None, "small", clock.now())
    assert model_of(sessions, clock, None) is None


def test_without_stickiness_nothing_is_kept_or_asked(clock: FakeClock) -> None:
    shared = Shared(clock)
    sessions = Sessions(0, shared)
    sessions.keep("alice", "s", "small", clock.now())
    assert model_of(sessions, clock) is None
    assert shared.kept == []


async def test_without_stickiness_others_are_not_asked(clock: FakeClock) -> None:
    shared = Shared(clock)
    await Sessions(0, shared).refresh("alice", "s", clock.now())
    assert shared.looked == 0


async def test_alone_there_is_nobody_to_ask(clock: FakeClock) -> None:
    sessions = alone()
    await sessions.refresh("alice", "s", clock.now())
    assert model_of(sessions, clock) is None


def test_the_memory_is_bounded_and_the_longest_unused_goes_first(clock: FakeClock) -> None:
    """V2: callers invent session labels."""
    sessions = alone()
    for number in range(SESSIONS_MAX):
        sessions.keep("alice", f"s{number}", "small", clock.now())
    sessions.keep("alice", "s0", "small", clock.now())
    sessions.keep("alice", "one more", "small", clock.now())
    assert model_of(sessions, clock, "s0") == model_of(sessions, clock, "one more") == "small"
    assert model_of(sessions, clock, "s1") is None


# Among others.


async def test_the_first_choice_of_a_session_stands_at_every_gateway(clock: FakeClock) -> None:
    _, (one, two) = gateways(clock)
    one.keep("alice", "s", "small", clock.now())
    two.keep("alice", "s", "large", clock.now())
    assert model_of(one, clock) == model_of(two, clock) == "small"


async def test_a_gateway_learns_what_another_chose(clock: FakeClock) -> None:
    shared, (one, two) = gateways(clock)
    one.keep("alice", "s", "small", clock.now())
    await two.refresh("alice", "s", clock.now())
    assert model_of(two, clock) == "small"
    assert shared.looked == 1


async def test_a_move_wins_over_what_was_chosen_first(clock: FakeClock) -> None:
    shared, (one, two) = gateways(clock)
    one.keep("alice", "s", "small", clock.now())
    await two.refresh("alice", "s", clock.now())
    two.keep("alice", "s", "large", clock.now())
    assert shared.kept == [("small", False), ("large", True)]
    clock.advance(AGAIN_S)
    await one.refresh("alice", "s", clock.now())
    assert model_of(one, clock) == model_of(two, clock) == "large"


async def test_what_was_read_a_moment_ago_is_not_read_again(clock: FakeClock) -> None:
    shared, (one, two) = gateways(clock)
    one.keep("alice", "s", "small", clock.now())
    await one.refresh("alice", "s", clock.now())
    assert shared.looked == 0
    clock.advance(AGAIN_S - 1)
    await one.refresh("alice", "s", clock.now())
    assert shared.looked == 0
    clock.advance(1)
    await one.refresh("alice", "s", clock.now())
    await one.refresh("alice", "s", clock.now())
    assert shared.looked == 1
    await two.refresh("alice", None, clock.now())
    assert shared.looked == 1


def test_the_same_model_again_is_not_written_for_every_call(clock: FakeClock) -> None:
    shared, (one, _) = gateways(clock)
    for _ in range(AGAIN_S):
        one.keep("alice", "s", "small", clock.now())
        clock.advance(1)
    assert len(shared.kept) == 1


async def test_a_session_in_use_is_written_often_enough_not_to_end(clock: FakeClock) -> None:
    shared, (one, two) = gateways(clock)
    for _ in range(2 * STICKY_S):
        await one.refresh("alice", "s", clock.now())
        assert model_of(one, clock) in (None, "small")
        one.keep("alice", "s", "small", clock.now())
        clock.advance(1)
        assert clock.now() - shared.rows["alice", "s"][1] <= 2 * AGAIN_S * NANOSECONDS
    await two.refresh("alice", "s", clock.now())
    assert model_of(two, clock) == "small"


async def test_a_gateway_with_many_calls_of_a_session_learns_of_a_move_all_the_same(clock: FakeClock) -> None:
    """A call of its own is no news from the others."""
    _, (one, two) = gateways(clock)
    one.keep("alice", "s", "small", clock.now())
    await two.refresh("alice", "s", clock.now())
    two.keep("alice", "s", "large", clock.now())
    for _ in range(2 * AGAIN_S):
        clock.advance(1)
        await one.refresh("alice", "s", clock.now())
        one.keep("alice", "s", model_of(one, clock) or "", clock.now())
    assert model_of(one, clock) == "large"


async def test_a_session_that_ended_elsewhere_has_ended_here(clock: FakeClock) -> None:
    shared, (_, two) = gateways(clock)
    shared.rows["alice", "s"] = ("small", NOON)
    clock.advance(STICKY_S)
    await two.refresh("alice", "s", clock.now())
    assert model_of(two, clock) is None


async def test_a_gateway_that_lost_the_race_runs_on_with_the_winner(clock: FakeClock) -> None:
    """Its own choice is no move afterwards: the winner stays."""
    shared, (one, two) = gateways(clock)
    one.keep("alice", "s", "small", clock.now())
    two.keep("alice", "s", "large", clock.now())
    clock.advance(AGAIN_S)
    two.keep("alice", "s", "small", clock.now())
    assert shared.kept[-1] == ("small", False)
    assert shared.rows["alice", "s"][0] == "small"
