"""A store with short words for what calls do to it, and the check that its books agree with each other."""

import asyncio
import itertools
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import add
from pathlib import Path
from typing import Self

from fakes.records import NOON, FakeClock
from harness import postgres
from harness.new_file import give_file
from palyra.core.instant import NANOSECONDS, Instant
from palyra.core.secret import Secret
from palyra.ledger.account import EMPTY, AccountKey, Balance, Hold, Shortfall
from palyra.ledger.book import Book, replay
from palyra.ledger.event import Expired, LedgerEvent, Released, Reserved, Settled
from palyra.ledger.held import NO_LIMIT, Held, Reservation, Stakes
from palyra.lifecycle.decision import (
    AttemptRecord,
    CallState,
    Decision,
    EstimateRecord,
    Labels,
    Settlement,
    StoredDecision,
)
from palyra.lifecycle.ports import DecisionFilter, Done, IdempotencyClaim
from palyra.pricing.usage import Usage
from palyra.store.codec import encode
from palyra.store.memory import MemoryStore
from palyra.store.page import Audited, read_record, unpack
from palyra.store.postgres.store import PostgresStore, Scale
from palyra.store.sqlite import SqliteStore

HALF_DAY_NS = 12 * 3600 * NANOSECONDS
DAY_START = NOON - HALF_DAY_NS
DAY_END = NOON + HALF_DAY_NS
LEASE_NS = 600 * NANOSECONDS
_tills = itertools.count(1)

Store = MemoryStore | SqliteStore | PostgresStore


def account(policy_id: str = "daily", entity: str = "alice", metric: str = "cost_usd") -> AccountKey:
    """The account of one policy and entity in the window of NOON's day."""
    return AccountKey(policy_id, metric, entity, DAY_START)


def hold(
    amount: int,
    limit: int | None = None,
    key: AccountKey | None = None,
    *,
    shadow: int | None = None,
    window_end: int = DAY_END,
) -> Hold:
    """What a call wants on one account; its shadow is the same unless said otherwise."""
    return Hold(key or account(), window_end, amount, amount if shadow is None else shadow, limit)


def decision(
    request_id: str,
    at: Instant = NOON,
    *,
    principal: str = "alice",
    agent: str | None = "nightly",
    session: str | None = "run-7",
    model: str = "stub-model",
    provider: str = "stub",
    outcome: str = "admit",
    input_bytes: int = 400,
    tags: Mapping[str, str] | None = None,
) -> Decision:
    """The record of a call that holds nothing by itself: the holds are the reservation's."""
    return Decision(
        request_id=request_id,
        at=at,
        endpoint="chat/completions",
        stream=False,
        labels=Labels("key-1", principal, agent, session, None, "primary_interactive", tags or {}),
        requested_model=model,
        recommended_model=model,
        model=model,
        provider=provider,
        route="proceed",
        route_reason="",
        mode="enforced",
        mode_origin="config",
        outcome=outcome,
        status="ok" if outcome == "admit" else "blocked",
        estimate=EstimateRecord(input_bytes, 100, 400, 1000, None, 1, 600, 1_000, "bytes"),
        price=None,
        evaluations=(),
    )


def settlement(
    state: CallState,
    at: Instant = NOON,
    *,
    cost: int | None = None,
    usage: Usage | None = None,
    source: str = "provider",
    total_ms: int = 5,
    attempts: tuple[AttemptRecord, ...] = (),
    upstream_status: int | None = None,
) -> Settlement:
    """How a call ended."""
    return Settlement(
        at=at,
        state=state,
        source=source,
        reason="",
        usage=usage,
        cost=cost,
        held=1_000,
        total_ms=total_ms,
        attempts=attempts,
        upstream_status=upstream_status,
    )


@dataclass(frozen=True, slots=True)
class Told:
    """One ``done``: which change of which call, and the error if it was not stored."""

    change: str
    request_id: str
    error: Exception | None


