"""Keys: how they are made, read and issued, and what the subjects behind them may do."""

import hashlib
import re
from dataclasses import replace
from typing import Any

import pytest

from palyra.core.errors import FieldError
from palyra.core.instant import Instant
from palyra.identity.keys import (
    Grant,
    Role,
    Subject,
    check_grant,
    covers,
    format_key,
    hash_key,
    key_id_of,
    key_prefix,
    may_loosen_mode,
    parse_grant,
    parse_key_entry,
)
from palyra.identity.models import AllowedModels, matches

SHA = hashlib.sha256(b"x").hexdigest()


def subject(*roles: Role, principal: str = "alice", **changes: Any) -> Subject:
    found = Subject("k1", principal, None, frozenset(roles), (), {})
    return replace(found, **changes)


def entry(**changes: object) -> dict[str, object]:
    data: dict[str, object] = {"id": "ci", "sha256": SHA, "principal": "ci-bot", **changes}
    return {name: value for name, value in data.items() if value is not ...}


def test_a_key_is_its_random_bytes_behind_a_known_start() -> None:
    clear = format_key(bytes(range(32)))
    assert clear == "sk-palyra-AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
    assert key_prefix(clear) == "sk-palyra-AAEC"
    assert hash_key(clear) == hashlib.sha256(clear.encode()).hexdigest()


def test_a_key_of_fewer_bytes_is_refused() -> None:
    with pytest.raises(ValueError, match="32 random bytes"):
        format_key(bytes(16))


def test_any_text_that_arrives_as_a_key_has_a_hash() -> None:
    assert len(hash_key("\udcff")) == 64


def test_roles_are_ranked() -> None:
    ordered = sorted(Role, key=lambda role: role.rank)
    assert ordered == [Role.CALLER, Role.VIEWER, Role.OPERATOR, Role.ADMIN, Role.OWNER]


def test_a_subject_may_act_as_its_highest_role_and_those_below() -> None:
    someone = subject(Role.CALLER, Role.OPERATOR)
    assert [role for role in Role if someone.may_act_as(role)] == [Role.OPERATOR, Role.VIEWER, Role.CALLER]
    assert not subject().may_act_as(Role.CALLER)


@pytest.mark.parametrize(("role", "may"), [(Role.OWNER, True), (Role.ADMIN, True), (Role.OPERATOR, False)])
def test_w31_only_admins_may_loosen_the_mode(role: Role, may: bool) -> None:
    assert may_loosen_mode(subject(role)) is may


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        ("gpt-4o", "gpt-4o", True),
        ("gpt-4o", "gpt-4o-mini", False),
        ("gpt-*", "gpt-", True),
        ("gpt-*", "gp", False),
        ("*-mini", "gpt-4o-mini", True),
        ("*-mini", "gpt-4o-minis", False),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("a*b*c", "a-b-c", True),
        ("a*b*c", "a-c", False),
        ("a*b*b", "ab", False),
        ("*", "", True),
        ("**", "x", True),
    ],
)
def test_a_star_stands_for_any_characters(pattern: str, text: str, fits: bool) -> None:
    assert matches(pattern, text) is fits


def test_a_subject_may_use_what_its_key_lists() -> None:
    limited = subject(models=("auto", "gpt-4o*"))
    assert [limited.may_use(model) for model in ("auto", "gpt-4o-mini", "o3")] == [True, True, False]
    assert subject().may_use("anything")
    assert subject(models=("*", "x")).may_use("anything")


def test_a_pattern_is_covered_only_by_a_wider_one() -> None:
    allowed = AllowedModels(["gpt-*", "o3"])
    assert [allowed.covers(each) for each in ("gpt-4*", "gpt-*", "o3", "o*", "*", "gp*")] == [
        True,
        True,
        True,
        False,
        False,
        False,
    ]


def test_a_key_entry_is_read_whole() -> None:
    key = parse_key_entry(
        entry(
            sha256=SHA.upper(),
            agent="nightly",
            roles=["caller", "viewer"],
            models=["gpt-4o-mini", "auto", "auto"],
            tags={"team": "platform"},
        ),
        "keys[0]",
        created_at=Instant(5),
    )
    assert (key.id, key.sha256, key.principal, key.agent) == ("ci", SHA, "ci-bot", "nightly")
    assert key.roles == {Role.CALLER, Role.VIEWER}
    assert key.models == ("gpt-4o-mini", "auto")
    assert key.tags == {"team": "platform"}
    assert (key.created_at, key.created_by, key.revoked_at, key.origin) == (5, "config", None, "file")
    assert key.prefix == f"sha256:{SHA[:8]}"
    assert key.subject() == Subject("ci", "ci-bot", "nightly", key.roles, key.models, key.tags)
    assert key.grant() == Grant("ci-bot", "nightly", key.roles, key.models, key.tags)


def test_a_key_entry_may_be_short() -> None:
    key = parse_key_entry(entry())
    assert (key.agent, key.roles, key.models, dict(key.tags)) == (None, {Role.CALLER}, (), {})


