"""What comes from elsewhere cannot act on a terminal."""

import json

import pytest

from palyra.core.visible import visible, visible_json


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("größe 日本 🙂", "größe 日本 🙂"),
        ("a\u00a0b\u3000c", "a\u00a0b\u3000c"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("one\r\ntwo\ttabs", "one\\r\\ntwo\\ttabs"),
        ("\u202edrowssap", "\\u202edrowssap"),
        ("line\u2028break", "line\\u2028break"),
        ("\U000e0041", "\\U000e0041"),
        ("\ud800", "\\ud800"),
    ],
)
def test_what_is_not_seen_is_spelt_out(text: str, shown: str) -> None:
    assert visible(text) == shown


@pytest.mark.parametrize(
    "value",
    ["plain", "größe\u00a0", "\x9b31m", "\u202e", "\x7f\u00e9", "\U000e0041", "\ud800\u00e9", "a\nb\u2028"],
)
def test_json_stays_the_same_document_without_what_is_not_seen(value: str) -> None:
    written = json.dumps({"name": value}, indent=2, ensure_ascii=False)
    shown = visible_json(written)
    assert json.loads(shown) == {"name": value}
    assert visible(shown.replace("\n", "")) == shown.replace("\n", "")
    assert shown.count("\n") == 2
