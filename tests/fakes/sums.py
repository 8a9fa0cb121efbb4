"""What the sums of calls have to be, added up from the calls themselves in the plainest way."""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from fakes.till import Store, all_decisions
from palyra.core.instant import NANOSECONDS, Instant
from palyra.core.latency import bucket_of
from palyra.lifecycle.activity import LatencyCounts, SessionFilter, SessionTotals, TagTotals
from palyra.lifecycle.decision import CallState, StoredDecision
from palyra.lifecycle.usage import UsageTotals
from palyra.store import sql

EVER = Instant(0), Instant(2**62)
CELL = ("hour", "principal", "agent", "model", "provider")
HOUR_NS = 3600 * NANOSECONDS
TABLES = {
    "rollups": "hour, principal, agent, model, provider",
    "half_days": "half_day, principal, agent, model, provider",
    "latencies": "hour, provider, model, bucket",
    "half_day_latencies": "half_day, provider, model, bucket",
    "half_day_tags": "half_day, tag, value",
    "tag_rollups": "hour, tag, value",
    "sessions": "principal, session",
    "session_parts": "principal, session, agent, model, provider",
}
Figures = dict[str, int]


def figures(call: StoredDecision) -> Figures:
    """What one call counts for."""
    end, usage = call.settlement, None if call.settlement is None else call.settlement.usage
    is_denied = call.state is CallState.DENIED
    found = dict.fromkeys((each for each in UsageTotals.__dataclass_fields__ if each != "group"), 0)
    found |= {"denied": is_denied, "asked": is_denied and call.decision.outcome == "ask"}
    if end is None or call.state is CallState.PENDING:
        return found
    broke = end.attempts[-1].outcome != "ok" if end.attempts else False
    refused = call.state is CallState.RELEASED and end.upstream_status is not None
    found["failed"] = (broke or refused) and call.state is not CallState.IN_DOUBT
    if usage is None or call.state is CallState.RELEASED:
        return found
    in_time = call.state is CallState.SETTLED and not end.late
    return found | {
        "requests": 1,
        "estimated": end.source != "provider",
        "unpriced": end.cost is None,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_5m_tokens + usage.cache_write_1h_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "cost": end.cost or 0,
        "clamped": call.decision.clamp is not None,
        "timed": in_time,
        "latency_ms": end.total_ms if in_time else 0,
        "saved": end.saved or 0,
    }


def hour_of(call: StoredDecision) -> int:
    return call.decision.at // HOUR_NS * HOUR_NS


def cells(calls: Iterable[StoredDecision]) -> dict[tuple[str, ...], Figures]:
    """Sums per cell, those of nothing left out."""
    sums: dict[tuple[str, ...], Counter[str]] = {}
    for call in calls:
        made = call.decision
        key = (str(hour_of(call)), made.principal, made.agent or "", made.model, made.provider)
        sums.setdefault(key, Counter()).update(figures(call))
    return {key: dict(each) for key, each in sums.items() if any(each.values())}


def sessions(calls: Iterable[StoredDecision]) -> dict[tuple[str, str], SessionTotals]:
    """Sessions with a call that counts."""
    found: dict[tuple[str, str], SessionTotals] = {}
    for call in sorted(calls, key=lambda each: each.decision.request_id):
        made, own = call.decision, figures(call)
        if made.session is None or not any(own.values()):
            continue
        one = SessionTotals(
            made.principal,
            made.session,
            made.at,
            made.at,
            made.request_id,
            made.request_id,
            made.agent or "",
            made.model,
            *(
                int(own[name])
                for name in ("requests", "denied", "failed", "input_tokens", "output_tokens", "cost")
            ),
        )
        known = found.get((one.principal, one.session))
        if known is not None:
            names = ("requests", "denied", "failed", "input_tokens", "output_tokens", "cost")
            sums = {name: getattr(known, name) + getattr(one, name) for name in names}
            one = replace(one, first_at=known.first_at, first_call=known.first_call, **sums)
        found[one.principal, one.session] = one
    return found


def parts(calls: Iterable[StoredDecision]) -> set[tuple[str, str, str, str, str]]:
    """Which session had a call that counts of which agent, model and provider."""
    return {
        (each.principal, each.session, each.agent or "", each.model, each.provider)
        for each, own in ((call.decision, figures(call)) for call in calls)
        if each.session is not None and any(own.values())
    }


