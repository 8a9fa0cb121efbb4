"""Which model serves a call: the asked one, unless routing, a budget or a provider's health says no.

Most calls name their model, its provider is well and no budget moves them to a cheaper one: for those
there is nothing to choose. The others look at every candidate. Only ``enforced`` changes the model; in the
other modes the choice is published, and its cost is kept beside what ran.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from palyra.budgets.evaluate import (
    Degrade,
    Evaluation,
    ModeChoice,
    as_degraded,
    configured,
    effective_mode,
)
from palyra.budgets.index import PolicyIndex
from palyra.budgets.terms import Mode
from palyra.core.errors import ModelNotFound
from palyra.core.instant import Instant
from palyra.identity.keys import Subject, may_loosen_mode
from palyra.lifecycle.call import Call
from palyra.lifecycle.decision import Labels, RoutingRecord
from palyra.lifecycle.engine import Engine
from palyra.lifecycle.estimate import Bound, bound_of, cost_bound, expected_input
from palyra.lifecycle.route import Route, asked_model, find_sheet, route_to
from palyra.lifecycle.weigh import CallCost, Judgement, Readings, evaluate_all, judge, read_balances
from palyra.registry.models import Capability, CostTier, LatencyTier, Model
from palyra.routing.choose import Choice, Health, Need, Option, cheaper, choose, why_not
from palyra.routing.complexity import VERSION, Features, score
from palyra.routing.task import TRAITS, TaskClass, Traits

CANDIDATES_MAX = 64
"""So many models are looked at for one call (V2)."""
_COST_RANKS: Mapping[str, int] = {tier: rank for rank, tier in enumerate(CostTier)}
_LATENCY_RANKS: Mapping[str, int] = {tier: rank for rank, tier in enumerate(LatencyTier)}
_PLACES = ("chat_completions", "completions", "responses", "messages")
"""Endpoints on which one model can stand in for another."""
_ENFORCED = Mode.ENFORCED


class Weighed(msgspec.Struct, frozen=True, gc=False):
    """A call as it would be on one model: its bound, its cost, and the budgets that bind it there."""

    model: Model
    route: Route
    bound: Bound
    cost: CallCost
    readings: Readings

    @property
    def at_most(self) -> int | None:
        """The dearest bill in nano-USD, None if there is no price."""
        return self.cost.usual(self.bound).cost if self.cost.is_known else None

    def cost_of(self, bound: Bound) -> int | None:
        """The dearest bill of this many tokens, to compare models by; None if there is no price."""
        return self.cost.compared(bound) if self.cost.is_known else None


class Routed(msgspec.Struct, frozen=True, gc=False):
    """The choice for one call. ``recommended`` is what full enforcement would run it on."""

    here: Weighed
    judgement: Judgement
    mode: ModeChoice
    action: str
    reason: str
    recommended: Weighed
    routing: RoutingRecord | None = None


@dataclass(slots=True)
class Chooser:
    """One call and everything that its choice goes by, read at one instant."""

    call: Call
    subject: Subject
    labels: Labels
    policies: PolicyIndex
    engine: Engine
    now: Instant
    _weighed: dict[tuple[str, str], Weighed] = field(default_factory=dict[tuple[str, str], Weighed])
    _models: dict[tuple[str, str], Model] = field(default_factory=dict[tuple[str, str], Model])
    _tokens: int | None = None
    _asked: Weighed | None = None

    def choose(self) -> Routed:
        """Choose for a new call. Raises ModelNotFound or ModelNotAllowed."""
        call, engine = self.call, self.engine
        asked = asked_model(call.ask.model, call.endpoint, self.subject, engine.registry)
        here = self._asked = self.weigh(asked)
        mode = self._mode(here)
        health = engine.providers.health(asked, self.now)
        is_open = self._is_open()
        if not is_open and health is Health.OK and not self._is_pressed(here):
            judgement = judge(here.readings, here.cost, here.bound, mode.mode)
            return Routed(here, judgement, mode, "proceed", _named(call.ask.model, asked), here)
        return self._route(here, mode, is_open=is_open)

    def has_stand_in(self, mode: Mode, tried: Sequence[Model]) -> bool:
        """Whether there is a model that could take the call up after those of ``tried`` failed."""
        return next(self._left(mode, tried), None) is not None

    def elsewhere(self, mode: ModeChoice, tried: Sequence[Model]) -> Iterator[Routed]:
        """The call on each model that may take it up after those of ``tried`` failed, the best first."""
        for model in self._left(mode.mode, tried):
            here = self.weigh(model)
            judgement = judge(here.readings, here.cost, here.bound, mode.mode)
            reason = f"provider {tried[-1].provider!r} failed"
            yield Routed(here, judgement, mode, "failover", reason, here)

    def _left(self, mode: Mode, tried: Sequence[Model]) -> Iterator[Model]:
        # What the caller's name stands for may have changed meanwhile: the first try says what is meant.
        failed = {(model.provider, model.id) for model in tried}
        for model in self._stand_ins(tried[0], mode):
            if (model.provider, model.id) not in failed and self._is_well(model):
                yield model

    def weigh(self, model: Model) -> Weighed:
        """The call on one model, at the balances of now."""
        key = (model.provider, model.id)
        found = self._weighed.get(key)
        if found is None:
            call, engine = self.call, self.engine
            governance = engine.governance
            route = route_to(model, engine.registry, engine.prices, self.now)
            found = self._weighed[key] = Weighed(
                model,
                route,
                bound_of(call.ask, call.endpoint, model, governance.output_tokens_without_limit),
                CallCost(call.ask, route, governance.unknown_price),
                read_balances(self.policies, self.labels, route, engine.ledger, self.now),
            )
        return found

    def _is_open(self) -> bool:
        """Whether the caller, or the operator for all callers, leaves the choice of the model to Palyra."""
        call = self.call
        return self.engine.routing.leaves_open(call.ask.model) and self._may_move

    def _is_pressed(self, here: Weighed) -> bool:
        """Whether a budget asks for a cheaper model, in whatever mode."""
        if not here.readings.bindings.degrades:
            return False
        evaluations = evaluate_all(here.readings, here.cost, here.bound, _ENFORCED)
        return any(each.degrade is not None for each in evaluations)

    @property
    def _may_move(self) -> bool:
        """Whether another model can serve the call at all: what one provider stores, no other can read."""
        return self.call.endpoint.value in _PLACES and not self.call.ask.hidden_input

    def _mode(self, here: Weighed) -> ModeChoice:
        default, wanted = self.engine.governance.mode, self.call.hints.mode
        tightens = here.readings.bindings.tightens
        if wanted is None and not tightens:
            return configured(default)
        return effective_mode(
            default,
            wanted,
            may_loosen=may_loosen_mode(self.subject),
            evaluations=evaluate_all(here.readings, here.cost, here.bound, default) if tightens else (),
        )

    # With candidates.

    def _route(self, asked: Weighed, mode: ModeChoice, *, is_open: bool) -> Routed:
        sessions = self.engine.sessions
        sticky = sessions.model_of(self.labels.principal, self.labels.session, self.now) if is_open else None
        options = self._options(asked.model)
        features = self._features()
        hard = score(features)
        traits = TRAITS[TaskClass(self.labels.task_class)]
        choice = self._choice(asked, options, traits, hard, sticky, is_open=is_open)
        wanted = self.weigh(self._model_of(choice.option))
        start = wanted if mode.mode is _ENFORCED else self._kept_running(asked, mode.mode)
        here, judgement, causes = self._relieved(start, mode.mode, options, _in_force)
        advised, _, would = self._relieved(wanted, _ENFORCED, options, _any)
        record = RoutingRecord(
            VERSION,
            features,
            hard,
            is_open,
            asked.model.id,
            sticky,
            tuple(options),
            choice.by,
            choice.reason,
            tuple(dict.fromkeys((*causes, *would))),
        )
        moved = asked.model is not here.model and not self._is_well(asked.model)
        action = "failover" if moved else _action(asked, here, asked.bound)
        reason = self._reason(asked, here, choice, causes, moved=moved)
        return Routed(here, judgement, mode, action, reason, advised, record)

    def _choice(
        self,
        asked: Weighed,
        options: Sequence[Option],
        traits: Traits,
        hard: int,
        sticky: str | None,
        *,
        is_open: bool,
    ) -> Choice:
        home = options[0]
        if is_open:
            found = choose(options, home.model, traits, hard, sticky)
            if found is not None:
                return found
        elif home.health is Health.OK:
            return Choice(home, "requested", _named(self.call.ask.model, asked.model))
        for model in self._stand_ins(asked.model, _ENFORCED):
            if model is not asked.model and self._is_well(model):
                return Choice(self._option(model), "failover", f"provider {home.provider!r} is {home.health}")
        return Choice(home, "requested", _named(self.call.ask.model, asked.model))

    def _kept_running(self, asked: Weighed, mode: Mode) -> Weighed:
        """Where a call runs whose model may not change: its provider, or another one of the same model."""
        if self.engine.providers.health(asked.model, self.now) is not Health.OPEN:
            return asked
        for model in self._stand_ins(asked.model, mode):
            if self._is_well(model):
                return self.weigh(model)
        return asked

    def _stand_ins(self, asked: Model, mode: Mode) -> Iterator[Model]:
        """Models that may serve in the place of one that cannot: itself elsewhere, then its fallbacks, then,
        where the choice is open, the candidates from the cheapest on.
        """
        registry, endpoint = self.engine.registry, self.call.endpoint.value
        if not self.engine.routing.failover or self.call.ask.hidden_input:
            return
        seen = {(asked.provider, asked.id)}
        found = list(registry.elsewhere(asked, endpoint))
        if mode is _ENFORCED and self._may_move:
            found += registry.fallbacks(asked, endpoint)
            if self._is_open():
                usable = [each for each in self._options(asked) if not each.lost and each.cost is not None]
                found += [self._model_of(each) for each in reversed(cheaper(usable, 2**63))]
        for model in found:
            key = (model.provider, model.id)
            if key not in seen and self._may_use(model):
                seen.add(key)
                yield model

    def _relieved(
        self,
        start: Weighed,
        mode: Mode,
        options: Sequence[Option],
        counts: Callable[[Evaluation], bool],
    ) -> tuple[Weighed, Judgement, list[str]]:
        """The call on a cheaper model if budgets ask for one and one fits; and the policies that asked."""
        evaluations = evaluate_all(start.readings, start.cost, start.bound, mode)
        asking = [(each, wish) for each in evaluations if (wish := each.degrade) is not None and counts(each)]
        if not asking or not self._may_move:
            return start, judge(start.readings, start.cost, start.bound, mode), []
        found = self._cheaper(start, mode, options, [wish for _, wish in asking])
        if found is None:
            return start, judge(start.readings, start.cost, start.bound, mode), []
        weighed, judgement = found
        before = {each.policy_id: each for each, _ in asking}
        marked = tuple(
            as_degraded(each, before[each.policy_id], weighed.model.id, instead_of=start.model.id)
            if each.policy_id in before
            else each
            for each in judgement.evaluations
        )
        return weighed, judgement.marked(marked), [each.policy_id for each, _ in asking]

    def _cheaper(
        self, start: Weighed, mode: Mode, options: Sequence[Option], wishes: Sequence[Degrade]
    ) -> tuple[Weighed, Judgement] | None:
        """The dearest of the cheaper models that all wishes allow and all budgets admit, unclamped if any."""
        targets = [wish.to for wish in wishes if wish.to is not None]
        allowed = [*options, *self._named_targets(targets, options)]
        clamped: tuple[Weighed, Judgement] | None = None
        for option in cheaper(allowed, start.cost_of(self._compared(start))):
            if option.health is not Health.OK or not all(self._meets(option, to) for to in targets):
                continue
            weighed = self.weigh(self._model_of(option))
            judgement = judge(weighed.readings, weighed.cost, weighed.bound, mode)
            if not judgement.admitted:
                continue
            if judgement.granted is weighed.bound:
                return weighed, judgement
            clamped = clamped or (weighed, judgement)
        # An output cut short is worth it only where the call could not run otherwise.
        return clamped if any(wish.must for wish in wishes) else None

    def _meets(self, option: Option, target: str) -> bool:
        """Whether an option is what a policy wants calls moved to: at most a tier, or one model."""
        rank = _COST_RANKS.get(target)
        if rank is not None:
            return option.cost_rank <= rank
        model = self._model_of(option)
        return target in (model.id, f"{model.provider}/{model.id}") or target in model.aliases

    def _named_targets(self, targets: Sequence[str], options: Sequence[Option]) -> list[Option]:
        """Models that policies name and that are no candidates by themselves."""
        found: list[Option] = []
        known = {(each.provider, each.model) for each in options}
        for target in targets:
            model = None if target in _COST_RANKS else self._named(target)
            if model is not None and (model.provider, model.id) not in known:
                found.append(self._option(model))
        return found

    def _named(self, name: str) -> Model | None:
        try:
            return self.engine.registry.resolve(name, self.call.endpoint.value)
        except ModelNotFound:
            return None

    def _options(self, asked: Model) -> list[Option]:
        """The asked model, then every other candidate."""
        if not self._may_move:
            return [self._option(asked)]
        registry, endpoint = self.engine.registry, self.call.endpoint.value
        candidates = registry.candidates(endpoint, discovered=self.engine.routing.discovered_too)
        others = [
            model
            for model in candidates[:CANDIDATES_MAX]
            if (model.provider, model.id) != (asked.provider, asked.id)
        ]
        return [self._option(model) for model in (asked, *others)]

    def _option(self, model: Model) -> Option:
        call, engine = self.call, self.engine
        self._models[model.provider, model.id] = model
        kind = engine.registry.kind_of(model.provider)
        bound = self._compared(self.weigh(model))
        sheet = find_sheet(model, kind, engine.prices, self.now)
        priority = TRAITS[TaskClass(self.labels.task_class)].priority
        return Option(
            model.id,
            model.provider,
            cost_bound(sheet, call.ask, bound.input_tokens, bound.output_tokens),
            _COST_RANKS[model.cost_tier],
            _LATENCY_RANKS[model.latency_tier],
            engine.providers.health(model, self.now),
            engine.providers.room(model.provider, priority),
            why_not(self._need(), model.capabilities, model.context_window, allowed=self._may_use(model)),
        )

    def _compared(self, otherwise: Weighed) -> Bound:
        """The tokens that models are compared by: those of the call on the asked model, for all the same.

        A model is not dearer because it may answer at greater length.
        """
        return (self._asked or otherwise).bound

    def _need(self) -> Need:
        ask = self.call.ask
        wanted = {
            Capability.TOOLS: ask.tools > 0,
            Capability.JSON: ask.wants_json,
            Capability.VISION: ask.images > 0,
            Capability.AUDIO: ask.audio,
            Capability.STREAMING: ask.stream,
        }
        return Need(
            frozenset(name.value for name, needed in wanted.items() if needed),
            self._expected_tokens() + (ask.output_cap or 0),
        )

    def _features(self) -> Features:
        ask = self.call.ask
        return Features(
            ask.text_bytes, self._expected_tokens(), ask.turns, ask.tools, ask.images, ask.wants_json
        )

    def _expected_tokens(self) -> int:
        """Expected input, by the same measure for every model."""
        if self._tokens is None:
            self._tokens = expected_input(self.call.ask, None)
        return self._tokens

    def _may_use(self, model: Model) -> bool:
        return self.subject.may_use(model.id)

    def _is_well(self, model: Model) -> bool:
        return self.engine.providers.health(model, self.now) is Health.OK

    def _model_of(self, option: Option) -> Model:
        return self._models[option.provider, option.model]

    def _reason(
        self, asked: Weighed, here: Weighed, choice: Choice, causes: Sequence[str], *, moved: bool
    ) -> str:
        if causes:
            return f"moved to a cheaper model by {', '.join(causes)}"
        if here.model is asked.model:
            return _named(self.call.ask.model, asked.model)
        if moved:
            health = self.engine.providers.health(asked.model, self.now)
            return f"provider {asked.model.provider!r} is {health}"
        return choice.reason


def _named(requested: str, model: Model) -> str:
    return "the requested model" if requested == model.id else f"{requested!r} stands for {model.id!r}"


def _action(asked: Weighed, here: Weighed, bound: Bound) -> str:
    """What the choice did to the call, by the bill of the same tokens."""
    if here.model is asked.model:
        return "proceed"
    before, after = asked.cost_of(bound), here.cost_of(bound)
    if before is None or after is None or before == after:
        return "failover" if here.model.provider != asked.model.provider else "proceed"
    return "degrade" if after < before else "upgrade"


def _in_force(evaluation: Evaluation) -> bool:
    return evaluation.mode is _ENFORCED


def _any(_evaluation: Evaluation) -> bool:
    return True
