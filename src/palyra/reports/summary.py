"""Rollup sums as a JSON document: a total and its groups, the dearest first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from palyra.core.errors import FieldError
from palyra.core.instant import Instant, isoformat
from palyra.core.latency import quantile_ms
from palyra.reports.explain import money
from palyra.reports.routing import percent
from palyra.reports.stretch import Stretch

if TYPE_CHECKING:
    from palyra.lifecycle.running import RunningTotals
    from palyra.lifecycle.usage import UsageTotals

GROUPS = ("hour", "principal", "agent", "model", "provider")
"""What the rollups can be grouped by."""

_COUNTS = (
    "requests",
    "denied",
    "estimated",
    "unpriced",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "asked",
    "clamped",
    "failed",
    "timed",
    "latency_ms",
)
_AMOUNTS = ("cost", "saved")


_P95 = 950


@dataclass(frozen=True, slots=True)
class Period:
    """Sums of a stretch, by group or of all, and its calls by latency: None where they cannot be told."""

    totals: Sequence["UsageTotals"]
    latencies: Mapping[int, int] | None

    @property
    def p95_ms(self) -> int | None:
        """The latency that 95 of 100 calls did not exceed, at most an eighth off; None without calls."""
        return quantile_ms(self.latencies or {}, _P95)


def parse_groups(text: str) -> tuple[str, ...]:
    """Read ``principal,model``. Raises FieldError("group_by") for a word the rollups do not know."""
    groups = tuple(word.strip() for word in text.split(",") if word.strip())
    for group in groups:
        if group not in GROUPS:
            raise FieldError("group_by", f"{group!r} is not one of {', '.join(GROUPS)}")
    return tuple(dict.fromkeys(groups))


def summary_document(
    now: Period,
    before: Period,
    running: "RunningTotals",
    stretch: Stretch,
    group_by: Sequence[str],
    first_hour: Instant | None,
) -> dict[str, object]:
    """Totals over a stretch, one entry per group, and what changed against the stretch ``before`` it.

    Shares of what was before are told only where usage was kept from its start on, since ``first_hour``.
    Costs in nano-USD and USD. ``unpriced`` counts the calls whose cost is unknown and that are therefore not
    in ``cost`` (L6), ``running_unpriced`` those that are not in ``held_now``. ``saved`` is what routed calls
    would have cost more on their default models.
    """
    totals = now.totals
    is_whole = first_hour is not None and first_hour <= stretch.before.since
    ordered = sorted(totals, key=lambda each: (-each.cost, -each.requests, sorted(each.group.items())))
    return {
        "since": isoformat(stretch.since),
        "until": isoformat(stretch.until),
        "group_by": list(group_by),
        "totals": sums_document(totals),
        "p95_latency_ms": now.p95_ms,
        "running": running.calls,
        "running_unpriced": running.unpriced,
        **money("held_now", running.held),
        "previous": {
            "since": isoformat(stretch.before.since),
            "until": isoformat(stretch.before.until),
            "kept_since": None if first_hour is None else isoformat(first_hour),
            "whole": is_whole,
            "totals": sums_document(before.totals),
            "p95_latency_ms": before.p95_ms,
        },
        "change": _change(now, before, is_whole=is_whole),
        "groups": [{"group": dict(each.group), **sums_document((each,))} for each in ordered]
        if group_by
        else [],
    }


def sums_document(totals: Sequence["UsageTotals"]) -> dict[str, object]:
    """The figures of all of ``totals`` together: counts, and cost and savings in nano-USD and USD."""
    average = {"average_latency_ms": average_latency_ms(totals)}
    return _counts(totals) | average | _amount("cost", totals) | _amount("saved", totals)


def average_latency_ms(totals: Sequence["UsageTotals"]) -> int | None:
    """The mean of the timed calls in milliseconds, half-even; None without any."""
    timed = sum(each.timed for each in totals)
    return round(Fraction(sum(each.latency_ms for each in totals), timed)) if timed else None


def _amount(name: str, totals: Sequence["UsageTotals"]) -> dict[str, object]:
    return money(name, sum(getattr(each, name) for each in totals))


def _counts(totals: Sequence["UsageTotals"]) -> dict[str, object]:
    return {name: sum(getattr(each, name) for each in totals) for name in _COUNTS}


def _change(now: Period, before: Period, *, is_whole: bool) -> dict[str, object]:
    """How much more each figure is now.

    ``_percent`` is of the figure before, None where that was 0 (W40) or is of a part of its time only.
    """
    document: dict[str, object] = {}
    for name in (*_COUNTS, *_AMOUNTS):
        old = sum(getattr(each, name) for each in before.totals)
        more = sum(getattr(each, name) for each in now.totals) - old
        document |= money(name, more) if name in _AMOUNTS else {name: more}
        document[f"{name}_percent"] = percent(more, abs(old)) if is_whole else None
    latencies = {
        "average_latency_ms": (average_latency_ms(before.totals), average_latency_ms(now.totals)),
        "p95_latency_ms": (before.p95_ms, now.p95_ms),
    }
    for name, (slow, slower) in latencies.items():
        later = None if slow is None or slower is None else slower - slow
        document[name] = later
        document[f"{name}_percent"] = percent(later, slow or 0) if is_whole and later is not None else None
    return document
