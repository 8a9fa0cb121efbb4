"""The evaluation table of DESIGN section 4, the modes, and the verdict over all policies."""

from collections.abc import Mapping

import pytest
from msgspec import structs

from palyra.budgets.binding import PLACES, Degrade
from palyra.budgets.evaluate import (
    as_degraded,
    effective_mode,
    evaluate,
    evaluate_within,
    tightest,
    verdict,
)
from palyra.budgets.evaluation import Evaluation, Outcome, Status, amounts_of
from palyra.budgets.index import Attributes, PolicyIndex
from palyra.budgets.policy import PolicyDefaults, parse_policy
from palyra.budgets.terms import Metric, Mode, UnknownPrice
from palyra.core.instant import parse_instant
from palyra.ledger.account import Balance

NOW = parse_instant("2026-11-23T15:00:00Z")
NO_LIMITS: Mapping[str, object] = {}
CALL = Attributes(principal="alice", provider="openai", model="gpt")


def run(
    amount: int | None = 1,
    *,
    posted: int = 0,
    held: int = 0,
    mode: Mode = Mode.ENFORCED,
    unknown_price: UnknownPrice = UnknownPrice.DENY,
    limits: Mapping[str, object] = NO_LIMITS,
    **changes: object,
) -> Evaluation:
    """Evaluate one policy, by default a daily one on money, for a call that costs ``amount`` nano-USD."""
    data = {"id": "p", "scope": "global", "metric": "cost_usd", "interval": "day", **limits, **changes}
    policy = parse_policy(data, defaults=PolicyDefaults(), version=2, actor="alice", origin="file")
    (binding,) = PolicyIndex([policy]).matching(CALL, NOW).each
    return evaluate(binding, posted, held, amounts_of(amount, 20, 30), unknown_price, mode)


LIMITS = {"soft_limit": "0.000000008", "hard_limit": "0.000000010"}


@pytest.mark.parametrize(
    ("action", "consumed", "status", "outcome"),
    [
        ("block", 7, Status.OK, Outcome.ADMIT),
        ("block", 8, Status.SOFT_LIMIT, Outcome.ADMIT),
        ("block", 9, Status.SOFT_LIMIT, Outcome.ADMIT),
        ("block", 10, Status.BLOCKED, Outcome.DENY),
        ("approval_required", 10, Status.APPROVAL_REQUIRED, Outcome.ASK),
        ("alert", 10, Status.HARD_LIMIT, Outcome.ADMIT),
    ],
)
def test_the_table(action: str, consumed: int, status: Status, outcome: Outcome) -> None:
    found = run(1, posted=consumed, action=action, limits=LIMITS)
    assert (found.status, found.outcome) == (status, outcome)


def test_exactly_the_limit_is_within_it() -> None:
    assert run(10, hard_limit="0.00000001").status is Status.OK
    assert run(11, hard_limit="0.00000001").status is Status.BLOCKED


def test_w6_what_is_posted_and_held_counts_with_this_call() -> None:
    found = run(3, posted=5, held=2, limits=LIMITS)
    assert (found.consumed, found.amount, found.projected, found.remaining) == (7, 3, 10, 3)


def test_a_request_budget_starts_at_zero_for_each_call() -> None:
    found = run(9, posted=100, held=100, interval="request", hard_limit="0.00000001")
    assert (found.consumed, found.projected, found.status) == (0, 9, Status.OK)


def test_remaining_is_never_negative_and_none_without_a_hard_limit() -> None:
    assert run(1, posted=50, limits=LIMITS).remaining == 0
    assert run(1, soft_limit="1").remaining is None


def test_a_degrade_policy_without_a_cheaper_model_blocks() -> None:
    found = run(11, action="degrade", limits=LIMITS)
    assert (found.status, found.outcome) == (Status.BLOCKED, Outcome.DENY)
    assert run(11, mode=Mode.DRY_RUN, action="degrade", limits=LIMITS).would == "would_block"


@pytest.mark.parametrize(
    ("metric", "amount"),
    [
        (Metric.COST_USD, 7),
        (Metric.TOTAL_TOKENS, 50),
        (Metric.INPUT_TOKENS, 20),
        (Metric.OUTPUT_TOKENS, 30),
        (Metric.REQUESTS, 1),
    ],
)
def test_each_metric_counts_its_own_amount(metric: Metric, amount: int) -> None:
    assert amounts_of(7, 20, 30)[PLACES[metric]] == amount


