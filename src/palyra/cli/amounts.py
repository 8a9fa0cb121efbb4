"""Amounts and times as people write them on the command line: ``5usd``, ``20k tokens``, ``18:00``, ``2h``."""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo
from datetime import time as time_of_day
from decimal import Decimal
from typing import NamedTuple

from palyra.approvals.rules import AMOUNT_MAX, GRANT_NS_MAX
from palyra.budgets.terms import Metric, format_amount
from palyra.core.errors import FieldError
from palyra.core.instant import NANOSECONDS, Instant, from_datetime, parse_instant
from palyra.core.money import format_usd, parse_usd

USD, TOKENS, REQUESTS = "usd", "tokens", "requests"
_AMOUNT = re.compile(
    r"(?P<dollar>\$?)\s*(?P<number>\d(?:_?\d)*(?:\.\d+)?)(?P<times>[km]?)\s*(?P<unit>[a-z]*)", re.ASCII
)
_DIGITS_MAX = 30
_TIMES = {"": 1, "k": 1_000, "m": 1_000_000}
_UNITS = {
    "usd": USD,
    "dollar": USD,
    "dollars": USD,
    "token": TOKENS,
    "tokens": TOKENS,
    "request": REQUESTS,
    "requests": REQUESTS,
}
_AMOUNT_EXAMPLES = "write 5usd, $5, 20000 tokens, 20k or 3 requests"
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})", re.ASCII)
_SPAN = re.compile(r"(?:(\d{1,4})w)?(?:(\d{1,4})d)?(?:(\d{1,4})h)?(?:(\d{1,5})m(?:in)?)?", re.ASCII)
_SPAN_SECONDS = (604_800, 86_400, 3_600, 60)
_TIME_EXAMPLES = "write 18:00, 2h, 90m, 3d, or a time with its zone such as 2026-12-31T18:00:00Z"
_GRANT_DAYS_MAX = GRANT_NS_MAX // (86_400 * NANOSECONDS)


class Amount(NamedTuple):
    """``value`` in nano-USD or whole tokens or requests. ``unit`` is None for a count that does not say."""

    value: int
    unit: str | None

    def fields(self) -> dict[str, object]:
        """The amount as the API takes it."""
        if self.unit == USD:
            return {"amount_usd": format_usd(self.value)}
        found: dict[str, object] = {"amount": self.value}
        return found if self.unit is None else found | {"unit": self.unit}


def parse_amount(text: str, metric: Metric | None, field: str = "--amount") -> Amount:
    """An amount of a budget that counts ``metric``; None where that is not known, and must be said.

    Exact, never a float, more than 0. Raises FieldError(field) with what to write instead.
    """
    written = _AMOUNT.fullmatch(text.strip().lower())
    if written is None or len(written["number"]) > _DIGITS_MAX:
        raise FieldError(field, f"{text!r} is not an amount; {_AMOUNT_EXAMPLES}.")
    unit = _unit_of(text, written, field)
    if unit is None and metric is None:
        unit = _usual_unit(written)
    counted = unit if metric is None else _unit_of_metric(metric)
    if counted is None:
        raise FieldError(field, f"{text!r} does not say of what; {_AMOUNT_EXAMPLES}.")
    if unit not in (None, counted):
        raise FieldError(field, f"the budget counts {_shown(counted)}, not {_shown(unit)}.")
    value = _money(text, written, field) if counted == USD else _count(text, written, counted, field)
    if value <= 0:
        raise FieldError(field, f"{text!r} is nothing; write how much more than the limit is needed.")
    if value > AMOUNT_MAX:
        most = format_amount(Metric.COST_USD, AMOUNT_MAX) if counted == USD else str(AMOUNT_MAX)
        raise FieldError(field, f"{text!r} is beyond reason; at most {most} can be granted.")
    return Amount(value, USD if counted == USD else unit)


