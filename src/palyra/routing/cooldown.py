"""Credentials, and models under a credential, to leave alone for a while. Every cooldown ends by time."""

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from palyra.core.instant import NANOSECONDS, Instant
from palyra.routing.failure import RETRY_AFTER_MAX_NS, Fault, Reason

DEFAULTS_NS: Mapping[Reason, int] = MappingProxyType(
    {
        Reason.RATE_LIMITED: 5 * NANOSECONDS,
        Reason.AUTH: 60 * NANOSECONDS,
        Reason.QUOTA: 300 * NANOSECONDS,
    }
)
"""Nanoseconds per reason where the provider names no time."""
ENTRIES_MAX = 1_024


class Cooldown(msgspec.Struct, frozen=True, gc=False):
    """Until when something is left alone, since when, and why."""

    until: Instant
    since: Instant
    reason: Reason


class Cooldowns:
    """Cooldowns by credential and model; model None stands for all models of the credential.

    ``entries`` is empty when all is well: look at it first. It holds at most 1024, the oldest make room, and
    it may hold some that have ended.
    """

    __slots__ = ("_latest", "entries")

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str | None], Cooldown] = {}
        self._latest = Instant(0)

    def cool(self, credential: str, model: str, fault: Fault, now: Instant) -> Cooldown | None:
        """Leave alone what ``fault.cools``, for the provider's time or the default of the reason.

        At most an hour. A longer cooldown that stands already is kept. Returns what stands then, None if the
        fault cools nothing or the provider asks for no time.
        """
        if fault.cools is None or fault.retry_after_ns == 0:
            return None
        length = fault.retry_after_ns
        if length is None:
            length = DEFAULTS_NS.get(fault.reason, DEFAULTS_NS[Reason.RATE_LIMITED])
        key = (credential, model if fault.cools == "model" else None)
        until = Instant(now + min(length, RETRY_AFTER_MAX_NS))
        cooldown = Cooldown(until, now, fault.reason)
        known = self.entries.pop(key, None)
        if known is not None and known.until > until and _stands(known, now):
            cooldown = Cooldown(known.until, now, known.reason)
        elif len(self.entries) >= ENTRIES_MAX:
            del self.entries[next(iter(self.entries))]
        self.entries[key] = cooldown
        self._latest = max(self._latest, cooldown.until)
        return cooldown

    def standing(self, credential: str, model: str, now: Instant) -> Cooldown | None:
        """Return the cooldown that keeps this model of this credential from being called, None if none does.

        Of two, the one that ends later.
        """
        entries = self.entries
        if not entries:
            return None
        if now >= self._latest:
            entries.clear()
            self._latest = Instant(0)
            return None
        whole = entries.get((credential, None))
        part = entries.get((credential, model))
        if whole is not None and not _stands(whole, now):
            whole = None
        if part is None or not _stands(part, now):
            return whole
        return part if whole is None or part.until > whole.until else whole

    def succeeded(self, credential: str, model: str, began: Instant) -> None:
        """Clear what a success disproves: cooldowns from before the call ``began``, not later ones."""
        entries = self.entries
        if entries:
            for key in ((credential, None), (credential, model)):
                known = entries.get(key)
                if known is not None and known.since <= began:
                    del entries[key]

    def snapshot(self, now: Instant) -> list[tuple[str, str | None, Cooldown]]:
        """Return credential, model and cooldown of all that stand at ``now``, the oldest first."""
        return [(*key, known) for key, known in self.entries.items() if _stands(known, now)]


def _stands(cooldown: Cooldown, now: Instant) -> bool:
    # The second half ends cooldowns after a clock jumped back: none lasts more than twice its time.
    return now < cooldown.until and cooldown.since - now < cooldown.until - cooldown.since
