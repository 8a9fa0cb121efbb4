"""Rollups as millions of calls over a month would leave them: teams, their agents, models, providers."""

import asyncio
import random
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from palyra.core.hours import HOUR_NS
from palyra.store.migrate import migrate

COLUMNS = (
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
)
TEAMS, AGENTS, MODELS, PROVIDERS = 5, 40, 10, 3
_BY_DAY = (1.0, 1.1, 1.1, 1.0, 0.9, 0.25, 0.2)
_QUIET_BELOW = 0.5
"""An agent that would make fewer calls in an hour than this makes none."""

Row = tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Month:
    """``calls`` over ``days`` before ``until`` (nanoseconds); each agent uses so many models.

    ``rhythm``: nights and weekends are quiet. Without it every agent uses all its models every hour.
    """

    until: int
    calls: int = 10_000_000
    days: int = 30
    models_per_agent: int = 3
    rhythm: bool = True


def rows(month: Month) -> Iterator[Row]:
    """The cells, in the order of their keys."""
    dice = random.Random(5)
    users = _users(month, dice)
    first = month.until // HOUR_NS - month.days * 24
    hours = [
        (hour * HOUR_NS, _weight(hour) if month.rhythm else 1.0)
        for hour in range(first, first + month.days * 24)
    ]
    weight = sum(each for _, each in hours)
    shares = sum(share for _, share in users)
    for hour, busy in hours:
        for names, share in users:
            expected = month.calls * busy / weight * share / shares
            if month.rhythm and expected < _QUIET_BELOW:
                continue
            yield hour, *names, *_figures(max(1, round(expected * dice.uniform(0.6, 1.4))), dice)


def fill_file(path: Path, month: Month) -> int:
    """Make a SQLite ledger with nothing in it but these rollups; how many."""
    migrate(path)
    marks = ", ".join("?" * len(COLUMNS))
    with sqlite3.connect(path) as connection:
        made = connection.executemany(
            f"INSERT INTO rollups ({', '.join(COLUMNS)}) VALUES ({marks})", rows(month)
        ).rowcount
    connection.close()
    return made


def fill_server(url: str, month: Month) -> int:
    """Put these rollups into an empty database of the newest schema; how many."""

    async def copy() -> int:
        connection = await asyncpg.connect(url)
        try:
            made = [(*row, 1) for row in rows(month)]
            await connection.copy_records_to_table("rollups", records=made, columns=(*COLUMNS, "node"))
            await connection.execute("ANALYZE rollups")
        finally:
            await connection.close()
        return len(made)

    return asyncio.run(copy())


def _users(month: Month, dice: random.Random) -> Sequence[tuple[tuple[str, str, str, str], float]]:
    """Who uses which model, and how much of all."""
    found: list[tuple[tuple[str, str, str, str], float]] = []
    for agent in range(AGENTS):
        much = 1 / (1 + agent % 8)
        for model in sorted(dice.sample(range(MODELS), month.models_per_agent)):
            names = (
                f"team-{agent % TEAMS}",
                f"agent-{agent:02}",
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
    return calls, denied, 0, calls // 500, tokens_in, tokens_out, cached, 0, 0, cost, tokens_in * 4, tokens_in
