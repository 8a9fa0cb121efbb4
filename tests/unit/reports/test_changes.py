"""What a change of rules changed, for programs and for people."""

from collections.abc import Mapping

import pytest

from palyra.reports.changes import FieldChange, change_lines, changed_fields

Document = Mapping[str, object]


def test_only_the_fields_that_differ() -> None:
    before: Document = {
        "id": "daily",
        "hard_limit": "5.00",
        "action": "block",
        "tags": {"team": "a", "x": "y"},
    }
    after: Document = {
        "id": "daily",
        "hard_limit": "6.00",
        "soft_limit": "5",
        "tags": {"team": "b", "x": "y"},
    }
    assert changed_fields(before, after) == [
        FieldChange("action", "block", None),
        FieldChange("hard_limit", "5.00", "6.00"),
        FieldChange("soft_limit", None, "5"),
        FieldChange("tags.team", "a", "b"),
    ]


def test_a_field_without_a_value_is_as_good_as_none() -> None:
    assert changed_fields({"mode": None}, {"agent": None}) == []
    assert changed_fields(None, {"id": "x", "mode": None}) == [FieldChange("id", None, "x")]
    assert changed_fields({"id": "x"}, None) == [FieldChange("id", "x", None)]
    assert changed_fields(None, None) == []


@pytest.mark.parametrize(("one", "other"), [(1, True), (0, False), ("1", 1), ([1], [2]), (0, None)])
def test_values_of_another_type_differ(one: object, other: object) -> None:
    assert len(changed_fields({"x": one}, {"x": other})) == 1


def test_a_list_is_compared_as_a_whole() -> None:
    assert changed_fields({"roles": ["a", "b"]}, {"roles": ["a", "b"]}) == []
    assert change_lines({"roles": ["a"]}, {"roles": ["a", "b"]}) == ['roles: ["a"] -> ["a", "b"]']


def test_for_people_an_amount_is_there_once() -> None:
    before: Document = {"hard_limit": "5", "hard_limit_usd": "5.00", "hard_limit_nano_usd": 5_000_000_000}
    after: Document = {"hard_limit": "6", "hard_limit_usd": "6.00", "hard_limit_nano_usd": 6_000_000_000}
    assert len(changed_fields(before, after)) == 3
    assert change_lines(before, after) == ["hard_limit: 5 -> 6"]
    assert change_lines({"cost_usd": "1"}, {"cost_usd": "2"}) == ["cost_usd: 1 -> 2"]


def test_for_people_what_was_made_or_is_gone_is_one_line() -> None:
    document: Document = {"id": "ci", "agent": None, "tags": {"team": "big corp"}}
    assert change_lines(None, document) == ['id=ci tags.team="big corp"']
    assert change_lines(document, None) == ['id=ci tags.team="big corp"']
    assert change_lines(None, None) == change_lines({"a": 1}, {"a": 1}) == []


def test_for_people_each_value_stays_on_its_line() -> None:
    before: Document = {"reason": "one\ntwo", "a": None, "e": ""}
    after: Document = {"reason": "größe\x1b[2J", "a": "☃", "e": False}
    assert change_lines(before, after) == [
        "a: - -> ☃",
        'e: "" -> false',
        r'reason: "one\ntwo" -> "größe\u001b[2J"',
    ]
