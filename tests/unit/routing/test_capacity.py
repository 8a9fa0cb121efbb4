"""Slots for calls in flight: limits, the foreground's reserve, queues."""

import pytest

from palyra.routing.capacity import (
    READY,
    WAITERS_MAX,
    Capacity,
    HeldUp,
    Lease,
    LeaseState,
    Preview,
    Priority,
    ScopeLoad,
)

FOREGROUND, BACKGROUND = Priority.FOREGROUND, Priority.BACKGROUND
P, C1, C2 = "provider:p", "credential:1", "credential:2"


def taken(capacity: Capacity[str], scopes: tuple[str, ...], priority: Priority = FOREGROUND) -> Lease:
    lease = capacity.take(scopes, priority)
    assert lease is not None
    return lease


def ready(capacity: Capacity[str]) -> list[str]:
    """Everyone who gets slots now."""
    found: list[str] = []
    while (granted := capacity.next_ready()) is not None:
        found.append(granted[0])
    return found


def load(capacity: Capacity[str], scope: str = P) -> ScopeLoad:
    (found,) = [each for each in capacity.snapshot() if each.scope == scope]
    return found


def test_without_limits_nothing_is_counted_and_nothing_blocks() -> None:
    capacity = Capacity[str]({P: None})
    leases = [taken(capacity, (P, C1), BACKGROUND) for _ in range(100)]
    assert all(lease is leases[0] for lease in leases)
    assert capacity.preview((P,), BACKGROUND) is READY
    assert not capacity.give_back(leases[0])
    assert capacity.snapshot() == ()


def test_a_scope_without_a_limit_does_not_block_beside_one_with() -> None:
    capacity = Capacity[str]({P: 1})
    taken(capacity, (P,))
    assert taken(capacity, (C1,)) is taken(capacity, (C1,))


def test_a_call_takes_a_slot_of_each_scope_or_none() -> None:
    capacity = Capacity[str]({P: 2, C1: 1})
    taken(capacity, (P, C1))
    assert capacity.take((P, C1), FOREGROUND) is None
    assert capacity.preview((P, C1), FOREGROUND) == Preview(
        LeaseState.WAITING, HeldUp.SHARED_CAPACITY_EXHAUSTED, C1
    )
    assert load(capacity).foreground == 1
    taken(capacity, (P, C2))
    assert load(capacity).foreground == 2


def test_the_same_scope_twice_is_one_slot() -> None:
    capacity = Capacity[str]({P: 1})
    taken(capacity, (P, P))
    assert load(capacity).foreground == 1


def test_any_number_of_combinations_may_come() -> None:
    capacity = Capacity[str]({P: 1_500})
    for number in range(1_500):
        taken(capacity, (P, f"credential:{number}"))
    assert capacity.take((P, "credential:0"), FOREGROUND) is None


def test_a_lease_gives_back_once() -> None:
    capacity = Capacity[str]({P: 2})
    first = taken(capacity, (P,))
    taken(capacity, (P,), BACKGROUND)
    assert not capacity.give_back(first), "nobody waits"
    assert not capacity.give_back(first)
    assert (load(capacity).foreground, load(capacity).background) == (0, 1)


@pytest.mark.parametrize(("limit", "share"), [(1, 1), (2, 1), (3, 2), (4, 3), (7, 6), (8, 6), (100, 75)])
def test_background_leaves_a_reserve_to_the_foreground(limit: int, share: int) -> None:
    capacity = Capacity[str]({P: limit})
    for _ in range(share):
        taken(capacity, (P,), BACKGROUND)
    assert capacity.take((P,), BACKGROUND) is None
    for _ in range(limit - share):
        assert capacity.preview((P,), BACKGROUND) == Preview(
            LeaseState.DEFERRED, HeldUp.FOREGROUND_CAPACITY_RESERVED, P
        )
        taken(capacity, (P,))
    for priority in Priority:
        assert capacity.preview((P,), priority) == Preview(
            LeaseState.WAITING, HeldUp.SHARED_CAPACITY_EXHAUSTED, P
        )


def test_the_foreground_may_use_every_slot() -> None:
    capacity = Capacity[str]({P: 4})
    for _ in range(4):
        taken(capacity, (P,))
    assert capacity.take((P,), FOREGROUND) is None


