"""Documents are read strictly, and a refusal says what to write instead."""

from decimal import Decimal

import pytest

from palyra.core.errors import FieldError
from palyra.core.fields import as_label, closest, kind_of, refuse_unknown
from palyra.core.limits import LABEL_CHARS_MAX


def test_an_unknown_field_is_named_with_the_nearest_known_one() -> None:
    refuse_unknown({"scope": 1}, ("scope", "metric"), "a budget")
    with pytest.raises(FieldError, match=r"a budget has no such field. Did you mean 'scope'\?") as caught:
        refuse_unknown({"scope": 1, "scoep": 2}, ("scope", "metric"), "a budget")
    assert caught.value.field == "scoep"
    assert "It has: scope, metric." in caught.value.message


def test_nothing_is_suggested_where_nothing_is_near() -> None:
    assert closest("zzz", ("scope", "metric")) == ""
    assert closest("metrics", iter(("scope", "metric"))) == " Did you mean 'metric'?"


@pytest.mark.parametrize("label", ["a", "größe", "team a", "x" * LABEL_CHARS_MAX])
def test_a_label_is_taken_as_it_is(label: str) -> None:
    assert as_label(label, "id") == label


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (5, "must be a string, not a whole number"),
        (None, "must be a string, not NoneType"),
        ("", "not a label"),
        (" a", "no blanks around"),
        ("a\t", "no blanks around"),
        ("a\nb", "visible characters"),
        ("a\x00b", "visible characters"),
        ("\ud800", "visible characters"),
        ("x" * (LABEL_CHARS_MAX + 1), f"has {LABEL_CHARS_MAX + 1} characters; write at most"),
    ],
)
def test_what_is_no_label_is_refused(value: object, message: str) -> None:
    with pytest.raises(FieldError, match=message) as caught:
        as_label(value, "id")
    assert caught.value.field == "id"


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (True, "a boolean"),
        (1, "a whole number"),
        (1.5, "a floating-point number"),
        (Decimal("1.5"), "a floating-point number"),
        ("a", "a string"),
        ({}, "a table"),
        ([], "a list"),
        (None, "NoneType"),
    ],
)
def test_kinds_are_told_in_words(value: object, word: str) -> None:
    assert kind_of(value) == word