def tags(calls: Iterable[StoredDecision]) -> list[TagTotals]:
    """Sums per tag and value."""
    names = ("requests", "input_tokens", "output_tokens", "cost")
    sums: dict[tuple[str, str], Counter[str]] = {}
    for call in calls:
        own = figures(call)
        for tag in call.decision.labels.tags.items():
            if own["requests"]:
                sums.setdefault(tag, Counter()).update({name: own[name] for name in names})
    made = [TagTotals(*tag, *(sums[tag][name] for name in names)) for tag in sums]
    return sorted(made, key=lambda each: (-each.cost, each.tag, each.value))


def latencies(calls: Iterable[StoredDecision]) -> list[LatencyCounts]:
    """Calls by class of latency."""
    counts: dict[tuple[str, str], Counter[int]] = {}
    for call in calls:
        if figures(call)["timed"]:
            place = call.decision.provider, call.decision.model
            counts.setdefault(place, Counter())[bucket_of(figures(call)["latency_ms"])] += 1
    return [LatencyCounts(*place, dict(counts[place])) for place in sorted(counts)]


async def stored_cells(store: Store) -> Mapping[tuple[str, ...], Figures]:
    """What the rollups say."""
    found = await store.records.usage(*EVER, CELL)
    return {
        tuple(each.group.values()): {name: getattr(each, name) for name in figures_of(each)} for each in found
    }


def stored_sums(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """All rows of a SQLite file that can be made anew."""
    connection = sqlite3.connect(path)
    found = {
        name: connection.execute(f"SELECT * FROM {name} ORDER BY {key}").fetchall()
        for name, key in TABLES.items()
    }
    connection.close()
    return found


def half_days_disagree(connection: sqlite3.Connection) -> list[tuple[object, ...]]:
    """Rows of half-days that are not the sums of their hours, and those that these would be."""
    wrong: list[tuple[object, ...]] = []
    for statement in sql.FILL_HALF_DAYS:
        insert, _, summed = statement.partition("SELECT")
        stored, right = f"SELECT * FROM {insert.split()[2]}", f"SELECT {summed}"
        wrong += connection.execute(f"{stored} EXCEPT {right}")
        wrong += connection.execute(f"SELECT * FROM ({right}) EXCEPT {stored}")
    return wrong


def figures_of(totals: UsageTotals) -> list[str]:
    return [name for name in totals.__dataclass_fields__ if name != "group"]


async def assert_sums_agree(store: Store) -> None:
    """L2: every sum that people see is the one of the calls, to the last nano-USD."""
    calls = await all_decisions(store)
    records = store.records
    expected = cells(calls)
    assert await stored_cells(store) == expected, "L2: rollups"
    by_names: dict[tuple[str, ...], Counter[str]] = {}
    for (_, *names), sums in expected.items():
        by_names.setdefault(tuple(names), Counter()).update(sums)
    told = await records.usage(*EVER, CELL[1:])
    found = {
        tuple(each.group.values()): {name: getattr(each, name) for name in figures_of(each)} for each in told
    }
    assert found == {names: dict(sums) for names, sums in by_names.items()}, "L2: half-days"
    listed = await records.sessions(SessionFilter(limit=1_000_000))
    assert {(each.principal, each.session): each for each in listed} == sessions(calls), "L2: sessions"
    expected_parts = parts(calls)
    for agent, model, provider in {each[2:] for each in expected_parts}:
        wanted = SessionFilter(agent=agent, model=model, provider=provider, limit=1_000_000)
        assert {(each.principal, each.session) for each in await records.sessions(wanted)} == {
            each[:2] for each in expected_parts if each[2:] == (agent, model, provider)
        }, "sessions are found by what they had calls of"
    assert await records.tags(*EVER) == tags(calls), "L2: tags"
    assert await records.latencies(*EVER) == latencies(calls), "L2: latencies"
    all_latencies = sum((Counter(each.calls) for each in latencies(calls)), Counter[int]())
    assert await records.all_latencies(*EVER) == all_latencies, "L2: latencies of all"
