"""What other budgets would have made of the calls of the past: in all, by policy, principal and agent.

Figures come in pairs: ``really`` is what happened, ``simulated`` what would have. A saving is what the calls
cost less what they would have cost. A call that never ran and would have has no cost of its own: what it was
expected to cost stands for it, and is told apart. Memory grows with principals and agents up to a bound, not
with calls.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from palyra.budgets.evaluation import Evaluation, Outcome, Status
from palyra.budgets.policy import Policy
from palyra.budgets.terms import Mode
from palyra.core.instant import Instant

if TYPE_CHECKING:
    from palyra.lifecycle.history import PastCall
    from palyra.lifecycle.simulate import Ended, Simulated

GROUPS_MAX = 10_000
"""So many principals, and agents, have sums of their own: clients may invent agents (V2)."""
EXAMPLES_MAX = 5
OTHERS = "(others)"
NO_AGENT = "(none)"
_STOPPING = frozenset({Status.BLOCKED, Status.APPROVAL_REQUIRED, Status.UNKNOWN})
_OVER_HARD = frozenset(
    {
        Status.HARD_LIMIT,
        Status.OVERRIDE_APPLIED,
        Status.DEGRADED,
        Status.APPROVAL_REQUIRED,
        Status.BLOCKED,
    }
)


@dataclass(slots=True)
class Half:
    """One side of the comparison. ``other`` calls were refused, and not by a budget; cost in nano-USD."""

    ran: int = 0
    blocked: int = 0
    asked: int = 0
    other: int = 0
    clamped: int = 0
    degraded: int = 0
    cost: int = 0


@dataclass(slots=True)
class Sums:
    """Calls of one group. ``stopped`` ran and would not have; ``let_in`` the other way round.

    Costs in nano-USD: ``unpriced`` counts calls whose cost is not known on one side, ``estimated`` those
    whose simulated cost is no fact. ``let_in_cost`` is what calls that were let in are expected to cost, a
    part of the simulated cost; ``enforced_cost`` is the simulated cost had dry-run policies been enforced.
    """

    calls: int = 0
    really: Half = field(default_factory=Half)
    simulated: Half = field(default_factory=Half)
    stopped: int = 0
    let_in: int = 0
    let_in_cost: int = 0
    estimated: int = 0
    unpriced: int = 0
    enforced_cost: int = 0

    @property
    def saved(self) -> int:
        """Nano-USD that the calls would have cost less; below 0 where they would have cost more."""
        return self.really.cost - self.simulated.cost


class Moment(NamedTuple):
    """When a limit was reached first, by which call, on whose account."""

    at: Instant
    request_id: str
    entity: str


@dataclass(slots=True)
class PolicySums:
    """What one policy would have done. ``saved`` is by the calls that it stopped, clamped or moved, nano-USD.

    ``really_stopped`` counts the calls that a policy of this id did stop. ``would_…`` is in dry run.
    """

    blocked: int = 0
    asked: int = 0
    clamped: int = 0
    degraded: int = 0
    over_soft: int = 0
    alerted: int = 0
    would_block: int = 0
    would_ask: int = 0
    would_clamp: int = 0
    really_stopped: int = 0
    saved: int = 0
    first_soft: Moment | None = None
    first_hard: Moment | None = None
    examples: dict[str, list[str]] = field(default_factory=dict[str, list[str]])

    def count(self, what: str, request_id: str) -> None:
        """One call more of which this policy did ``what``, with its id among the first few."""
        setattr(self, what, getattr(self, what) + 1)
        shown = self.examples.setdefault(what, [])
        if len(shown) < EXAMPLES_MAX:
            shown.append(request_id)


class Tally:
    """Takes calls as they are decided and ended; only those from ``since`` on count."""

    def __init__(self, policies: Iterable[Policy], since: Instant, until: Instant | None = None) -> None:
        self.totals = Sums()
        self.principals: dict[str, Sums] = {}
        self.agents: dict[str, Sums] = {}
        self.policies = {policy.id: PolicySums() for policy in policies}
        self.unbound = set(self.policies)
        """Policies that bound no call yet."""
        self.examples: dict[str, list[str]] = {"stopped": [], "let_in": []}
        self.read = 0
        self.first: Instant | None = None
        self.last: Instant | None = None
        self._since = since
        self._until = until

    @property
    def calls(self) -> int:
        """Calls in the sums."""
        return self.totals.calls

    def decided(self, past: "PastCall", simulated: "Simulated | None") -> None:
        """Take one decision into account."""
        self.read += 1
        if not self._counts(past.at):
            return
        self.first = self.first or past.at
        self.last = past.at
        groups = self._groups(past)
        if simulated is None:
            for sums in groups:
                sums.calls += 1
                sums.really.other += 1
                sums.simulated.other += 1
            return
        # A call that another provider took up is one call; what it cost there is added when it ends.
        if past.continues is None:
            self._count(past, simulated, groups)
        if not simulated.follows:
            self._by_policy(past, simulated)
        if simulated.expected is not None:
            cost = simulated.expected.cost
            for sums in groups:
                sums.estimated += 1
                sums.unpriced += cost is None
                sums.let_in_cost += cost or 0
                sums.simulated.cost += cost or 0
                sums.enforced_cost += cost or 0

    def ended(self, ended: "Ended") -> None:
        """Take the end of a call into account, or the late truth about it."""
        simulated = ended.simulated
        past = simulated.past
        if not self._counts(past.at):
            return
        cost, would = ended.cost or 0, ended.simulated_cost or 0
        enforced = would if ended.would_cost is None else ended.would_cost
        unknown = (ended.cost is None or ended.simulated_cost is None) and not ended.is_late
        for sums in self._groups(past):
            sums.really.cost += cost
            sums.simulated.cost += would
            sums.enforced_cost += enforced
            sums.unpriced += unknown
            sums.estimated += ended.estimated and not ended.is_late
        for policy_id in _responsible(simulated):
            self._policy(policy_id).saved += cost - would

    def _counts(self, at: Instant) -> bool:
        return self._since <= at and (self._until is None or at < self._until)

    def _count(self, past: "PastCall", simulated: "Simulated", groups: Sequence[Sums]) -> None:
        runs, ran = simulated.runs, not past.refused
        clamped, degraded = runs and simulated.clamp is not None, runs and bool(simulated.causes)
        was_clamped, was_degraded = past.clamp is not None, ran and past.is_degraded
        if runs and ran and not (clamped or degraded or was_clamped or was_degraded):
            for sums in groups:
                sums.calls += 1
                sums.really.ran += 1
                sums.simulated.ran += 1
            return
        verdict = simulated.judgement.verdict.outcome
        for sums in groups:
            sums.calls += 1
            _add(sums.simulated, _word(runs, verdict, simulated.beyond_budgets), clamped, degraded)
            _add(sums.really, _really(past), was_clamped, was_degraded)
            sums.stopped += ran and not runs
            sums.let_in += runs and not ran
        if ran is not runs:
            shown = self.examples["stopped" if ran else "let_in"]
            if len(shown) < EXAMPLES_MAX:
                shown.append(past.request_id)

    def _by_policy(self, past: "PastCall", simulated: "Simulated") -> None:
        judgement, request_id = simulated.judgement, past.request_id
        if self.unbound:
            self.unbound.difference_update(each.policy_id for each in judgement.evaluations)
        if past.refused and not simulated.beyond_budgets:
            self._count_stopped(past)
        self._count_changes(past, simulated)
        if judgement.verdict.status is Status.OK:
            return
        deciding = judgement.verdict.deciding
        if deciding is not None:
            what = "blocked" if judgement.verdict.outcome is Outcome.DENY else "asked"
            self._policy(deciding.policy_id).count(what, request_id)
        for evaluation in judgement.evaluations:
            if evaluation.status is not Status.OK:
                self._note(evaluation, past)

    def _count_changes(self, past: "PastCall", simulated: "Simulated") -> None:
        """Which policies made the call another one than was asked for, or would in dry run."""
        request_id, evaluations = past.request_id, simulated.judgement.evaluations
        clamp = simulated.clamp
        if clamp is not None:
            self._policy(clamp.policy_id).count("clamped", request_id)
            self._reached(clamp.policy_id, past, evaluations)
        for policy_id in simulated.causes:
            self._policy(policy_id).count("degraded", request_id)
            self._reached(policy_id, past, evaluations)
        if simulated.shadow is not None:
            for policy_id, what in simulated.shadow.would.items():
                self._policy(policy_id).count(what, request_id)

    def _count_stopped(self, past: "PastCall") -> None:
        """Which policies stopped the call in its day."""
        for record in past.evaluation_records:
            if record.status in _STOPPING and record.mode == Mode.ENFORCED:
                found = self.policies.get(record.budget.policy_id)
                if found is not None:
                    found.really_stopped += 1

    def _note(self, evaluation: Evaluation, past: "PastCall") -> None:
        """An account is over a limit with this call."""
        sums = self._policy(evaluation.policy_id)
        if evaluation.status is Status.SOFT_LIMIT:
            sums.over_soft += 1
        elif evaluation.status is Status.HARD_LIMIT:
            sums.alerted += 1
        if evaluation.over_soft and sums.first_soft is None:
            sums.first_soft = Moment(past.at, past.request_id, evaluation.entity)
        if evaluation.status in _OVER_HARD and sums.first_hard is None:
            sums.first_hard = Moment(past.at, past.request_id, evaluation.entity)

    def _reached(self, policy_id: str, past: "PastCall", evaluations: Sequence[Evaluation]) -> None:
        """The call as asked went over the hard limit; as it is admitted it does not."""
        sums = self._policy(policy_id)
        if sums.first_hard is None:
            entity = next((each.entity for each in evaluations if each.policy_id == policy_id), "")
            sums.first_hard = Moment(past.at, past.request_id, entity)

    def _policy(self, policy_id: str) -> PolicySums:
        return self.policies[policy_id]

    def _groups(self, past: "PastCall") -> tuple[Sums, Sums, Sums]:
        labels = past.labels
        return (
            self.totals,
            _group(self.principals, labels.principal),
            _group(self.agents, labels.agent or NO_AGENT),
        )


def _group(groups: dict[str, Sums], name: str) -> Sums:
    found = groups.get(name)
    if found is None:
        kept = name if len(groups) < GROUPS_MAX else OTHERS
        found = groups.setdefault(kept, Sums())
    return found


def _add(half: Half, what: str, clamped: bool, degraded: bool) -> None:
    setattr(half, what, getattr(half, what) + 1)
    half.clamped += clamped
    half.degraded += degraded


def _word(runs: bool, outcome: Outcome, beyond_budgets: bool) -> str:
    if runs:
        return "ran"
    if beyond_budgets and outcome is Outcome.ADMIT:
        return "other"
    return "blocked" if outcome is Outcome.DENY else "asked"


_REALLY: Mapping[str | None, str] = {
    "approval_required": "asked",
    "budget_exceeded": "blocked",
    "price_unknown": "blocked",
}


def _really(past: "PastCall") -> str:
    return _REALLY.get(past.error_code, "other") if past.refused else "ran"


def _responsible(simulated: "Simulated") -> Sequence[str]:
    """The policies by which the call would have cost less, or nothing."""
    deciding = simulated.judgement.verdict.deciding
    if deciding is not None:
        return (deciding.policy_id,)
    if simulated.causes:
        return simulated.causes
    clamp = simulated.clamp
    return () if clamp is None else (clamp.policy_id,)
