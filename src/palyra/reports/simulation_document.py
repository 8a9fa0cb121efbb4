"""A simulation as a document for programs; what the command line and the console show is made of it."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from palyra.budgets.policy import Policy, policy_to_dict
from palyra.budgets.terms import Mode
from palyra.core.instant import Instant, isoformat
from palyra.reports.candidates import Tried
from palyra.reports.explain import money
from palyra.reports.simulation import Half, Moment, PolicySums, Sums, Tally

ROWS_MAX = 100
"""So many principals, and agents, are listed: those with the largest difference."""
_COUNTS = (
    "blocked",
    "asked",
    "clamped",
    "degraded",
    "over_soft",
    "alerted",
    "would_block",
    "would_ask",
    "would_clamp",
)
Document = dict[str, object]


class Question(NamedTuple):
    """What was asked: the calls of [since, until), read from ``begin`` on. ``mode``: forced, if not None."""

    since: Instant
    until: Instant
    begin: Instant
    mode: Mode | None
    only: bool


def simulation_document(question: Question, tried: Tried, tally: Tally) -> Document:
    """The whole report. Costs are in nano-USD and USD; counts are calls; examples are request ids."""
    return {
        "since": isoformat(question.since),
        "until": isoformat(question.until),
        "read_since": isoformat(question.begin),
        "mode": None if question.mode is None else question.mode.value,
        "only": question.only,
        "read": tally.read,
        "first_call": _time(tally.first),
        "last_call": _time(tally.last),
        "totals": _sums(tally.totals),
        "policies": [_policy(policy, tried, tally) for policy in tried.policies],
        **_groups("principals", "principal", tally.principals),
        **_groups("agents", "agent", tally.agents),
        "examples": {name: list(ids) for name, ids in tally.examples.items()},
        "notes": _notes(tally, tried),
    }


def _sums(sums: Sums) -> Document:
    return {
        "calls": sums.calls,
        "stopped": sums.stopped,
        "let_in": sums.let_in,
        "estimated": sums.estimated,
        "unpriced": sums.unpriced,
        "really": _half(sums.really),
        "simulated": _half(sums.simulated),
        **money("saved", sums.saved),
        **money("let_in_cost", sums.let_in_cost),
        **money("would_save", sums.simulated.cost - sums.enforced_cost),
    }


def _half(half: Half) -> Document:
    return {
        "ran": half.ran,
        "blocked": half.blocked,
        "asked": half.asked,
        "other": half.other,
        "clamped": half.clamped,
        "degraded": half.degraded,
        **money("cost", half.cost),
    }


def _policy(policy: Policy, tried: Tried, tally: Tally) -> Document:
    sums: PolicySums = tally.policies[policy.id]
    return {
        "policy_id": policy.id,
        "candidate": policy.id in tried.candidates,
        "replaces_version": tried.replaced.get(policy.id),
        "policy": policy_to_dict(policy),
        "binds": policy.id not in tally.unbound,
        **{name: getattr(sums, name) for name in _COUNTS},
        "really_stopped": sums.really_stopped,
        **money("saved", sums.saved),
        "first_soft": _moment(sums.first_soft),
        "first_hard": _moment(sums.first_hard),
        "examples": {name: list(ids) for name, ids in sums.examples.items()},
    }


def _moment(moment: Moment | None) -> Document | None:
    if moment is None:
        return None
    return {"at": isoformat(moment.at), "request_id": moment.request_id, "entity": moment.entity}


def _groups(name: str, label: str, groups: Mapping[str, Sums]) -> Document:
    ordered = sorted(groups.items(), key=lambda each: (*_weight(each[1]), each[0]))
    shown = [{label: group, **_sums(sums)} for group, sums in ordered[:ROWS_MAX]]
    return {name: shown, f"{name}_left_out": len(ordered) - len(shown)}


def _weight(sums: Sums) -> tuple[int, ...]:
    """The largest difference first, then the dearest."""
    changed = sums.stopped + sums.let_in + sums.simulated.clamped + sums.simulated.degraded
    return -abs(sums.saved), -changed, -sums.really.cost, -sums.calls


def _time(instant: Instant | None) -> str | None:
    return None if instant is None else isoformat(instant)


def _notes(tally: Tally, tried: Tried) -> Sequence[str]:
    """What the reader has to know of the figures, in sentences."""
    totals = tally.totals
    otherwise = totals.estimated - totals.let_in
    idle = sorted(tally.unbound & tried.candidates)
    notes = {
        f"{totals.let_in:,} calls never ran and would have: they count at what they were expected to use. "
        "Their callers may have tried again, so that some of it may be there twice.": totals.let_in,
        f"{otherwise:,} calls ran and would have run otherwise. What they would have cost is estimated, "
        "at the prices of now where the recorded ones do not tell.": otherwise,
        f"The cost of {totals.unpriced:,} calls is not known, and is in no sum.": totals.unpriced,
        f"No call of this period is bound by {', '.join(idle)}.": len(idle),
        "Calls that would have been asked for count as not run: nobody knows what people would have "
        "decided.": totals.simulated.asked,
    }
    return [text for text, count in notes.items() if count > 0]
