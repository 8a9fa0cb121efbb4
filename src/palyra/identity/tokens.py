"""The secret of a sign-in: 256 random bits that only the browser has, and what is derived from them."""

import base64
import hashlib
import hmac

TOKEN_RANDOM_BYTES = 32
TOKEN_CHARS = 43
_CSRF = b"palyra csrf token"
_KEY = b"palyra key of a sign-in:"


def format_token(random_bytes: bytes) -> str:
    """The token from 32 random bytes, as 43 characters of base64url. Raises ValueError otherwise."""
    if len(random_bytes) != TOKEN_RANDOM_BYTES:
        raise ValueError(f"a token is made of {TOKEN_RANDOM_BYTES} random bytes, not {len(random_bytes)}")
    return _text(random_bytes)


def hash_token(token: str) -> str:
    """SHA-256 of a token, as 64 hex digits: all that is stored of it."""
    return hashlib.sha256(_bytes(token)).hexdigest()


def csrf_token_of(token: str) -> str:
    """What a page shows to prove that it could read an answer of this sign-in. The token stays hidden."""
    return _text(hmac.digest(_bytes(token), _CSRF, "sha256"))


def seal_of(token: str, key_sha256: str) -> str:
    """Binds a sign-in to the very key it was made with, in 64 hex digits.

    It tells nothing of the key, not even to who can guess it: a key that people chose may be guessed.
    """
    return hmac.new(_bytes(token), _KEY + key_sha256.encode(), "sha256").hexdigest()


def is_same(one: str, other: str) -> bool:
    """Whether two secrets are equal; how long it takes does not tell where they differ."""
    return hmac.compare_digest(_bytes(one), _bytes(other))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
