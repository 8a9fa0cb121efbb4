"""What people should look at, each with what to do next: told from figures, and from nothing else."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from palyra.alerts.alert import Severity
from palyra.alerts.words import amount_text
from palyra.core.money import format_usd

ERRORS_PERCENT = 5
ERRORS_PERCENT_CRITICAL = 20
DENIED_PERCENT = 20
ESTIMATED_PERCENT = 5
CALLS_MIN = 20
"""Shares of fewer calls say little."""
SPIKE_TIMES = 3
SPIKE_NANO_USD_MIN = 10_000_000
"""A day that cost less than a cent is no spike."""
SPIKE_DAYS_MIN = 3
"""An agent that is known for less has no usual day."""
HINTS_MAX = 20
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_ORDER = (Severity.CRITICAL, Severity.WARNING, Severity.INFO)


class HintKind(StrEnum):
    """What a hint is about."""

    BUDGET_EXHAUSTED = "budget_exhausted"
    BUDGET_RUNS_OUT = "budget_runs_out"
    BUDGET_OVER_SOFT_LIMIT = "budget_over_soft_limit"
    PROVIDER_DOWN = "provider_down"
    PROVIDER_ERRORS = "provider_errors"
    UNPRICED_CALLS = "unpriced_calls"
    AGENT_SPENDS_MORE = "agent_spends_more"
    MANY_DENIED = "many_denied"
    ROUTING_WOULD_SAVE = "routing_would_save"
    USAGE_NOT_REPORTED = "usage_not_reported"


class Pressure(StrEnum):
    """Why a budget is worth a look, the most pressing first."""

    HARD_LIMIT = "hard_limit"
    FORECAST = "forecast"
    SOFT_LIMIT = "soft_limit"


@dataclass(frozen=True, slots=True)
class PressedBudget:
    """One account of a budget in its own window; amounts in the unit of ``metric`` (W45).

    ``exhausted_at`` is RFC 3339. ``limit`` is the one that is told of.
    """

    policy_id: str
    entity: str
    metric: str
    why: Pressure
    consumed: int
    limit: int
    exhausted_at: str | None = None


@dataclass(frozen=True, slots=True)
class ProviderSight:
    """Calls of one provider in the period, and how it does now; ``retry_at`` is RFC 3339."""

    provider: str
    requests: int
    failed: int
    state: str = "unknown"
    retry_at: str | None = None


@dataclass(frozen=True, slots=True)
class AgentDay:
    """What an agent cost in the last day, and in the ``days`` before it that it is known for; nano-USD."""

    agent: str
    last_day: int
    before: int
    days: int

    @property
    def usual(self) -> int:
        """A usual day, half-even; 0 if there is none."""
        return round(Fraction(self.before, self.days)) if self.days >= SPIKE_DAYS_MIN else 0

    @property
    def is_spike(self) -> bool:
        """Whether the last day is far beyond a usual one."""
        return self.last_day >= SPIKE_NANO_USD_MIN and self.last_day > SPIKE_TIMES * self.usual > 0


@dataclass(frozen=True, slots=True)
class Sight:
    """What hints are told from. ``could_save`` (nano-USD) is of the newest ``calls`` that were looked at."""

    requests: int = 0
    denied: int = 0
    estimated: int = 0
    unpriced: int = 0
    unpriced_models: Sequence[tuple[str, str]] = ()
    budgets: Sequence[PressedBudget] = ()
    providers: Sequence[ProviderSight] = ()
    agents: Sequence[AgentDay] = ()
    calls: int = 0
    could_save: int = 0


@dataclass(frozen=True, slots=True)
class Hint:
    """``action`` says what to do next; ``link`` is a page below ``/console``."""

    kind: HintKind
    severity: Severity
    title: str
    detail: str
    action: str
    link: str

    def document(self) -> dict[str, object]:
        """Its members as JSON."""
        return {
            "kind": self.kind.value,
            "severity": self.severity.value,
            "title": self.title,
            "detail": self.detail,
            "action": self.action,
            "link": self.link,
        }


def hints_of(sight: Sight) -> list[Hint]:
    """At most HINTS_MAX, the most severe first, and among those in the order of their kinds."""
    found = [
        *map(_budget, sight.budgets),
        *_providers(sight.providers),
        *_prices(sight),
        *(_spike(each) for each in sight.agents if each.is_spike),
        *_shares(sight),
    ]
    kinds = list(HintKind)
    found.sort(key=lambda each: (_ORDER.index(each.severity), kinds.index(each.kind)))
    return found[:HINTS_MAX]


def _budget(budget: PressedBudget) -> Hint:
    whose = "" if budget.entity in ("", "*") else f" of {budget.entity}"
    name, link = f"Budget {budget.policy_id}{whose}", f"/budgets/{_quoted(budget.policy_id)}"
    used = f"{amount_text(budget.metric, budget.consumed)} of {amount_text(budget.metric, budget.limit)}"
    match budget.why:
        case Pressure.HARD_LIMIT:
            return Hint(
                HintKind.BUDGET_EXHAUSTED,
                Severity.CRITICAL,
                f"{name} is used up",
                f"{used} are used: further calls are stopped, asked about, or moved, as the budget says.",
                "Raise its limit, ask for an override, or wait for the next window.",
                link,
            )
        case Pressure.FORECAST:
            return Hint(
                HintKind.BUDGET_RUNS_OUT,
                Severity.WARNING,
                f"{name} will not last",
                f"{used} are used; as use goes on, the limit is reached at about {budget.exhausted_at}.",
                "Raise its limit, or see which agent and model drive it.",
                link,
            )
        case Pressure.SOFT_LIMIT:
            return Hint(
                HintKind.BUDGET_OVER_SOFT_LIMIT,
                Severity.WARNING,
                f"{name} is at its soft limit",
                f"{used} are used.",
                "See what drives it before the hard limit is reached.",
                link,
            )


def _providers(providers: Sequence[ProviderSight]) -> Iterator[Hint]:
    for each in providers:
        if each.state in ("open", "half_open"):
            again = "" if each.retry_at is None else f" It is tried again at {each.retry_at}."
            yield Hint(
                HintKind.PROVIDER_DOWN,
                Severity.CRITICAL,
                f"Provider {each.provider} takes no calls",
                f"It failed too often, so none is sent to it; fallbacks serve where there are any.{again}",
                "Test its connection, and look at the status page of the provider.",
                "/models",
            )
        ended = each.requests + each.failed
        share = Fraction(100 * each.failed, ended) if ended else Fraction(0)
        if ended >= CALLS_MIN and share > ERRORS_PERCENT:
            grave = share > ERRORS_PERCENT_CRITICAL
            yield Hint(
                HintKind.PROVIDER_ERRORS,
                Severity.CRITICAL if grave else Severity.WARNING,
                f"{_percent(share)} of the calls to {each.provider} fail",
                f"{each.failed:,} of {ended:,} ended with its error, or without reaching it.",
                "Look at what its calls ended with, and give its models fallbacks.",
                _link("/decisions", provider=each.provider),
            )


def _prices(sight: Sight) -> Iterator[Hint]:
    if not sight.unpriced:
        return
    models = ", ".join(f"{provider}/{model}" for model, provider in sight.unpriced_models[:3])
    more = len(sight.unpriced_models) - 3
    others = f" and {more} more" if more > 0 else ""
    yield Hint(
        HintKind.UNPRICED_CALLS,
        Severity.WARNING,
        f"{sight.unpriced:,} calls have no known price",
        f"They are in no cost and in no budget of money: {models}{others}.",
        "Set their prices with `palyra prices set`, or in [[prices]] of the configuration.",
        "/models",
    )


def _spike(agent: AgentDay) -> Hint:
    return Hint(
        HintKind.AGENT_SPENDS_MORE,
        Severity.WARNING,
        f"Agent {agent.agent} spends more than usual",
        f"{_usd(agent.last_day)} in the last 24 hours; a usual day of it costs {_usd(agent.usual)}.",
        "See what it called, and give it a budget by the day.",
        _link("/usage", agent=agent.agent, since="24h"),
    )


def _shares(sight: Sight) -> Iterator[Hint]:
    asked = sight.requests + sight.denied
    denied = Fraction(100 * sight.denied, asked) if asked else Fraction(0)
    if asked >= CALLS_MIN and denied > DENIED_PERCENT:
        yield Hint(
            HintKind.MANY_DENIED,
            Severity.WARNING,
            f"{_percent(denied)} of the calls are refused",
            f"{sight.denied:,} of {asked:,} did not run.",
            "See which budget refuses them, and whether its limit is meant so.",
            _link("/decisions", outcome="deny"),
        )
    if sight.could_save > 0:
        yield Hint(
            HintKind.ROUTING_WOULD_SAVE,
            Severity.INFO,
            "Routing would save money",
            f"The recommended models would have cost {_usd(sight.could_save)} less, "
            f"on the newest {sight.calls:,} calls.",
            "Read the routing report, then let routing be enforced.",
            "/models",
        )
    estimated = Fraction(100 * sight.estimated, sight.requests) if sight.requests else Fraction(0)
    if sight.requests >= CALLS_MIN and estimated > ESTIMATED_PERCENT:
        yield Hint(
            HintKind.USAGE_NOT_REPORTED,
            Severity.INFO,
            f"{_percent(estimated)} of the calls are estimated",
            f"For {sight.estimated:,} of {sight.requests:,} calls the provider reported no usage.",
            "Ask the provider for usage in its answers; streams that break off have none.",
            "/decisions",
        )


def _usd(nano: int) -> str:
    return f"{format_usd(nano)} USD" if nano < SPIKE_NANO_USD_MIN else amount_text("cost_usd", nano)


def _percent(share: Fraction) -> str:
    return f"{int(share)} %"


def _link(page: str, **search: str) -> str:
    return f"{page}?{'&'.join(f'{name}={_quoted(value)}' for name, value in search.items())}"


def _quoted(text: str) -> str:
    """Percent-encoded, but for what every part of an address may have."""
    return "".join(
        chr(each) if each in _PLAIN else f"%{each:02X}" for each in text.encode("utf-8", "replace")
    )
