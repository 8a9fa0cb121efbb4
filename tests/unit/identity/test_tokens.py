"""The secret of a sign-in, and what is derived from it."""

import pytest

from palyra.identity.tokens import (
    TOKEN_CHARS,
    TOKEN_RANDOM_BYTES,
    csrf_token_of,
    format_token,
    hash_token,
    is_same,
    seal_of,
)

TOKEN = format_token(bytes(range(TOKEN_RANDOM_BYTES)))
OTHER = format_token(bytes(TOKEN_RANDOM_BYTES))


def test_a_token_is_made_of_256_random_bits() -> None:
    assert len(TOKEN) == TOKEN_CHARS
    assert TOKEN != OTHER
    with pytest.raises(ValueError, match="32 random bytes, not 31"):
        format_token(bytes(31))


def test_nothing_that_is_derived_is_another_one_or_the_token() -> None:
    derived = [hash_token(TOKEN), csrf_token_of(TOKEN), seal_of(TOKEN, "a"), seal_of(TOKEN, "b")]
    derived += [hash_token(OTHER), csrf_token_of(OTHER), seal_of(OTHER, "a")]
    assert len({TOKEN, OTHER, *derived}) == len(derived) + 2


def test_secrets_are_compared_whole() -> None:
    assert is_same(TOKEN, TOKEN)
    assert not is_same(TOKEN, TOKEN[:-1])
    assert not is_same(TOKEN, "\udcff")
