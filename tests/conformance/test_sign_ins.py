"""What the port ``SignInRecords`` promises, on every store."""

import asyncio

import pytest

from fakes.gateways import join
from fakes.records import NOON, FakeClock
from fakes.stored import reopen
from fakes.till import Till, hold
from harness import postgres
from palyra.core.errors import LedgerUnavailable
from palyra.core.instant import NANOSECONDS, Instant
from palyra.lifecycle.signed_in import SignIn

HOUR_NS = 3_600 * NANOSECONDS


def sign_in(number: int = 1, key_id: str = "key-1", ends: int = NOON + 12 * HOUR_NS) -> SignIn:
    """The ``number``-th sign-in of a key, a second after the one before."""
    at = Instant(NOON + number * NANOSECONDS)
    return SignIn(f"{key_id}-{number:03}".ljust(64, "0"), key_id, "5" * 64, at, Instant(ends))


async def there(till: Till, *wanted: SignIn) -> list[bool]:
    """Whether each is stored as it was made."""
    return [await till.store.records.sign_in(each.token_sha256) == each for each in wanted]


async def save(till: Till, *made: SignIn, most: int = 100) -> None:
    for each in made:
        await till.store.records.save_sign_in(each, most)


async def test_a_sign_in_is_found_by_the_hash_of_its_token_alone(till: Till) -> None:
    await save(till, first := sign_in(1), sign_in(2))
    records = till.store.records
    assert await records.sign_in(first.token_sha256) == first
    assert await records.sign_in("0" * 64) is None
    assert await records.sign_in(first.key_id) is None


async def test_it_is_gone_once_it_is_dropped_and_dropping_it_again_is_nothing(till: Till) -> None:
    await save(till, first := sign_in(1), second := sign_in(2))
    for _ in range(2):
        await till.store.records.drop_sign_in(first.token_sha256)
    assert await there(till, first, second) == [False, True]


async def test_of_a_key_the_newest_are_kept_and_other_keys_lose_nothing(till: Till) -> None:
    other = sign_in(0, "key-2")
    mine = [sign_in(number) for number in range(5)]
    await save(till, other, *mine, most=3)
    assert await there(till, other, *mine) == [True, False, False, True, True, True]


async def test_what_is_over_is_dropped_with_the_next_one_and_when_asked(till: Till) -> None:
    over, later, last = sign_in(1, ends=NOON + HOUR_NS), sign_in(2, "key-2"), sign_in(3, "key-3")
    await save(till, over, later)
    await till.store.records.drop_old_sign_ins(Instant(over.expires_at - 1))
    assert await there(till, over, later) == [True, True]
    await till.store.records.drop_old_sign_ins(over.expires_at)
    assert await there(till, over, later) == [False, True]
    at = later.expires_at
    await save(till, newer := SignIn(last.token_sha256, "key-3", "5" * 64, at, Instant(at + HOUR_NS)))
    assert await there(till, later, newer) == [False, True]


async def test_it_holds_over_a_restart(till: Till) -> None:
    await save(till, made := sign_in())
    await reopen(till)
    assert await there(till, made) == [True]


async def test_it_changes_no_money_and_no_journal(till: Till) -> None:
    """Calls that share a commit with it are as ever; one token twice is no other call's fault."""
    till.reserve("req_1", hold(100, 10_000))
    twice = await asyncio.gather(
        till.store.records.save_sign_in(sign_in(), 100),
        till.store.records.save_sign_in(sign_in(), 100),
        return_exceptions=True,
    )
    till.settle("req_1", 60)
    await till.flush()
    assert till.balance().posted == 60
    assert all(each is None or isinstance(each, LedgerUnavailable) for each in twice)
    assert await there(till, sign_in()) == [True]


async def test_gateways_on_one_database_share_them_and_the_bound() -> None:
    database = postgres.new_database()
    one, other = await join(database, FakeClock()), await join(database, FakeClock())
    made = [sign_in(number) for number in range(20)]
    await asyncio.gather(
        *((one, other)[place % 2].store.records.save_sign_in(each, 10) for place, each in enumerate(made))
    )
    await one.store.records.save_sign_in(last := sign_in(20), 10)
    assert await there(other.till, *made, last) == [False] * 11 + [True] * 10
    await other.store.records.drop_sign_in(last.token_sha256)
    assert await one.store.records.sign_in(last.token_sha256) is None
    await one.store.close()
    await other.store.close()


@pytest.mark.parametrize("most", [1, 100])
async def test_the_newest_is_never_the_one_that_is_dropped(till: Till, most: int) -> None:
    for number in range(3):
        await save(till, made := sign_in(number), most=most)
        assert await there(till, made) == [True]
