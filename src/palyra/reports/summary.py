"""Rollup sums as a JSON document: a total and its groups, the dearest first."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from palyra.core.errors import FieldError
from palyra.core.instant import Instant, isoformat
from palyra.reports.explain import money

if TYPE_CHECKING:
    from palyra.lifecycle.ports import UsageTotals

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
)


def parse_groups(text: str) -> tuple[str, ...]:
    """Read ``principal,model``. Raises FieldError("group_by") for a word the rollups do not know."""
    groups = tuple(word.strip() for word in text.split(",") if word.strip())
    for group in groups:
        if group not in GROUPS:
            raise FieldError("group_by", f"{group!r} is not one of {', '.join(GROUPS)}")
    return tuple(dict.fromkeys(groups))


def own_totals(totals: Sequence["UsageTotals"], principal: str) -> list["UsageTotals"]:
    """The groups of one principal; ``totals`` are grouped by principal at least."""
    return [each for each in totals if each.group["principal"] == principal]


def summary_document(
    totals: Sequence["UsageTotals"], since: Instant, until: Instant, group_by: Sequence[str]
) -> dict[str, object]:
    """Totals over [since, until) and one entry per group. Costs in nano-USD and USD.

    ``unpriced`` counts the calls whose cost is unknown and that are therefore not in ``cost`` (L6).
    """
    ordered = sorted(totals, key=lambda each: (-each.cost, -each.requests, sorted(each.group.items())))
    return {
        "since": isoformat(since),
        "until": isoformat(until),
        "group_by": list(group_by),
        "totals": _sums(totals),
        "groups": [{"group": dict(each.group), **_sums((each,))} for each in ordered] if group_by else [],
    }


def _sums(totals: Sequence["UsageTotals"]) -> dict[str, object]:
    counts: dict[str, object] = {name: sum(getattr(each, name) for each in totals) for name in _COUNTS}
    return counts | money("cost", sum(each.cost for each in totals))