@pytest.mark.parametrize(
    ("written", "default", "outcome"),
    [
        (None, UnknownPrice.DENY, Outcome.DENY),
        (None, UnknownPrice.CEILING, Outcome.DENY),
        (None, UnknownPrice.ALLOW, Outcome.ADMIT),
        ("deny", UnknownPrice.ALLOW, Outcome.DENY),
        ("ceiling", UnknownPrice.ALLOW, Outcome.DENY),
        ("allow", UnknownPrice.DENY, Outcome.ADMIT),
    ],
)
def test_w3_an_unknown_cost_is_denied_unless_someone_allowed_it(
    written: str | None, default: UnknownPrice, outcome: Outcome
) -> None:
    changed: dict[str, object] = {} if written is None else {"unknown_price": written}
    found = _unknown(default, changed)
    assert (found.status, found.outcome) == (Status.UNKNOWN, outcome)
    assert (found.amount, found.projected, found.consumed) == (None, None, 3)


def _unknown(default: UnknownPrice, changes: dict[str, object]) -> Evaluation:
    data = {
        "id": "p",
        "scope": "global",
        "metric": "cost_usd",
        "interval": "day",
        "hard_limit": "1",
        **changes,
    }
    policy = parse_policy(data, defaults=PolicyDefaults(), version=2, actor="alice", origin="file")
    (binding,) = PolicyIndex([policy]).matching(CALL, NOW).each
    return evaluate(binding, 3, 0, amounts_of(None, 1, 1), default, Mode.ENFORCED)


def test_an_allowed_unknown_cost_does_not_pass_a_limit_that_is_exceeded_already() -> None:
    allow = UnknownPrice.ALLOW
    assert run(None, posted=11, unknown_price=allow, limits=LIMITS).status is Status.BLOCKED
    assert run(None, posted=10, unknown_price=allow, limits=LIMITS).status is Status.UNKNOWN
    alerting = run(None, posted=11, unknown_price=allow, action="alert", limits=LIMITS)
    assert (alerting.status, alerting.outcome) == (Status.UNKNOWN, Outcome.ADMIT)


def test_w3_denying_an_unknown_cost_beats_asking() -> None:
    found = run(None, posted=11, action="approval_required", limits=LIMITS)
    assert (found.status, found.outcome) == (Status.UNKNOWN, Outcome.DENY)


@pytest.mark.parametrize(
    ("mode", "outcome", "would"),
    [
        (Mode.SUGGEST, Outcome.ADMIT, None),
        (Mode.DRY_RUN, Outcome.ADMIT, "would_block"),
        (Mode.ENFORCED, Outcome.DENY, None),
    ],
)
def test_w10_the_three_modes_differ(mode: Mode, outcome: Outcome, would: str | None) -> None:
    found = run(11, mode=mode, limits=LIMITS)
    assert (found.status, found.outcome, found.would) == (Status.BLOCKED, outcome, would)


def test_dry_run_tells_asking_from_blocking_and_is_silent_about_admitting() -> None:
    assert run(11, mode=Mode.DRY_RUN, action="approval_required", limits=LIMITS).would == "would_ask"
    assert run(9, mode=Mode.DRY_RUN, limits=LIMITS).would is None


def test_the_mode_of_a_policy_caps_the_mode_of_the_call() -> None:
    assert run(11, mode=Mode.ENFORCED, limits=LIMITS).mode is Mode.ENFORCED
    capped = _capped("dry_run", Mode.ENFORCED)
    assert (capped.mode, capped.outcome) == (Mode.DRY_RUN, Outcome.ADMIT)
    assert _capped("enforced", Mode.SUGGEST).mode is Mode.SUGGEST
    assert _capped("dry_run", Mode.SUGGEST).under(Mode.ENFORCED).mode is Mode.DRY_RUN


