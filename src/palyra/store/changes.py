"""Approvals, alerts, notices and recorded configuration as statements of a write. Pure.

The first version of anything is inserted, each later one replaces the version before it: of two writers the
first wins, and the other is told so.
"""

from palyra.alerts.alert import Alert, AlertState, Notice, NoticeState
from palyra.approvals.approval import Approval, State
from palyra.lifecycle.signed_in import SignIn
from palyra.store import codec
from palyra.store.write import Statement

FOR_EVER = 2**63 - 1


def approval_change(approval: Approval) -> Statement:
    """Store the first or the next version of an approval."""
    return _versioned(
        "approval",
        approval.id,
        approval.version,
        approval.state.value,
        approval.cause,
        approval.policy_id,
        approval.requester,
        open_until(approval),
        codec.approval_text(approval),
    )


def open_until(approval: Approval) -> int:
    """Until when something can come of it: for ever while it is pending, since somebody has to end that."""
    if approval.state is State.PENDING:
        return FOR_EVER
    return approval.grant.expires_at if approval.state is State.APPROVED and approval.grant else 0


def alert_change(alert: Alert) -> Statement:
    """Store the first or the next version of an alert."""
    return _versioned(
        "alert",
        alert.id,
        alert.version,
        alert.state.value,
        alert.cause,
        alert.kind.value,
        alert.policy_id,
        alert.principal,
        alert_over_at(alert),
        codec.alert_text(alert),
    )


def alert_over_at(alert: Alert) -> int | None:
    """The last change of an alert that is resolved, None while it is firing."""
    if alert.state is not AlertState.RESOLVED:
        return None
    seen_at = alert.acknowledged.at if alert.acknowledged else alert.last_at
    return max(alert.last_at, alert.resolved_at or alert.last_at, seen_at)


def notice_change(notice: Notice) -> Statement:
    """Store the first or the next version of a notice."""
    return _versioned(
        "notice",
        notice.id,
        notice.version,
        notice.state.value,
        notice.target,
        notice.due_at,
        notice_over_at(notice),
        codec.notice_text(notice),
    )


def notice_over_at(notice: Notice) -> int | None:
    """When a notice was sent, None if it was not."""
    if notice.state is not NoticeState.SENT:
        return None
    return notice.created_at if notice.sent_at is None else notice.sent_at


def configured_change(name: str, before: str | None, after: str | None) -> Statement:
    """Put one document in the place of another; None is none. Raises ValueError where both are None."""
    if after is not None:
        if before is None:
            return Statement("insert_configured", (name, after), compares=True)
        return Statement("update_configured", (name, before, after), compares=True)
    if before is None:
        raise ValueError(f"nothing is recorded of {name}, before or after")
    return Statement("delete_configured", (name, before), compares=True)


def sign_in_changes(sign_in: SignIn, most: int) -> tuple[Statement, ...]:
    """Store a new sign-in, and drop those that are over and the oldest of its key beyond ``most``."""
    made = Statement(
        "insert_sign_in",
        (
            sign_in.token_sha256,
            sign_in.key_id,
            sign_in.seal,
            sign_in.signed_in_at,
            sign_in.expires_at,
        ),
    )
    old = Statement("drop_old_sign_ins", (sign_in.signed_in_at,))
    return made, Statement("trim_sign_ins", (sign_in.key_id, most)), old


def _versioned(kind: str, ref: str, version: int, *columns: str | int | None) -> Statement:
    verb = "insert" if version == 1 else "update"
    return Statement(f"{verb}_{kind}", (ref, version, *columns), compares=True)
