"""Sums as millions of calls would leave them: teams, their agents, models, providers, sessions, tags."""

import asyncio
import random
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from palyra.core.hours import HOUR_NS
from palyra.core.latency import bucket_of
from palyra.store import sql
from palyra.store.migrate import migrate
from palyra.store.postgres import sql as shared_sql

ROLLUPS = (
    "hour",
    "principal",
    "agent",
    "model",
    "provider",
    "requests",
    "denied",
    "estimated",
    "unpriced",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "cost",
    "metered_bytes",
    "metered_input_tokens",
    "asked",
    "clamped",
    "failed",
    "timed",
    "latency_ms",
    "saved",
)
LATENCIES = ("hour", "provider", "model", "bucket", "calls")
TAGS = ("hour", "tag", "value", "requests", "input_tokens", "output_tokens", "cost")
SESSIONS = (
    "principal",
    "session",
    "first_at",
    "last_at",
    "first_call",
    "last_call",
    "agent",
    "model",
    "requests",
    "denied",
    "failed",
    "input_tokens",
    "output_tokens",
    "cost",
)
SESSION_PARTS = ("principal", "session", "agent", "model", "provider")
TEAMS, MODELS, PROVIDERS, CUSTOMERS = 5, 10, 3, 100
CALLS_PER_SESSION = 100
MONTH_DAYS = 30
AS_OF_CALLS = 10_000_000
_BY_DAY = (1.0, 1.1, 1.1, 1.0, 0.9, 0.25, 0.2)
_SEED = 5
_Names = tuple[str, str, str, str]
"""Of a cell: principal, agent, model and provider."""
_QUIET_BELOW = 0.5
"""An agent that would make fewer calls in an hour than this, of ten million a month, makes none."""

Row = tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Month:
    """``calls`` in each 30 of the ``days`` before ``until`` (nanoseconds); each agent uses so many models.

    ``rhythm``: nights and weekends are quiet. Without it every agent uses all its models every hour. Which
    cells there are does not depend on the calls.
    """

    until: int
    calls: int = 10_000_000
    days: int = 61
    agents: int = 40
    models_per_agent: int = 3
    rhythm: bool = True


def rollups(month: Month) -> Iterator[Row]:
    """The cells, in the order of their keys."""
    dice = random.Random(_SEED)
    users = _users(month, dice)
    hours = [(hour, _weight(hour) if month.rhythm else 1.0) for hour in _hours(month)]
    # Of a month: the rest of the days has as many a month.
    weight = sum(each for _, each in hours) * MONTH_DAYS / month.days
    shares = sum(share for _, share in users)
    for hour, busy in hours:
        for names, share in users:
            part = busy / weight * share / shares
            if month.rhythm and part * AS_OF_CALLS < _QUIET_BELOW:
                continue
            calls = max(1, round(part * month.calls * dice.uniform(0.6, 1.4)))
            yield hour * HOUR_NS, *names, *_figures(calls, dice)