def _capped(policy_mode: str, call_mode: Mode, **changes: object) -> Evaluation:
    data = {
        "id": "capped",
        "scope": "global",
        "metric": "requests",
        "interval": "day",
        "soft_limit": 0,
        "hard_limit": 0,
        "mode": policy_mode,
        **changes,
    }
    policy = parse_policy(data, defaults=PolicyDefaults(), version=2, actor="alice", origin="file")
    (binding,) = PolicyIndex([policy]).matching(CALL, NOW).each
    return evaluate(binding, 0, 0, amounts_of(1, 1, 1), UnknownPrice.DENY, call_mode)


@pytest.mark.parametrize(
    ("default", "requested", "may_loosen", "mode", "origin"),
    [
        (Mode.DRY_RUN, None, False, Mode.DRY_RUN, "config"),
        (Mode.DRY_RUN, Mode.ENFORCED, False, Mode.ENFORCED, "caller"),
        (Mode.DRY_RUN, Mode.SUGGEST, False, Mode.DRY_RUN, "config"),
        (Mode.DRY_RUN, Mode.SUGGEST, True, Mode.SUGGEST, "caller"),
        (Mode.DRY_RUN, Mode.DRY_RUN, True, Mode.DRY_RUN, "config"),
    ],
)
def test_w31_a_caller_may_only_be_stricter_without_the_right_to_loosen(
    default: Mode, requested: Mode | None, may_loosen: bool, mode: Mode, origin: str
) -> None:
    assert effective_mode(default, requested, may_loosen=may_loosen) == (mode, origin)


def test_w11_a_policy_tightens_the_mode_once_its_soft_limit_is_passed() -> None:
    quiet = run(8, routing_mode_override="enforced", limits=LIMITS)
    loud = run(9, routing_mode_override="enforced", limits=LIMITS)
    assert effective_mode(Mode.SUGGEST, None, may_loosen=False, evaluations=[quiet]).mode is Mode.SUGGEST
    found = effective_mode(Mode.SUGGEST, None, may_loosen=False, evaluations=[run(1, limits=LIMITS), loud])
    assert found == (Mode.ENFORCED, "policy:p")


def test_an_override_never_loosens_and_reaches_no_further_than_its_policy() -> None:
    loosening = run(9, routing_mode_override="suggest", limits=LIMITS)
    assert effective_mode(Mode.DRY_RUN, None, may_loosen=False, evaluations=[loosening]) == (
        Mode.DRY_RUN,
        "config",
    )
    trial = _capped("dry_run", Mode.SUGGEST, routing_mode_override="enforced")
    assert effective_mode(Mode.SUGGEST, None, may_loosen=False, evaluations=[trial]) == (
        Mode.DRY_RUN,
        "policy:capped",
    )


def test_w11_a_routing_threshold_sets_its_mode_or_the_override() -> None:
    thresholds: list[dict[str, object]] = [{"at": 0.5, "then": "routing_mode", "to": "dry_run"}, {"at": 0.6}]
    half = run(5, hard_limit="0.00000001", thresholds=thresholds)
    assert effective_mode(Mode.SUGGEST, None, may_loosen=False, evaluations=[half]).mode is Mode.DRY_RUN
    less = run(4, hard_limit="0.00000001", thresholds=thresholds)
    assert effective_mode(Mode.SUGGEST, None, may_loosen=False, evaluations=[less]).mode is Mode.SUGGEST
    by_override = run(
        9,
        hard_limit="0.00000001",
        routing_mode_override="enforced",
        thresholds=[{"at": 0.9, "then": "routing_mode"}],
    )
    found = effective_mode(Mode.SUGGEST, None, may_loosen=False, evaluations=[by_override])
    assert found.mode is Mode.ENFORCED


def test_thresholds_are_passed_when_they_are_reached() -> None:
    thresholds = [{"at": "0.8"}, {"at": 1}, {"at": "1.5"}]
    assert [str(each.at) for each in run(8, limits=LIMITS, thresholds=thresholds).passed] == ["0.8"]
    assert [str(each.at) for each in run(15, limits=LIMITS, thresholds=thresholds).passed] == [
        "0.8",
        "1",
        "1.5",
    ]
    assert [str(each.at) for each in run(None, posted=8, limits=LIMITS, thresholds=thresholds).passed] == [
        "0.8"
    ]
    assert run(8, limits=LIMITS).passed == ()


def test_no_policy_means_admit() -> None:
    assert verdict([]) == (Outcome.ADMIT, Status.OK, None, ())


