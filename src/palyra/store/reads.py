"""Questions people ask, as SQLAlchemy Core selects. Never consulted for admission."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Table, func, select, union_all

from palyra.alerts.alert import Alert, Notice
from palyra.approvals.approval import Approval
from palyra.core.instant import Instant
from palyra.ledger.account import AccountKey, Balance
from palyra.lifecycle.decision import CallState, StoredDecision, read_decision, read_settlement
from palyra.lifecycle.ports import AlertFilter, ApprovalFilter, DecisionFilter, NoticeFilter
from palyra.lifecycle.standing import AccountStatus, OpenWindow, Standing
from palyra.store import codec
from palyra.store.page import line_of, unpack
from palyra.store.schema import alerts, approvals, balances, decisions, documents, notices

ACCOUNTS_SHOWN_MAX = 1_000
PAGES_AT_ONCE = 500


def list_decisions(connection: Connection, wanted: DecisionFilter) -> Sequence[StoredDecision]:
    """Decisions with a row that match, newest first (request ids sort by time)."""
    query = select(decisions).order_by(decisions.c.request_id.desc()).limit(wanted.limit)
    for column in ("principal", "agent", "session", "model", "outcome", "state"):
        value = getattr(wanted, column)
        if value is not None:
            query = query.where(decisions.c[column] == value if value else decisions.c[column].is_(None))
    if wanted.since is not None:
        query = query.where(decisions.c.at >= wanted.since)
    if wanted.until is not None:
        query = query.where(decisions.c.at < wanted.until)
    if wanted.before is not None:
        query = query.where(decisions.c.request_id < wanted.before)
    if wanted.first is not None:
        query = query.where(decisions.c.request_id >= wanted.first)
    return stored_decisions(connection, connection.execute(query).all())


def stored_decisions(connection: Connection, rows: Sequence[Row[Any]]) -> list[StoredDecision]:
    """What these rows of the calls lead to."""
    pages = _pages(
        connection,
        {(row.node, page) for row in rows for page in (row.page, row.end_page) if page is not None},
    )
    return [_stored(row, pages) for row in rows]


def list_accounts(connection: Connection, policy_id: str) -> Sequence[AccountStatus]:
    """Accounts of a policy, newest window first."""
    query = (
        select(balances)
        .where(balances.c.policy_id == policy_id)
        .order_by(balances.c.window_start.desc(), balances.c.entity)
        .limit(ACCOUNTS_SHOWN_MAX)
    )
    return [_account(row) for row in connection.execute(query)]


def list_standing(connection: Connection, windows: Sequence[OpenWindow], most: int) -> Mapping[str, Standing]:
    """See ``StandingRecords.standing``. A select for each window: so each is found by the key."""
    if not windows:
        return {}
    selects = [
        select(balances, func.count().over().label("total"))
        .where(
            balances.c.policy_id == each.policy_id,
            balances.c.metric == each.metric,
            balances.c.window_start == each.start,
        )
        .order_by((balances.c.posted + balances.c.held).desc(), balances.c.entity)
        .limit(most)
        .subquery()
        for each in windows
    ]
    totals: dict[str, int] = {}
    found: dict[str, list[AccountStatus]] = {}
    for row in connection.execute(union_all(*(select(each) for each in selects))):
        totals[row.policy_id] = row.total
        found.setdefault(row.policy_id, []).append(_account(row))
    return {policy_id: Standing(accounts, totals[policy_id]) for policy_id, accounts in found.items()}


def list_approvals(connection: Connection, wanted: ApprovalFilter) -> Sequence[Approval]:
    """Approvals that match, newest first (their ids sort by time)."""
    equals = {"state": wanted.state, "requester": wanted.requester, "policy_id": wanted.policy_id}
    bodies = _bodies(connection, approvals, equals, wanted.before, wanted.limit)
    return [codec.approval_from(body) for body in bodies]


def list_alerts(connection: Connection, wanted: AlertFilter) -> Sequence[Alert]:
    """Alerts that match, newest first."""
    equals = {
        "state": wanted.state,
        "kind": wanted.kind,
        "policy_id": wanted.policy_id,
        "principal": wanted.principal,
    }
    seen: tuple[ColumnElement[bool], ...] = ()
    if wanted.acknowledged is not None:
        is_seen = alerts.c.body.contains(codec.ACKNOWLEDGED, autoescape=True)
        seen = (is_seen if wanted.acknowledged else ~is_seen,)
    bodies = _bodies(connection, alerts, equals, wanted.before, wanted.limit, seen)
    return [codec.alert_from(body) for body in bodies]


def list_notices(connection: Connection, wanted: NoticeFilter) -> Sequence[Notice]:
    """Notices that match, newest first."""
    equals = {"state": wanted.state, "target": wanted.target}
    return [
        codec.notice_from(body) for body in _bodies(connection, notices, equals, wanted.before, wanted.limit)
    ]


def _account(row: Row[Any]) -> AccountStatus:
    return AccountStatus(
        AccountKey(row.policy_id, row.metric, row.entity, row.window_start),
        Instant(row.window_end),
        Balance(row.posted, row.held, row.shadow_posted, row.shadow_held),
        row.sliced,
    )


def _bodies(
    connection: Connection,
    table: Table,
    equals: Mapping[str, str | None],
    before: str | None,
    limit: int,
    more: Sequence[ColumnElement[bool]] = (),
) -> Sequence[str]:
    """The newest rows that have these values, and for which ``more`` holds; None is any value."""
    query = select(table.c.body).where(*more).order_by(table.c.id.desc()).limit(limit)
    for column, value in equals.items():
        if value is not None:
            query = query.where(table.c[column] == str(value))
    if before is not None:
        query = query.where(table.c.id < before)
    return connection.execute(query).scalars().all()


def _pages(connection: Connection, wanted: Collection[tuple[int, int]]) -> dict[tuple[int, int], list[bytes]]:
    """The documents of these pages, each given by its node and number."""
    found: dict[tuple[int, int], list[bytes]] = {}
    numbers = sorted(wanted)
    for first in range(0, len(numbers), PAGES_AT_ONCE):
        some = numbers[first : first + PAGES_AT_ONCE]
        # Two lists instead of pairs: SQLite would read every row for pairs.
        query = select(documents).where(
            documents.c.node.in_({node for node, _ in some}), documents.c.page.in_({page for _, page in some})
        )
        found.update(((row.node, row.page), unpack(row.body)) for row in connection.execute(query))
    return found


def _stored(row: Row[Any], pages: Mapping[tuple[int, int], Sequence[bytes]]) -> StoredDecision:
    end = None
    if row.end_page is not None:
        end = read_settlement(line_of(pages, (row.node, row.end_page), row.end_place))
    decision = read_decision(line_of(pages, (row.node, row.page), row.place))
    return StoredDecision(decision, CallState(row.state), end)
