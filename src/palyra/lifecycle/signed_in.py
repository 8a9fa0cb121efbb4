"""A sign-in of the console as it is stored, and the port that keeps it."""

from dataclasses import dataclass
from typing import Protocol

from palyra.core.instant import Instant


@dataclass(frozen=True, slots=True)
class SignIn:
    """Somebody showed a key, and a browser got a token for it; the token itself is stored nowhere.

    ``token_sha256`` is its hash, ``seal`` binds it to the key of that moment (``identity.tokens``).
    """

    token_sha256: str
    key_id: str
    seal: str
    signed_in_at: Instant
    expires_at: Instant


class SignInRecords(Protocol):
    """Sign-ins as stored. Writes return when durable."""

    async def sign_in(self, token_sha256: str) -> SignIn | None:
        """One by the hash of its token, whether it is over or not."""
        ...

    async def save_sign_in(self, sign_in: SignIn, most: int) -> None:
        """Store a new one; drop all that are over by then, and the oldest of its key beyond ``most``."""
        ...

    async def drop_sign_in(self, token_sha256: str) -> None:
        """Drop one, if it is there."""
        ...

    async def drop_old_sign_ins(self, now: Instant) -> None:
        """Drop those that are over."""
        ...
