"""The stretch of time that a report is about, from what somebody wrote."""

import re
from typing import NamedTuple

from palyra.core.errors import FieldError
from palyra.core.hours import DAY_NS, HOUR_NS
from palyra.core.instant import END_OF_TIME, Instant, parse_instant

SPAN_DAYS_MAX = 366
DEFAULT_SPAN = "30d"
_SPAN = re.compile(r"([0-9]{1,5})([hdw])")
_UNITS = {"h": HOUR_NS, "d": DAY_NS, "w": 7 * DAY_NS}
_HOW = "write RFC 3339 such as 2026-12-31T00:00:00Z, or a span such as 24h, 7d or 4w"


class Stretch(NamedTuple):
    """``since <= t < until``."""

    since: Instant
    until: Instant

    @property
    def before(self) -> "Stretch":
        """The stretch of the same length that ends where this one begins."""
        return Stretch(Instant(2 * self.since - self.until), self.since)


def read_stretch(
    since: str | None, until: str | None, now: Instant, *, days_max: int | None = SPAN_DAYS_MAX
) -> Stretch:
    """``until`` (by default now) as a time or a span before now, ``since`` as one or a span before it.

    Raises FieldError("since") or FieldError("until").
    """
    # One past now: what is counted in this very hour belongs to it.
    end = Instant(now + 1) if until is None else read_time("until", until, now)
    start = read_time("since", since if since is not None else DEFAULT_SPAN, end)
    if start >= end:
        raise FieldError("since", "must be before 'until'.")
    if days_max is not None and end - start > days_max * DAY_NS:
        raise FieldError("since", f"must be at most {days_max} days before 'until'.")
    return Stretch(start, end)


def read_bounds(since: str | None, until: str | None, now: Instant) -> tuple[Instant | None, Instant | None]:
    """As ``read_stretch``, where none is as good as no bound, and none is too far from another.

    Raises FieldError("since") or FieldError("until").
    """
    end = None if until is None else read_time("until", until, now)
    start = None if since is None else read_time("since", since, end or now)
    if start is not None and end is not None and start >= end:
        raise FieldError("since", "must be before 'until'.")
    return start, end


def read_time(field: str, text: str, before: Instant) -> Instant:
    """A time, or the one that is a span such as ``24h`` before another one. Raises FieldError(field)."""
    span = _SPAN.fullmatch(text)
    if span is not None:
        found = before - int(span[1]) * _UNITS[span[2]]
    else:
        try:
            found = parse_instant(text)
        except (ValueError, OverflowError):
            raise FieldError(field, f"{text!r} is neither a time nor a span; {_HOW}.") from None
    if not 0 <= found < END_OF_TIME:
        raise FieldError(field, "is out of range; write a time from 1970 to 2261.")
    return Instant(found)
