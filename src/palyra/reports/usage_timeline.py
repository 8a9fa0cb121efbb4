"""Usage over time as a JSON document: totals per bucket, and a series for each of the largest groups."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from palyra.core.instant import isoformat
from palyra.reports.stretch import Stretch
from palyra.reports.summary import sums_document
from palyra.reports.usage_buckets import Cut

if TYPE_CHECKING:
    from palyra.lifecycle.usage import UsageCell, UsageFigure, UsageTop

UNITS = {"cost": "nano_usd", "tokens": "tokens", "calls": "calls", "denied": "calls"}
"""What the points of a series count, by figure."""


def timeline_document(
    cells: Sequence["UsageCell"],
    made: Cut,
    stretch: Stretch,
    timezone: str,
    top: "UsageTop | None",
    figure: "UsageFigure",
) -> dict[str, object]:
    """``buckets`` have all figures; ``series`` have one, the largest group first, then the rest as ``other``.

    The points of all series add up to the buckets, and the buckets to ``totals``.
    """
    return {
        "since": isoformat(stretch.since),
        "until": isoformat(stretch.until),
        "bucket": made.unit.value,
        "timezone": timezone,
        "aligned": made.aligned,
        "by": None if top is None else top.by,
        "metric": figure.value,
        "unit": UNITS[figure.value],
        "totals": sums_document([each.sums for each in cells]),
        "buckets": [bucket for _, bucket in _buckets(cells, made)],
        "series": [] if top is None else _series(cells, len(made.buckets), figure),
    }


def timeline_rows(cells: Sequence["UsageCell"], made: Cut, by: str | None) -> Iterator[Mapping[str, object]]:
    """A row per bucket, or per bucket and group: ``by``, and ``other`` for the rest of them."""
    if by is None:
        yield from (document for _, document in _buckets(cells, made))
        return
    told = sorted(cells, key=lambda each: (each.bucket, each.name is None, each.name or ""))
    for each in told:
        bucket = made.buckets[each.bucket]
        yield {
            "start": isoformat(bucket.start),
            "end": isoformat(bucket.end),
            "label": bucket.label,
            by: each.name or "",
            "other": each.name is None,
            **sums_document([each.sums]),
        }


def _buckets(cells: Sequence["UsageCell"], made: Cut) -> Iterator[tuple[int, dict[str, object]]]:
    found: dict[int, list[Any]] = {}
    for each in cells:
        found.setdefault(each.bucket, []).append(each.sums)
    for number, bucket in enumerate(made.buckets):
        times = {"start": isoformat(bucket.start), "end": isoformat(bucket.end), "label": bucket.label}
        yield number, {**times, **sums_document(found.get(number, []))}


def _series(cells: Sequence["UsageCell"], buckets: int, figure: "UsageFigure") -> list[dict[str, object]]:
    points: dict[str | None, list[int]] = {}
    for each in cells:
        points.setdefault(each.name, [0] * buckets)[each.bucket] += figure.of(each.sums)
    ordered = sorted(points.items(), key=lambda item: (item[0] is None, -sum(item[1]), item[0] or ""))
    return [
        {"name": name or "", "other": name is None, "total": sum(values), "points": values}
        for name, values in ordered
    ]
