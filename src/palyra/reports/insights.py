"""What a period of usage amounts to, as one JSON document: who, which models, routes, budgets, hints."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from palyra.alerts.alert import Alert
from palyra.budgets.terms import Mode
from palyra.core.instant import isoformat
from palyra.reports.alerts import alert_document
from palyra.reports.explain import decision_row, money
from palyra.reports.hints import ProviderSight, Sight, hints_of
from palyra.reports.routing import percent
from palyra.reports.stretch import Stretch
from palyra.reports.summary import sums_document

if TYPE_CHECKING:
    from palyra.lifecycle.decision import StoredDecision
    from palyra.lifecycle.usage import UsageTotals

MIX_MAX = 8
RECENT_MAX = 10
UNPRICED_MAX = 20
_PROCEED = "proceed"


class Sampled(NamedTuple):
    """The newest calls of the period; ``partly``: there are more of them."""

    calls: Sequence["StoredDecision"]
    partly: bool


@dataclass(frozen=True, slots=True)
class Found:
    """Everything that was read.

    ``models`` are the sums by model and provider, all of them; the others are the dearest. ``budgets`` are
    documents beside what ``sight`` has of them.
    """

    stretch: Stretch
    models: Sequence["UsageTotals"]
    principals: Sequence["UsageTotals"]
    agents: Sequence["UsageTotals"]
    sampled: Sampled
    health: Sequence[Mapping[str, object]]
    budgets: Sequence[Mapping[str, object]]
    alerts: Sequence[Alert]


def insights_document(found: Found, sight: Sight) -> dict[str, object]:
    """See ``UsageInsights``. ``sight`` has what the hints are told from."""
    calls = found.sampled.calls
    rerouted = [each for each in calls if each.decision.route != _PROCEED]
    return {
        "since": isoformat(found.stretch.since),
        "until": isoformat(found.stretch.until),
        "totals": sums_document(found.models),
        "pricing": _pricing(found.models),
        "health": list(found.health),
        "routing": _routing(found.sampled, len(rerouted))
        | money("saved", sum(each.saved for each in found.models)),
        "recent_decisions": [decision_row(each) for each in rerouted[:RECENT_MAX]],
        "budgets": list(found.budgets),
        "alerts": [alert_document(each) for each in found.alerts],
        "model_mix": _mix(found.models, found.models, "model"),
        "principal_mix": _mix(found.principals, found.models, "principal"),
        "agent_mix": _mix(found.agents, found.models, "agent"),
        "hints": [each.document() for each in hints_of(sight)],
    }


def could_save(calls: Sequence["StoredDecision"]) -> int:
    """What the recommended models would have cost less than those that ran, in nano-USD.

    Of calls where both are known; below nothing where they would have cost more.
    """
    saved = 0
    for each in calls:
        end, shadow = each.settlement, each.decision.counterfactual
        if shadow is not None and shadow.model is not None and end is not None:
            known = end.cost is not None and end.counterfactual_cost is not None
            saved += (end.cost or 0) - (end.counterfactual_cost or 0) if known else 0
    return saved


def unpriced_models(models: Sequence["UsageTotals"]) -> list["UsageTotals"]:
    """Those with calls whose price is not known, those with the most first."""
    found = [each for each in models if each.unpriced]
    return sorted(found, key=lambda each: (-each.unpriced, each.group["model"], each.group["provider"]))


def providers_of(
    models: Sequence["UsageTotals"], health: Sequence[Mapping[str, object]]
) -> list[ProviderSight]:
    """The providers that were called or are known: what came of their calls, and how they do."""
    requests: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for each in models:
        requests[each.group["provider"]] += each.requests
        failed[each.group["provider"]] += each.failed
    known = {str(each["provider"]): each for each in health}
    return [
        ProviderSight(
            name,
            requests[name],
            failed[name],
            str(known.get(name, {}).get("state", "unknown")),
            _text(known.get(name, {}).get("retry_at")),
        )
        for name in sorted({*known, *(name for name in failed if name)})
    ]


def _pricing(models: Sequence["UsageTotals"]) -> dict[str, object]:
    """``known_models`` are those that ran and had a price for each call."""
    unpriced = unpriced_models(models)
    return {
        "known_models": sum(each.requests > 0 and not each.unpriced for each in models),
        "unpriced_models": [{**each.group, "requests": each.unpriced} for each in unpriced[:UNPRICED_MAX]],
        "unpriced_calls": sum(each.unpriced for each in models),
    }


def _routing(sampled: Sampled, rerouted: int) -> dict[str, object]:
    """Each call counts once, with its own decision (W42)."""
    modes = Counter(each.decision.mode for each in sampled.calls)
    overruled = sum(each.decision.model != each.decision.recommended_model for each in sampled.calls)
    return {
        "calls": len(sampled.calls),
        "sampled": sampled.partly,
        "modes": {mode.value: modes[mode.value] for mode in Mode},
        "rerouted": rerouted,
        "overruled": overruled,
        **money("could_save", could_save(sampled.calls)),
    }


def _mix(rows: Sequence["UsageTotals"], whole: Sequence["UsageTotals"], name: str) -> list[dict[str, object]]:
    """The dearest by their share of the cost, and all others as one. Calls without a price are told apart: a
    cost is that of the others (W41).
    """
    ordered = sorted(rows, key=lambda each: (-each.cost, -each.requests, sorted(each.group.items())))
    shown = ordered[:MIX_MAX]
    cost = sum(each.cost for each in whole)
    items = [
        _share(each.group[name], each.group.get("provider"), (each.requests, each.unpriced, each.cost), cost)
        for each in shown
    ]
    rest = tuple(
        sum(getattr(each, figure) for each in whole) - sum(getattr(each, figure) for each in shown)
        for figure in ("requests", "unpriced", "cost")
    )
    if any(rest):
        items.append(_share("", None, rest, cost) | {"other": True})
    return items


def _share(name: str, provider: str | None, figures: Sequence[int], whole: int) -> dict[str, object]:
    requests, unpriced, cost = figures
    return {
        "name": name,
        "provider": provider,
        "other": False,
        "requests": requests,
        "unpriced": unpriced,
        **money("cost", cost),
        "share_percent": percent(cost, whole),
    }


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
