"""The outbox as people see it: send a dead message again, and send one to see whether it arrives."""

from collections.abc import Callable, Sequence

from palyra.alerts.alert import Alert, AlertState, Kind, Notice, NoticeState, Severity
from palyra.alerts.notices import Target, revived
from palyra.core.errors import AlreadySent, FieldError, NotFound, Superseded
from palyra.core.instant import Instant
from palyra.lifecycle.alarms import CHANGES_TRIED_MAX, NOTICE_IDS
from palyra.lifecycle.ports import AlertRecords, Clock

TEST = "test"
"""The event of messages that say nothing but that they arrive."""


class Outbox:
    """``targets`` are those that are configured; ``wake`` is told when something is due at once."""

    def __init__(
        self,
        records: AlertRecords,
        clock: Clock,
        new_id: Callable[[str], str],
        targets: Sequence[Target] = (),
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self._records = records
        self._clock = clock
        self._new_id = new_id
        self._targets = {target.id: target for target in targets}
        self._wake = wake

    @property
    def targets(self) -> Sequence[str]:
        """The ids of those that are configured, in their order."""
        return tuple(self._targets)

    async def retry(self, notice_id: str) -> Notice:
        """Have a dead one sent after all, with all its attempts anew; one on its way is left as it is.

        Raises NotFound, AlreadySent.
        """
        for _ in range(CHANGES_TRIED_MAX):
            notice = await self._records.notice(notice_id)
            if notice is None:
                raise NotFound(f"There is no notice {notice_id!r}.")
            if notice.state is NoticeState.SENT:
                raise AlreadySent(f"The notice {notice.id!r} was sent; it is not sent again.")
            if notice.state is NoticeState.WAITING:
                return notice
            after = revived(notice, self._clock.now())
            try:
                await self._records.save_notice(after)
            except Superseded:
                # Somebody else did.
                continue
            self._wake()
            return after
        raise Superseded("The notice is changed again and again; look at it.")

    async def test(self, target_id: str | None, asker: str) -> list[Notice]:
        """Send a test message to one target, or to all. ``asker`` is the principal who wants it.

        Raises FieldError where there is no such target, or none at all.
        """
        if not self._targets:
            raise FieldError("target", "There is none to test: add a [[notify]] to the configuration.")
        if target_id is not None and target_id not in self._targets:
            known = ", ".join(self._targets)
            raise FieldError("target", f"{target_id!r} is not configured; there is {known}.")
        now = self._clock.now()
        chosen = self._targets if target_id is None else (target_id,)
        notices = [self._test_of(each, asker, now) for each in chosen]
        for notice in notices:
            await self._records.save_notice(notice)
        self._wake()
        return notices

    def _test_of(self, target_id: str, asker: str, now: Instant) -> Notice:
        alert = Alert(
            id=TEST,
            version=1,
            state=AlertState.RESOLVED,
            kind=Kind.PROVIDER_HEALTH,
            cause=TEST,
            severity=Severity.INFO,
            title="Test message of Palyra",
            message=f"{asker} asked whether messages to {target_id} arrive. This one did; nothing is wrong.",
            first_at=now,
            last_at=now,
            facts={"target": target_id, "test": True},
        )
        return Notice(
            id=self._new_id(NOTICE_IDS),
            version=1,
            state=NoticeState.WAITING,
            target=target_id,
            event=TEST,
            alert=alert,
            created_at=now,
            due_at=now,
        )
