"""Rules over all inputs: documents, evaluations, verdicts, and the rights of keys."""

from contextlib import suppress
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from palyra.budgets.evaluate import as_degraded, effective_mode, evaluate, evaluate_within, verdict
from palyra.budgets.evaluation import Evaluation, Outcome, Status, amounts_of
from palyra.budgets.index import Attributes, PolicyIndex
from palyra.budgets.policy import Policy, PolicyDefaults, parse_policy, policy_document
from palyra.budgets.terms import TIERS, Action, Mode, Then, UnknownPrice
from palyra.core.errors import FieldError
from palyra.core.instant import Instant, isoformat, to_datetime
from palyra.core.money import format_usd
from palyra.identity.keys import Grant, Role, Subject, check_grant, covers
from palyra.identity.models import matches
from palyra.ledger.account import EMPTY, Balance

NOW = Instant(1_795_446_000_000_000_000)
CALL = Attributes(principal="alice", provider="openai", model="gpt")
MODES = st.sampled_from(list(Mode))
AMOUNTS = st.integers(0, 10**15)
TARGETS = st.none() | st.sampled_from([*TIERS, "gpt-s"])


def parse(data: dict[str, object]) -> Policy:
    return parse_policy(data, defaults=PolicyDefaults(), version=1, actor="alice", origin="file")


@st.composite
def documents(draw: st.DrawFn) -> dict[str, object]:
    """Policy documents with consistent limits; every one is valid."""
    actions = ["block", "approval_required", "alert"]
    metric = draw(st.sampled_from(["cost_usd", "total_tokens", "input_tokens", "output_tokens", "requests"]))
    intervals = ["hour", "daily", "week", "month", "total"] + ([] if metric == "requests" else ["request"])
    interval = draw(st.sampled_from(intervals))
    soft, hard = sorted((draw(AMOUNTS), draw(AMOUNTS)))
    write = format_usd if metric == "cost_usd" else int
    if metric == "cost_usd":
        actions.append("degrade")
    document: dict[str, object] = {
        "id": draw(st.text("abcXYZ019._-", min_size=1, max_size=64)),
        "name": draw(st.none() | st.sampled_from(["Daily", "Každý den"])),
        "scope": draw(
            st.sampled_from(["global", "principal:*", "principal:alice", "session:*", "tag:a=*", "tag:a=b=c"])
        ),
        "metric": metric,
        "interval": interval,
        "timezone": draw(st.none() | st.sampled_from(["Europe/Prague", "Asia/Kathmandu"])),
        "soft_limit": draw(st.none() | st.just(write(soft))),
        "hard_limit": write(hard),
        "action": draw(st.none() | st.sampled_from(actions)),
        "mode": draw(st.none() | MODES.map(str)),
        "min_output_tokens": draw(st.none() | st.integers(1, 10_000)),
        "unknown_price": draw(st.none() | st.sampled_from(["deny", "ceiling", "allow"])),
        "enabled": draw(st.booleans()),
    }
    if document["soft_limit"] is not None:
        document["routing_mode_override"] = draw(st.none() | MODES.map(str))
    if document["soft_limit"] is not None or document["action"] == "degrade":
        document["degrade_to"] = draw(TARGETS)
    if interval != "request":
        fractions = draw(st.lists(st.integers(1, 10_000_000), unique=True, max_size=4))
        notify: list[dict[str, object]] = [{"at": each / 1_000_000} for each in fractions]
        document["thresholds"] = [
            *notify,
            *({"at": each / 1_000_000, "then": "routing_mode", "to": "dry_run"} for each in fractions[:1]),
            *({"at": each / 1_000_000, "then": "degrade", "to": draw(TARGETS)} for each in fractions[1:]),
        ]
    if draw(st.booleans()):
        start = draw(st.integers(0, 4 * 10**15)) * 1_000
        document["valid_from"] = to_datetime(start)
        document["valid_until"] = isoformat(start + 86_400 * 10**9)
    return {name: value for name, value in document.items() if value is not None}


@given(documents())
def test_a_policy_read_written_and_read_again_is_the_same(document: dict[str, object]) -> None:
    policy = parse(document)
    again = parse(policy_document(policy))
    assert again == policy
    assert policy_document(again) == policy_document(policy)


