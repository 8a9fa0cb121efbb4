"""The outbox: notices that are due are claimed, sent, and marked; what fails comes back later.

A notice is stored with its alert, so none is lost. Who sends one claims it first: moves it out of the reach
of others for longer than the attempt can take. If the process ends in between, the notice is due again after
that, and goes out once more under the same id.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import structlog

from palyra.alerts.alert import Notice, NoticeState
from palyra.alerts.notices import claimed, failed, sent
from palyra.core.errors import PalyraError, Superseded
from palyra.core.instant import NANOSECONDS, Instant
from palyra.lifecycle.ports import AlertRecords, Clock
from palyra.notify.attempt import Attempt
from palyra.notify.sender import Sender

PAGE = 64
"""So many due notices are looked at together."""
CLAIM_MARGIN_S = 10.0
"""How long a claim outlasts the attempt, so that its result is stored before another may send it."""
STOP_S = 3.0

_log = structlog.get_logger("palyra.notify")


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds for an attempt, attempts at a time for a target, seconds between two looks without ``wake``."""

    timeout_s: float = 10.0
    concurrency: int = 2
    look_s: float = 1.0


class Delivery:
    """Sends what is due. ``senders`` by the id of their target; ``random`` gives numbers in [0, 1).

    No target holds up another: each has its own few threads, and notices to busy ones are not looked at.
    """

    def __init__(
        self,
        records: AlertRecords,
        senders: Mapping[str, Sender],
        clock: Clock,
        random: Callable[[], float],
        pace: Pace = Pace(),
    ) -> None:
        self._records = records
        self._senders = senders
        self._clock = clock
        self._random = random
        self._pace = pace
        self._told = asyncio.Event()
        self._stopping = False
        self._busy: Counter[str] = Counter()
        self._under_way: dict[asyncio.Task[None], Attempt | None] = {}

    def wake(self) -> None:
        """Look at once: a notice was stored. From the loop's thread."""
        self._told.set()

    async def run(self) -> None:
        """Go on until ``stop``, or until cancelled."""
        while not self._stopping:
            try:
                await self._start_due()
            except PalyraError as error:
                _log.warning("notices cannot be read or claimed", reason=error.message)
            except Exception:  # noqa: BLE001 (people must hear of alerts, whatever went wrong once)
                _log.exception("delivery failed")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._told.wait(), self._pace.look_s)
            self._told.clear()

    async def stop(self) -> None:
        """Start nothing more, give what is under way a moment, and leave the rest to the end of its claim."""
        self._stopping = True
        self._told.set()
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=STOP_S)
        for task, attempt in list(self._under_way.items()):
            if attempt is not None:
                attempt.cut()
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _start_due(self) -> None:
        """Claim and start whatever there is room for."""
        is_full = True
        while is_full and not self._stopping:
            busy = [target for target in self._busy if not self._has_room(target)]
            due = await self._records.due_notices(self._clock.now(), PAGE, busy)
            for notice in due:
                if self._has_room(notice.target) and not self._stopping:
                    await self._start(notice)
            # A full page of one target, which is busy by now, may hide notices to others.
            is_full = len(due) == PAGE

    def _has_room(self, target: str) -> bool:
        return self._busy[target] < self._pace.concurrency

    async def _start(self, notice: Notice) -> None:
        now = self._clock.now()
        until = Instant(now + round((self._pace.timeout_s + CLAIM_MARGIN_S) * NANOSECONDS))
        mine = claimed(notice, until)
        try:
            await self._records.save_notice(mine)
        except Superseded:
            return
        self._busy[notice.target] += 1
        task = asyncio.get_running_loop().create_task(self._deliver(mine))
        self._under_way[task] = None
        task.add_done_callback(lambda done: self._end(done, mine.target))

    def _end(self, task: asyncio.Task[None], target: str) -> None:
        del self._under_way[task]
        self._busy[target] -= 1
        self._told.set()
        if not task.cancelled() and task.exception() is not None:
            _log.error("delivery failed", target=target, exc_info=task.exception())

    async def _deliver(self, mine: Notice) -> None:
        """Send a claimed notice and store what came of it. The slot is taken until the thread ends."""
        sender = self._senders.get(mine.target)
        if sender is None:
            await self._save(mine, "there is no such target in the configuration")
            return
        attempt = Attempt(sender, mine, self._clock.now())
        self._note(attempt)
        try:
            error = await asyncio.wait_for(asyncio.shield(attempt.ended), self._pace.timeout_s)
        except TimeoutError:
            attempt.cut()
            error = f"took longer than {self._pace.timeout_s:g} s"
        await self._save(mine, error)
        await attempt.ended

    def _note(self, attempt: Attempt) -> None:
        task = asyncio.current_task()
        if task in self._under_way:
            self._under_way[task] = attempt

    async def _save(self, mine: Notice, error: str | None) -> None:
        now = self._clock.now()
        after = sent(mine, now) if error is None else failed(mine, now, error, self._random())
        try:
            await self._records.save_notice(after)
        except Superseded:
            _log.info("notice was changed by another while it was sent", notice=mine.id, target=mine.target)
        except PalyraError as failure:
            _log.warning("what came of a notice is not stored; it goes out again", reason=failure.message)
        if after.state is NoticeState.DEAD:
            _log.error("notice is given up", notice=mine.id, target=mine.target, reason=error)
        elif error is not None:
            told = {"notice": mine.id, "target": mine.target, "attempts": mine.attempts, "reason": error}
            _log.warning("notice was not delivered", **told)