def test_w13_the_worst_status_wins_whatever_the_order() -> None:
    blocked, soft, fine = run(11, limits=LIMITS), run(9, limits=LIMITS), run(1, limits=LIMITS)
    for order in ([blocked, soft, fine], [fine, soft, blocked], [soft, blocked, fine]):
        found = verdict(order)
        assert (found.outcome, found.status, found.deciding) == (Outcome.DENY, Status.BLOCKED, blocked)
    assert verdict([soft, fine]).status is Status.SOFT_LIMIT


def test_deny_beats_ask_beats_admit() -> None:
    asking = run(11, action="approval_required", limits=LIMITS)
    blocked, alerting = run(11, limits=LIMITS), run(11, action="alert", limits=LIMITS)
    assert verdict([alerting, asking]).outcome is Outcome.ASK
    assert verdict([alerting, asking]).deciding is asking
    assert verdict([asking, blocked, alerting]).deciding is blocked
    unknown = run(None, limits=LIMITS)
    assert verdict([asking, unknown]) == (Outcome.DENY, Status.UNKNOWN, unknown, ())


def test_w13_the_status_is_the_one_that_decides_where_modes_are_mixed() -> None:
    trial = _capped("dry_run", Mode.ENFORCED)
    asking = run(11, action="approval_required", limits=LIMITS)
    found = verdict([trial, asking])
    assert (found.outcome, found.status) == (Outcome.ASK, Status.APPROVAL_REQUIRED)
    assert found.would == (("capped", "would_block"),)


def test_w10_dry_run_admits_and_says_what_it_would_have_done() -> None:
    found = verdict([run(11, mode=Mode.DRY_RUN, limits=LIMITS)])
    assert found == (Outcome.ADMIT, Status.BLOCKED, None, (("p", "would_block"),))
    assert verdict([run(11, mode=Mode.SUGGEST, limits=LIMITS)]).would == ()


def test_the_tightest_of_several_denials_decides() -> None:
    loose = run(100, posted=5, hard_limit="0.00000001")
    tight = run(100, posted=9, hard_limit="0.00000001")
    assert verdict([loose, tight]).deciding is tight
    assert verdict([tight, loose]).deciding is tight


def test_a_denial_for_want_of_a_price_decides_even_without_a_hard_limit() -> None:
    unknown = run(None, soft_limit="1")
    assert verdict([unknown]).deciding is unknown


def test_tightest_is_the_least_share_left_and_none_without_hard_limits() -> None:
    half, most = run(1, posted=5, hard_limit="0.00000001"), run(1, posted=80, hard_limit="0.0000001")
    empty = run(0, hard_limit="0")
    assert tightest([half, most]) is most
    assert tightest([half, empty, most]) is empty
    assert tightest([run(1, soft_limit="1")]) is None


def test_an_evaluation_names_its_policy() -> None:
    found = run(1, limits=LIMITS)
    assert (found.policy_id, found.policy_version, found.scope) == ("p", 2, "global")
    assert (found.metric, found.interval.value, found.entity) == (Metric.COST_USD, "day", "*")
    assert (found.soft_limit, found.hard_limit) == (8, 10)


DOLLARS = {"soft_limit": "4", "hard_limit": "5"}


