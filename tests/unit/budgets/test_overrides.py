"""What an approved override does to an evaluation (DESIGN sections 4 and 6)."""

import pytest

from palyra.budgets.binding import Degrade
from palyra.budgets.evaluate import evaluate, verdict
from palyra.budgets.evaluation import Allowance, Evaluation, Outcome, SingleUse, Status, amounts_of
from palyra.budgets.index import Attributes, PolicyIndex
from palyra.budgets.policy import PolicyDefaults, digest_of, parse_policy
from palyra.budgets.terms import Mode, UnknownPrice
from palyra.core.instant import Instant, parse_instant
from palyra.ledger.account import AccountKey

NOW = parse_instant("2026-11-23T15:00:00Z")
CALL = Attributes(principal="alice", provider="openai", model="gpt")
EXTRA = Allowance(5, ("apr_a", "apr_b"))
USE = SingleUse("apr_once", AccountKey("override:apr_once", "requests", "*", 0), Instant(NOW + 1))
ONCE = Allowance(once=3, single_use=USE)


def run(
    amount: int | None, posted: int, allowance: Allowance, action: str = "approval_required", **more: object
) -> Evaluation:
    """A call of ``amount`` on a budget of 10 nano-USD a day."""
    data = {"id": "p", "scope": "global", "metric": "cost_usd", "interval": "day", "hard_limit": "0.00000001"}
    policy = parse_policy(
        data | {"action": action} | more, defaults=PolicyDefaults(), version=1, actor="a", origin="file"
    )
    (binding,) = PolicyIndex([policy]).matching(CALL, NOW).each
    return evaluate(binding, posted, 0, amounts_of(amount, 2, 3), UnknownPrice.DENY, Mode.ENFORCED, allowance)


@pytest.mark.parametrize("action", ["block", "approval_required", "degrade", "alert"])
def test_what_was_granted_lets_a_call_go_over_the_limit_and_no_further(action: str) -> None:
    fits, too_much = run(5, 10, EXTRA, action), run(6, 10, EXTRA, action)
    assert (fits.status, fits.outcome) == (Status.OVERRIDE_APPLIED, Outcome.ADMIT)
    assert fits.overrides == ("apr_a", "apr_b")
    assert fits.single_use is None
    assert too_much.status is not Status.OVERRIDE_APPLIED
    assert too_much.overrides == ()


def test_within_the_limit_nothing_of_a_grant_is_used() -> None:
    for allowance in (EXTRA, ONCE):
        found = run(10, 0, allowance)
        assert (found.status, found.overrides, found.single_use) == (Status.OK, (), None)


def test_a_single_grant_lets_its_call_run_wherever_the_budget_stands() -> None:
    found = run(3, 1_000, ONCE)
    assert (found.status, found.outcome) == (Status.OVERRIDE_APPLIED, Outcome.ADMIT)
    assert found.single_use == USE
    assert found.overrides == ("apr_once",)
    assert run(4, 1_000, ONCE).status is Status.APPROVAL_REQUIRED


def test_a_single_grant_is_kept_where_a_larger_one_covers_the_call() -> None:
    both = Allowance(5, ("apr_a",), once=3, single_use=USE)
    assert run(3, 10, both).overrides == ("apr_a",)
    assert run(3, 13, both).overrides == ("apr_once",)


def test_what_remains_counts_what_was_granted() -> None:
    found = run(1, 12, EXTRA)
    assert (found.most, found.remaining) == (15, 3)
    assert run(1, 99, EXTRA).remaining == 0


def test_a_covered_call_need_not_move_to_a_cheaper_model() -> None:
    assert run(5, 10, EXTRA, "degrade").degrade is None
    assert run(6, 10, EXTRA, "degrade").degrade == Degrade(None, must=True)


def test_a_grant_is_no_price() -> None:
    assert run(None, 0, EXTRA).outcome is Outcome.DENY
    over = run(None, 12, Allowance(), unknown_price="allow")
    covered = run(None, 12, EXTRA, unknown_price="allow")
    assert over.outcome is Outcome.ASK
    assert (covered.status, covered.outcome) == (Status.UNKNOWN, Outcome.ADMIT)


def test_the_verdict_of_a_covered_call_is_that_it_runs_by_an_override() -> None:
    found = verdict([run(5, 10, EXTRA)])
    assert (found.outcome, found.status, found.deciding) == (Outcome.ADMIT, Status.OVERRIDE_APPLIED, None)


def test_the_message_names_the_approval() -> None:
    assert "apr_a, apr_b lets the call run" in run(5, 10, EXTRA).message
    assert "have an approval" in run(6, 10, EXTRA).message


def test_the_digest_of_a_policy_changes_with_any_field_and_with_nothing_else() -> None:
    data = {"id": "p", "scope": "global", "metric": "requests", "interval": "day", "hard_limit": 3}
    first, second, other = (
        parse_policy(each, defaults=PolicyDefaults(), version=version, actor=actor, origin="api")
        for each, version, actor in ((data, 1, "a"), (data, 2, "b"), (data | {"hard_limit": 4}, 1, "a"))
    )
    assert digest_of(first) == digest_of(second)
    assert digest_of(first) != digest_of(other)