def test_background_yields_while_a_foreground_call_waits_on_one_of_its_scopes() -> None:
    capacity = Capacity[str]({P: 4, C1: 1, C2: 1})
    taken(capacity, (P, C1))
    assert capacity.wait((P, C1), FOREGROUND, "f")
    assert capacity.preview((P, C2), BACKGROUND) == Preview(
        LeaseState.DEFERRED, HeldUp.FOREGROUND_WAITERS_PRESENT, P
    )
    assert capacity.take((P, C2), BACKGROUND) is None
    assert capacity.preview((C2,), BACKGROUND) is READY
    assert load(capacity).deferred_total == 1
    assert load(capacity, C2).deferred_total == 0


def test_deferred_comes_before_waiting() -> None:
    capacity = Capacity[str]({C1: 1, P: 2})
    taken(capacity, (C1,))
    taken(capacity, (P,), BACKGROUND)
    assert capacity.preview((C1, P), BACKGROUND).scope == P
    assert capacity.preview((C1, P), BACKGROUND).state is LeaseState.DEFERRED
    taken(capacity, (P,))
    assert capacity.preview((C1, P), BACKGROUND) == Preview(
        LeaseState.WAITING, HeldUp.SHARED_CAPACITY_EXHAUSTED, C1
    )


def test_waiters_get_slots_foreground_first_and_then_in_order() -> None:
    capacity = Capacity[str]({P: 1})
    lease = taken(capacity, (P,))
    capacity.wait((P,), BACKGROUND, "b1")
    capacity.wait((P, C1), BACKGROUND, "b2")
    capacity.wait((P, C1), FOREGROUND, "f1")
    capacity.wait((P,), FOREGROUND, "f2")
    assert capacity.next_ready() is None
    order: list[str] = []
    while capacity.give_back(lease):
        granted = capacity.next_ready()
        assert granted is not None
        assert capacity.next_ready() is None, "the slots went with the ticket"
        order.append(granted[0])
        lease = granted[1]
    assert order == ["f1", "f2", "b1", "b2"]
    assert load(capacity) == ScopeLoad(P, 1, 0, 0, 0, 0, 0, 0)


def test_a_waiter_for_a_full_scope_does_not_hold_up_others() -> None:
    capacity = Capacity[str]({P: 3, C1: 1, C2: 1})
    taken(capacity, (P, C1))
    second = taken(capacity, (P, C2))
    capacity.wait((P, C1), FOREGROUND, "full")
    capacity.wait((P, C2), FOREGROUND, "free")
    assert capacity.give_back(second)
    assert ready(capacity) == ["free"]


def test_foreground_goes_first_also_where_the_others_wait_for_something_else() -> None:
    capacity = Capacity[str]({C1: 1, C2: 1})
    first, second = taken(capacity, (C1,)), taken(capacity, (C2,))
    capacity.wait((C1,), BACKGROUND, "later")
    capacity.wait((C2,), FOREGROUND, "first")
    first.end()
    second.end()
    assert ready(capacity) == ["first", "later"]


def test_a_newcomer_does_not_overtake_a_waiter_who_can_go() -> None:
    capacity = Capacity[str]({P: 1, C2: 1})
    lease = taken(capacity, (P,))
    capacity.wait((P, C1), FOREGROUND, "first")
    capacity.give_back(lease)
    assert capacity.preview((P,), FOREGROUND) == Preview(
        LeaseState.WAITING, HeldUp.SHARED_CAPACITY_EXHAUSTED, P
    )
    assert capacity.take((P,), FOREGROUND) is None
    assert capacity.take((C2,), FOREGROUND) is not None
    assert ready(capacity) == ["first"]


def test_a_foreground_newcomer_does_overtake_background_waiters() -> None:
    capacity = Capacity[str]({P: 1})
    lease = taken(capacity, (P,))
    capacity.wait((P,), BACKGROUND, "b")
    capacity.give_back(lease)
    taken(capacity, (P,))
    assert ready(capacity) == []