@dataclass(slots=True)
class Till:
    """Makes calls on a store, and remembers what it decided and what it was told. No ``path``: in memory."""

    store: Store
    clock: FakeClock
    path: Path | None = None
    url: str | None = None
    told: list[Told] = field(default_factory=list[Told])
    decisions: dict[str, Decision] = field(default_factory=dict[str, Decision])
    waiting: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    def in_memory(cls, clock: FakeClock | None = None) -> Self:
        """A till on a memory store."""
        clock = clock or FakeClock()
        return cls(MemoryStore(clock.now, asyncio.get_running_loop()), clock)

    @classmethod
    def on_disk(cls, path: Path, clock: FakeClock | None = None) -> Self:
        """A till on a SQLite file, new or not."""
        clock = clock or FakeClock()
        give_file(path)
        return cls(SqliteStore(path, clock.now, asyncio.get_running_loop()), clock, path)

    @classmethod
    async def on_server(cls, url: str, scale: Scale | None = None, clock: FakeClock | None = None) -> Self:
        """A till on a PostgreSQL database, one gateway of maybe many."""
        clock = clock or FakeClock()
        store = await PostgresStore.open(
            Secret(url), clock.now, scale or Scale("till", f"till-{next(_tills)}")
        )
        return cls(store, clock, url=url)

    def restart(self) -> None:
        """Close the SQLite file in good order and open it again."""
        assert self.path is not None
        self.close()
        self.store = SqliteStore(self.path, self.clock.now, asyncio.get_running_loop())

    def close(self) -> None:
        """Close the store."""
        assert not isinstance(self.store, PostgresStore)
        self.store.close()

    async def leave(self) -> None:
        """The same, for every store."""
        if isinstance(self.store, PostgresStore):
            await self.store.close()
        else:
            self.store.close()

    def balance(self, key: AccountKey | None = None) -> Balance:
        """Live balance, of the usual account unless said otherwise."""
        return self.store.ledger.balance(key or account())

    def reserve(
        self,
        request_id: str,
        *holds: Hold,
        claim: IdempotencyClaim | None = None,
        told_of: Decision | None = None,
    ) -> Shortfall | None:
        """Reserve for a new call, now."""
        now = self.clock.now()
        self.decisions[request_id] = made = told_of or decision(request_id, now)
        event = self._pointing(Reserved(request_id, now, Instant(now + LEASE_NS), holds))
        done = self._done("reserve", request_id)
        try:
            shortfall = self.store.ledger.reserve(event, made, claim, done)
        except Exception:
            self.waiting -= 1
            raise
        if shortfall is not None:
            self.waiting -= 1
        return shortfall

    def _pointing(self, event: Reserved) -> Reservation:
        """Every other reservation points at its accounts, if it can: nobody may see a difference."""
        keys = [each.account for each in event.holds]
        found = [self.store.ledger.accounts.get(key) for key in keys]
        accounts = tuple(each for each in found if each is not None)
        if (
            len(accounts) < len(set(keys))
            or len(keys) > len(set(keys))
            or any(each.shadow != each.amount for each in event.holds)
            or sum(event.id.encode()) % 2
        ):
            return event
        limits = tuple(NO_LIMIT if each.limit is None else each.limit for each in event.holds)
        stakes = Stakes(accounts, limits, tuple(key.metric for key in keys))
        amounts = [each.amount for each in event.holds]
        return Held(event.id, event.at, event.expires_at, stakes, amounts, encode(event))

    def settle(
        self,
        request_id: str,
        cost: int,
        *,
        tokens: tuple[int, int] = (10, 5),
        usage: Usage | None = None,
        source: str = "provider",
        total_ms: int = 5,
        attempts: tuple[AttemptRecord, ...] = (),
    ) -> None:
        """End a call with what was really used."""
        now = self.clock.now()
        used = usage or Usage(*tokens)
        amounts = {
            "cost_usd": cost,
            "input_tokens": used.input_tokens,
            "output_tokens": used.output_tokens,
            "total_tokens": used.input_tokens + used.output_tokens,
            "requests": 1,
        }
        end = settlement(
            CallState.SETTLED,
            now,
            cost=cost,
            usage=used,
            source=source,
            total_ms=total_ms,
            attempts=attempts,
        )
        self.store.ledger.settle(
            Settled(request_id, now, amounts),
            self.decisions[request_id],
            end,
            self._done("settle", request_id),
        )

    def release(self, request_id: str, upstream_status: int | None = None) -> None:
        """End a call that used nothing; with a status, because its provider answered with an error."""
        now = self.clock.now()
        end = settlement(CallState.RELEASED, now, source="none", upstream_status=upstream_status)
        event = Released(request_id, now, "the provider said no")
        self.store.ledger.release(event, self.decisions[request_id], end, self._done("release", request_id))

    def expire(self, request_id: str, cost: int = 1_000, tokens: tuple[int, int] = (400, 1_000)) -> None:
        """Post what a call held, in doubt."""
        now = self.clock.now()
        end = settlement(CallState.IN_DOUBT, now, cost=cost, usage=Usage(*tokens), source="estimated")
        event = Expired(request_id, now, "its lease ran out")
        self.store.ledger.expire(event, self.decisions[request_id], end, self._done("expire", request_id))

    async def flush(self, deadline_s: float = 30.0) -> None:
        """Wait until every change made so far was told of. Raises TimeoutError."""
        async with asyncio.timeout(deadline_s):
            while self.waiting:
                self.changed.clear()
                await self.changed.wait()

    def errors(self) -> list[Exception]:
        """What was told as not stored."""
        return [each.error for each in self.told if each.error is not None]

    async def journals(self) -> list[list[LedgerEvent]]:
        """The events of each journal, in order: there is one for each gateway there ever was."""
        return await server_events(self.url) if self.url is not None else [self.events()]

    async def all_events(self) -> list[LedgerEvent]:
        """The events of all journals, one journal after the other."""
        return [event for events in await self.journals() for event in events]

    def events(self) -> list[LedgerEvent]:
        """The ledger's events as the only journal has them, in order."""
        if self.path is None:
            assert isinstance(self.store, MemoryStore)
            return ledger_events(write.line for write in self.store.journal.writes if write.line is not None)
        return journal_events(self.path)

    def _done(self, change: str, request_id: str) -> Done:
        self.waiting += 1

        def done(error: Exception | None) -> None:
            self.waiting -= 1
            self.told.append(Told(change, request_id, error))
            self.changed.set()

        return done


