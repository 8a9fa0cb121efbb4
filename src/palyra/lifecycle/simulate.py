"""Calls of the past through other budgets: decided anew, held and posted as if these had been in force.

Decisions are those of the path itself: the same matching, evaluation, clamp and relief, on a book that begins
empty. What history cannot know is marked as estimated: what a call would have used that never ran, and what
one would have cost on a model that it did not run on.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import msgspec

from palyra.budgets.evaluate import ModeChoice, configured, effective_mode
from palyra.budgets.index import PolicyIndex
from palyra.budgets.policy import Policy
from palyra.budgets.terms import Mode
from palyra.core.errors import ModelNotFound, PalyraError
from palyra.core.instant import END_OF_TIME, Instant
from palyra.ledger.book import Book
from palyra.ledger.event import Expired, Released, Reserved, Settled
from palyra.lifecycle.choice import Routed, any_policy, in_force, is_pressed, relieve
from palyra.lifecycle.counterfactual import Shadow
from palyra.lifecycle.decision import CallState, ClampRecord, EstimateRecord, RoutingRecord, Settlement
from palyra.lifecycle.engine import Engine
from palyra.lifecycle.grants import Grants
from palyra.lifecycle.history import PastCall
from palyra.lifecycle.kinds import Kinds
from palyra.lifecycle.plan import LEASE_NS, clamp_record, holds_of, shadow_for
from palyra.lifecycle.providers import Providers, Resilience
from palyra.lifecycle.recalled import (
    ANY_CALL,
    PastSurvey,
    RecalledLedger,
    RecordedGrants,
    asked_bound,
    recalled_call,
    recalled_cost,
    terms_in,
)
from palyra.lifecycle.resettle import Bill, bill_of, expected_bill, held_cost
from palyra.lifecycle.route import Route, prices_until, route_to
from palyra.lifecycle.settle import used_amounts
from palyra.lifecycle.survey import Weighed
from palyra.lifecycle.weigh import Judgement, evaluate_all, judge, read_balances
from palyra.registry.models import Model
from palyra.routing.choose import Option

FAILED_KEPT_MAX = 4_096
"""So many calls are remembered that ended without an answer: another provider may have taken them up."""
FORGET_EVERY = 50_000
"""Calls between two looks for accounts whose window is over."""
_ENFORCED = Mode.ENFORCED
_NO_GRANTS = Grants()
_BY_BUDGETS = frozenset({"budget_exceeded", "approval_required", "price_unknown"})


class Terms(NamedTuple):
    """What is tried: ``policies``, and the configured mode of calls, None for the one of their day."""

    policies: Sequence[Policy]
    mode: Mode | None = None


class Simulated(msgspec.Struct, frozen=True, gc=False):
    """One call decided anew. ``estimated``: its decision needed what history does not know.

    ``causes`` are the policies that moved it to a cheaper model. ``beyond_budgets``: no budget refused the
    call, but something that would have refused it again.
    """

    past: PastCall
    routed: Routed
    shadow: Shadow | None
    causes: Sequence[str] = ()
    estimated: bool = False
    beyond_budgets: bool = False
    follows: bool = False
    """It took up a call elsewhere that would not have run."""
    expected: Bill | None = None
    """What it is expected to use, where it would have run and never did."""

    @property
    def judgement(self) -> Judgement:
        """What the budgets say."""
        return self.routed.judgement

    @property
    def runs(self) -> bool:
        """Whether it would have run."""
        return self.judgement.admitted and not self.beyond_budgets

    @property
    def clamp(self) -> ClampRecord | None:
        """How its output would have been cut short; None if not."""
        bound = self.routed.here.bound
        return None if self.judgement.granted is bound else clamp_record(bound, self.judgement)


class Ended(NamedTuple):
    """The end of a call: what it cost and what it would have cost, in nano-USD; for the late end of a call in
    doubt, what that changes. None where it is not known. ``would_cost`` is with dry-run policies enforced.
    """

    simulated: Simulated
    cost: int | None
    simulated_cost: int | None
    would_cost: int | None
    estimated: bool
    is_late: bool = False


class _Routes(NamedTuple):
    """A model with its prices in [since, until)."""

    route: Route
    unpriced: Route
    since: int
    until: int


class Simulation:
    """Goes through the calls of the past one by one. Memory grows with accounts and calls in flight only.

    ``engine`` gives models, prices and the configuration of now; nothing of it is changed or held.
    """

    def __init__(self, terms: Terms, engine: Engine) -> None:
        self._mode = terms.mode
        self._index = PolicyIndex(terms.policies)
        self.book = Book()
        self._engine = replace(
            engine,
            ledger=RecalledLedger(self.book),
            grants=_NO_GRANTS,
            providers=Providers({}, Resilience()),
            kinds=Kinds(),
            token_counter=None,
            others=None,
            approvals=None,
            alarms=None,
        )
        self._routes: dict[tuple[str, str], _Routes] = {}
        self._open: dict[str, Simulated] = {}
        self._doubted: dict[str, tuple[Simulated, Ended]] = {}
        self._failed: OrderedDict[str, Simulated] = OrderedDict()
        self._decided = 0

    @property
    def open_calls(self) -> int:
        """Calls whose end was not seen yet."""
        return len(self._open)

    def knows(self, request_id: str) -> bool:
        """Whether the end of a call is waited for."""
        return request_id in self._open or request_id in self._doubted

    def decide(self, past: PastCall) -> Simulated | None:
        """Decide one call at its own instant, and hold its amounts if it runs.

        None where there is nothing to decide: it was refused before budgets were asked.
        """
        if past.estimate is None:
            return None
        failed = None if past.continues is None else self._failed.get(past.continues)
        if failed is not None and not failed.runs:
            followed = self._open[past.request_id] = Simulated(past, failed.routed, None, follows=True)
            return followed
        self._forget(past.at)
        engine = self._engine
        engine.grants = RecordedGrants(past.overrides) if past.overrides else _NO_GRANTS
        simulated = self._decide(past, past.estimate)
        if simulated.runs:
            self._hold(simulated)
        if not past.refused:
            self._open[past.request_id] = simulated
        elif simulated.expected is not None:
            # It never ran: what it was expected to use is posted at once.
            usage, cost, *_ = simulated.expected
            self.book.apply(Settled(past.request_id, past.at, used_amounts(usage, cost)))
        return simulated

    def end(self, request_id: str, settlement: Settlement) -> Ended | None:
        """Post what the call used, at the instant when it ended. None for one that was not decided here."""
        simulated = self._open.pop(request_id, None)
        if simulated is None:
            doubted = self._doubted.pop(request_id, None)
            return None if doubted is None else self._correct(*doubted, settlement)
        if settlement.state is CallState.RELEASED:
            self._remember(request_id, simulated)
        if not simulated.runs:
            return Ended(simulated, settlement.cost, 0, 0, False)
        ended = self._post(simulated, settlement)
        if settlement.state is CallState.IN_DOUBT:
            self._doubted[request_id] = (simulated, ended)
        return ended

    # Deciding.

    def _decide(self, past: PastCall, estimate: EstimateRecord) -> Simulated:
        here, is_exact = self._weigh(past, estimate)
        record = None if past.continues is not None else past.routing_record
        routed, causes, is_guess = self._routed(past, here, record)
        refused_otherwise = past.refused and past.error_code not in _BY_BUDGETS
        shadow = shadow_for(routed) if routed.judgement.admitted else None
        cut = routed.judgement.granted is not routed.here.bound or past.clamp is not None
        estimated = is_guess or (cut and not is_exact)
        expected = None
        if past.refused and routed.judgement.admitted and not refused_otherwise:
            estimated, expected = True, expected_bill(past, estimate, routed)
        return Simulated(past, routed, shadow, causes, estimated, refused_otherwise, expected=expected)

    def _weigh(self, past: PastCall, estimate: EstimateRecord) -> tuple[Weighed, bool]:
        """The call on the model of its record."""
        route = self._route(past)
        engine = self._engine
        cost, is_exact = recalled_cost(estimate, past, route, engine.governance.unknown_price)
        readings = read_balances(self._index, past.labels, route, ANY_CALL, engine, past.at)
        return Weighed(route.model, route, asked_bound(estimate, past), cost, readings), is_exact

    def _routed(
        self, past: PastCall, here: Weighed, record: RoutingRecord | None
    ) -> tuple[Routed, Sequence[str], bool]:
        """Where the call runs, the policies that moved it there, and whether the candidates are a guess."""
        if past.continues is not None:
            failed = self._failed.get(past.continues)
            mode = ModeChoice(Mode(past.mode), past.mode_origin) if failed is None else failed.routed.mode
            return _stay(here, mode), (), False
        if record is not None and _has_moved(past, record, here):
            return self._look_around(past, here, record)
        if here.readings.bindings.degrades and is_pressed(here):
            return self._look_around(past, here, record)
        return _stay(here, self._mode_of(past, here)), (), False

    def _look_around(
        self, past: PastCall, here: Weighed, record: RoutingRecord | None
    ) -> tuple[Routed, Sequence[str], bool]:
        """The call with all models that it could have run on."""
        estimate = past.estimate
        asked = here.model if record is None else self._model(_home(record), record.default_model)
        if estimate is None or asked is None:
            return _stay(here, self._mode_of(past, here)), (), True
        call, subject = recalled_call(past, estimate, here.model, terms_in(here.cost))
        try:
            survey = PastSurvey(call, subject, self._index, self._engine, past.at, asked)
            survey.know(here)
            if asked is here.model:
                survey.asked = here
            wanted = here if record is None else survey.weigh(self._wanted(record, here))
            options = survey.options() if record is None else self._recorded(survey, record)
            mode = self._mode_of(past, survey.asked)
            kept = here if past.mode != _ENFORCED else survey.asked
            start = wanted if mode.mode is _ENFORCED else kept
            served, judgement, causes = relieve(survey, start, mode.mode, options, in_force)
            advised, _, _ = relieve(survey, wanted, _ENFORCED, options, any_policy)
        except PalyraError:
            # What the provider had stored, and how long that is, is not known any more.
            return _stay(here, self._mode_of(past, here)), (), True
        routed = Routed(served, judgement, mode, "proceed", "", advised)
        return routed, causes, record is None and bool(causes)

    def _recorded(self, survey: PastSurvey, record: RoutingRecord) -> list[Option]:
        """The models that the call was offered in its day, as far as there are any of them now."""
        found = [(each, self._model(each.provider, each.model)) for each in record.options]
        return [survey.offer(model, option) for option, model in found if model is not None]

    def _wanted(self, record: RoutingRecord, here: Weighed) -> Model:
        if not record.model:
            return here.model
        return self._model(record.provider, record.model) or here.model

    def _mode_of(self, past: PastCall, asked: Weighed) -> ModeChoice:
        """The configured mode, then the caller's, then what the policies that are tried tighten it to."""
        default, wanted = self._engine.governance.mode, None
        if past.mode_origin == "caller":
            wanted = Mode(past.mode)
        elif past.mode_origin == "config":
            default = Mode(past.mode)
        default = self._mode or default
        tightens = asked.readings.bindings.tightens
        if wanted is None and not tightens:
            return configured(default)
        evaluations = evaluate_all(asked.readings, asked.cost, asked.bound, default) if tightens else ()
        # What the key was allowed to loosen is in the record: it is not asked again.
        return effective_mode(default, wanted, may_loosen=True, evaluations=evaluations)

    def _route(self, past: PastCall) -> Route:
        """The model of the record with the prices of its day, none where it had none."""
        place, at = (past.provider, past.model), past.at
        found = self._routes.get(place)
        if found is None or not found.since <= at < found.until:
            found = self._routes[place] = self._find_route(place, at)
        is_known = past.price is not None and past.price.known
        return found.route if is_known else found.unpriced

    def _find_route(self, place: tuple[str, str], at: Instant) -> _Routes:
        registry, prices = self._engine.registry, self._engine.prices
        model = self._model(*place)
        if model is None:
            gone = Route(Model(place[1], place[0], place[1]), "", None, None, None)
            return _Routes(gone, gone, at, END_OF_TIME)
        route = route_to(model, registry, prices, at)
        ceiling = prices.ceiling(route.provider_kind)
        unpriced = Route(model, route.provider_kind, None, ceiling, None)
        return _Routes(route, unpriced, at, prices_until(model, route.provider_kind, prices, at))

    def _model(self, provider: str, model_id: str) -> Model | None:
        """The model of a record; one that nobody lists any more by its id alone, at a configured provider."""
        registry = self._engine.registry
        try:
            found = registry.find(f"{provider}/{model_id}")
        except ModelNotFound:
            found = None
        if found is not None and found.provider == provider:
            return found
        known = any(each.id == provider for each in registry.providers)
        return Model(model_id, provider, model_id) if known else None

    # Holding and posting.

    def _hold(self, simulated: Simulated) -> None:
        past, routed = simulated.past, simulated.routed
        holds = holds_of(routed.judgement, routed.recommended, simulated.shadow)
        self.book.apply(Reserved(past.request_id, past.at, Instant(past.at + LEASE_NS), holds))

    def _post(self, simulated: Simulated, settlement: Settlement) -> Ended:
        request_id, at, cost = simulated.past.request_id, settlement.at, settlement.cost
        usage = settlement.usage
        if settlement.state is CallState.RELEASED or usage is None:
            self.book.apply(Released(request_id, at, settlement.reason))
            return Ended(simulated, 0, 0, 0, simulated.estimated)
        if settlement.state is CallState.IN_DOUBT:
            self.book.apply(Expired(request_id, at, settlement.reason))
            held = held_cost(simulated.routed)
            return Ended(simulated, cost, held, held, simulated.estimated)
        bill = bill_of(simulated.past, simulated.routed, simulated.shadow, settlement, usage)
        advised = simulated.routed.recommended is not simulated.routed.here
        shadow = {"cost_usd": bill.would_cost} if advised and bill.would_cost is not None else None
        amounts = used_amounts(bill.usage, bill.cost)
        self.book.apply(Settled(request_id, at, amounts, settlement.late, shadow))
        estimated = bill.estimated or simulated.estimated
        return Ended(simulated, cost, bill.cost, bill.would_cost, estimated)

    def _correct(self, simulated: Simulated, before: Ended, settlement: Settlement) -> Ended:
        """The truth about a call in doubt came after all: what it changes."""
        now = self._post(simulated, settlement)
        return Ended(
            simulated,
            _change(now.cost, before.cost),
            _change(now.simulated_cost, before.simulated_cost),
            _change(now.would_cost, before.would_cost),
            now.estimated,
            is_late=True,
        )

    def _remember(self, request_id: str, simulated: Simulated) -> None:
        self._failed[request_id] = simulated
        if len(self._failed) > FAILED_KEPT_MAX:
            self._failed.popitem(last=False)

    def _forget(self, now: Instant) -> None:
        self._decided += 1
        if self._decided % FORGET_EVERY == 0:
            self.book.forget_ended(now)


def _change(now: int | None, before: int | None) -> int | None:
    return None if now is None else now - (before or 0)


def _stay(here: Weighed, mode: ModeChoice) -> Routed:
    """The call on the model of its record."""
    judgement = judge(here.readings, here.cost, here.bound, mode.mode)
    return Routed(here, judgement, mode, "proceed", "", here)


def _has_moved(past: PastCall, record: RoutingRecord, here: Weighed) -> bool:
    """Whether the model of a record is another than what was chosen before budgets had their say."""
    chosen = (record.provider, record.model) if record.model else (past.provider, past.model)
    return (
        bool(record.degraded_by)
        or chosen != (past.provider, past.model)
        or past.recommended_model != past.model
        or (here.readings.bindings.tightens and record.default_model != past.model)
    )


def _home(record: RoutingRecord) -> str:
    """The provider of the model that was asked for: it is the first option."""
    return record.options[0].provider