def latencies(month: Month) -> Iterator[Row]:
    """Classes of latency per hour and model: from a tenth of a second to a minute, as many as there are."""
    classes = sorted({bucket_of(milliseconds) for milliseconds in range(100, 60_000, 10)})
    calls = max(1, month.calls // (MONTH_DAYS * 24 * MODELS * len(classes)))
    for hour in _hours(month):
        for provider, model in sorted((f"provider-{model % PROVIDERS}", model) for model in range(MODELS)):
            for place, each in enumerate(classes):
                yield hour * HOUR_NS, provider, f"model-{model}", each, calls + place


def tags(month: Month) -> Iterator[Row]:
    """Each hour has every team and every customer."""
    names = [("customer", f"customer-{number:03}") for number in range(CUSTOMERS)]
    names += [("team", f"team-{number}") for number in range(TEAMS)]
    calls = max(1, month.calls // (MONTH_DAYS * 24 * len(names)))
    for hour in _hours(month):
        for place, (tag, value) in enumerate(names):
            yield hour * HOUR_NS, tag, value, calls, calls * 900, calls * 90, calls * 1_000_000 + place


def sessions(month: Month) -> Iterator[Row]:
    """One for each hundred calls."""
    dice = random.Random(6)
    length = MONTH_DAYS * 24 * HOUR_NS
    apart = length // _session_count(month)
    for number, ((principal, agent, model, _), _) in enumerate(_used_by_sessions(month)):
        at = month.until - length + number * apart
        call = f"req_{number:012}"
        who = (principal, f"run-{number}", at, at + HOUR_NS // 2, call, call)
        cost = dice.randrange(10**6, 10**10)
        yield (
            *who,
            agent,
            model,
            CALLS_PER_SESSION,
            0,
            0,
            90_000,
            9_000,
            cost,
        )


def session_parts(month: Month) -> Iterator[Row]:
    """Each session has one agent, and two of its models."""
    for number, cells in enumerate(_used_by_sessions(month)):
        for principal, *names in cells:
            yield principal, f"run-{number}", *names


def fill_file(path: Path, month: Month) -> int:
    """Make a SQLite ledger with nothing but these sums; how many cells there are in the last 30 days."""
    migrate(path)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute("BEGIN")
    for table, columns, rows in _tables(month):
        marks = ", ".join("?" * len(columns))
        connection.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)
    for statement in sql.FILL_HALF_DAYS:
        connection.execute(statement)
    since = month.until - MONTH_DAYS * 24 * HOUR_NS
    (cells,) = connection.execute("SELECT count(*) FROM rollups WHERE hour >= ?", (since,)).fetchone()
    connection.execute("COMMIT")
    connection.close()
    return cells


def fill_server(url: str, month: Month) -> None:
    """Put these sums into an empty database of the newest schema, as those of one gateway."""

    async def copy() -> None:
        connection = await asyncpg.connect(url)
        try:
            for table, columns, rows in _tables(month):
                nodes = () if table.startswith("session") else ("node",)
                made = ((*row, *(1 for _ in nodes)) for row in rows)
                await connection.copy_records_to_table(table, records=made, columns=(*columns, *nodes))
            for statement in shared_sql.FILL_HALF_DAYS:
                await connection.execute(statement)
            await connection.execute("ANALYZE rollups, half_days, latencies, tag_rollups")
            await connection.execute("ANALYZE half_day_latencies, half_day_tags, sessions, session_parts")
        finally:
            await connection.close()

    asyncio.run(copy())


def _tables(month: Month) -> Sequence[tuple[str, Sequence[str], Iterable[Row]]]:
    return (
        ("rollups", ROLLUPS, rollups(month)),
        ("latencies", LATENCIES, latencies(month)),
        ("tag_rollups", TAGS, tags(month)),
        ("sessions", SESSIONS, sessions(month)),
        ("session_parts", SESSION_PARTS, session_parts(month)),
    )


def _hours(month: Month) -> range:
    last = month.until // HOUR_NS
    return range(last - month.days * 24, last)


def _session_count(month: Month) -> int:
    return max(1, month.calls // CALLS_PER_SESSION)


def _used_by_sessions(month: Month) -> Iterator[tuple[_Names, _Names]]:
    """Of each session, the names of the two cells that its calls are in: of one agent, in turns."""
    by_agent: dict[str, list[_Names]] = {}
    for names, _ in _users(month, random.Random(_SEED)):
        by_agent.setdefault(names[1], []).append(names)
    used = [by_agent[agent] for agent in sorted(by_agent)]
    for number in range(_session_count(month)):
        turn, agent = divmod(number, month.agents)
        mine = used[agent]
        yield mine[turn % len(mine)], mine[(turn + 1) % len(mine)]


def _users(month: Month, dice: random.Random) -> Sequence[tuple[_Names, float]]:
    """Who uses which model, and how much of all."""
    found: list[tuple[_Names, float]] = []
    for agent in range(month.agents):
        much = 1 / (1 + agent % 8)
        for model in sorted(dice.sample(range(MODELS), month.models_per_agent)):
            names = (
                f"team-{agent % TEAMS}",
                f"agent-{agent:03}",
                f"model-{model}",
                f"provider-{model % PROVIDERS}",
            )
            found.append((names, much * dice.uniform(0.2, 1)))
    return sorted(found)


def _weight(hour: int) -> float:
    """How busy an hour of UTC is: days of work by day, a little at night."""
    day, clock = (hour // 24 + 3) % 7, hour % 24
    return _BY_DAY[day] * (1.0 if 7 <= clock < 18 else 0.3 if 6 <= clock < 22 else 0.08)


def _figures(calls: int, dice: random.Random) -> tuple[int, ...]:
    tokens_in, tokens_out = calls * dice.randrange(500, 4_000), calls * dice.randrange(50, 900)
    cost = tokens_in * 800 + tokens_out * 3_000
    denied, cached = calls // 200, tokens_in // 5
    metered = (
        calls,
        denied,
        0,
        calls // 500,
        tokens_in,
        tokens_out,
        cached,
        0,
        0,
        cost,
        tokens_in * 4,
        tokens_in,
    )
    return (
        *metered,
        denied // 3,
        calls // 300,
        calls // 400,
        calls,
        calls * dice.randrange(400, 9_000),
        cost // 7,
    )
