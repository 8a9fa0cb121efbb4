"""Agents, principals, models and providers by what they used, as JSON documents, page by page."""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from palyra.core.errors import FieldError
from palyra.core.hours import HOUR_NS, HourRun
from palyra.core.instant import END_OF_TIME, Instant, isoformat
from palyra.core.money import INT64_MAX
from palyra.reports.explain import money
from palyra.reports.routing import percent
from palyra.reports.stretch import Stretch
from palyra.reports.summary import sums_document
from palyra.reports.usage_timeline import UNITS

if TYPE_CHECKING:
    from palyra.lifecycle.usage import UsageFigure, UsagePage, UsageRow, UsageRows

VIEWS: Mapping[str, tuple[str, ...]] = {
    "agents": ("agent",),
    "principals": ("principal",),
    "models": ("model", "provider"),
    "providers": ("provider",),
}
"""What a row of each view is: the calls of these names. One model at two providers is two rows."""

SHARES = ("share_percent", "average_cost_nano_usd", "average_cost_usd", "last_hour")
"""What a row has beside its names and sums."""

BY_NAME = "name"
_NAME_CHARS_MAX = 1_024


class Place(NamedTuple):
    """The last row of a page, and the stretch that all pages are about."""

    stretch: Stretch
    figure: int | None
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """What tells one listing from another: a cursor is good for the question that it came from."""

    view: str
    sort: str
    filters: Mapping[str, str | None]

    @property
    def mark(self) -> str:
        """A short digest."""
        text = json.dumps([self.view, self.sort, sorted(self.filters.items())])
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def rows_document(
    page: "UsagePage", question: Question, asked: "UsageRows", stretch: Stretch, spark: HourRun, limit: int
) -> dict[str, object]:
    """At most ``limit`` rows; ``next_cursor`` leads to those behind them, if there are any."""
    shown = page.rows[:limit]
    figure = _drawn(asked)
    more = len(page.rows) > limit
    return {
        "since": isoformat(stretch.since),
        "until": isoformat(stretch.until),
        "sort": question.sort,
        **money("all_cost", page.cost),
        "sparkline": {
            "metric": figure,
            "unit": UNITS[figure],
            "start": isoformat(spark.start),
            "hours": spark.step // HOUR_NS,
            "buckets": spark.buckets,
        },
        "items": [
            {
                **row_document(each, page.cost),
                "sparkline": [each.spark.get(at, 0) for at in range(spark.buckets)],
            }
            for each in shown
        ],
        "next_cursor": _cursor(question, stretch, asked.order, shown[-1]) if more else None,
    }


def row_document(row: "UsageRow", cost: int) -> dict[str, object]:
    """Names and sums of a group, its share of ``cost``, and the average of the calls that have a price."""
    priced = row.sums.requests - row.sums.unpriced
    average = round(Fraction(row.sums.cost, priced)) if priced > 0 else None
    return {
        **row.sums.group,
        **sums_document((row.sums,)),
        "share_percent": percent(row.sums.cost, cost),
        **money("average_cost", average),
        "last_hour": isoformat(row.last_hour),
    }


def read_cursor(text: str, question: Question) -> Place:
    """Where to go on. Raises FieldError("cursor") for one that is not of this question."""
    try:
        found = json.loads(base64.urlsafe_b64decode(text.encode("ascii") + b"=="))
        return _place(found, question)
    except (ValueError, TypeError, RecursionError):
        wrong = (
            "is not one that this list gave; leave it out, and keep the filters and the order as they were."
        )
        raise FieldError("cursor", wrong) from None


def _place(found: object, question: Question) -> Place:
    mark, since, until, figure, names = cast("list[Any]", found)
    texts = tuple(names)
    good = (
        mark == question.mark
        and _is_whole(since)
        and _is_whole(until)
        and 0 <= since < until < END_OF_TIME
        and (figure is None) == (question.sort == BY_NAME)
        and (figure is None or (_is_whole(figure) and abs(figure) <= INT64_MAX))
        and len(texts) == len(VIEWS[question.view])
        and all(isinstance(each, str) and len(each) <= _NAME_CHARS_MAX for each in texts)
    )
    if not good:
        raise ValueError("another question")
    return Place(Stretch(Instant(since), Instant(until)), figure, texts)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _cursor(question: Question, stretch: Stretch, order: "UsageFigure | None", last: "UsageRow") -> str:
    figure = None if order is None else order.of(last.sums)
    text = json.dumps([question.mark, *stretch, figure, list(last.sums.group.values())])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _drawn(asked: "UsageRows") -> str:
    return "cost" if asked.order is None else asked.order.value
