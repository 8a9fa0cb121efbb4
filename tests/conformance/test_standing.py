"""Where budgets stand now, on every store: one read for all of them."""

from fakes.till import DAY_END, DAY_START, HALF_DAY_NS, Till, account, hold
from palyra.core.instant import Instant
from palyra.ledger.account import AccountKey
from palyra.lifecycle.standing import OpenWindow


def window(policy_id: str, metric: str = "cost_usd", start: int = DAY_START) -> OpenWindow:
    return OpenWindow(policy_id, metric, Instant(start))


async def test_the_accounts_with_the_most_consumed_come_first(till: Till) -> None:
    for number, (entity, amount) in enumerate((("a", 5), ("b", 70), ("c", 30), ("d", 30))):
        till.reserve(f"req_{number}", hold(amount, key=account("daily", entity)))
    till.settle("req_1", 40)
    await till.flush()

    found = await till.store.records.standing([window("daily")], 3)

    standing = found["daily"]
    assert standing.total == 4
    assert [each.key.entity for each in standing.accounts] == ["b", "c", "d"]
    assert [(each.balance.posted, each.balance.held) for each in standing.accounts] == [
        (40, 0),
        (0, 30),
        (0, 30),
    ]
    assert {each.window_end for each in standing.accounts} == {DAY_END}
    for number in (0, 2, 3):
        till.release(f"req_{number}")


async def test_each_window_is_asked_for_by_policy_metric_and_start(till: Till) -> None:
    yesterday = AccountKey("daily", "cost_usd", "alice", DAY_START - 2 * HALF_DAY_NS)
    till.reserve(
        "req_1",
        hold(1, key=account("daily")),
        hold(2, key=account("tokens", metric="total_tokens")),
        hold(3, key=account("daily", metric="requests")),
        hold(4, key=account("other")),
        hold(5, key=yesterday, window_end=DAY_START),
    )
    await till.flush()
    records = till.store.records

    found = await records.standing([window("daily"), window("tokens", "total_tokens"), window("none")], 9)

    assert {name: [each.balance.held for each in some.accounts] for name, some in found.items()} == {
        "daily": [1],
        "tokens": [2],
    }
    assert await records.standing([], 9) == {}
    many = [window(f"p{number}") for number in range(99)]
    assert list(await records.standing([*many, window("other")], 9)) == ["other"]
    till.release("req_1")
