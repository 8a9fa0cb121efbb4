"""One commit on its way: its parameters, and what the database said of it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import asyncpg

from palyra.core.errors import IdempotencyInFlight, Outbid, RulesStale
from palyra.ledger.account import AccountKey
from palyra.store.chain import Chapter
from palyra.store.derived import counted, derived
from palyra.store.postgres import sql
from palyra.store.postgres.commit import (
    Entry,
    account_parameters,
    call_parameters,
    claim_parameters,
    claims_of,
    other_sums_parameters,
    page_parameters,
    reservations_of,
    rollup_parameters,
)
from palyra.store.postgres.link import Connection
from palyra.store.postgres.share import Standing
from palyra.store.write import Overtaken, Statement, Write


class Node(NamedTuple):
    """A gateway's number and term, and where its journal goes on."""

    id: int
    term: int
    next_seq: int
    next_page: int


class Row(NamedTuple):
    """What ``palyra_commit`` says of an account (``n`` from 1) or of an Idempotency-Key (from -1 down)."""

    n: int
    short: bool
    posted: int
    shadow_posted: int
    claimed: int
    folded: int
    shadow_folded: int
    given: int


class Flight(NamedTuple):
    """A batch of writes as one commit: what of the journal and of the accounts it changes."""

    batch: list[Write]
    chapter: Chapter
    entries: list[Entry]

    async def send(
        self, connection: Connection, node: "Node", next_seq: int, lease_s: float, share: float
    ) -> list[Row]:
        """Ask the database for it. Raises what asyncpg raises, RolledBack, Overtaken, RulesStale."""
        batch = self.batch
        sums = derived(counted(batch))
        parameters = (
            node.id,
            node.term,
            lease_s,
            *_dated(page_parameters(self.chapter, next_seq), batch),
            *account_parameters(self.entries, share),
            *call_parameters(self.chapter),
            *rollup_parameters(sums),
            *claim_parameters(claims_of(batch)),
            *other_sums_parameters(sums),
        )
        writes = [write for write in batch if write.statements]
        if not writes:
            return [Row(*row) for row in await connection.fetch(sql.COMMIT, *parameters)]
        names = {statement.name for write in writes for statement in write.statements}
        async with connection.transaction():
            if names & sql.OF_APPROVALS:
                await connection.execute(sql.APPROVALS_CHANGED)
            await _execute(connection, sorted(writes, key=_place))
            rows = [Row(*row) for row in await connection.fetch(sql.COMMIT, *parameters)]
            if any(row.short for row in rows):
                raise RolledBack(rows)
            for change in self.chapter.changes:
                await connection.execute(sql.SAVE_CHANGE, node.id, *change)
            if names & sql.OF_THE_RULES:
                await connection.fetch(sql.TELL_RULES)
            if names & sql.OF_APPROVALS:
                await connection.fetch(sql.TELL_APPROVALS)
        return rows

    def outbid(self, short: Sequence[Row], now: float) -> list[tuple[Write, Exception]]:
        """The calls that do not fit, the last ones first, each with what to tell it.

        Also takes over how their accounts stand.
        """
        out: dict[int, tuple[Write, Exception]] = {}
        claims, reservations = claims_of(self.batch), reservations_of(self.batch)
        for row in short:
            if row.n < 0:
                write = claims[-row.n - 1]
                out[id(write)] = (
                    write,
                    IdempotencyInFlight(
                        "another gateway runs a request with this Idempotency-Key; retry in a moment",
                        param="Idempotency-Key",
                    ),
                )
                continue
            entry = self.entries[row.n - 1]
            entry.share.stand(Standing(row.posted, row.shadow_posted, row.claimed), now)
            excess = row.claimed + (entry.delta or 0) - (entry.most or 0)
            for write in reversed(reservations):
                if excess <= 0:
                    break
                held = _held_by(write, entry.share.account.key)
                if held and id(write) not in out:
                    out[id(write)] = write, Outbid("another gateway took what was left of a budget; retry")
                    excess -= held
        return list(out.values())


class RolledBack(Exception):
    """A commit with statements of its own was refused as a whole."""

    def __init__(self, rows: Sequence[Row]) -> None:
        super().__init__("refused")
        self.rows = [row for row in rows if row.short]


def _place(write: Write) -> tuple[str, ...]:
    """In this order all gateways lock rows: first the row of the rules, then by table and id."""
    statement = write.statements[0]
    if statement.name in sql.OF_THE_RULES:
        return ()
    return statement.name.partition("_")[2], str(statement.parameters[0])


async def _execute(connection: Connection, writes: Sequence[Write]) -> None:
    """Run the statements. Who is overtaken is found in one go, as long as nothing has to be undone."""
    overtaken: list[Write] = []
    for write in writes:
        for number, statement in enumerate(write.statements):
            try:
                if await _lands(connection, statement):
                    continue
            except asyncpg.UniqueViolationError as error:
                if not statement.compares:
                    raise
                raise Overtaken([*overtaken, write]) from error
            overtaken.append(write)
            if number:
                raise Overtaken(overtaken)
            break
    if overtaken:
        raise Overtaken(overtaken)


async def _lands(connection: Connection, statement: Statement) -> bool:
    is_of_the_rules = statement.name in sql.OF_THE_RULES
    if is_of_the_rules and await connection.fetchval(sql.RULES_CHANGED, statement.after) is None:
        raise RulesStale("policies or keys were changed by another gateway; try again")
    told = await connection.execute(sql.NAMED[statement.name], *statement.parameters)
    return told.rpartition(" ")[2] == "1" or not statement.compares


def _held_by(write: Write, key: AccountKey) -> int:
    return sum(posting[3] for posting in write.entries if posting[0] == key)


def _dated(page: tuple[Any, ...], batch: Sequence[Write]) -> tuple[Any, ...]:
    """A page of documents without a page of the journal is filed at the instant of its last write."""
    return (*page[:2], page[2] or max([write.at for write in batch], default=0), *page[3:])
