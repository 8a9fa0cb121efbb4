"""Whom a policy binds and on which account (W4: a scope is a filter, not a label)."""

from collections.abc import Mapping

import pytest

from palyra.budgets.index import Attributes, PolicyIndex
from palyra.budgets.policy import Policy, PolicyDefaults, parse_policy
from palyra.core.errors import FieldError
from palyra.core.instant import Instant, isoformat, parse_instant

NOW = parse_instant("2026-11-23T15:00:00Z")
HOUR_NS = 3_600_000_000_000


def policy(policy_id: str, scope: str, **changes: object) -> Policy:
    data = {"id": policy_id, "scope": scope, "metric": "requests", "interval": "day", "hard_limit": 10}
    return parse_policy(
        {**data, **changes}, defaults=PolicyDefaults(), version=1, actor="alice", origin="file"
    )


def call(
    principal: str = "alice",
    agent: str | None = None,
    session: str | None = None,
    parent: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> Attributes:
    return Attributes(
        principal=principal,
        provider="openai",
        model="gpt",
        agent=agent,
        session=session,
        parent_session=parent,
        tags=tags or {},
    )


def accounts(scope: str, attributes: Attributes) -> list[str]:
    return [each.entity for each in PolicyIndex([policy("p", scope)]).matching(attributes, NOW).each]


@pytest.mark.parametrize(
    ("scope", "entities"),
    [
        ("global", ["*"]),
        ("principal:alice", ["alice"]),
        ("principal:bob", []),
        ("principal:*", ["alice"]),
        ("provider:openai", ["openai"]),
        ("provider:anthropic", []),
        ("provider:*", ["openai"]),
        ("model:gpt", ["gpt"]),
        ("model:claude", []),
        ("model:*", ["gpt"]),
        ("agent:coder", ["coder"]),
        ("agent:writer", []),
        ("agent:*", ["coder"]),
        ("session:s1", ["s1"]),
        ("session:s0", ["s0"]),
        ("session:s2", []),
        ("session:*", ["s1", "s0"]),
        ("tag:team=a", ["team=a"]),
        ("tag:team=b", []),
        ("tag:team=*", ["team=a"]),
        ("tag:cost=*", []),
    ],
)
def test_w4_a_policy_binds_only_what_its_scope_names(scope: str, entities: list[str]) -> None:
    attributes = call(agent="coder", session="s1", parent="s0", tags={"team": "a", "other": "x"})
    assert accounts(scope, attributes) == entities


def test_calls_without_a_label_share_one_account_of_their_principal() -> None:
    assert accounts("session:*", call()) == ["~alice"]
    assert accounts("agent:*", call()) == ["~alice"]
    assert accounts("session:*", call(principal="bob")) == ["~bob"]
    assert accounts("session:s1", call()) == []
    assert accounts("agent:coder", call()) == []


def test_a_session_that_is_its_own_parent_counts_once() -> None:
    assert accounts("session:*", call(session="s1", parent="s1")) == ["s1"]
    assert accounts("session:s1", call(session="s1", parent="s1")) == ["s1"]


def test_a_tag_with_an_equals_sign_is_not_mistaken_for_another() -> None:
    assert accounts("tag:a=b=c", call(tags={"a": "b=c"})) == ["a=b=c"]
    assert accounts("tag:a=b=c", call(tags={"a=b": "c"})) == []


def test_matches_come_in_the_order_of_policy_ids() -> None:
    index = PolicyIndex([policy("c", "global"), policy("a", "model:gpt"), policy("b", "principal:*")])
    assert [each.policy.id for each in index.matching(call(), NOW).each] == ["a", "b", "c"]


def test_disabled_and_out_of_date_policies_bind_nobody() -> None:
    index = PolicyIndex(
        [
            policy("off", "global", enabled=False),
            policy("later", "global", valid_from="2026-12-01T00:00:00Z"),
            policy("over", "principal:*", valid_until="2026-11-01T00:00:00Z"),
            policy("now", "global"),
        ]
    )
    assert [each.policy.id for each in index.matching(call(), NOW).each] == ["now"]
    later = parse_instant("2026-12-02T00:00:00Z")
    assert [each.policy.id for each in index.matching(call(), later).each] == ["later", "now"]


def test_matching_leaves_the_index_as_it_was() -> None:
    index = PolicyIndex([policy("a", "global"), policy("b", "principal:alice")])
    first = index.matching(call(), NOW)
    assert index.matching(call(), Instant(NOW + 1)) == first


def test_two_policies_with_one_id_are_refused() -> None:
    with pytest.raises(FieldError, match="names two budgets"):
        PolicyIndex([policy("a", "global"), policy("a", "model:gpt")])


def test_w1_an_applicable_policy_knows_its_window() -> None:
    (found,) = PolicyIndex([policy("a", "global", interval="hour")]).matching(call(), NOW).each
    assert found.window == (NOW, NOW + 3_600_000_000_000)


def test_a_call_without_tags_has_none() -> None:
    assert Attributes(principal="a", provider="p", model="m").tags == {}


class TestMemory:
    """What the index remembers of earlier calls changes no answer, and has an end."""

    def test_the_same_attributes_have_the_same_bindings_until_a_window_ends(self) -> None:
        index = PolicyIndex([policy("day", "global"), policy("hour", "principal:*", interval="hour")])
        first = index.matching(call(), NOW)
        assert index.matching(call(agent="x", session="y", tags={"t": "u"}), Instant(NOW + 1)) is first
        later = index.matching(call(), Instant(NOW + HOUR_NS))
        assert [each.window.start for each in later.each] == [first.each[0].window.start, NOW + HOUR_NS]
        assert later.each[0] is first.each[0]
        assert later.each[1].account.window_start == NOW + HOUR_NS
        assert index.matching(call(), NOW) == first

    def test_attributes_that_a_policy_looks_at_tell_calls_apart(self) -> None:
        every = [
            call(),
            call("bob"),
            call(agent="x"),
            call(session="s"),
            call(session="s", parent="p"),
            call(tags={"t": "1"}),
            call(tags={"t": "2"}),
            Attributes("alice", "openai", "claude"),
            Attributes("alice", "anthropic", "gpt"),
        ]
        scopes = ("agent:*", "model:gpt", "provider:openai", "session:*", "tag:t=*", "principal:*")
        policies = [policy(f"p{place}", scope) for place, scope in enumerate(scopes)]
        fresh = [_found(PolicyIndex(policies), each) for each in every]
        remembering = PolicyIndex(policies)
        for _ in range(2):
            assert [_found(remembering, each) for each in every] == fresh
        assert len({tuple(found) for found in fresh}) == len(every)

    def test_a_policy_comes_into_force_and_goes_out_of_it_between_two_calls(self) -> None:
        start, end = Instant(NOW + 10**9), Instant(NOW + 3 * 10**9)
        dated = policy("dated", "global", valid_from=isoformat(start), valid_until=isoformat(end))
        index = PolicyIndex([dated, policy("always", "global")])
        seen = [
            [each.policy.id for each in index.matching(call(), Instant(at)).each]
            for at in (NOW, start - 1, start, end - 1, end, NOW)
        ]
        both, one = ["always", "dated"], ["always"]
        assert seen == [one, one, both, both, one, one]

    def test_p2_a_request_budget_has_a_window_of_its_own_in_every_call(self) -> None:
        index = PolicyIndex([policy("each", "global", metric="total_tokens", interval="request")])
        windows = [index.matching(call(), Instant(at)).each[0].window for at in (NOW, NOW + 5, NOW)]
        assert windows == [(NOW, NOW + 1), (NOW + 5, NOW + 6), (NOW, NOW + 1)]

    def test_v2_labels_that_callers_invent_do_not_fill_the_memory(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("palyra.budgets.index.KEPT_BINDINGS_MAX", 10)
        index = PolicyIndex([policy("a", "session:*"), policy("b", "global")])
        first = index.matching(call(session="s0"), NOW)
        for number in range(1, 5):
            index.matching(call(session=f"s{number}"), NOW)
        assert index.matching(call(session="s0"), NOW) is first
        index.matching(call(session="s5"), NOW)
        again = index.matching(call(session="s0"), NOW)
        assert again is not first
        assert again == first

    def test_v2_calls_that_no_policy_binds_do_not_fill_it_either(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("palyra.budgets.index.KEPT_BINDINGS_MAX", 2)
        index = PolicyIndex([policy("a", "principal:nobody")])
        first = index.matching(call("p0"), NOW)
        index.matching(call("p1"), NOW)
        assert index.matching(call("p0"), NOW) is first
        index.matching(call("p2"), NOW)
        assert index.matching(call("p0"), NOW) is not first


def _found(index: PolicyIndex, attributes: Attributes) -> list[tuple[str, str]]:
    return [(each.policy.id, each.entity) for each in index.matching(attributes, NOW).each]


def test_a_binding_says_what_a_call_need_not_work_out() -> None:
    plain = policy("plain", "global", soft_limit=5)
    alert = policy("alert", "principal:*", action="alert", mode="dry_run", thresholds=[{"at": 0.5}])
    found = PolicyIndex([plain, alert]).matching(call(), NOW)
    alerting, blocking = found.each
    assert (blocking.within, blocking.stops_at, blocking.tightens, blocking.notifies) == (5, 10, False, False)
    assert (alerting.within, alerting.stops_at, alerting.tightens, alerting.notifies) == (
        4,  # the threshold is reached at 5
        None,
        True,
        True,
    )
    assert (found.capped, found.tightens, found.notifies) == (True, True, True)
    assert alerting.record.scope == "principal:*"
    assert alerting.account == ("alert", "requests", "alice", alerting.window.start)
    nothing = PolicyIndex([]).matching(call(), NOW)
    assert (nothing.each, nothing.capped, nothing.tightens, nothing.notifies) == ((), False, False, False)


def test_an_index_says_whether_sessions_matter_to_it() -> None:
    assert PolicyIndex([policy("p", "session:*")]).sees_sessions
    assert not PolicyIndex([policy("p", "session:*", enabled=False)]).sees_sessions
    assert not PolicyIndex([policy("p", "global")]).sees_sessions
