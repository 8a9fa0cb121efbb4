"""Signing in to the console: a key is shown once, and a token stands for it until it is over.

A sign-in gives what its key gives at this moment, and ends with it: nothing of the key's rights is stored.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from palyra.core.errors import InvalidApiKey, LedgerUnavailable
from palyra.core.instant import NANOSECONDS, Instant
from palyra.identity.keys import Subject, hash_key
from palyra.identity.tokens import (
    TOKEN_CHARS,
    TOKEN_RANDOM_BYTES,
    csrf_token_of,
    format_token,
    hash_token,
    is_same,
    seal_of,
)
from palyra.lifecycle.failed_sign_ins import FailedSignIns
from palyra.lifecycle.ports import Clock
from palyra.lifecycle.rules import Rules
from palyra.lifecycle.signed_in import SignIn, SignInRecords

HOURS = 12
PER_KEY_MAX = 100
"""So many sign-ins of one key hold at a time; one more ends the oldest (V2)."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A sign-in that holds now. ``csrf_token`` proves that a page of ours asks."""

    sign_in: SignIn
    subject: Subject
    key_sha256: str = field(repr=False)
    csrf_token: str = field(repr=False)


class SignIns:
    """The desk of sign-ins. ``random_bytes(n)`` gives n secret bytes; a sign-in lasts ``hours``."""

    def __init__(
        self,
        records: SignInRecords,
        rules: Rules,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
        hours: int = HOURS,
    ) -> None:
        self.seconds = hours * 3_600
        self._records = records
        self._rules = rules
        self._clock = clock
        self._random_bytes = random_bytes
        self._failed = FailedSignIns()

    async def sign_in(self, clear_key: str, address: str) -> tuple[str, SignedIn]:
        """The token of a new sign-in, and the sign-in. ``address`` is where it is asked from.

        Raises InvalidApiKey, TooManyAttempts, LedgerUnavailable.
        """
        now = self._clock.now()
        self._failed.check(address, now)
        key_sha256 = hash_key(clear_key)
        subject = self._rules.snapshot.subjects.get(key_sha256)
        if subject is None:
            self._failed.note(address, now)
            raise InvalidApiKey(
                "This is no key that can sign in: check it, or ask an admin for a new one.", param="key"
            )
        token = format_token(self._random_bytes(TOKEN_RANDOM_BYTES))
        ends = Instant(now + self.seconds * NANOSECONDS)
        made = SignIn(hash_token(token), subject.key_id, seal_of(token, key_sha256), now, ends)
        await self._records.save_sign_in(made, PER_KEY_MAX)
        return token, SignedIn(made, subject, key_sha256, csrf_token_of(token))

    async def find(self, token: str) -> SignedIn | None:
        """The sign-in of a token; None if there is none that holds now. Raises LedgerUnavailable."""
        if len(token) != TOKEN_CHARS:
            return None
        stored = await self._records.sign_in(hash_token(token))
        if stored is None or stored.expires_at <= self._clock.now():
            return None
        key = self._rules.key_of(stored.key_id)
        # An id of the configuration file may stand for another key today.
        if key is None or not is_same(stored.seal, seal_of(token, key.sha256)):
            return None
        subject = self._rules.snapshot.subjects[key.sha256]
        return SignedIn(stored, subject, key.sha256, csrf_token_of(token))

    async def still_holds(self, signed_in: SignedIn) -> bool:
        """Whether one that held before holds still. While the database cannot be read, its time tells."""
        stored, now = signed_in.sign_in, self._clock.now()
        if stored.expires_at <= now or signed_in.key_sha256 not in self._rules.snapshot.subjects:
            return False
        with suppress(LedgerUnavailable):
            return await self._records.sign_in(stored.token_sha256) is not None
        return True

    async def end(self, signed_in: SignedIn) -> None:
        """Sign out. Raises LedgerUnavailable."""
        await self._records.drop_sign_in(signed_in.sign_in.token_sha256)

    async def tidy(self) -> None:
        """Drop what is over. Raises LedgerUnavailable."""
        await self._records.drop_old_sign_ins(self._clock.now())