@given(documents())
def test_a_threshold_level_is_the_first_amount_that_reaches_the_fraction(document: dict[str, object]) -> None:
    policy = parse(document)
    base = policy.hard_limit if policy.hard_limit is not None else 0
    for threshold, level in zip(policy.thresholds, policy.levels, strict=True):
        exact = Fraction(threshold.at) * base
        assert level >= exact
        assert level == 1 or level - 1 < exact


@settings(max_examples=40)
@given(
    name=st.text(min_size=1, max_size=20),
    value=st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers()),
)
def test_w12_no_value_of_any_field_breaks_the_reader(name: str, value: object) -> None:
    base: dict[str, object] = {"id": "a", "scope": "global", "metric": "requests", "interval": "day"}
    for field in (name, "hard_limit", "thresholds", "scope", "timezone", "valid_from", "enabled", "mode"):
        with suppress(FieldError):
            assert parse({**base, "hard_limit": 5, field: value}).hard_limit is not None


@st.composite
def evaluations(draw: st.DrawFn) -> Evaluation:
    policy = parse({**draw(documents()), "scope": "global", "enabled": True})
    posted, held = draw(AMOUNTS), draw(AMOUNTS)
    amounts = amounts_of(draw(st.none() | AMOUNTS), draw(AMOUNTS), draw(AMOUNTS))
    found = PolicyIndex([policy]).matching(CALL, NOW if policy.valid_from is None else policy.valid_from)
    default = draw(st.sampled_from(list(UnknownPrice)))
    return evaluate(found.each[0], posted, held, amounts, default, draw(MODES))


@given(evaluations(), AMOUNTS, AMOUNTS, st.none() | AMOUNTS, MODES)
def test_many_policies_are_evaluated_as_each_by_itself(
    found: Evaluation, posted: int, held: int, cost: int | None, mode: Mode
) -> None:
    binding, default, amounts = found.binding, UnknownPrice.DENY, amounts_of(cost, 7, 5)
    # An account of a window that is one call is always empty.
    balance = EMPTY if binding.each_call else Balance(posted, held, 0, 0)
    alone = evaluate(binding, balance.posted, balance.held, amounts, default, mode)
    assert evaluate_within([binding, binding], [balance, balance], amounts, default, mode) == (alone, alone)


@given(evaluations())
def test_l1_an_enforced_block_never_admits_more_than_the_hard_limit(found: Evaluation) -> None:
    enforced = found.under(Mode.ENFORCED)
    hard = found.policy.hard_limit
    stops = found.policy.action.value in ("block", "approval_required", "degrade")
    if hard is not None and stops and enforced.mode is Mode.ENFORCED and enforced.outcome is Outcome.ADMIT:
        assert found.reached <= hard
    if enforced.status is Status.OK:
        assert found.projected is not None
        assert hard is None or found.projected <= hard


@given(evaluations())
def test_only_a_degrade_policy_over_its_hard_limit_must_move_the_call(found: Evaluation) -> None:
    policy, asked = found.policy, found.degrade
    hard = policy.hard_limit
    assert hard is not None
    over = found.consumed + (found.amount or 0) > hard
    assert (asked is not None and asked.must) == (policy.action is Action.DEGRADE and over)
    if asked is not None and asked.must:
        assert asked.to == policy.degrade_to
        assert found.effect is Outcome.DENY
    assert all(found.under(mode).degrade == asked for mode in Mode)
    assert found.binding.degrades or asked is None


@given(evaluations())
def test_a_call_that_need_not_move_is_asked_to_by_a_mark_it_passed(found: Evaluation) -> None:
    policy, asked = found.policy, found.degrade
    if asked is not None and asked.must:
        return
    marks = [each.to or policy.degrade_to for each in found.passed if each.then is Then.DEGRADE]
    if found.over_soft and policy.degrade_to is not None:
        marks.append(policy.degrade_to)
    assert (asked is None) == (not marks)
    assert asked is None or asked.to in marks


