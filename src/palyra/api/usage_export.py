"""Usage as a file: read and sent page by page, so that a long one needs no more memory than a short one."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from starlette.responses import Response, StreamingResponse

from palyra.api.access import OWN, CallerOf, only_principal
from palyra.api.deps import ApiDeps
from palyra.api.routes import Routes
from palyra.api.usage_question import Names, figure_of, top_of, unit_of, zone_of
from palyra.core.errors import FieldError
from palyra.core.instant import isoformat
from palyra.lifecycle.usage import UsageFilter, UsageRows, UsageTotals
from palyra.reports.stretch import Stretch, read_stretch
from palyra.reports.usage_buckets import cut
from palyra.reports.usage_export import (
    FOCUS_COLUMNS,
    HOUR_COLUMNS,
    SUMS,
    Row,
    csv_lines,
    focus_row,
    hour_row,
    json_items,
)
from palyra.reports.usage_rows import SHARES, VIEWS, row_document
from palyra.reports.usage_timeline import timeline_rows

PAGE = 500
"""Rows that are read at once."""
_AT_ONCE = 50
"""Rows between two turns of the loop, on which calls wait."""
SERIES = 20
DATASETS = ("timeline", *VIEWS, "hours")
FORMATS = ("csv", "json", "focus")
_TIMES = ("start", "end", "label")

T = TypeVar("T")
Pages = AsyncIterator[Sequence[Row]]


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is exported."""

    dataset: str
    stretch: Stretch
    names: Names
    bucket: str
    timezone: str
    by: str | None

    @property
    def wanted(self) -> UsageFilter:
        return self.names.within(self.stretch)


class UsageExport:
    """Handler of ``/usage/export``."""

    def __init__(self, deps: ApiDeps) -> None:
        self._records = deps.records
        self._clock = deps.clock

    def install(self, routes: Routes) -> None:
        """Add the route."""
        media = ("text/csv", "application/json")
        routes.add("GET", "/usage/export", self.usage_export, OWN, also=(503,), media=media)

    async def usage_export(
        self,
        caller: CallerOf,
        dataset: str | None = None,
        format: str = "csv",  # noqa: A002 (it is the name in the query)
        since: str | None = None,
        until: str | None = None,
        bucket: str = "auto",
        timezone: str = "UTC",
        by: str | None = None,
        principal: str | None = None,
        agent: str | None = None,
        model: str | None = None,
        provider: str | None = None,
    ) -> Response:
        """A file of usage: a dataset as CSV or JSON, or the hours as charges of FOCUS 1.2 (CSV).

        It breaks off, and does not end, where the ledger cannot be read any more.
        """
        if format not in FORMATS:
            raise FieldError("format", f"{format!r} is not one of: {', '.join(FORMATS)}.")
        asked = _Asked(
            _dataset(dataset, format),
            read_stretch(since, until, self._clock.now()),
            Names(principal, agent, model, provider).of(only_principal(caller)),
            bucket,
            timezone,
            by,
        )
        columns, pages = self._pages(asked, focus_row if format == "focus" else hour_row)
        # What fails at the start is a problem with a status, and no file that breaks off.
        first = await anext(pages)
        written = _json(asked, first, pages) if format == "json" else _csv(columns, first, pages)
        media = "application/json" if format == "json" else "text/csv; charset=utf-8"
        headers = {
            "content-disposition": f'attachment; filename="{_file_name(asked, format)}"',
            "cache-control": "no-store",
        }
        return StreamingResponse(written, media_type=media, headers=headers)

    def _pages(self, asked: _Asked, of_hour: Callable[[UsageTotals], Row]) -> tuple[Sequence[str], Pages]:
        """The columns, and the rows page by page."""
        if asked.dataset == "timeline":
            columns = _TIMES + SUMS if asked.by is None else (*_TIMES, asked.by, "other", *SUMS)
            return columns, self._timeline(asked)
        if asked.dataset == "hours":
            return HOUR_COLUMNS if of_hour is hour_row else FOCUS_COLUMNS, self._hours(asked, of_hour)
        return (*VIEWS[asked.dataset], *SUMS, *SHARES), self._view(asked)

    async def _timeline(self, asked: _Asked) -> Pages:
        largest = top_of(asked.by, figure_of("cost"), SERIES)
        made = cut(asked.stretch, unit_of(asked.bucket), zone_of(asked.timezone))
        cells = await self._records.usage_series(asked.wanted, made.runs, largest)
        yield list(timeline_rows(cells, made, asked.by))

    async def _view(self, asked: _Asked) -> Pages:
        """By name: so each row is there once, whatever is counted meanwhile."""
        question = UsageRows(asked.wanted, VIEWS[asked.dataset], None, None, PAGE)
        while True:
            page = await self._records.usage_rows(question)
            async for rows in _in_turns(page.rows, lambda each, cost=page.cost: row_document(each, cost)):
                yield rows
            if len(page.rows) < PAGE:
                return
            question = replace(question, after=(None, tuple(page.rows[-1].sums.group.values())))

    async def _hours(self, asked: _Asked, of_hour: Callable[[UsageTotals], Row]) -> Pages:
        after: tuple[str, ...] | None = None
        while True:
            found = await self._records.usage_hours(asked.wanted, after, PAGE)
            async for rows in _in_turns(found, of_hour):
                yield rows
            if len(found) < PAGE:
                return
            after = tuple(found[-1].group.values())


async def _in_turns(found: Sequence[T], row_of: Callable[[T], Row]) -> Pages:
    """The rows of what was found, some at a time; none of nothing, but once."""
    for first in range(0, max(1, len(found)), _AT_ONCE):
        yield [row_of(each) for each in found[first : first + _AT_ONCE]]
        await asyncio.sleep(0)


def _dataset(text: str | None, format_: str) -> str:
    dataset = text or ("hours" if format_ == "focus" else "timeline")
    if dataset not in DATASETS:
        raise FieldError("dataset", f"{dataset!r} is not one of: {', '.join(DATASETS)}.")
    if format_ == "focus" and dataset != "hours":
        raise FieldError("dataset", "must be 'hours' for FOCUS: its charges are hours; or leave it out.")
    return dataset


async def _csv(columns: Sequence[str], first: Sequence[Row], pages: Pages) -> AsyncIterator[bytes]:
    yield csv_lines(columns, first, head=True)
    async for page in pages:
        if page:
            yield csv_lines(columns, page, head=False)


async def _json(asked: _Asked, first: Sequence[Row], pages: Pages) -> AsyncIterator[bytes]:
    """One document, whose closing bracket says that it is whole."""
    since, until = map(isoformat, asked.stretch)
    yield f'{{"dataset":"{asked.dataset}","since":"{since}","until":"{until}","items":[\n'.encode()
    yield json_items(first, first=True)
    async for page in pages:
        if page:
            yield json_items(page, first=False)
    yield b"\n]}\n"


def _file_name(asked: _Asked, format_: str) -> str:
    """Dates and words of ours alone: nothing in it comes from a client."""
    since, until = (isoformat(at)[:10] for at in asked.stretch)
    kind = "focus-1.2" if format_ == "focus" else asked.dataset
    return f"palyra-usage-{kind}-{since}-{until}.{'json' if format_ == 'json' else 'csv'}"