@pytest.mark.parametrize(
    ("field", "changes", "says"),
    [
        ("sha265", {"sha265": SHA}, "Did you mean 'sha256'?"),
        ("zzz", {"zzz": 1}, "no such field"),
        ("id", {"id": ...}, "is required"),
        ("id", {"id": 7}, "must be a string, not a whole number"),
        ("sha256", {"sha256": ...}, "64 hex digits"),
        ("sha256", {"sha256": "abc"}, "64 hex digits"),
        ("sha256", {"sha256": "g" * 64}, "64 hex digits"),
        ("sha256", {"sha256": "sk-palyra-abc"}, "in clear"),
        ("principal", {"principal": ...}, "is required"),
        ("principal", {"principal": " x"}, "not a label"),
        ("principal", {"principal": "~x"}, "begin with '~'"),
        ("principal", {"principal": "x" * 201}, "at most 200"),
        ("agent", {"agent": ""}, "not a label"),
        ("roles", {"roles": []}, "is empty"),
        ("roles", {"roles": "caller"}, "must be a list"),
        ("roles[1]", {"roles": ["caller", "root"]}, "not one of: owner, admin, operator, viewer, caller"),
        ("models[0]", {"models": [1]}, "must be a string"),
        ("tags", {"tags": ["team"]}, "must be a table"),
        ("tags", {"tags": {"a=b": "c"}}, "contains '='"),
        ("tags", {"tags": {f"t{place}": "x" for place in range(33)}}, "at most 32"),
        ("tags.team", {"tags": {"team": 1}}, "must be a string"),
    ],
)
def test_a_wrong_key_entry_is_refused_with_its_field(
    field: str, changes: dict[str, object], says: str
) -> None:
    with pytest.raises(FieldError) as caught:
        parse_key_entry(entry(**changes), "keys[2]")
    assert caught.value.field == f"keys[2].{field}"
    assert says in caught.value.message
    with pytest.raises(FieldError) as caught:
        parse_key_entry(entry(**changes))
    assert caught.value.field == field


def test_a_clear_key_in_the_config_is_not_repeated_in_the_error() -> None:
    clear = format_key(bytes(32))
    with pytest.raises(FieldError) as caught:
        parse_key_entry(entry(sha256=clear))
    assert clear not in str(caught.value)


def test_an_idempotency_key_stands_for_one_key_of_one_principal() -> None:
    assert key_id_of("bob", "t-1") == key_id_of("bob", "t-1")
    made = {key_id_of(*each) for each in (("bob", "t-1"), ("bob", "t-2"), ("bobt", "-1"), ("alice", "t-1"))}
    assert len(made) == 4
    assert all(re.fullmatch("key_[0-9a-f]{32}", each) for each in made)


def test_a_grant_is_read_from_an_api_body() -> None:
    assert parse_grant({"principal": "bob", "roles": ["viewer"]}) == Grant(
        "bob", None, frozenset({Role.VIEWER}), (), {}
    )
    with pytest.raises(FieldError, match="sha256: a key has no such field"):
        parse_grant({"principal": "bob", "sha256": SHA})


def grant(**changes: Any) -> Grant:
    return replace(Grant("alice"), **changes)


@pytest.mark.parametrize(
    ("issuer", "draft", "field"),
    [
        (subject(Role.OPERATOR), grant(principal="bob"), "principal"),
        (subject(Role.OWNER, agent="nightly"), grant(), "agent"),
        (subject(Role.OWNER, agent="nightly"), grant(agent="other"), "agent"),
        (subject(Role.ADMIN), grant(roles=frozenset({Role.CALLER, Role.OWNER})), "roles"),
        (subject(Role.CALLER, models=("gpt-*",)), grant(), "models"),
        (subject(Role.CALLER, models=("gpt-*",)), grant(models=("gpt-4", "o3")), "models[1]"),
        (subject(Role.CALLER, tags={"team": "a"}), grant(), "tags.team"),
        (subject(Role.CALLER, tags={"team": "a"}), grant(tags={"team": "b"}), "tags.team"),
    ],
)
def test_w22_a_key_gives_no_right_that_its_issuer_lacks(issuer: Subject, draft: Grant, field: str) -> None:
    with pytest.raises(FieldError) as caught:
        check_grant(issuer, draft)
    assert caught.value.field == field
    child = Subject("k2", draft.principal, draft.agent, draft.roles, draft.models, draft.tags)
    assert not covers(issuer, child)


@pytest.mark.parametrize(
    ("issuer", "draft"),
    [
        (subject(Role.ADMIN), grant(principal="bob", roles=frozenset({Role.ADMIN}))),
        (subject(Role.CALLER), grant(models=("gpt-4",), tags={"team": "a"}, agent="x")),
        (subject(Role.CALLER, agent="x"), grant(agent="x")),
        (
            subject(Role.CALLER, models=("gpt-*",), tags={"team": "a"}),
            grant(models=("gpt-4*",), tags={"team": "a", "run": "1"}),
        ),
    ],
)
def test_a_key_may_give_what_its_issuer_has(issuer: Subject, draft: Grant) -> None:
    check_grant(issuer, draft)
    child = Subject("k2", draft.principal, draft.agent, draft.roles, draft.models, draft.tags)
    assert covers(issuer, child)
