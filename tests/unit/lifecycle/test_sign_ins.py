"""Sign-ins: bound to the key that was shown, and to nothing that can be read from what is stored."""

import secrets
from itertools import count

import pytest

from fakes.plane import plane_rules
from fakes.records import FakeClock, FakeRecords
from palyra.core.errors import InvalidApiKey, TooManyAttempts
from palyra.core.instant import NANOSECONDS, Instant
from palyra.core.secret import Secret
from palyra.identity.tokens import csrf_token_of, format_token, hash_token, is_same, seal_of
from palyra.lifecycle.failed_sign_ins import (
    ADDRESSES_MAX,
    FORGOTTEN_EACH_S,
    IN_A_ROW_MAX,
    FailedSignIns,
)
from palyra.lifecycle.rules import CONFIGURED_OWNER, Rules
from palyra.lifecycle.sign_ins import SignIns

HERE = "127.0.0.1"
TOKEN = format_token(bytes(range(32)))


def desk(records: FakeRecords, rules: Rules, hours: int = 12) -> SignIns:
    numbers = count()
    clock = FakeClock()
    return SignIns(records, rules, clock, lambda size: next(numbers).to_bytes(size, "big"), hours)


async def owned(records: FakeRecords, key: str) -> Rules:
    """Rules as after a start with this owner key in the configuration."""
    rules = plane_rules(records, FakeClock())
    await rules.load()
    await rules.ensure_owner_key(Secret(key))
    return rules


async def test_a_sign_in_is_found_with_its_token_and_has_the_rights_of_its_key() -> None:
    records = FakeRecords()
    rules = await owned(records, "the first owner key")
    token, made = await desk(records, rules, hours=1).sign_in("the first owner key", HERE)
    assert await desk(records, rules).find(token) == made
    assert made.subject == rules.subject_of(CONFIGURED_OWNER)
    assert made.sign_in.expires_at - made.sign_in.signed_in_at == 3_600 * 10**9


async def test_another_key_under_the_same_id_ends_the_sign_ins_of_the_one_before() -> None:
    """Whoever changes the owner key in the configuration shuts everybody out who had the old one."""
    records = FakeRecords()
    token, _ = await desk(records, await owned(records, "an owner key")).sign_in("an owner key", HERE)
    assert await desk(records, await owned(records, "an owner key")).find(token) is not None
    assert await desk(records, await owned(records, "another owner key")).find(token) is None


@pytest.mark.parametrize("wrong", ["", "x", TOKEN, TOKEN + "A", "\ud800" * 43, "A" * 100_000])
async def test_what_is_no_token_is_nobody(wrong: str) -> None:
    records = FakeRecords()
    found = desk(records, await owned(records, "an owner key"))
    await found.sign_in("an owner key", HERE)
    assert await found.find(wrong) is None
    with pytest.raises(InvalidApiKey) as caught:
        await found.sign_in(wrong, HERE)
    assert caught.value.param == "key"


async def test_who_guesses_waits_between_tries_and_nobody_else_does() -> None:
    records, clock = FakeRecords(), FakeClock()
    found = SignIns(records, await owned(records, "an owner key"), clock, secrets.token_bytes)
    for _ in range(IN_A_ROW_MAX):
        with pytest.raises(InvalidApiKey):
            await found.sign_in("a guess", HERE)
    for _ in range(3):  # what is refused does not count
        with pytest.raises(TooManyAttempts) as caught:
            await found.sign_in("an owner key", HERE)
        assert caught.value.retry_after_s == FORGOTTEN_EACH_S
    await found.sign_in("an owner key", "127.0.0.2")
    clock.advance(FORGOTTEN_EACH_S - 1)
    with pytest.raises(TooManyAttempts) as caught:
        await found.sign_in("an owner key", HERE)
    assert caught.value.retry_after_s == 1
    clock.advance(1)
    with pytest.raises(InvalidApiKey):
        await found.sign_in("a guess", HERE)
    with pytest.raises(TooManyAttempts):
        await found.sign_in("an owner key", HERE)
    clock.advance(FORGOTTEN_EACH_S)
    await found.sign_in("an owner key", HERE)


def test_failures_of_a_long_time_ago_are_forgotten_and_of_many_addresses_the_oldest() -> None:
    failed, now = FailedSignIns(), FakeClock().now()

    def fail_often(address: str, now: Instant) -> None:
        for _ in range(IN_A_ROW_MAX):
            failed.check(address, now)
            failed.note(address, now)
        with pytest.raises(TooManyAttempts):
            failed.check(address, now)

    fail_often(HERE, now)
    fail_often(HERE, Instant(now + IN_A_ROW_MAX * FORGOTTEN_EACH_S * NANOSECONDS))
    fail_often("127.0.0.2", now)
    for number in range(ADDRESSES_MAX - 1):
        failed.note(f"address {number}", now)
    failed.check(HERE, now)
    with pytest.raises(TooManyAttempts):
        failed.check("127.0.0.2", now)


async def test_what_is_over_can_be_dropped() -> None:
    records, clock = FakeRecords(), FakeClock()
    rules = await owned(records, "an owner key")
    found = SignIns(records, rules, clock, secrets.token_bytes, 1)
    await found.sign_in("an owner key", HERE)
    await found.tidy()
    assert len(records.kept.sign_ins) == 1
    clock.advance(3_600)
    await found.tidy()
    assert not records.kept.sign_ins


def test_the_secrets_of_a_sign_in_do_not_tell_of_each_other() -> None:
    derived = {hash_token(TOKEN), csrf_token_of(TOKEN), seal_of(TOKEN, "1" * 64), seal_of(TOKEN, "2" * 64)}
    assert len(derived) == 4
    assert TOKEN not in derived
    assert csrf_token_of(TOKEN) != csrf_token_of(format_token(bytes(32)))
    assert not hash_token(TOKEN).startswith(csrf_token_of(TOKEN)[:4])


def test_a_token_is_made_of_256_bits() -> None:
    assert len(TOKEN) == 43
    with pytest.raises(ValueError, match="32 random bytes"):
        format_token(bytes(31))


@pytest.mark.parametrize(("one", "other", "same"), [("a", "a", True), ("a", "b", False), ("é", "é", True)])
def test_secrets_of_any_text_can_be_compared(one: str, other: str, same: bool) -> None:
    assert is_same(one, other) is same
    assert not is_same(one, "\udcff")
