"""Whom a policy binds and on which account (W4: a scope is a filter, not a label)."""

from collections.abc import Mapping

import pytest

from palyra.budgets.index import Attributes, PolicyIndex
from palyra.budgets.policy import Policy, PolicyDefaults, parse_policy
from palyra.core.errors import FieldError
from palyra.core.instant import Instant, parse_instant

NOW = parse_instant("2026-11-23T15:00:00Z")


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
    return [each.entity for each in PolicyIndex([policy("p", scope)]).matching(attributes, NOW)]


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
    assert [each.policy.id for each in index.matching(call(), NOW)] == ["a", "b", "c"]


def test_disabled_and_out_of_date_policies_bind_nobody() -> None:
    index = PolicyIndex(
        [
            policy("off", "global", enabled=False),
            policy("later", "global", valid_from="2026-12-01T00:00:00Z"),
            policy("over", "principal:*", valid_until="2026-11-01T00:00:00Z"),
            policy("now", "global"),
        ]
    )
    assert [each.policy.id for each in index.matching(call(), NOW)] == ["now"]
    later = parse_instant("2026-12-02T00:00:00Z")
    assert [each.policy.id for each in index.matching(call(), later)] == ["later", "now"]


def test_matching_leaves_the_index_as_it_was() -> None:
    index = PolicyIndex([policy("a", "global"), policy("b", "principal:alice")])
    first = index.matching(call(), NOW)
    assert index.matching(call(), Instant(NOW + 1)) == first


def test_two_policies_with_one_id_are_refused() -> None:
    with pytest.raises(FieldError, match="names two budgets"):
        PolicyIndex([policy("a", "global"), policy("a", "model:gpt")])


def test_w1_an_applicable_policy_knows_its_window() -> None:
    (found,) = PolicyIndex([policy("a", "global", interval="hour")]).matching(call(), NOW)
    assert found.windows.at(NOW) == (NOW, NOW + 3_600_000_000_000)


def test_a_call_without_tags_has_none() -> None:
    assert Attributes(principal="a", provider="p", model="m").tags == {}
