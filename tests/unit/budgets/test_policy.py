"""Policies are checked when they are written, field by field (W3, W12: nothing wrong becomes warn-only)."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from palyra.budgets.policy import (
    WRITABLE_FIELDS,
    Known,
    Policy,
    PolicyDefaults,
    parse_policy,
    parse_scope,
    policy_document,
    policy_to_dict,
    unknown_target,
    unmatchable,
)
from palyra.budgets.terms import (
    TIERS,
    Action,
    Metric,
    Mode,
    Scope,
    ScopeKind,
    Then,
    Threshold,
    UnknownPrice,
    format_amount,
)
from palyra.budgets.windows import Interval
from palyra.core.errors import FieldError
from palyra.core.instant import Instant, parse_instant
from palyra.registry.models import CostTier

BASE: Mapping[str, object] = {
    "id": "daily",
    "scope": "principal:*",
    "metric": "cost_usd",
    "interval": "day",
    "hard_limit": "5.00",
}


def parse(**changes: object) -> Policy:
    """BASE with changes; a change to ``...`` leaves the field out."""
    data = {name: value for name, value in {**BASE, **changes}.items() if value is not ...}
    return parse_policy(
        data, defaults=PolicyDefaults("Europe/Prague"), version=3, actor="alice", origin="file"
    )


def refusal(**changes: object) -> FieldError:
    with pytest.raises(FieldError) as caught:
        parse(**changes)
    return caught.value


def test_what_a_policy_is_silent_about_has_a_default() -> None:
    policy = parse()
    assert policy.name == "daily"
    assert policy.scope == Scope(ScopeKind.PRINCIPAL, "*")
    assert policy.timezone == "Europe/Prague"
    assert policy.zone.key == "Europe/Prague"
    assert policy.action is Action.BLOCK
    assert policy.min_output_tokens == 256
    assert policy.enabled
    assert policy.thresholds == policy.levels == ()
    assert (policy.soft_limit, policy.hard_limit) == (None, 5_000_000_000)
    assert (policy.mode, policy.routing_mode_override, policy.unknown_price, policy.degrade_to) == (None,) * 4
    assert (policy.version, policy.created_by, policy.updated_by, policy.origin) == (
        3,
        "alice",
        "alice",
        "file",
    )


def test_an_edit_keeps_who_created_the_policy() -> None:
    edited = parse_policy(
        BASE, defaults=PolicyDefaults(), version=4, actor="bob", origin="api", created_by="alice"
    )
    assert (edited.created_by, edited.updated_by, edited.timezone) == ("alice", "bob", "UTC")


def test_every_field_is_read() -> None:
    policy = parse(
        name="Each person, each day",
        scope="tag:team=platform",
        metric="total_tokens",
        interval="monthly",
        timezone="Asia/Tokyo",
        soft_limit=800_000,
        hard_limit="1_000_000",
        action="approval_required",
        mode="dry_run",
        routing_mode_override="enforced",
        thresholds=[{"at": 0.9, "then": "routing_mode", "to": "dry_run"}, {"at": "0.8"}],
        min_output_tokens=64,
        unknown_price="ceiling",
        enabled=False,
        valid_from="2026-01-01T00:00:00Z",
        valid_until=datetime(2027, 1, 1, tzinfo=UTC),
    )
    assert policy.scope == Scope(ScopeKind.TAG, "team=platform")
    assert (policy.metric, policy.interval) == (Metric.TOTAL_TOKENS, Interval.MONTH)
    assert (policy.soft_limit, policy.hard_limit) == (800_000, 1_000_000)
    assert (policy.action, policy.mode) == (Action.APPROVAL_REQUIRED, Mode.DRY_RUN)
    assert policy.routing_mode_override is Mode.ENFORCED
    assert policy.thresholds == (
        Threshold(Decimal("0.8"), Then.NOTIFY),
        Threshold(Decimal("0.9"), Then.ROUTING_MODE, "dry_run"),
    )
    assert policy.levels == (800_000, 900_000)
    assert policy.min_output_tokens == 64
    assert policy.unknown_price is UnknownPrice.CEILING
    assert not policy.enabled
    assert policy.valid_from == parse_instant("2026-01-01T00:00:00Z")
    assert policy.valid_until == parse_instant("2027-01-01T00:00:00Z")


WRONG: list[tuple[str, dict[str, object], str]] = [
    ("hard_limt", {"hard_limt": "5"}, "Did you mean 'hard_limit'?"),
    ("zzz", {"zzz": 1}, "no such field"),
    ("version", {"version": 1}, "leave it out"),
    ("origin", {"origin": "file"}, "leave it out"),
    ("degrade_to", {"degrade_to": "low"}, "would never apply; write action = 'degrade', a soft_limit, or"),
    ("degrade_to", {"degrade_to": "low", "thresholds": [{"at": 0.5}]}, "would never apply"),
    (
        "degrade_to",
        {"degrade_to": "low", "thresholds": [{"at": 0.5, "then": "degrade", "to": "standard"}]},
        "and without to",
    ),
    ("degrade_to", {"degrade_to": 1, "action": "degrade"}, "must be a string, not a whole number"),
    ("degrade_to", {"degrade_to": "", "action": "degrade"}, "not a label"),
    ("match", {"match": "true"}, "not available yet in this version"),
    ("id", {"id": ...}, "is required"),
    ("id", {"id": "a b"}, "not an id"),
    ("id", {"id": "ä"}, "not an id"),
    ("id", {"id": "x" * 65}, "not an id"),
    ("id", {"id": 5}, "must be a string, not a whole number"),
    ("id", {"id": ""}, "not a label"),
    ("id", {"id": " a"}, "not a label"),
    ("name", {"name": "tab\there"}, "not a label"),
    ("name", {"name": "x" * 201}, "at most 200"),
    ("scope", {"scope": ...}, "is required"),
    ("metric", {"metric": ...}, "write one of: cost_usd"),
    ("metric", {"metric": "cost"}, "not one of: cost_usd, total_tokens"),
    ("metric", {"metric": 1}, "not one of"),
    ("interval", {"interval": "dai"}, "Did you mean 'day'?"),
    ("interval", {"interval": "request", "metric": "requests", "hard_limit": 1}, "always 1"),
    ("timezone", {"timezone": "Europe/Prag"}, "Did you mean 'Europe/Prague'?"),
    ("timezone", {"timezone": "../etc/passwd"}, "not an IANA time zone"),
    ("timezone", {"timezone": "Europe"}, "not an IANA time zone"),
    ("hard_limit", {"hard_limit": 5.0}, "not a floating-point number"),
    ("hard_limit", {"hard_limit": Decimal(5)}, "not a floating-point number"),
    ("hard_limit", {"hard_limit": True}, "not a boolean"),
    ("hard_limit", {"hard_limit": "NaN"}, "finite"),
    ("hard_limit", {"hard_limit": "Infinity"}, "finite"),
    ("hard_limit", {"hard_limit": "a lot"}, "not an amount of money"),
    ("hard_limit", {"hard_limit": "-1"}, "negative"),
    ("hard_limit", {"hard_limit": -1}, "negative"),
    ("hard_limit", {"hard_limit": "0.0000000001"}, "nano-USD"),
    ("hard_limit", {"hard_limit": ...}, "at least one of them"),
    ("hard_limit", {"metric": "requests", "hard_limit": "1.5"}, "not a whole number"),
    ("hard_limit", {"metric": "requests", "hard_limit": 1.5}, "not a floating-point number"),
    ("hard_limit", {"metric": "requests", "hard_limit": False}, "not a boolean"),
    ("hard_limit", {"metric": "requests", "hard_limit": -3}, "negative"),
    ("hard_limit", {"metric": "requests", "hard_limit": 2**63}, "at most"),
    ("soft_limit", {"soft_limit": "5.01"}, "above hard_limit"),
    ("action", {"action": "warn"}, "not one of: block, approval_required, degrade, alert"),
    ("action", {"action": "degrade", "hard_limit": ..., "soft_limit": 1}, "write a hard_limit"),
    (
        "action",
        {"action": "degrade", "metric": "requests", "hard_limit": 9},
        "as many requests; write the metric 'cost_usd', or a threshold with then = 'degrade'",
    ),
    (
        "action",
        {"action": "degrade", "metric": "input_tokens", "hard_limit": 9, "degrade_to": "low"},
        "'input_tokens': a cheaper model uses as many tokens",
    ),
    ("action", {"action": "approval_required", "hard_limit": ..., "soft_limit": 1}, "write a hard_limit"),
    ("mode", {"mode": "enforce"}, "Did you mean 'enforced'?"),
    ("routing_mode_override", {"routing_mode_override": "strict"}, "not one of"),
    ("routing_mode_override", {"routing_mode_override": "enforced"}, "would never apply"),
    ("min_output_tokens", {"min_output_tokens": 0}, "out of range"),
    ("min_output_tokens", {"min_output_tokens": 2**41}, "out of range"),
    ("unknown_price", {"unknown_price": "zero"}, "not one of: deny, ceiling, allow"),
    ("enabled", {"enabled": "yes"}, "true or false"),
    ("valid_from", {"valid_from": "tomorrow"}, "RFC 3339"),
    ("valid_from", {"valid_from": "2026-01-01T00:00:00"}, "time zone"),
    ("valid_from", {"valid_from": 5}, "must be a time"),
    ("valid_until", {"valid_until": "9999-12-31T00:00:00Z"}, "or leave it out"),
    ("valid_from", {"valid_from": "1969-12-31T00:00:00Z"}, "out of range"),
    ("thresholds[0].at", {"thresholds": [{"at": "1E-99999999"}]}, "more than 18 decimals"),
    (
        "valid_until",
        {"valid_until": "2026-01-01T00:00:00Z", "valid_from": "2026-01-01T00:00:00Z"},
        "later",
    ),
    ("thresholds", {"thresholds": "0.8"}, "must be a list, not a string"),
    ("thresholds", {"thresholds": {}}, "not a table"),
    ("thresholds", {"thresholds": [{"at": 0.5}], "hard_limit": ...}, "fractions of a limit"),
    ("thresholds", {"thresholds": [{"at": 0.5}], "interval": "request"}, "fills up"),
    ("thresholds[0]", {"thresholds": [0.8]}, "must be a table"),
    ("thresholds[0]", {"thresholds": [{1: 2}]}, "keys must be strings"),
    ("thresholds[1]", {"thresholds": [{"at": 0.5}, {"at": "0.50"}]}, "says again"),
    ("thresholds[0].att", {"thresholds": [{"att": 1}]}, "Did you mean 'at'?"),
    ("thresholds[0].at", {"thresholds": [{}]}, "must be a fraction"),
    ("thresholds[0].at", {"thresholds": [{"at": True}]}, "not a boolean"),
    ("thresholds[0].at", {"thresholds": [{"at": [1]}]}, "not a list"),
    ("thresholds[0].at", {"thresholds": [{"at": 0}]}, "out of range"),
    ("thresholds[0].at", {"thresholds": [{"at": 10.5}]}, "out of range"),
    ("thresholds[0].at", {"thresholds": [{"at": float("nan")}]}, "out of range"),
    ("thresholds[0].at", {"thresholds": [{"at": "most"}]}, "not a number"),
    ("thresholds[0].then", {"thresholds": [{"at": 1, "then": "mail"}]}, "not one of"),
    ("thresholds[0].to", {"thresholds": [{"at": 1, "then": "degrade", "to": " low"}]}, "not a label"),
    (
        "thresholds[1]",
        {"thresholds": [{"at": 1, "then": "degrade"}, {"at": "1.0", "then": "degrade", "to": "low"}]},
        "says again",
    ),
    (
        "thresholds",
        {"thresholds": [{"at": 1, "then": "degrade"}], "interval": "request"},
        "fills up",
    ),
    ("thresholds[0].to", {"thresholds": [{"at": 1, "then": "notify", "to": "me"}]}, "means nothing"),
    ("thresholds[0].to", {"thresholds": [{"at": 1, "then": "routing_mode", "to": "low"}]}, "not one of"),
    ("thresholds[0].to", {"thresholds": [{"at": 1, "then": "routing_mode"}]}, "is required"),
]


@pytest.mark.parametrize(("field", "changes", "says"), WRONG)
def test_w12_a_wrong_field_is_refused_and_named(field: str, changes: dict[str, object], says: str) -> None:
    error = refusal(**changes)
    assert error.field == field
    assert says in error.message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not one of"),
        ("team:x", "not one of: global, principal"),
        ("global:x", "write 'global'"),
        ("principal", "names nothing"),
        ("principal:", "names nothing"),
        ("principal:a*", "stands alone"),
        ("session:~alice", "begin with '~'"),
        ("agent:~alice", "begin with '~'"),
        ("model: gpt", "not a label"),
        ("tag:*", "write 'tag:KEY=VALUE'"),
        ("tag:team", "write 'tag:KEY=VALUE'"),
        ("tag:team=", "write 'tag:KEY=VALUE'"),
        ("tag:=x", "write 'tag:KEY=VALUE'"),
        ("tag:t*=x", "write 'tag:KEY=VALUE'"),
        ("tag:team=x*", "write 'tag:team=*' for each value"),
    ],
)
def test_a_malformed_scope_is_refused(text: str, says: str) -> None:
    with pytest.raises(FieldError) as caught:
        parse_scope(text)
    assert caught.value.field == "scope"
    assert says in caught.value.message


@pytest.mark.parametrize(
    ("text", "shown", "each"),
    [
        ("global", "global", True),
        ("global:*", "global", True),
        ("principal:alice", "principal:alice", False),
        ("model:org/name:free", "model:org/name:free", False),
        ("tag:team=a=b", "tag:team=a=b", False),
        ("tag:team=*", "tag:team=*", True),
    ],
)
def test_a_scope_is_shown_as_it_is_written(text: str, shown: str, each: bool) -> None:
    scope = parse_scope(text)
    assert (str(scope), scope.each) == (shown, each)


def test_a_zero_hard_limit_is_a_budget_that_allows_nothing() -> None:
    policy = parse(hard_limit=0, thresholds=[{"at": 1}])
    assert policy.hard_limit == 0
    assert policy.levels == (1,)


def test_thresholds_are_exact_fractions_of_the_soft_limit_where_there_is_no_hard_one() -> None:
    policy = parse(
        metric="requests", hard_limit=..., soft_limit=3, thresholds=[{"at": 0.1}, {"at": Decimal("0.7")}]
    )
    assert policy.levels == (1, 3)


def test_a_routing_threshold_may_use_the_override_of_the_policy() -> None:
    policy = parse(
        routing_mode_override="enforced",
        thresholds=[{"at": 0.5}, {"at": 0.9, "then": "routing_mode"}],
    )
    assert policy.thresholds[1] == Threshold(Decimal("0.9"), Then.ROUTING_MODE)


def test_a_policy_may_move_calls_to_a_cheaper_model() -> None:
    policy = parse(
        action="degrade",
        degrade_to="gpt-4o-mini",
        thresholds=[{"at": 0.9, "then": "degrade", "to": "low"}, {"at": 0.8, "then": "degrade"}],
    )
    assert (policy.action, policy.degrade_to) == (Action.DEGRADE, "gpt-4o-mini")
    assert policy.thresholds == (
        Threshold(Decimal("0.8"), Then.DEGRADE),
        Threshold(Decimal("0.9"), Then.DEGRADE, "low"),
    )
    assert parse(action="degrade").degrade_to is None
    document = policy_document(policy)
    assert document["degrade_to"] == policy_to_dict(policy)["degrade_to"] == "gpt-4o-mini"
    assert document["thresholds"] == [
        {"at": "0.8", "then": "degrade"},
        {"at": "0.9", "then": "degrade", "to": "low"},
    ]
    assert policy_to_dict(parse())["degrade_to"] is None


@pytest.mark.parametrize(
    "changes",
    [
        {"soft_limit": 5},
        {"thresholds": [{"at": 0.5, "then": "degrade"}]},
        {"soft_limit": 5, "action": "alert", "thresholds": [{"at": 0.5, "then": "degrade", "to": "low"}]},
        {"soft_limit": 5, "interval": "request", "metric": "total_tokens"},
    ],
)
def test_traffic_moves_before_any_limit_whatever_is_counted(changes: dict[str, object]) -> None:
    fields = {"metric": "requests", "hard_limit": 10, "degrade_to": "low", **changes}
    assert parse(**fields).degrade_to == "low"


def test_the_tiers_are_those_of_models() -> None:
    assert tuple(CostTier) == TIERS


@pytest.mark.parametrize(
    ("changes", "field", "says"),
    [
        (
            {"degrade_to": "gpt-4o-mni"},
            "degrade_to",
            "'gpt-4o-mini'? Configured: gpt-4o-mini. Or write a tier: low, standard, premium.",
        ),
        ({"degrade_to": "standart"}, "degrade_to", "Did you mean 'standard'?"),
        (
            {
                "degrade_to": "low",
                "thresholds": [
                    {"at": 0.9, "then": "degrade", "to": "gpt-5"},
                    {"at": 0.8, "then": "routing_mode", "to": "enforced"},
                ],
            },
            "thresholds[1].to",
            "no model 'gpt-5'",
        ),
    ],
)
def test_w4_calls_cannot_move_to_a_model_that_is_not_there(
    changes: dict[str, object], field: str, says: str
) -> None:
    policy = parse(action="degrade", **changes)
    found = unknown_target(policy, Known(models=frozenset({"gpt-4o-mini"})))
    assert found is not None
    assert found[0] == field
    assert says in found[1]
    assert unknown_target(policy, Known()) is None


@pytest.mark.parametrize("target", [None, "low", "gpt-4o-mini"])
def test_calls_may_move_to_a_tier_a_model_or_any_cheaper_one(target: str | None) -> None:
    thresholds = [{"at": 0.5}, {"at": 0.9, "then": "degrade", "to": target}]
    policy = parse(action="degrade", degrade_to=target, thresholds=thresholds)
    assert unknown_target(policy, Known(models=frozenset({"gpt-4o-mini"}))) is None


def test_a_policy_is_live_while_enabled_and_valid() -> None:
    policy = parse(valid_from="2026-01-01T00:00:00Z", valid_until="2027-01-01T00:00:00Z")
    start, end = parse_instant("2026-01-01T00:00:00Z"), parse_instant("2027-01-01T00:00:00Z")
    assert [policy.live_at(Instant(at)) for at in (start - 1, start, end - 1, end)] == [
        False,
        True,
        True,
        False,
    ]
    assert parse().live_at(start)
    assert not parse(enabled=False).live_at(start)


def test_money_is_shown_as_nano_usd_beside_usd() -> None:
    shown = policy_to_dict(parse(soft_limit="4.5"))
    assert shown["soft_limit_nano_usd"] == 4_500_000_000
    assert shown["soft_limit_usd"] == shown["soft_limit"] == "4.50"
    assert shown["hard_limit_usd"] == "5.00"
    assert shown["scope"] == "principal:*"
    assert shown["thresholds"] == []
    assert shown["valid_until"] is None
    assert (shown["version"], shown["origin"], shown["created_by"], shown["updated_by"]) == (
        3,
        "file",
        "alice",
        "alice",
    )
    assert set(WRITABLE_FIELDS) <= set(shown)


def test_an_absent_money_limit_is_null_in_every_form_and_counts_have_one() -> None:
    money = policy_to_dict(parse())
    assert (money["soft_limit"], money["soft_limit_nano_usd"], money["soft_limit_usd"]) == (None, None, None)
    counts = policy_to_dict(parse(metric="requests", hard_limit=10))
    assert counts["hard_limit"] == 10
    assert "hard_limit_usd" not in counts


def test_a_document_leaves_out_what_is_not_set() -> None:
    assert policy_document(parse()) == {
        **BASE,
        "name": "daily",
        "timezone": "Europe/Prague",
        "action": "block",
        "min_output_tokens": 256,
        "enabled": True,
    }


@pytest.mark.parametrize(
    ("scope", "says"),
    [
        ("provider:opnai", "no provider 'opnai' is configured. Did you mean 'openai'? Configured: openai."),
        ("model:gpt", "no model 'gpt'"),
        ("principal:bob", "no principal 'bob'"),
        ("tag:tem=x", "Did you mean 'team'?"),
    ],
)
def test_w4_a_scope_that_nothing_can_match_says_why(scope: str, says: str) -> None:
    known = Known(frozenset({"openai"}), frozenset(), frozenset({"alice"}), frozenset({"team"}))
    reason = unmatchable(parse(scope=scope), known)
    assert reason is not None
    assert says in reason


@pytest.mark.parametrize(
    "scope",
    ["global", "principal:*", "principal:alice", "provider:openai", "agent:x", "session:x", "tag:team=*"],
)
def test_a_scope_that_something_can_match_passes(scope: str) -> None:
    known = Known(frozenset({"openai"}), frozenset(), frozenset({"alice"}), frozenset({"team"}))
    assert unmatchable(parse(scope=scope), known) is None


def test_what_clients_may_bring_is_always_matchable() -> None:
    assert unmatchable(parse(scope="tag:anything=x"), Known()) is None


def test_modes_are_ordered_by_strictness() -> None:
    assert Mode.ENFORCED.at_most(Mode.DRY_RUN) is Mode.DRY_RUN
    assert Mode.SUGGEST.at_most(Mode.DRY_RUN) is Mode.SUGGEST
    assert Mode.DRY_RUN.at_most(None) is Mode.DRY_RUN
    assert Mode.SUGGEST.strictest(Mode.ENFORCED, Mode.DRY_RUN) is Mode.ENFORCED


@pytest.mark.parametrize(
    ("metric", "amount", "text"),
    [
        (Metric.COST_USD, 4_500_000_000, "4.50 USD"),
        (Metric.REQUESTS, 1, "1 request"),
        (Metric.REQUESTS, 2, "2 requests"),
        (Metric.INPUT_TOKENS, 1, "1 token"),
        (Metric.TOTAL_TOKENS, 7, "7 tokens"),
    ],
)
def test_amounts_carry_their_unit(metric: Metric, amount: int, text: str) -> None:
    assert format_amount(metric, amount) == text