def journal_events(path: Path) -> list[LedgerEvent]:
    """The ledger's events in a SQLite file."""
    with sqlite3.connect(path) as connection:
        pages = connection.execute("SELECT body FROM journal WHERE records > 0 ORDER BY seq").fetchall()
    connection.close()
    return ledger_events(line for (body,) in pages for line in unpack(body))


def ledger_events(lines: Iterable[bytes]) -> list[LedgerEvent]:
    """Those lines of a journal that change balances."""
    records = [read_record(line) for line in lines]
    return [record for record in records if not isinstance(record, Audited)]


def balances(book: Book) -> dict[AccountKey, Balance]:
    """Every account that is not empty: one that an undone reservation left empty is no difference."""
    found = {key: each.balance() for key, each in book.accounts.items()}
    return {key: balance for key, balance in found.items() if balance != EMPTY}


def stored_balances(path: Path) -> dict[AccountKey, Balance]:
    """Every account of a SQLite file that is not empty."""
    with sqlite3.connect(path) as connection:
        rows = connection.execute(
            "SELECT policy_id, metric, entity, window_start, posted, held, shadow_posted, shadow_held "
            "FROM accounts"
        ).fetchall()
    connection.close()
    found = {AccountKey(*row[:4]): Balance(*row[4:]) for row in rows}
    return {key: balance for key, balance in found.items() if balance != EMPTY}


async def server_events(url: str) -> list[list[LedgerEvent]]:
    """The events in a PostgreSQL database, node by node."""
    journals: dict[int, list[bytes]] = {}
    for node, body in await postgres.rows(url, "SELECT node, body FROM journal ORDER BY node, seq"):
        journals.setdefault(node, []).extend(unpack(body))
    return [ledger_events(lines) for lines in journals.values()]


async def server_balances(url: str) -> dict[AccountKey, Balance]:
    """Every account of a PostgreSQL database that is not empty, over all gateways."""
    found = await postgres.rows(
        url,
        "SELECT policy_id, metric, entity, window_start, posted, held, shadow_posted, shadow_held "
        "FROM balances",
    )
    stored = {AccountKey(*row[:4]): Balance(*row[4:]) for row in found}
    return {key: balance for key, balance in stored.items() if balance != EMPTY}


async def replayed_balances(till: Till) -> dict[AccountKey, Balance]:
    """What the journals say: each is replayed by itself, and their accounts are added up."""
    sums: dict[AccountKey, Balance] = {}
    for events in await till.journals():
        for key, balance in balances(replay(events)).items():
            sums[key] = Balance(*map(add, sums.get(key, EMPTY), balance))
    return {key: balance for key, balance in sums.items() if balance != EMPTY}


async def assert_books_agree(till: Till, keys: Iterable[AccountKey] = ()) -> None:
    """L2 and D3: live balances = replay of the journal = stored balances; costs of the calls = rollups."""
    await till.flush()
    replayed = await replayed_balances(till)
    assert balances(till.store.ledger.book) == replayed, "D3: the live balances are not the replayed ones"
    if till.path is not None:
        assert stored_balances(till.path) == replayed, "D3: the stored balances are not the replayed ones"
    if till.url is not None:
        assert await server_balances(till.url) == replayed, (
            "D3: the stored balances are not the replayed ones"
        )
    for key in keys:
        assert till.balance(key) == replayed.get(key, EMPTY)
    assert await rollup_sums(till.store) == await settled_sums(till.store), "L2: rollups are not the calls"


async def rollup_sums(store: Store) -> tuple[int, int, int, int]:
    """Calls, cost, input and output tokens by the rollups."""
    (total,) = await store.records.usage(Instant(0), Instant(2**62), ())
    return total.requests, total.cost, total.input_tokens, total.output_tokens


async def settled_sums(store: Store) -> tuple[int, int, int, int]:
    """The same by the settlements of the decisions."""
    ends = [each.settlement for each in await all_decisions(store) if each.settlement is not None]
    used = [each for each in ends if each.usage is not None and each.state is not CallState.RELEASED]
    return (
        len(used),
        sum(each.cost or 0 for each in used),
        sum(each.usage.input_tokens for each in used if each.usage),
        sum(each.usage.output_tokens for each in used if each.usage),
    )


async def all_decisions(store: Store) -> Sequence[StoredDecision]:
    """Every stored call."""
    return await store.records.decisions(DecisionFilter(limit=1_000_000))