def test_who_leaves_is_forgotten() -> None:
    capacity = Capacity[str]({P: 1})
    lease = taken(capacity, (P,))
    capacity.wait((P,), FOREGROUND, "a")
    capacity.wait((P,), FOREGROUND, "b")
    assert capacity.leave("a")
    assert not capacity.leave("a")
    assert not capacity.leave("never came")
    assert load(capacity).foreground_waiting == 1
    capacity.give_back(lease)
    assert ready(capacity) == ["b"]
    assert not capacity.leave("b"), "it has its slots: they must be given back"
    assert load(capacity).foreground == 1


def test_a_foreground_waiter_who_leaves_frees_the_way_for_background() -> None:
    capacity = Capacity[str]({P: 4, C1: 1})
    taken(capacity, (P, C1))
    capacity.wait((P, C1), FOREGROUND, "f")
    capacity.wait((P,), BACKGROUND, "b")
    assert ready(capacity) == []
    capacity.leave("f")
    assert ready(capacity) == ["b"]


def test_waits_that_time_out_count_where_they_were_held_up() -> None:
    capacity = Capacity[str]({P: 4, C1: 1})
    lease = taken(capacity, (P, C1))
    capacity.wait((P, C1), FOREGROUND, "a")
    capacity.wait((P, C1), FOREGROUND, "b")
    capacity.leave("a", timed_out=True)
    capacity.give_back(lease)
    capacity.leave("b", timed_out=True)
    assert load(capacity).timed_out_total == 0
    assert load(capacity, C1).timed_out_total == 1


def test_a_ticket_waits_once() -> None:
    capacity = Capacity[str]({P: 1})
    capacity.wait((P,), FOREGROUND, "a")
    with pytest.raises(ValueError, match="once"):
        capacity.wait((P,), BACKGROUND, "a")


def test_the_queue_is_bounded() -> None:
    capacity = Capacity[int]({P: 0})
    for ticket in range(WAITERS_MAX):
        assert capacity.wait((P,), FOREGROUND, ticket)
    assert not capacity.wait((P,), FOREGROUND, WAITERS_MAX)
    assert capacity.leave(0)
    assert capacity.wait((P,), FOREGROUND, WAITERS_MAX)


def test_a_raised_limit_makes_waiters_ready() -> None:
    capacity = Capacity[str]({P: 0})
    for ticket in "abc":
        capacity.wait((P,), FOREGROUND, ticket)
    capacity.set_limit(P, 2)
    assert ready(capacity) == ["a", "b"]
    capacity.set_limit(P, None)
    assert ready(capacity) == ["c"]
    assert load(capacity) == ScopeLoad(P, None, 3, 0, 0, 0, 0, 0)


def test_a_lowered_limit_takes_nothing_away_and_lets_nothing_new_through() -> None:
    capacity = Capacity[str]({P: 3})
    leases = [taken(capacity, (P,)) for _ in range(3)]
    capacity.set_limit(P, 1)
    for lease in leases:
        assert capacity.take((P,), FOREGROUND) is None
        capacity.give_back(lease)
    taken(capacity, (P,))


def test_a_first_limit_counts_new_calls_only_and_binds_those_who_wait() -> None:
    capacity = Capacity[str]({P: 1})
    before = taken(capacity, (C1,))
    taken(capacity, (P,))
    capacity.wait((P, C1), BACKGROUND, "w")
    capacity.set_limit(C1, 1)
    assert load(capacity, C1) == ScopeLoad(C1, 1, 0, 0, 0, 1, 0, 0)
    assert load(capacity, P).background_waiting == 1
    taken(capacity, (C1,))
    capacity.give_back(before)
    assert capacity.take((C1,), FOREGROUND) is None


def test_a_removed_limit_that_comes_back_still_counts_who_is_inside() -> None:
    capacity = Capacity[str]({P: 1})
    lease = taken(capacity, (P,))
    capacity.set_limit(P, None)
    capacity.set_limit(P, 1)
    assert capacity.take((P,), FOREGROUND) is None
    capacity.give_back(lease)
    taken(capacity, (P,))


def test_a_removed_limit_defers_nobody() -> None:
    capacity = Capacity[str]({P: 1, C1: 0})
    capacity.wait((P, C1), FOREGROUND, "f")
    assert capacity.take((P,), BACKGROUND) is None
    capacity.set_limit(P, None)
    taken(capacity, (P,), BACKGROUND)


def test_a_negative_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        Capacity[str]({P: -1})
