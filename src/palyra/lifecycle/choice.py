"""Which model serves a call: the asked one, unless routing, a budget or a provider's health says no.

Most calls name their model, its provider is well and no budget moves them to a cheaper one: for those
there is nothing to choose. The others look at every candidate. Only ``enforced`` changes the model; in the
other modes the choice is published, and its cost is kept beside what ran.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from palyra.budgets.binding import Degrade
from palyra.budgets.evaluate import ModeChoice, as_degraded, configured, effective_mode
from palyra.budgets.evaluation import Evaluation
from palyra.budgets.terms import Mode
from palyra.identity.keys import may_loosen_mode
from palyra.lifecycle.decision import RoutingRecord
from palyra.lifecycle.estimate import Bound
from palyra.lifecycle.survey import COST_RANKS, Survey, Weighed
from palyra.lifecycle.weigh import Judgement, evaluate_all, judge
from palyra.registry.models import Model, names_of
from palyra.routing.choose import Choice, Health, Option, cheaper, choose
from palyra.routing.complexity import VERSION, score

_ENFORCED = Mode.ENFORCED


class Routed(msgspec.Struct, frozen=True, gc=False):
    """The choice for one call. ``recommended`` is what full enforcement would run it on."""

    here: Weighed
    judgement: Judgement
    mode: ModeChoice
    action: str
    reason: str
    recommended: Weighed
    routing: RoutingRecord | None = None


class Relief(NamedTuple):
    """A call after budgets had their say: where it runs, and the policies that moved it."""

    here: Weighed
    judgement: Judgement
    causes: Sequence[str]


def choose_route(survey: Survey) -> Routed:
    """Choose for a new call."""
    asked = survey.asked
    mode = _mode(survey)
    if not survey.is_open and survey.is_well(asked.model) and not is_pressed(asked):
        judgement = judge(asked.readings, asked.cost, asked.bound, mode.mode)
        return Routed(asked, judgement, mode, "proceed", _named(survey), asked)
    record = look_around(survey)
    wanted = survey.weigh(_recommended(survey, record))
    start = wanted if mode.mode is _ENFORCED else _kept_running(survey, mode.mode)
    here, judgement, causes = relieve(survey, start, mode.mode, record.options, in_force)
    advised, _, would = relieve(survey, wanted, _ENFORCED, record.options, any_policy)
    only_would = tuple(policy_id for policy_id in would if policy_id not in causes)
    record = msgspec.structs.replace(record, degraded_by=tuple(causes), would_degrade=only_would)
    moved = asked.model is not here.model and not survey.is_well(asked.model)
    action = "failover" if moved else _action(asked, here, asked.bound)
    return Routed(here, judgement, mode, action, _reason(survey, here, record, causes), advised, record)


def has_stand_in(survey: Survey, mode: Mode, tried: Sequence[Model]) -> bool:
    """Whether there is a model that could take the call up after those of ``tried`` failed."""
    return next(_left(survey, mode, tried), None) is not None


def elsewhere(survey: Survey, mode: ModeChoice, tried: Sequence[Model]) -> Iterator[Routed]:
    """The call on each model that may take it up after those of ``tried`` failed, the best first."""
    for model in _left(survey, mode.mode, tried):
        here = survey.weigh(model)
        judgement = judge(here.readings, here.cost, here.bound, mode.mode)
        yield Routed(here, judgement, mode, "failover", f"provider {tried[-1].provider!r} failed", here)


def look_around(survey: Survey) -> RoutingRecord:
    """All candidates, and which of them is recommended before budgets are asked."""
    options = survey.options()
    features = survey.features
    hard = score(features)
    is_open = survey.is_open
    sticky = survey.session_model if is_open else None
    found = choose(options, options[0].model, survey.traits, hard, sticky) if is_open else None
    choice = found or _without_choice(survey, options[0])
    if all(choice.option is not each for each in options):
        options.append(choice.option)
    return RoutingRecord(
        VERSION,
        features,
        hard,
        is_open,
        survey.asked.model.id,
        sticky,
        tuple(options),
        choice.by,
        choice.reason,
        provider=choice.option.provider,
        model=choice.option.model,
    )


def _mode(survey: Survey) -> ModeChoice:
    asked, wanted = survey.asked, survey.call.hints.mode
    default = survey.engine.governance.mode
    tightens = asked.readings.bindings.tightens
    if wanted is None and not tightens:
        return configured(default)
    return effective_mode(
        default,
        wanted,
        may_loosen=may_loosen_mode(survey.subject),
        evaluations=evaluate_all(asked.readings, asked.cost, asked.bound, default) if tightens else (),
    )


def is_pressed(asked: Weighed) -> bool:
    """Whether a budget asks for a cheaper model, in whatever mode."""
    if not asked.readings.bindings.degrades:
        return False
    evaluations = evaluate_all(asked.readings, asked.cost, asked.bound, _ENFORCED)
    return any(each.degrade is not None for each in evaluations)


def _without_choice(survey: Survey, home: Option) -> Choice:
    """The asked model, or what stands in for it while its provider is not well."""
    if home.health is not Health.OK:
        for model in survey.stand_ins(survey.asked.model, _ENFORCED):
            if survey.is_well(model):
                return Choice(survey.option(model), "failover", _unwell(home.provider, home.health))
    return Choice(home, "requested", _named(survey))


def _recommended(survey: Survey, record: RoutingRecord) -> Model:
    chosen = (record.provider, record.model)
    found = next(each for each in record.options if (each.provider, each.model) == chosen)
    return survey.model_of(found)


def _kept_running(survey: Survey, mode: Mode) -> Weighed:
    """Where a call runs whose model may not change: its provider, or another one of the same model."""
    asked = survey.asked
    if survey.is_well(asked.model):
        return asked
    found = (model for model in survey.stand_ins(asked.model, mode) if survey.is_well(model))
    return next((survey.weigh(model) for model in found), asked)


def _left(survey: Survey, mode: Mode, tried: Sequence[Model]) -> Iterator[Model]:
    failed = {(model.provider, model.id) for model in tried}
    for model in survey.stand_ins(tried[0], mode):
        if (model.provider, model.id) not in failed and survey.is_well(model):
            yield model


# Budgets that move calls to cheaper models.


def relieve(
    survey: Survey,
    start: Weighed,
    mode: Mode,
    options: Sequence[Option],
    counts: Callable[[Evaluation], bool],
) -> Relief:
    """The call on a cheaper model, if budgets ask for one and one fits.

    Only evaluations that ``counts`` lets through may ask; ``options`` are models that may serve the call.
    """
    evaluations = evaluate_all(start.readings, start.cost, start.bound, mode)
    here = survey.option(start.model)
    asking = [
        (each, wish)
        for each in evaluations
        if (wish := each.degrade) is not None and counts(each) and not _is_met(survey, here, wish)
    ]
    found = _cheaper(survey, start, mode, options, [wish for _, wish in asking]) if asking else None
    if found is None:
        return Relief(start, judge(start.readings, start.cost, start.bound, mode), ())
    weighed, judgement = found
    before = {each.policy_id: each for each, _ in asking}
    marked = tuple(
        as_degraded(each, before[each.policy_id], weighed.model.id, instead_of=start.model.id)
        if each.policy_id in before
        else each
        for each in judgement.evaluations
    )
    return Relief(weighed, judgement.marked(marked), [each.policy_id for each, _ in asking])


def _cheaper(
    survey: Survey, start: Weighed, mode: Mode, options: Sequence[Option], wishes: Sequence[Degrade]
) -> tuple[Weighed, Judgement] | None:
    """A cheaper model that all wishes allow; else, where the call cannot run otherwise, that those allow
    without which it would be refused.
    """
    if not survey.may_move:
        return None
    needed = [wish for wish in wishes if wish.must]
    found = _fitting(survey, start, mode, options, wishes)
    if found is None and needed and len(needed) < len(wishes):
        found = _fitting(survey, start, mode, options, needed)
    return found


def _fitting(
    survey: Survey, start: Weighed, mode: Mode, options: Sequence[Option], wishes: Sequence[Degrade]
) -> tuple[Weighed, Judgement] | None:
    """The dearest of the cheaper models that all wishes allow and all budgets admit, unclamped if any."""
    targets = [wish.to for wish in wishes if wish.to is not None]
    allowed = [*options, *_targeted(survey, targets, options)]
    clamped: tuple[Weighed, Judgement] | None = None
    for option in cheaper(allowed, start.cost_of(survey.asked.bound)):
        if not all(_meets(survey, option, to) for to in targets):
            continue
        weighed = survey.weigh(survey.model_of(option))
        judgement = judge(weighed.readings, weighed.cost, weighed.bound, mode)
        if not judgement.admitted:
            continue
        if judgement.granted is weighed.bound:
            return weighed, judgement
        clamped = clamped or (weighed, judgement)
    # An output cut short is worth it only where the call could not run otherwise.
    return clamped if any(wish.must for wish in wishes) else None


def _is_met(survey: Survey, here: Option, wish: Degrade) -> bool:
    """Whether a call is where a policy wants it: only one that must get cheaper moves on from there."""
    return not wish.must and wish.to is not None and _meets(survey, here, wish.to)


def _meets(survey: Survey, option: Option, target: str) -> bool:
    """Whether an option is what a policy wants calls moved to: at most a tier, or one model."""
    rank = COST_RANKS.get(target)
    if rank is not None:
        return option.cost_rank <= rank
    return target in names_of(survey.model_of(option))


def _targeted(survey: Survey, targets: Sequence[str], options: Sequence[Option]) -> Iterator[Option]:
    """Models that policies name and that are no candidates by themselves."""
    known = {(each.provider, each.model) for each in options}
    for target in targets:
        found = None if target in COST_RANKS else survey.named(target)
        if found is not None and (found.provider, found.model) not in known:
            yield found


# What is said of it.


def _reason(survey: Survey, here: Weighed, record: RoutingRecord, causes: Sequence[str]) -> str:
    asked = survey.asked
    if causes:
        return f"moved to a cheaper model by {', '.join(causes)}"
    if here.model is asked.model:
        return _named(survey)
    if not survey.is_well(asked.model):
        return _unwell(asked.model.provider, survey.health(asked.model))
    return record.reason


def _unwell(provider_id: str, health: Health) -> str:
    told = "fails" if health is Health.OPEN else "has just turned calls away"
    return f"provider {provider_id!r} {told}"


def _named(survey: Survey) -> str:
    requested, model = survey.call.ask.model, survey.asked.model
    return "the requested model" if requested == model.id else f"{requested!r} stands for {model.id!r}"


def _action(asked: Weighed, here: Weighed, bound: Bound) -> str:
    """What the choice did to the call, by the bill of the same tokens."""
    if here.model is asked.model:
        return "proceed"
    before, after = asked.cost_of(bound), here.cost_of(bound)
    if before is None or after is None or before == after:
        return "proceed"
    return "degrade" if after < before else "upgrade"


def in_force(evaluation: Evaluation) -> bool:
    """Whether the policy is enforced on this call."""
    return evaluation.mode is _ENFORCED


def any_policy(_evaluation: Evaluation) -> bool:
    """Every policy counts: full enforcement."""
    return True
