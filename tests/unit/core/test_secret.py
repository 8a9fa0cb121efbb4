"""A Secret never prints."""

import copy
import json
import logging
import pickle

import msgspec
import pytest

from palyra.core.secret import Secret

TEXT = "sk-very-secret"


def test_only_reveal_gives_the_text() -> None:
    assert Secret(TEXT).reveal() == TEXT


def test_no_way_of_printing_shows_it(caplog: pytest.LogCaptureFixture) -> None:
    secret = Secret(TEXT)
    logging.getLogger("test").warning("with %s and %r", secret, secret)
    ways = [
        str(secret),
        repr(secret),
        f"{secret}",
        f"{secret:>40}",
        f"{[secret]}",
        f"{secret!r}",
        caplog.text,
    ]
    assert not [way for way in ways if TEXT in way]
    assert all("Secret(***)" in way for way in ways)


def test_it_cannot_be_written_to_json_or_pickled() -> None:
    secret = Secret(TEXT)
    for write in (json.dumps, msgspec.json.encode, pickle.dumps, copy.copy):
        with pytest.raises(TypeError):
            write(secret)


def test_it_has_no_attributes_to_list() -> None:
    with pytest.raises(TypeError):
        vars(Secret(TEXT))


def test_secrets_compare_by_their_text_and_only_with_secrets() -> None:
    assert Secret(TEXT) == Secret(TEXT)
    assert Secret(TEXT) != Secret("other")
    assert Secret(TEXT) != TEXT
    assert len({Secret(TEXT), Secret(TEXT)}) == 1
    assert Secret(TEXT)
    assert not Secret("")
