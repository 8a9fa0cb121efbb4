"""Which model a session runs on, so that the next call of it finds the provider's prompt cache warm."""

from collections import OrderedDict
from typing import NamedTuple

from palyra.core.instant import NANOSECONDS, Instant
from palyra.lifecycle.ports import SharedRouting

SESSIONS_MAX = 16_384
"""Session labels come from callers: the memory of them must not grow with what they invent (V2)."""
READ_AGAIN_NS = 10 * NANOSECONDS
"""Another gateway may have moved the session: what was read longer ago is read again."""

Session = tuple[str, str]
"""Principal and session label."""


class Kept(NamedTuple):
    """The model of a session: when it was used last, and when the others were asked and told of it."""

    model: str
    used: Instant
    read: Instant
    told: Instant


class Sessions:
    """The model of each session that was seen lately, the longest unused forgotten first.

    ``shared`` is set where other gateways serve the same sessions.
    """

    __slots__ = ("_kept", "_sticky_ns", "shared")

    def __init__(self, sticky_ns: int, shared: SharedRouting | None = None) -> None:
        self._sticky_ns = sticky_ns
        self._kept: OrderedDict[Session, Kept] = OrderedDict()
        self.shared = shared

    def model_of(self, principal: str, session: str | None, now: Instant) -> str | None:
        """The model that the session ran on last, None if that was too long ago."""
        if session is None:
            return None
        kept = self._kept.get((principal, session))
        return None if kept is None or now - kept.used >= self._sticky_ns else kept.model

    async def refresh(self, principal: str, session: str | None, now: Instant) -> None:
        """Learn what other gateways know of the session, unless that was done a moment ago."""
        if self.shared is None or session is None or not self._sticky_ns:
            return
        kept = self._kept.get((principal, session))
        if kept is not None and now - kept.read < READ_AGAIN_NS:
            return

        def found(model: str, at: Instant) -> None:
            self._put((principal, session), Kept(model, at, now, at))

        await self.shared.look_up(principal, session, found)

    def keep(self, principal: str, session: str | None, model: str, now: Instant) -> None:
        """Note that a call of the session runs on ``model``."""
        if session is None or not self._sticky_ns:
            return
        key = (principal, session)
        before = self._kept.get(key)
        moved = before is not None and before.model != model
        if before is None or moved or now - before.told >= READ_AGAIN_NS:
            self._put(key, Kept(model, now, now if before is None else before.read, now))
            self._tell(key, model, now, moved=moved)
        else:
            self._put(key, before._replace(used=now))

    def _tell(self, key: Session, model: str, now: Instant, *, moved: bool) -> None:
        if self.shared is None:
            return

        def kept(winner: str) -> None:
            self._put(key, Kept(winner, now, now, now))

        self.shared.keep(*key, model, moved, self._sticky_ns, kept)

    def _put(self, key: Session, kept: Kept) -> None:
        self._kept[key] = kept
        self._kept.move_to_end(key)
        if len(self._kept) > SESSIONS_MAX:
            self._kept.popitem(last=False)
