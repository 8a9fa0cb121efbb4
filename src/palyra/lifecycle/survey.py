"""One call as it would be on each model that could serve it: bounds, costs, budgets and health."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from palyra.budgets.index import PolicyIndex
from palyra.budgets.terms import Mode
from palyra.core.errors import ModelNotFound, PalyraError
from palyra.core.instant import Instant
from palyra.identity.keys import Subject
from palyra.lifecycle.authenticate import labels_of
from palyra.lifecycle.call import Call
from palyra.lifecycle.decision import Labels
from palyra.lifecycle.engine import Engine
from palyra.lifecycle.estimate import Bound, bound_of, cost_bound, expected_input
from palyra.lifecycle.route import Route, asked_model, find_sheet, route_to
from palyra.lifecycle.weigh import CallCost, Readings, read_balances
from palyra.registry.models import Capability, CostTier, LatencyTier, Model
from palyra.routing.choose import Health, Need, Option, from_cheapest, why_not
from palyra.routing.complexity import Features
from palyra.routing.task import TRAITS, TaskClass, Traits

CANDIDATES_MAX = 64
"""So many models are looked at for one call (V2)."""
COST_RANKS: Mapping[str, int] = {tier: rank for rank, tier in enumerate(CostTier)}
_LATENCY_RANKS: Mapping[str, int] = {tier: rank for rank, tier in enumerate(LatencyTier)}
_CHATS = frozenset({"chat_completions", "completions", "responses", "messages"})
"""Endpoints on which one model can stand in for another."""


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


@dataclass(slots=True)
class Survey:
    """A call, and everything that the choice of its model goes by. ``asked`` is the model that it names.

    Raises ModelNotFound or ModelNotAllowed, but for a call that is ``under_way`` on a model already: what its
    name stood for may be gone since.
    """

    call: Call
    subject: Subject
    policies: PolicyIndex
    engine: Engine
    now: Instant
    under_way: Model | None = None
    labels: Labels = field(init=False)
    asked: Weighed = field(init=False)
    _weighed: dict[tuple[str, str], Weighed] = field(default_factory=dict[tuple[str, str], Weighed])
    _models: dict[tuple[str, str], Model] = field(default_factory=dict[tuple[str, str], Model])

    def __post_init__(self) -> None:
        self.labels = labels_of(self.subject, self.call.hints)
        self.asked = self.weigh(self._asked_model())

    @property
    def is_open(self) -> bool:
        """Whether the caller, or the operator for all callers, leaves the choice of the model to Palyra."""
        return self.engine.routing.leaves_open(self.call.ask.model) and self.may_move

    @property
    def may_move(self) -> bool:
        """Whether another model can serve the call at all: what one provider stores, no other can read."""
        return self.call.endpoint.value in _CHATS and not self.call.ask.hidden_input

    @property
    def is_pinned(self) -> bool:
        """Whether the caller named the provider, too: ``openai/gpt-4o`` goes to no other."""
        asked = self.asked.model
        return self.call.ask.model == f"{asked.provider}/{asked.id}"

    @property
    def traits(self) -> Traits:
        """What the task class of the call means."""
        return TRAITS[TaskClass(self.labels.task_class)]

    @property
    def session_model(self) -> str | None:
        """The model that the session of the call runs on."""
        return self.engine.sessions.model_of(self.labels.principal, self.labels.session, self.now)

    @property
    def features(self) -> Features:
        """What is counted in the call."""
        ask = self.call.ask
        return Features(
            ask.text_bytes, self._expected_tokens(), ask.turns, ask.tools, ask.images, ask.wants_json
        )

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
                read_balances(self.policies, self.labels, route, call, engine, self.now),
            )
        return found

    def health(self, model: Model) -> Health:
        """Whether the call may go to a model now."""
        return self.engine.providers.health(model, self.now)

    def is_well(self, model: Model) -> bool:
        """Whether nothing speaks against a model."""
        return self.health(model) is Health.OK

    def options(self) -> list[Option]:
        """The asked model, then every other candidate."""
        asked = self.asked.model
        if not self.may_move:
            return [self.option(asked)]
        registry, endpoint = self.engine.registry, self.call.endpoint.value
        candidates = registry.candidates(endpoint, discovered=self.engine.routing.discovered_too)
        others = [
            model
            for model in candidates[:CANDIDATES_MAX]
            if (model.provider, model.id) != (asked.provider, asked.id)
            and (model.provider == asked.provider or not self.is_pinned)
        ]
        return [self.option(model) for model in (asked, *others)]

    def option(self, model: Model) -> Option:
        """A model as the choice sees it.

        All are compared by the tokens of the call on the asked model: a model is not dearer because it may
        answer at greater length.
        """
        call, engine, bound = self.call, self.engine, self.asked.bound
        self._models[model.provider, model.id] = model
        kind = engine.registry.kind_of(model.provider)
        sheet = find_sheet(model, kind, engine.prices, self.now)
        allowed = self.subject.may_use(model.id)
        return Option(
            model.id,
            model.provider,
            cost_bound(sheet, call.ask, bound.input_tokens, bound.output_tokens),
            COST_RANKS[model.cost_tier],
            _LATENCY_RANKS[model.latency_tier],
            self.health(model),
            engine.providers.room(model.provider, self.traits.priority),
            why_not(self._need(), model.capabilities, model.context_window, allowed=allowed),
        )

    def named(self, name: str) -> Option | None:
        """The option of a model by any of its names; None if it cannot be called here."""
        try:
            return self.option(self.engine.registry.resolve(name, self.call.endpoint.value))
        except ModelNotFound:
            return None

    def model_of(self, option: Option) -> Model:
        """The model of an option that was made here."""
        return self._models[option.provider, option.model]

    def stand_ins(self, asked: Model, mode: Mode) -> Iterator[Model]:
        """Models that may serve in the place of one that cannot: itself elsewhere, then its fallbacks, then,
        where the choice is open, the candidates from the cheapest on.

        None of them is known to lack what the call needs, and none is dearer for work that may not escalate.
        """
        registry, endpoint = self.engine.registry, self.call.endpoint.value
        if not self.engine.routing.failover or self.call.ask.hidden_input or self.is_pinned:
            return
        seen = {(asked.provider, asked.id)}
        found: list[Model] = list(registry.elsewhere(asked, endpoint))
        if mode is Mode.ENFORCED and self.may_move:
            found += registry.fallbacks(asked, endpoint)
            if self.is_open:
                found += self._from_cheapest()
        for model in found:
            key = (model.provider, model.id)
            if key not in seen and self._may_stand_in(model):
                seen.add(key)
                yield model

    def _may_stand_in(self, model: Model) -> bool:
        need = self._need()
        capabilities = need.capabilities if model.capabilities is None else model.capabilities
        allowed = self.subject.may_use(model.id)
        if why_not(need, capabilities, model.context_window, allowed=allowed):
            return False
        if self.traits.may_escalate:
            return True
        bound = self.asked.bound
        cost, before = self.weigh(model).cost_of(bound), self.asked.cost_of(bound)
        return cost is not None and (before is None or cost <= before)

    def _asked_model(self) -> Model:
        call, registry = self.call, self.engine.registry
        try:
            return asked_model(call.ask.model, call.endpoint, self.subject, registry)
        except PalyraError:
            if self.under_way is None:
                raise
            return self.under_way

    def _from_cheapest(self) -> Sequence[Model]:
        return [self.model_of(each) for each in from_cheapest(self.options())]

    def _need(self) -> Need:
        ask = self.call.ask
        wanted = {
            Capability.TOOLS: ask.tools > 0,
            Capability.JSON: ask.wants_json,
            Capability.VISION: ask.images > 0,
            Capability.AUDIO: ask.audio,
            Capability.STREAMING: ask.stream,
        }
        named = frozenset(name.value for name, needed in wanted.items() if needed)
        return Need(named, self._expected_tokens() + (ask.output_cap or 0))

    def _expected_tokens(self) -> int:
        """Expected input, by what is known of the asked model; the same measure for all of them."""
        asked = self.asked.model
        return expected_input(self.call.ask, self.engine.records.input_ratio(asked.provider, asked.id))
