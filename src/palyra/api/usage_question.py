"""The words of questions about usage, read from query strings."""

from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo

from palyra.budgets.fields import read_zone
from palyra.core.errors import FieldError
from palyra.lifecycle.running import RunningFilter
from palyra.lifecycle.usage import UsageFigure, UsageFilter, UsageTop
from palyra.reports.stretch import Stretch
from palyra.reports.usage_buckets import Unit
from palyra.reports.usage_rows import BY_NAME

GROUPS = ("principal", "agent", "model", "provider")
NAME_CHARS_MAX = 1_024


@dataclass(frozen=True, slots=True)
class Names:
    """Whose usage: None is anybody's, "" is that of calls without such a name."""

    principal: str | None
    agent: str | None
    model: str | None
    provider: str | None

    def of(self, own: str | None) -> "Names":
        """The same, of the principal ``own`` alone unless that is None.

        Raises FieldError for a name that nobody can have, and for another principal than the own one.
        """
        for field in GROUPS:
            value = getattr(self, field)
            if value is not None and (len(value) > NAME_CHARS_MAX or "\0" in value):
                raise FieldError(field, f"must be at most {NAME_CHARS_MAX} characters, none of them NUL.")
        if own is None:
            return self
        if self.principal not in (None, own):
            raise FieldError(
                "principal", f"this key sees its own usage only: leave it out, or write {own!r}."
            )
        return replace(self, principal=own)

    def within(self, stretch: Stretch) -> UsageFilter:
        """The usage of a stretch of time."""
        return UsageFilter(*stretch, self.principal, self.agent, self.model, self.provider)

    @property
    def running(self) -> RunningFilter:
        """The calls that run now."""
        return RunningFilter(self.principal, self.agent, self.model, self.provider)

    @property
    def has_latencies(self) -> bool:
        """Whether latencies are kept so finely: by model and provider, and not by who called."""
        return self.principal is None and self.agent is None


def figure_of(text: str) -> UsageFigure:
    """A figure by its name. Raises FieldError("metric")."""
    try:
        return UsageFigure(text)
    except ValueError:
        raise FieldError("metric", f"{text!r} is not one of: {', '.join(UsageFigure)}.") from None


def order_of(text: str) -> UsageFigure | None:
    """What to sort by, the largest first; None is by name. Raises FieldError("sort")."""
    if text == BY_NAME:
        return None
    try:
        return UsageFigure(text)
    except ValueError:
        raise FieldError("sort", f"{text!r} is not one of: {', '.join(UsageFigure)}, {BY_NAME}.") from None


def unit_of(text: str) -> Unit:
    """How long buckets are. Raises FieldError("bucket")."""
    try:
        return Unit(text)
    except ValueError:
        raise FieldError("bucket", f"{text!r} is not one of: {', '.join(Unit)}.") from None


def zone_of(text: str) -> ZoneInfo:
    """An IANA time zone. Raises FieldError("timezone")."""
    return read_zone({"timezone": text}, "timezone", "UTC")


def top_of(by: str | None, figure: UsageFigure, count: int) -> UsageTop | None:
    """The ``count`` largest groups of ``by``, None without one. Raises FieldError("by")."""
    if by is None:
        return None
    if by not in GROUPS:
        raise FieldError("by", f"{by!r} is not one of: {', '.join(GROUPS)}.")
    return UsageTop(by, figure, count)
