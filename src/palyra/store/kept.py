"""Approvals, alerts, notices, sign-ins and configuration in memory, changed by the statements of a write."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from palyra.alerts.alert import Alert, AlertState, Notice, NoticeState
from palyra.approvals.approval import Approval, State
from palyra.core.instant import Instant
from palyra.lifecycle.ports import AlertFilter, ApprovalFilter, NoticeFilter
from palyra.lifecycle.signed_in import SignIn
from palyra.lifecycle.topics import StoredFigures
from palyra.store import codec
from palyra.store.changes import alert_over_at, notice_over_at, open_until
from palyra.store.write import Statement


class Kept:
    """What the tables of a database would hold, by id and by name."""

    def __init__(self) -> None:
        self.approvals: dict[str, Approval] = {}
        self.alerts: dict[str, Alert] = {}
        self.notices: dict[str, Notice] = {}
        self.configured: dict[str, str] = {}
        self.sign_ins: dict[str, SignIn] = {}

    def run(self, statements: Sequence[Statement]) -> bool:
        """Change all that these say, or nothing, where one of them was overtaken: then False."""
        if not all(map(self._lands, statements)):
            return False
        for statement in statements:
            self._change(statement)
        return True

    def _lands(self, statement: Statement) -> bool:
        match statement.name, statement.parameters:
            case "insert_approval" | "update_approval", (*_, str(text)):
                made = codec.approval_from(text)
                return _follows(self.approvals, made) and not (
                    made.state is State.PENDING
                    and any(_rivals(made, each, State.PENDING) for each in self.approvals.values())
                )
            case "insert_alert" | "update_alert", (*_, str(text)):
                raised = codec.alert_from(text)
                return _follows(self.alerts, raised) and not (
                    raised.state is AlertState.FIRING
                    and any(_rivals(raised, each, AlertState.FIRING) for each in self.alerts.values())
                )
            case "insert_notice" | "update_notice", (*_, str(text)):
                return _follows(self.notices, codec.notice_from(text))
            case "insert_configured", (str(name), _):
                return name not in self.configured
            case "update_configured" | "delete_configured", (str(name), before, *_):
                return self.configured.get(name) == before
            case _:
                return True

    def _change(self, statement: Statement) -> None:
        if statement.name.endswith(("sign_in", "sign_ins")):
            self._change_sign_ins(statement)
            return
        match statement.name, statement.parameters:
            case "insert_approval" | "update_approval", (str(ref), *_, str(text)):
                self.approvals[ref] = codec.approval_from(text)
            case "insert_alert" | "update_alert", (str(ref), *_, str(text)):
                self.alerts[ref] = codec.alert_from(text)
            case "insert_notice" | "update_notice", (str(ref), *_, str(text)):
                self.notices[ref] = codec.notice_from(text)
            case "insert_configured" | "update_configured", (str(name), *_, str(text)):
                self.configured[name] = text
            case "delete_configured", (str(name), _):
                del self.configured[name]
            case "drop_alerts", (int(before),):
                kept = self.alerts.items()
                self.alerts = {ref: each for ref, each in kept if not _is_old(alert_over_at(each), before)}
            case "drop_notices", (int(before),):
                sent = self.notices.items()
                self.notices = {ref: each for ref, each in sent if not _is_old(notice_over_at(each), before)}
            case _:
                pass

    def _change_sign_ins(self, statement: Statement) -> None:
        match statement.name, statement.parameters:
            case "insert_sign_in", (str(ref), str(key_id), str(seal), int(at), int(ends)):
                self.sign_ins[ref] = SignIn(ref, key_id, seal, Instant(at), Instant(ends))
            case "trim_sign_ins", (str(key_id), int(most)):
                mine = [each for each in self.sign_ins.values() if each.key_id == key_id]
                mine.sort(key=lambda each: (-each.signed_in_at, each.token_sha256))
                for each in mine[most:]:
                    del self.sign_ins[each.token_sha256]
            case "drop_sign_in", (str(ref),):
                self.sign_ins.pop(ref, None)
            case "drop_old_sign_ins", (int(now),):
                live = self.sign_ins.items()
                self.sign_ins = {ref: each for ref, each in live if each.expires_at > now}
            case _:
                pass


class KeptRecords:
    """The reading half of what has a version, in memory."""

    kept: Kept

    async def open_approvals(self, now: Instant) -> Sequence[Approval]:
        """See ``ApprovalRecords.open_approvals``."""
        found = [each for each in self.kept.approvals.values() if open_until(each) > now]
        return sorted(found, key=lambda each: each.id)

    async def approval(self, approval_id: str) -> Approval | None:
        """See ``ApprovalRecords.approval``."""
        return self.kept.approvals.get(approval_id)

    async def approvals(self, wanted: ApprovalFilter) -> Sequence[Approval]:
        """See ``ApprovalRecords.approvals``."""
        equals = {"state": wanted.state, "requester": wanted.requester, "policy_id": wanted.policy_id}
        return _newest(self.kept.approvals, equals, wanted.before, wanted.limit)

    async def open_alerts(self) -> Sequence[Alert]:
        """See ``AlertRecords.open_alerts``."""
        found = [each for each in self.kept.alerts.values() if each.state is AlertState.FIRING]
        return sorted(found, key=lambda each: each.id)

    async def alert(self, alert_id: str) -> Alert | None:
        """See ``AlertRecords.alert``."""
        return self.kept.alerts.get(alert_id)

    async def alerts(self, wanted: AlertFilter) -> Sequence[Alert]:
        """See ``AlertRecords.alerts``."""
        equals = {
            "state": wanted.state,
            "kind": wanted.kind,
            "policy_id": wanted.policy_id,
            "principal": wanted.principal,
        }
        seen = wanted.acknowledged
        rows = {
            ref: each
            for ref, each in self.kept.alerts.items()
            if seen is None or seen == (each.acknowledged is not None)
        }
        return _newest(rows, equals, wanted.before, wanted.limit)

    async def due_notices(self, now: Instant, limit: int, busy: Collection[str] = ()) -> Sequence[Notice]:
        """See ``AlertRecords.due_notices``."""
        waiting = [each for each in self.kept.notices.values() if each.state is NoticeState.WAITING]
        due = [each for each in waiting if each.due_at <= now and each.target not in busy]
        return sorted(due, key=lambda each: (each.due_at, each.id))[:limit]

    async def notice(self, notice_id: str) -> Notice | None:
        """See ``AlertRecords.notice``."""
        return self.kept.notices.get(notice_id)

    async def notices(self, wanted: NoticeFilter) -> Sequence[Notice]:
        """See ``AlertRecords.notices``."""
        equals = {"state": wanted.state, "target": wanted.target}
        return _newest(self.kept.notices, equals, wanted.before, wanted.limit)

    async def configured(self) -> Mapping[str, str]:
        """See ``ConfigRecords.configured``."""
        return dict(sorted(self.kept.configured.items()))

    async def figures(self, now: Instant) -> StoredFigures:
        """See ``FigureRecords.figures``."""
        approvals = [(each.id, each.version) for each in await self.open_approvals(now)]
        told = (*self.kept.alerts.values(), *self.kept.notices.values())
        alerts = [(each.id, each.version) for each in told]
        last = max(self.kept.approvals, default=None)
        return StoredFigures(self._calls_kept(), (last, *approvals), tuple(alerts))

    def _calls_kept(self) -> int:
        """How often anything became known of a call."""
        raise NotImplementedError

    async def sign_in(self, token_sha256: str) -> SignIn | None:
        """See ``SignInRecords.sign_in``."""
        return self.kept.sign_ins.get(token_sha256)


def _follows(rows: Mapping[str, Any], made: Approval | Alert | Notice) -> bool:
    """Whether it is the version after the one that is there."""
    stored = rows.get(made.id)
    return made.version == (1 if stored is None else stored.version + 1)


def _rivals(one: Any, other: Any, state: object) -> bool:
    """Whether another of the same cause is in this state."""
    return other.id != one.id and other.cause == one.cause and other.state is state


def _is_old(over_at: int | None, before: int) -> bool:
    return over_at is not None and over_at < before


def _newest(
    rows: Mapping[str, Any], equals: Mapping[str, object], before: str | None, limit: int
) -> list[Any]:
    found = [
        each
        for each in rows.values()
        if (before is None or each.id < before)
        and all(value is None or getattr(each, name) == value for name, value in equals.items())
    ]
    return sorted(found, key=lambda each: each.id, reverse=True)[:limit]
