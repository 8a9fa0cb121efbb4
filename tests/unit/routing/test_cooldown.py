"""Cooldowns of credentials and models: how long, for whom, and that they always end (W33)."""

from palyra.core.instant import NANOSECONDS, Instant
from palyra.routing.cooldown import ENTRIES_MAX, Cooldown, Cooldowns
from palyra.routing.failure import Cools, Fault, Reason

START = 1_800_000_000


def at(seconds: int) -> Instant:
    return Instant((START + seconds) * NANOSECONDS)


def fault(reason: Reason, cools: Cools | None, seconds: int | None = None) -> Fault:
    asked = None if seconds is None else seconds * NANOSECONDS
    return Fault(reason, False, False, True, cools=cools, retry_after_ns=asked)


def limited(seconds: int | None = None) -> Fault:
    return fault(Reason.RATE_LIMITED, "model", seconds)


QUOTA = fault(Reason.QUOTA, "credential")
AUTH = fault(Reason.AUTH, "credential")


def test_without_faults_nothing_cools() -> None:
    cooldowns = Cooldowns()
    assert not cooldowns.entries
    assert cooldowns.standing("c", "m", at(0)) is None
    cooldowns.succeeded("c", "m", at(0))
    assert cooldowns.cool("c", "m", fault(Reason.FORBIDDEN, None), at(0)) is None
    assert not cooldowns.entries


def test_a_rate_limit_cools_one_model_of_one_credential() -> None:
    cooldowns = Cooldowns()
    expected = Cooldown(at(5), at(0), Reason.RATE_LIMITED)
    assert cooldowns.cool("c", "m", limited(), at(0)) == expected
    assert cooldowns.standing("c", "m", at(0)) == expected
    assert cooldowns.standing("c", "other", at(0)) is None
    assert cooldowns.standing("other", "m", at(0)) is None


def test_a_quota_cools_all_models_of_a_credential() -> None:
    cooldowns = Cooldowns()
    cooldowns.cool("c", "m", QUOTA, at(0))
    for model in ("m", "other"):
        assert cooldowns.standing("c", model, at(299)) == Cooldown(at(300), at(0), Reason.QUOTA)
    assert cooldowns.standing("other", "m", at(0)) is None


def test_every_cooldown_ends_by_time_and_leaves_nothing_behind() -> None:
    for what, seconds in ((limited(), 5), (AUTH, 60), (QUOTA, 300), (limited(7), 7), (limited(9_999), 3_600)):
        cooldowns = Cooldowns()
        cooldowns.cool("c", "m", what, at(0))
        assert cooldowns.standing("c", "m", at(seconds - 1)) is not None
        assert cooldowns.standing("c", "m", at(seconds)) is None
        assert not cooldowns.entries


def test_a_reason_without_a_default_cools_briefly() -> None:
    cooldown = Cooldowns().cool("c", "m", fault(Reason.OVERLOADED, "model"), at(0))
    assert cooldown == Cooldown(at(5), at(0), Reason.OVERLOADED)


def test_a_provider_that_asks_for_no_time_gets_none() -> None:
    cooldowns = Cooldowns()
    assert cooldowns.cool("c", "m", limited(0), at(0)) is None
    assert not cooldowns.entries


def test_the_cooldown_that_ends_later_counts() -> None:
    cooldowns = Cooldowns()
    cooldowns.cool("c", "m", AUTH, at(0))
    cooldowns.cool("c", "m", limited(10), at(0))
    assert cooldowns.standing("c", "m", at(9)) == Cooldown(at(60), at(0), Reason.AUTH)
    assert cooldowns.standing("c", "m", at(20)) == Cooldown(at(60), at(0), Reason.AUTH)
    cooldowns.cool("c", "m", limited(100), at(20))
    assert cooldowns.standing("c", "m", at(20)) == Cooldown(at(120), at(20), Reason.RATE_LIMITED)
    assert cooldowns.standing("c", "m", at(70)) == Cooldown(at(120), at(20), Reason.RATE_LIMITED)
    assert cooldowns.standing("c", "other", at(70)) is None


def test_a_shorter_cooldown_does_not_cut_a_longer_one_short() -> None:
    cooldowns = Cooldowns()
    cooldowns.cool("c", "m", QUOTA, at(0))
    assert cooldowns.cool("c", "m", AUTH, at(10)) == Cooldown(at(300), at(10), Reason.QUOTA)
    assert cooldowns.cool("c", "m", AUTH, at(290)) == Cooldown(at(350), at(290), Reason.AUTH)


def test_a_success_clears_what_it_disproves() -> None:
    cooldowns = Cooldowns()
    cooldowns.cool("c", "m", QUOTA, at(0))
    cooldowns.cool("c", "m", limited(500), at(0))
    cooldowns.cool("c", "other", limited(500), at(0))
    cooldowns.succeeded("c", "m", at(1))
    assert cooldowns.standing("c", "m", at(1)) is None
    assert cooldowns.standing("c", "other", at(1)) is not None


def test_a_success_of_a_call_from_before_the_cooldown_clears_nothing() -> None:
    cooldowns = Cooldowns()
    cooldowns.cool("c", "m", limited(30), at(10))
    cooldowns.succeeded("c", "m", at(9))
    assert cooldowns.standing("c", "m", at(11)) is not None


def test_entries_are_bounded_and_the_oldest_makes_room() -> None:
    cooldowns = Cooldowns()
    for number in range(ENTRIES_MAX):
        cooldowns.cool("c", f"m{number}", limited(), at(0))
    cooldowns.cool("c", "m0", limited(), at(1))
    cooldowns.cool("c", "one more", limited(), at(1))
    assert len(cooldowns.entries) == ENTRIES_MAX
    assert cooldowns.standing("c", "m0", at(2)) is not None
    assert cooldowns.standing("c", "m1", at(2)) is None
    assert cooldowns.standing("c", "one more", at(2)) is not None


def test_a_clock_that_jumps_back_does_not_prolong_a_cooldown() -> None:
    cooldowns = Cooldowns()
    cooldowns.cool("c", "m", limited(), at(0))
    assert cooldowns.standing("c", "m", at(-4)) is not None, "a call may have read the clock a little earlier"
    assert cooldowns.standing("c", "m", at(-5)) is None
    assert cooldowns.standing("c", "m", at(-86_400)) is None
    assert cooldowns.cool("c", "m", limited(), at(-86_400)) == Cooldown(
        at(-86_395), at(-86_400), Reason.RATE_LIMITED
    )


def test_the_snapshot_lists_what_stands() -> None:
    cooldowns = Cooldowns()
    cooldowns.cool("a", "m", limited(), at(0))
    cooldowns.cool("b", "m", AUTH, at(0))
    assert [entry[:2] for entry in cooldowns.snapshot(at(1))] == [("a", "m"), ("b", None)]
    assert cooldowns.snapshot(at(10)) == [("b", None, Cooldown(at(60), at(0), Reason.AUTH))]
