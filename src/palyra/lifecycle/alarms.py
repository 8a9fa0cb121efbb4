"""The desk of alerts: the only writer of them. One alert and one message to each target for each cause.

Whoever finds something wrong says so with ``note`` and goes on: nothing here delays or fails a call. What is
firing is kept in memory beside what is stored; a repeat only counts in memory and is stored by the next
``tend``. Where other gateways find the same, the first one raises it, and the others count on its alert.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
import structlog

from palyra.alerts.alert import Acknowledgement, Alert, AlertState
from palyra.alerts.course import Finding, acknowledged, raised, resolved, seen_again
from palyra.alerts.notices import Event, Target, notices_for
from palyra.core.errors import NotFound, PalyraError, Superseded
from palyra.core.instant import Instant
from palyra.identity.keys import Subject
from palyra.lifecycle.ports import AlertRecords, AuditEntry, Clock

CAUSES_MAX = 2_000
"""So many alerts of one kind may be firing at a time (V2): what callers name can make causes."""
CHANGES_TRIED_MAX = 8
ALERT_IDS, NOTICE_IDS = "alr", "ntc"

Describe = Callable[[], Finding]
"""What was found, in words; asked for only when somebody is told of it."""
T = TypeVar("T")

_log = structlog.get_logger("palyra.alarms")


@dataclass(slots=True)
class _Seen:
    """Occurrences that are not stored yet: how many, the last one, and what it was."""

    describe: Describe
    at: Instant
    times: int = 1
    counts: bool = True
    """False for what only has to be raised: it is no occurrence of an alert that is there already."""

    def add(self, other: "_Seen") -> None:
        self.describe, self.at, self.times = other.describe, other.at, self.times + other.times
        self.counts = True


@dataclass(frozen=True, slots=True)
class _Raise:
    cause: str


@dataclass(frozen=True, slots=True)
class _End:
    cause: str
    why: str


class Alarms:
    """Alerts that are firing, by cause. ``new_id`` gives a fresh id that sorts by time behind a prefix.

    ``wake`` is told when there are new notices. ``shared``: other gateways write alerts, too.
    """

    def __init__(
        self,
        records: AlertRecords,
        clock: Clock,
        new_id: Callable[[str], str],
        targets: Sequence[Target] = (),
        wake: Callable[[], None] = lambda: None,
        *,
        shared: bool = False,
    ) -> None:
        self.shared = shared
        self._records = records
        self._clock = clock
        self._new_id = new_id
        self._targets = tuple(targets)
        self._wake = wake
        self._firing: dict[str, Alert] = {}
        self._again: dict[str, _Seen] = {}
        """Occurrences of what is firing."""
        self._raising: dict[str, _Seen] = {}
        """Occurrences of what is about to be raised: each has its place in the queue."""
        self._ending: set[str] = set()
        self._kinds: Counter[str] = Counter()
        self._left_out = 0
        self._queue: deque[_Raise | _End] = deque()
        self._writing = asyncio.Lock()
        self._worker: asyncio.Task[None] | None = None
        self._stuck = False
        self._running: set[asyncio.Task[Any]] = set()

    @property
    def firing(self) -> Sequence[Alert]:
        """What is firing, as stored, oldest first."""
        return sorted(self._firing.values(), key=lambda alert: alert.id)

    def of(self, cause: str) -> Alert | None:
        """The firing alert of a cause, as stored."""
        return self._firing.get(cause)

    def last_seen(self, alert: Alert) -> Instant:
        """When its cause was last noted here or stored by anybody."""
        again = self._again.get(alert.cause)
        return alert.last_at if again is None else max(again.at, alert.last_at)

    # Whoever finds something. Nothing waits, nothing is raised.

    def note(self, cause: str, describe: Describe) -> None:
        """It happened, maybe once more."""
        self._note(cause, _Seen(describe, self._clock.now()))

    def ensure(self, cause: str, describe: Describe) -> None:
        """It is so: raised unless it is firing, and not counted again."""
        if cause not in self._firing and cause not in self._raising:
            self._note(cause, _Seen(describe, self._clock.now(), counts=False))

    def end(self, cause: str, why: str) -> None:
        """It is over; ``why`` is a sentence for people. Nothing happens unless it is firing."""
        if (cause in self._firing or cause in self._raising) and cause not in self._ending:
            self._ending.add(cause)
            self._put(_End(cause, why))

    # People.

    async def acknowledge(self, alert_id: str, note: str, *, by: Subject) -> Alert:
        """Say that somebody has seen it; the first who did stays. Raises NotFound."""

        async def attempt() -> Alert:
            alert = await self._find(alert_id)
            seen = Acknowledgement(self._clock.now(), by.principal, by.key_id, note)
            after = acknowledged(alert, seen)
            if after is alert:
                return alert
            audit = AuditEntry("alert.acknowledged", alert.id, by.key_id, _shown(alert), _shown(after))
            await self._records.save_alert(after, (), audit)
            if after.cause in self._firing and after.state is AlertState.FIRING:
                self._firing[after.cause] = after
            return after

        return await self._alone(attempt)

    # Time.

    async def load(self) -> None:
        """Read what is firing."""
        async with self._writing:
            await self._read()

    async def tend(self) -> None:
        """Learn what other gateways did, write what could not be written, and store what was counted."""
        if self.shared:
            await self.load()
        self._stuck = False
        self._start()
        await self.settled()
        for cause in tuple(self._again):
            await self._alone(lambda cause=cause: self._count(cause))
        if self._left_out:
            _log.error("too many alerts are firing; further causes are left out", times=self._left_out)
            self._left_out = 0

    async def settled(self) -> None:
        """Wait until everything that was said is written, or cannot be written now."""
        while self._worker is not None:
            await asyncio.wait([self._worker])

    # How.

    def _note(self, cause: str, seen: _Seen) -> None:
        known = self._again.get(cause) or self._raising.get(cause)
        if known is not None:
            known.add(seen)
        elif cause in self._firing:
            self._again[cause] = seen
        elif self._kinds[_kind_of(cause)] >= CAUSES_MAX:
            self._left_out += seen.times
        else:
            self._kinds[_kind_of(cause)] += 1
            self._raising[cause] = seen
            self._put(_Raise(cause))

    def _put(self, step: _Raise | _End) -> None:
        self._queue.append(step)
        self._start()

    def _start(self) -> None:
        if self._worker is None and self._queue and not self._stuck:
            self._worker = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        """Take the steps in order. What the database does not take now waits for the next ``tend``."""
        try:
            while self._queue:
                step = self._queue[0]
                async with self._writing:
                    await self._take(step)
                self._queue.popleft()
        except PalyraError as error:
            self._stuck = True
            _log.warning("alerts cannot be stored now", waiting=len(self._queue), reason=error.message)
        finally:
            self._worker = None

    async def _take(self, step: _Raise | _End) -> None:
        try:
            match step:
                case _Raise(cause):
                    await _anew(lambda: self._raise(cause))
                case _End(cause, why):
                    await _anew(lambda: self._resolve(cause, why))
        except PalyraError:
            raise
        except Exception:  # noqa: BLE001 (one alert that cannot be made must not hold up the others)
            _log.exception("alert failed", cause=step.cause)
            if self._raising.pop(step.cause, None) is not None:
                self._kinds[_kind_of(step.cause)] -= 1
        if isinstance(step, _End):
            self._ending.discard(step.cause)

    async def _raise(self, cause: str) -> None:
        if cause in self._firing:
            self._join(cause)
            return
        seen = self._raising[cause]
        times = seen.times
        alert = raised(self._new_id(ALERT_IDS), seen.describe(), seen.at, times)
        try:
            await self._store(alert, Event.RAISED, self._targets)
        except Superseded:
            await self._read()
            raise
        self._firing[cause] = alert
        seen.times -= times
        self._join(cause)

    def _join(self, cause: str) -> None:
        """What waited to be raised is counted on the alert that there is now."""
        seen = self._raising.pop(cause)
        if seen.times and seen.counts:
            self._note(cause, seen)

    async def _resolve(self, cause: str, why: str) -> None:
        alert = self._firing.get(cause)
        if alert is None:
            return
        seen = self._again.get(cause)
        times = 0 if seen is None else seen.times
        counted = alert if seen is None else seen_again(alert, seen.describe(), seen.at, times)
        after = resolved(counted, self._clock.now(), why)
        try:
            await self._store(_next(after, alert), Event.RESOLVED, self._targets)
        except Superseded:
            await self._look_again(cause)
            raise
        self._drop(cause)
        if seen is not None and seen.times > times:
            seen.times -= times
            self._note(cause, seen)

    async def _count(self, cause: str) -> None:
        """Store what was seen again. That it has become severe is news to targets for severe ones only."""
        alert, seen = self._firing.get(cause), self._again.get(cause)
        if alert is None or seen is None:
            return
        times = seen.times
        after = seen_again(alert, seen.describe(), seen.at, times)
        untold = [each for each in self._targets if not each.wants(alert, Event.RAISED)]
        try:
            await self._store(after, Event.RAISED, untold)
        except Superseded:
            await self._look_again(cause)
            raise
        self._firing[cause] = after
        seen.times -= times
        if not seen.times:
            self._again.pop(cause, None)

    async def _store(self, alert: Alert, event: Event, targets: Sequence[Target]) -> None:
        now = self._clock.now()
        notices = notices_for(alert, event, targets, now, lambda: self._new_id(NOTICE_IDS))
        await self._records.save_alert(alert, notices, None)
        if notices:
            self._wake()

    async def _find(self, alert_id: str) -> Alert:
        alert = await self._records.alert(alert_id)
        if alert is None:
            raise NotFound(f"There is no alert {alert_id!r}.")
        return alert

    async def _read(self) -> None:
        """Go by what is stored from now on."""
        found = {alert.cause: alert for alert in await self._records.open_alerts()}
        gone = [cause for cause in self._firing if cause not in found]
        for cause in gone:
            await self._look_again(cause)
        self._firing = found | {cause: self._firing[cause] for cause in gone if cause in self._firing}
        self._kinds = Counter(map(_kind_of, self._firing.keys() | self._raising.keys()))

    async def _look_again(self, cause: str) -> None:
        """Go by what another gateway made of this alert; what happened after its end is another one."""
        alert = self._firing[cause]
        stored = await self._records.alert(alert.id)
        if stored is not None and stored.state is AlertState.FIRING:
            self._firing[cause] = stored
            return
        seen = self._again.get(cause)
        self._drop(cause)
        if seen is not None and stored is not None and seen.at > (stored.resolved_at or stored.last_at):
            self._note(cause, seen)

    def _drop(self, cause: str) -> None:
        self._firing.pop(cause, None)
        self._again.pop(cause, None)
        self._kinds[_kind_of(cause)] -= 1

    async def _alone(self, change: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Make a change to its end, even if whoever asked goes away; anew where another came first."""

        async def serialised() -> T:
            async with self._writing:
                return await _anew(change)

        task = asyncio.get_running_loop().create_task(serialised())
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)


async def _anew(change: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Make a change, on what others made of it meanwhile. Raises Superseded where they are always faster."""
    for _ in range(CHANGES_TRIED_MAX):
        try:
            return await change()
        except Superseded:
            continue
    return await change()


def _kind_of(cause: str) -> str:
    return cause.partition(":")[0]


def _next(after: Alert, stored: Alert) -> Alert:
    """However many changes there are, they are one version."""
    return msgspec.structs.replace(after, version=stored.version + 1)


def _shown(alert: Alert) -> Mapping[str, object]:
    return msgspec.to_builtins(alert)