@pytest.mark.parametrize(
    ("evaluation", "says"),
    [
        (
            run(1_000_000_000, posted=4_500_000_000, limits=DOLLARS),
            (
                "Budget p (global, cost_usd per day): 4.50 USD used and 1.00 USD for this call make "
                "5.50 USD, over the hard limit of 5.00 USD; wait until 2026-11-24T00:00:00Z, "
                "ask for less output, or have hard_limit raised."
            ),
        ),
        (run(6_000_000_000, action="approval_required", limits=DOLLARS), "or have an approval."),
        (
            run(6_000_000_000, interval="total", limits=DOLLARS),
            "5.00 USD; ask for less output, or have hard_limit",
        ),
        (
            run(6_000_000_000, action="degrade", limits=DOLLARS),
            "over the hard limit of 5.00 USD, and no cheaper model fits; wait until 2026-11-24T00:00:00Z,",
        ),
        (
            run(6_000_000_000, action="degrade", mode=Mode.DRY_RUN, limits=DOLLARS),
            "5.00 USD; where enforced, the call moves to a cheaper model that fits, or is stopped.",
        ),
        (
            run(
                None, posted=6_000_000_000, action="degrade", unknown_price=UnknownPrice.ALLOW, limits=DOLLARS
            ),
            "6.00 USD used, and the limit is exceeded already, and no cheaper model fits; wait until",
        ),
        (run(6_000_000_000, action="alert", limits=DOLLARS), "it only alerts, calls still run."),
        (run(4_500_000_000, limits=DOLLARS), "over the soft limit of 4.00 USD; calls still run."),
        (run(1_000_000_000, limits=DOLLARS), "within the limit of 5.00 USD."),
        (run(1_000_000_000, soft_limit="4"), "within the limit of 4.00 USD."),
        (run(None, limits=DOLLARS), "cannot be computed; add a price for the model"),
        (run(None, unknown_price=UnknownPrice.ALLOW, limits=DOLLARS), "unknown and not counted"),
        (
            run(None, posted=6_000_000_000, unknown_price=UnknownPrice.ALLOW, limits=DOLLARS),
            "exceeded already; wait until",
        ),
        (
            run(metric="requests", interval="total", hard_limit=0),
            "hard limit of 0 requests; have hard_limit raised.",
        ),
        (
            run(metric="requests", hard_limit=0),
            "; wait until 2026-11-24T00:00:00Z, or have hard_limit raised.",
        ),
        (run(scope="principal:*", hard_limit="5"), "(principal alice, cost_usd per day)"),
        (run(scope="principal:alice", hard_limit="5"), "(principal:alice, cost_usd per day)"),
        (run(scope="session:*", hard_limit="5"), "(calls of alice without session, cost_usd per day)"),
    ],
)
def test_a_message_gives_the_numbers_and_the_next_step(evaluation: Evaluation, says: str) -> None:
    assert says in evaluation.message
    assert "\n" not in evaluation.message


def test_among_many_a_policy_with_a_mode_of_its_own_keeps_it() -> None:
    fine, capped = run(1, limits=LIMITS).binding, run(1, limits=LIMITS).binding
    capped = structs.replace(capped, mode=Mode.DRY_RUN)
    account = Balance(5, 2, 0, 0)
    found = evaluate_within(
        [fine, capped], [account, account], amounts_of(3, 1, 1), UnknownPrice.DENY, Mode.ENFORCED
    )
    assert [(each.status, each.mode, each.consumed) for each in found] == [
        (Status.SOFT_LIMIT, Mode.ENFORCED, 7),
        (Status.SOFT_LIMIT, Mode.DRY_RUN, 7),
    ]
    within = evaluate_within(
        [fine, capped], [account, account], amounts_of(1, 1, 1), UnknownPrice.DENY, Mode.ENFORCED
    )
    assert [(each.status, each.mode) for each in within] == [
        (Status.OK, Mode.ENFORCED),
        (Status.OK, Mode.DRY_RUN),
    ]


MUST = Degrade(None, must=True)
CHEAPER_FROM_HALF: list[dict[str, object]] = [
    {"at": 0.5, "then": "degrade", "to": "standard"},
    {"at": 0.6, "then": "notify"},
    {"at": 0.9, "then": "degrade"},
]


@pytest.mark.parametrize(
    ("consumed", "amount", "changes", "asks"),
    [
        (9, 1, {"action": "degrade"}, None),
        (10, 1, {"action": "degrade"}, MUST),
        (10, 1, {"action": "degrade", "degrade_to": "low"}, Degrade("low", must=True)),
        (10, None, {"action": "degrade"}, None),
        (11, None, {"action": "degrade"}, MUST),
        (10, 1, {"action": "block"}, None),
        (7, 1, {"degrade_to": "low"}, None),
        (8, 1, {"degrade_to": "low"}, Degrade("low", must=False)),
        (9, None, {"degrade_to": "low"}, Degrade("low", must=False)),
        (10, 1, {"degrade_to": "low"}, Degrade("low", must=False)),
        (3, 1, {"thresholds": CHEAPER_FROM_HALF}, None),
        (4, 1, {"thresholds": CHEAPER_FROM_HALF}, Degrade("standard", must=False)),
        (7, 1, {"thresholds": CHEAPER_FROM_HALF}, Degrade("standard", must=False)),
        (8, 1, {"thresholds": CHEAPER_FROM_HALF}, Degrade(None, must=False)),
        (8, 1, {"thresholds": CHEAPER_FROM_HALF, "degrade_to": "gpt-s"}, Degrade("gpt-s", must=False)),
        (10, 1, {"thresholds": CHEAPER_FROM_HALF, "action": "degrade"}, MUST),
        (7, 2, {"thresholds": CHEAPER_FROM_HALF[:1], "degrade_to": "low"}, Degrade("low", must=False)),
        (
            7,
            2,
            {"thresholds": [{"at": 0.8, "then": "degrade", "to": "standard"}], "degrade_to": "low"},
            Degrade("standard", must=False),
        ),
    ],
)
def test_a_policy_asks_for_a_cheaper_model_by_its_numbers(
    consumed: int, amount: int | None, changes: dict[str, object], asks: Degrade | None
) -> None:
    limits = {**LIMITS, "unknown_price": "allow", **changes}
    for mode in Mode:
        assert run(amount, posted=consumed, mode=mode, limits=limits).degrade == asks