@given(evaluations(), st.none() | AMOUNTS)
def test_l1_a_moved_call_is_shown_as_degraded_only_where_it_fits(found: Evaluation, cost: int | None) -> None:
    amounts = amounts_of(cost, 1, 1)
    consumed = found.consumed
    cheaper = evaluate(found.binding, consumed, 0, amounts, UnknownPrice.DENY, found.mode)
    shown = as_degraded(cheaper, found, "gpt-s", instead_of="gpt")
    assert (shown.effect, shown.amount, shown.consumed) == (cheaper.effect, cheaper.amount, cheaper.consumed)
    if shown.status is Status.DEGRADED:
        assert found.degrade is not None
        assert found.degrade.must
        assert shown.effect is Outcome.ADMIT
        assert shown.hard_limit is not None
        assert shown.reached <= shown.hard_limit
    else:
        assert shown is cheaper


@given(evaluations())
def test_w10_only_enforced_stops_a_call(found: Evaluation) -> None:
    for mode in (Mode.SUGGEST, Mode.DRY_RUN):
        assert found.under(mode).outcome is Outcome.ADMIT
    assert found.under(Mode.SUGGEST).would is None
    assert "\n" not in found.message


@settings(max_examples=50)
@given(st.lists(evaluations(), max_size=4))
def test_w13_the_verdict_does_not_depend_on_the_order(found: list[Evaluation]) -> None:
    first = verdict(found)
    mirrored = verdict(found[::-1])
    assert (first.outcome, first.status) == (mirrored.outcome, mirrored.status)
    order = list(Outcome)
    assert order.index(first.outcome) == max((order.index(each.outcome) for each in found), default=0)
    assert (first.deciding is None) == (first.outcome is Outcome.ADMIT)


@settings(max_examples=50)
@given(MODES, st.none() | MODES, st.booleans(), st.lists(evaluations(), max_size=3))
def test_w31_nobody_without_the_right_gets_a_looser_mode(
    default: Mode, requested: Mode | None, may_loosen: bool, found: list[Evaluation]
) -> None:
    base = effective_mode(default, requested, may_loosen=may_loosen)
    choice = effective_mode(default, requested, may_loosen=may_loosen, evaluations=found)
    assert choice.mode.strictness >= base.mode.strictness
    if not may_loosen:
        assert choice.mode.strictness >= default.strictness


PATTERNS = st.text("ab*", min_size=1, max_size=5)
ROLES = st.frozensets(st.sampled_from(list(Role)), min_size=1)
TAGS = st.dictionaries(st.sampled_from(["t", "u"]), st.sampled_from(["1", "2"]))


def subjects(key_id: str) -> st.SearchStrategy[Subject]:
    return st.builds(
        Subject,
        key_id=st.just(key_id),
        principal=st.sampled_from(["alice", "bob"]),
        agent=st.sampled_from([None, "x", "y"]),
        roles=ROLES,
        models=st.lists(PATTERNS, max_size=3).map(tuple),
        tags=TAGS,
    )


@given(subjects("issuer"), subjects("child"), st.lists(st.text("ab", max_size=5), max_size=10))
def test_w22_rights_of_a_key_are_a_subset_of_its_issuers(
    issuer: Subject, child: Subject, models: list[str]
) -> None:
    draft = Grant(child.principal, child.agent, child.roles, child.models, child.tags)
    try:
        check_grant(issuer, draft)
    except FieldError:
        assert not covers(issuer, child)
        return
    assert covers(issuer, child)
    assert covers(issuer, issuer)
    assert all(issuer.may_act_as(role) for role in Role if child.may_act_as(role))
    assert all(issuer.may_use(model) for model in models if child.may_use(model))
    assert issuer.agent in (None, child.agent)
    assert issuer.tags.items() <= child.tags.items()
    assert child.principal == issuer.principal or issuer.may_act_as(Role.ADMIN)


@given(PATTERNS, PATTERNS, st.text("ab", max_size=6))
def test_a_pattern_that_fits_as_text_covers_what_it_stands_for(wide: str, narrow: str, text: str) -> None:
    if matches(wide, narrow) and matches(narrow, text):
        assert matches(wide, text)
