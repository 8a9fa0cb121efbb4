"""Questions people ask, as SQLAlchemy Core selects. Never consulted for admission."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from sqlalchemy import Connection, Select, and_, func, select

from palyra.core.instant import Instant
from palyra.ledger.account import AccountKey, Balance
from palyra.lifecycle.decision import StoredDecision
from palyra.lifecycle.ports import AccountStatus, DecisionFilter, UsageTotals
from palyra.store import codec
from palyra.store.schema import accounts, decisions, rollups

GROUPS = ("hour", "principal", "agent", "model", "provider")
ACCOUNTS_SHOWN_MAX = 1_000
_FIGURES = tuple(each.name for each in fields(UsageTotals) if each.name != "group")


def list_decisions(connection: Connection, wanted: DecisionFilter) -> Sequence[StoredDecision]:
    """Decisions that match, newest first (request ids sort by time)."""
    query = _decisions().order_by(decisions.c.request_id.desc()).limit(wanted.limit)
    for column in ("principal", "agent", "session", "model", "outcome", "state"):
        value = getattr(wanted, column)
        if value is not None:
            query = query.where(decisions.c[column] == value)
    if wanted.since is not None:
        query = query.where(decisions.c.at >= wanted.since)
    if wanted.until is not None:
        query = query.where(decisions.c.at < wanted.until)
    if wanted.before is not None:
        query = query.where(decisions.c.request_id < wanted.before)
    rows = connection.execute(query)
    return [codec.stored_decision(row.body, row.state, row.settlement) for row in rows]


def usage(
    connection: Connection, since: Instant, until: Instant, group_by: Sequence[str]
) -> Sequence[UsageTotals]:
    """Rollup sums of the hours in [since, until), dearest group first.

    Raises ValueError for a group that the rollups do not have.
    """
    for name in group_by:
        if name not in GROUPS:
            raise ValueError(f"usage cannot be grouped by {name!r}; use one of {', '.join(GROUPS)}")
    columns = [rollups.c[name] for name in group_by]
    sums = [func.coalesce(func.sum(rollups.c[figure]), 0).label(figure) for figure in _FIGURES]
    hours = and_(rollups.c.hour >= since, rollups.c.hour < until)
    query = select(*columns, *sums).where(hours).group_by(*columns)
    query = query.order_by(func.sum(rollups.c.cost).desc(), *columns)
    found: list[UsageTotals] = []
    for row in connection.execute(query).mappings():
        values: dict[str, Any] = dict(row)
        group = {name: str(values.pop(name)) for name in group_by}
        found.append(UsageTotals(group=group, **values))
    return found


def list_accounts(connection: Connection, policy_id: str) -> Sequence[AccountStatus]:
    """Accounts of a policy, newest window first."""
    query = (
        select(accounts)
        .where(accounts.c.policy_id == policy_id)
        .order_by(accounts.c.window_start.desc(), accounts.c.entity)
        .limit(ACCOUNTS_SHOWN_MAX)
    )
    return [
        AccountStatus(
            AccountKey(row.policy_id, row.metric, row.entity, row.window_start),
            Instant(row.window_end),
            Balance(row.posted, row.held, row.shadow_posted, row.shadow_held),
        )
        for row in connection.execute(query)
    ]


def _decisions() -> Select[Any, Any, Any]:
    return select(decisions.c.body, decisions.c.state, decisions.c.settlement)