def parse_until(text: str, now: Instant, zone: tzinfo | None, field: str = "--until") -> Instant:
    """When something ends: a clock time in ``zone`` (None: that of this machine), a span, or RFC 3339.

    A clock time that is over for today is that of tomorrow. One that the clocks show twice is the first that
    is still to come; one that they skip is refused. Raises FieldError(field).
    """
    asked = text.strip()
    clock, span = _CLOCK.fullmatch(asked), _SPAN.fullmatch(asked.lower())
    if clock is not None:
        until = _next_time(clock, asked, now, zone, field)
    elif span is not None and asked:
        seconds = sum(int(part or 0) * each for part, each in zip(span.groups(), _SPAN_SECONDS, strict=True))
        until = Instant(now + seconds * NANOSECONDS)
    else:
        until = _moment(asked, field)
    if until <= now:
        raise FieldError(field, f"{text!r} is over already; {_TIME_EXAMPLES}.")
    if until - now > GRANT_NS_MAX:
        raise FieldError(
            field, f"{text!r} is more than {_GRANT_DAYS_MAX} days away; raise the budget instead."
        )
    return until


def _unit_of(text: str, written: re.Match[str], field: str) -> str | None:
    named = written["unit"]
    if named and named not in _UNITS:
        raise FieldError(field, f"{named!r} in {text!r} is no unit; {_AMOUNT_EXAMPLES}.")
    unit = _UNITS.get(named)
    if written["dollar"] and unit not in (None, USD):
        raise FieldError(field, f"{text!r} has two units; {_AMOUNT_EXAMPLES}.")
    if written["dollar"]:
        return USD
    return unit


def _usual_unit(written: re.Match[str]) -> str | None:
    """What ``20k`` and ``5.00`` are without a word; ``5`` may be anything."""
    if written["times"]:
        return TOKENS
    return USD if "." in written["number"] else None


def _unit_of_metric(metric: Metric) -> str:
    if metric is Metric.COST_USD:
        return USD
    return REQUESTS if metric is Metric.REQUESTS else TOKENS


def _money(text: str, written: re.Match[str], field: str) -> int:
    if written["times"]:
        raise FieldError(field, f"{text!r} is no amount of money; write all digits, such as 5000.00.")
    try:
        return parse_usd(written["number"])
    except ValueError as error:
        raise FieldError(field, f"{error}.") from None


def _count(text: str, written: re.Match[str], counted: str, field: str) -> int:
    value = Decimal(written["number"]) * _TIMES[written["times"]]
    if value != int(value):
        raise FieldError(field, f"{text!r} is not a whole number of {counted}.")
    return int(value)


def _shown(unit: str | None) -> str:
    return "USD" if unit == USD else str(unit)


def _moment(text: str, field: str) -> Instant:
    try:
        return parse_instant(text)
    except (ValueError, OverflowError):
        raise FieldError(field, f"{text!r} is not a time; {_TIME_EXAMPLES}.") from None


def _next_time(clock: re.Match[str], text: str, now: Instant, zone: tzinfo | None, field: str) -> Instant:
    """The first moment after ``now`` at which clocks in the zone show this time, today or tomorrow."""
    try:
        shown = time_of_day(int(clock[1]), int(clock[2]))
    except ValueError:
        raise FieldError(field, f"{text!r} is not a time of day; write 00:00 to 23:59.") from None
    here = datetime.fromtimestamp(now // NANOSECONDS, UTC).astimezone(zone)
    day = here.date()
    moments = [each for each in _moments_of(day, shown, zone) if each > now]
    if not moments and shown <= here.time():
        day += timedelta(days=1)
        moments = list(_moments_of(day, shown, zone))
    if not moments:
        raise FieldError(field, f"clocks skip {text} on {day}; write another time.")
    return moments[0]


def _moments_of(day: date, shown: time_of_day, zone: tzinfo | None) -> Iterator[Instant]:
    """When clocks show this: once, twice where they are set back, never where they are set forward."""
    for fold in (0, 1):
        # Without a zone of its own a datetime is that of this machine.
        moment = datetime.combine(day, shown, tzinfo=zone).replace(fold=fold).astimezone(UTC)
        if moment.astimezone(zone).replace(tzinfo=None) == datetime.combine(day, shown):
            yield from_datetime(moment)