@pytest.mark.parametrize(
    ("changes", "degrades"),
    [
        ({}, False),
        ({"thresholds": [{"at": 0.5}]}, False),
        ({"thresholds": CHEAPER_FROM_HALF}, True),
        ({"action": "degrade"}, True),
        ({"degrade_to": "low"}, True),
    ],
)
def test_a_binding_says_whether_it_may_ever_ask_for_a_cheaper_model(
    changes: dict[str, object], *, degrades: bool
) -> None:
    fields = {"scope": "global", "metric": "cost_usd", "interval": "day", **LIMITS}
    plain, other = (
        parse_policy(data, defaults=PolicyDefaults(), version=1, actor="a", origin="file")
        for data in ({"id": "a", **fields}, {"id": "b", **fields, **changes})
    )
    found = PolicyIndex([plain, other]).matching(CALL, NOW)
    assert [each.degrades for each in found.each] == [False, degrades]
    assert found.degrades is degrades


def test_a_moved_call_says_what_it_was_moved_for() -> None:
    dear = run(200_000_000, posted=4_900_000_000, action="degrade", limits=DOLLARS)
    cheap = run(10_000_000, posted=4_900_000_000, action="degrade", limits=DOLLARS)
    moved = as_degraded(cheap, dear, "gpt-4o-mini", instead_of="gpt-4o")
    assert (moved.status, moved.outcome, moved.amount) == (Status.DEGRADED, Outcome.ADMIT, 10_000_000)
    assert moved.message == (
        "Budget p (global, cost_usd per day): 4.90 USD used and 0.20 USD for this call on gpt-4o make "
        "5.10 USD, over the hard limit of 5.00 USD; the call runs on gpt-4o-mini for 0.01 USD."
    )
    assert moved.under(Mode.DRY_RUN).message == moved.message
    assert verdict([moved]) == (Outcome.ADMIT, Status.DEGRADED, None, ())


def test_a_call_moved_without_a_price_of_its_own_tells_what_was_used() -> None:
    dear = run(None, posted=6_000_000_000, action="degrade", limits=DOLLARS)
    cheap = run(0, posted=5_000_000_000, action="degrade", limits=DOLLARS)
    moved = as_degraded(cheap, dear, "gpt-s", instead_of="gpt-l")
    assert "6.00 USD used, over the hard limit of 5.00 USD; the call runs on gpt-s for 0.00 USD." in (
        moved.message
    )


@pytest.mark.parametrize(
    ("dear", "cheap"),
    [
        (run(10, action="degrade", limits=LIMITS), run(1, action="degrade", limits=LIMITS)),
        (run(9, degrade_to="low", limits=LIMITS), run(1, degrade_to="low", limits=LIMITS)),
        (run(12, action="degrade", limits=LIMITS), run(11, action="degrade", limits=LIMITS)),
        (
            run(12, action="degrade", limits=LIMITS),
            run(None, action="degrade", unknown_price=UnknownPrice.ALLOW, limits=LIMITS),
        ),
    ],
)
def test_only_a_forced_move_that_fits_is_shown_as_degraded(dear: Evaluation, cheap: Evaluation) -> None:
    assert as_degraded(cheap, dear, "gpt-s", instead_of="gpt-l") is cheap
