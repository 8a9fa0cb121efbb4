"""What becomes of a call: estimate, route, evaluate, clamp. No I/O and no waiting, so no balance can move
between the reading of it and the reservation that follows.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum

import msgspec

from palyra.budgets.evaluate import ModeChoice
from palyra.budgets.evaluation import Evaluation, Outcome, Status
from palyra.budgets.index import PolicyIndex
from palyra.budgets.terms import Mode
from palyra.core.instant import NANOSECONDS, Instant
from palyra.core.limits import LEASE_S
from palyra.identity.keys import Subject
from palyra.ledger.account import Hold
from palyra.ledger.event import Reserved
from palyra.lifecycle.call import Ask, Call
from palyra.lifecycle.choice import Routed, choose_route, elsewhere
from palyra.lifecycle.counterfactual import Shadow, shadow_amount, shadow_of
from palyra.lifecycle.decision import (
    ClampRecord,
    Counterfactual,
    Decision,
    EstimateRecord,
    EvaluationRecord,
    OverrideRecord,
    PriceRecord,
    next_request_id,
)
from palyra.lifecycle.engine import Engine
from palyra.lifecycle.estimate import EXPECTED_OUTPUT_SHARE, Bound, expected_input
from palyra.lifecycle.providers import Later
from palyra.lifecycle.route import Route, price_record
from palyra.lifecycle.savings import Baseline, baseline_of
from palyra.lifecycle.survey import Survey, Weighed
from palyra.lifecycle.weigh import CallCost, Judgement
from palyra.lifecycle.wire import Endpoint
from palyra.pricing.sheet import PriceSheet
from palyra.registry.models import Model
from palyra.routing.task import TRAITS, Priority, TaskClass

LEASE_NS = int(LEASE_S * NANOSECONDS)
_OK, _APPLIED, _ENFORCED = Status.OK, Status.OVERRIDE_APPLIED, Mode.ENFORCED
_WORD: Mapping[StrEnum, str] = {
    word: word.value for kind in (Endpoint, Mode, Outcome, Status) for word in kind
}
_COUNTED, _BY_BYTES, _BY_RATIO = METHODS = ("tokenizer", "bytes", "bytes x observed ratio")
"""How the expected input of a call was found."""
COUNTED_KIND = "openai"
"""The kind of provider whose tokens a ``TokenCounter`` may count."""


class Plan(msgspec.Struct, frozen=True, gc=False):
    """The decision for one call and, if it runs, what to hold, what to send and at what prices to settle.

    ``advised_sheet`` are the prices of the recommended model, where the call runs on another. ``later``: the
    provider is not for this call now, and no other is. ``baseline``: what it is compared with, if routed.
    """

    decision: Decision
    route: Route
    judgement: Judgement
    reservation: Reserved
    sheet: PriceSheet | None
    advised_sheet: PriceSheet | None = None
    later: Later | None = None
    baseline: Baseline | None = None

    @property
    def granted(self) -> Bound:
        """The most that the call may use."""
        return self.judgement.granted

    @property
    def admitted(self) -> bool:
        """Whether the call may run."""
        return self.judgement.admitted and self.later is None

    @property
    def output_cap(self) -> int | None:
        """The output cap to send upstream, None to leave the caller's own."""
        granted = self.judgement.granted
        return granted.output_cap if granted.cap_is_ours else None


def make_plan(call: Call, subject: Subject, policies: PolicyIndex, engine: Engine, now: Instant) -> Plan:
    """Decide one call; a refusal by budget is a Plan too.

    Raises ModelNotFound or ModelNotAllowed.
    """
    survey = Survey(call, subject, policies, engine, now)
    return _plan(survey, choose_route(survey), None)


def plan_elsewhere(
    call: Call,
    subject: Subject,
    policies: PolicyIndex,
    engine: Engine,
    now: Instant,
    failed: Decision,
    tried: Sequence[Model],
) -> Plan | None:
    """Take a call up elsewhere whose reservation ``failed`` is over; None where nothing else may serve it."""
    survey = Survey(call, subject, policies, engine, now, tried[0])
    mode = ModeChoice(Mode(failed.mode), failed.mode_origin)
    plans = (_plan(survey, routed, failed) for routed in elsewhere(survey, mode, tried))
    return next((plan for plan in plans if plan.admitted), None)


def priority_of(task_class: str) -> Priority:
    """Whether somebody waits for a call of this class."""
    return TRAITS[TaskClass(task_class)].priority


def _plan(survey: Survey, routed: Routed, failed: Decision | None) -> Plan:
    call, labels, engine, now = survey.call, survey.labels, survey.engine, survey.now
    here, advised, judgement, mode = routed.here, routed.recommended, routed.judgement, routed.mode
    route, bound, cost = here.route, here.bound, here.cost
    shadow = shadow_for(routed) if judgement.admitted else None
    sheet = cost.billing_sheet(judgement.evaluations)
    later = engine.providers.later(here.model, priority_of(labels.task_class), now)
    request_id = call.request_id if failed is None else next_request_id(failed.request_id)
    return Plan(
        Decision(
            request_id,
            now,
            _WORD[call.endpoint],
            call.ask.stream,
            labels,
            call.ask.model,
            advised.model.id,
            here.model.id,
            here.model.provider,
            routed.action if later is None else "defer",
            routed.reason,
            _WORD[mode.mode],
            mode.origin,
            _WORD[judgement.verdict.outcome] if later is None else "deny",
            _WORD[judgement.verdict.status],
            _estimate(call, bound, judgement.granted, cost, sheet, route, engine),
            _price(route, sheet, engine),
            _evaluations(judgement),
            None if judgement.granted is bound else clamp_record(bound, judgement),
            counterfactual_of(routed, shadow) if judgement.admitted else None,
            None,
            judgement.message,
            call.idempotency_key is not None,
            routed.routing,
            None if failed is None else failed.request_id,
            _overrides(judgement) if judgement.admitted else (),
        ),
        route,
        judgement,
        Reserved(
            request_id,
            now,
            Instant(now + LEASE_NS),
            holds_of(judgement, advised, shadow),
        ),
        sheet,
        advised.route.sheet if advised is not here else None,
        later,
        baseline_of(survey, routed, continues=failed is not None),
    )


def shadow_for(routed: Routed) -> Shadow | None:
    """The call under full enforcement of the dry-run policies, on the model that would have served it."""
    here, advised = routed.here, routed.recommended
    granted = routed.judgement.granted if advised is here else advised.bound
    return shadow_of(advised.readings, advised.cost, granted, routed.mode.mode)


def counterfactual_of(routed: Routed, shadow: Shadow | None) -> Counterfactual | None:
    """What full enforcement would have made of an admitted call; None where it would be no different."""
    here, advised = routed.here, routed.recommended
    if advised is here:
        return None if shadow is None else shadow.record(here.cost)
    would: list[str] = []
    if routed.mode.mode is not Mode.SUGGEST:
        named = routed.routing.would_degrade if routed.routing is not None else ()
        would = [f"{policy_id}=would_route" for policy_id in named] or ["routing=would_route"]
    if shadow is None:
        return Counterfactual(tuple(would), "admit", advised.at_most, None, advised.model.id)
    record = shadow.record(advised.cost)
    return msgspec.structs.replace(record, would=(*would, *record.would), model=advised.model.id)


def holds_of(judgement: Judgement, advised: Weighed, shadow: Shadow | None) -> tuple[Hold, ...]:
    """One hold per account; a limit binds where the policy is enforced and does more than alert."""
    if not judgement.admitted:
        return ()
    holds: list[Hold] = []
    for evaluation in judgement.evaluations:
        binding, amount = evaluation.binding, evaluation.amount
        if amount is None or binding.each_call:
            # A cost that this policy cannot know is not counted on its account, whatever others count.
            continue
        shadowed = amount if shadow is None else shadow_amount(binding, amount, advised, shadow)
        limit = binding.stops_at if evaluation.mode is _ENFORCED else None
        if evaluation.status is _APPLIED and limit is not None:
            limit = _raised(evaluation, limit)
        holds.append(Hold(binding.account, binding.window[1], amount, shadowed, limit))
    return (*holds, *_single_uses(judgement))


def _raised(evaluation: Evaluation, limit: int) -> int | None:
    """Where the account may stand with a call that needs an override (L1); a single use bounds itself."""
    return None if evaluation.single_use is not None else limit + evaluation.allowance.extra


def _single_uses(judgement: Judgement) -> list[Hold]:
    """One request on the account of each override that the call uses up: there is room for no other (A1)."""
    if judgement.verdict.status is _OK:
        return []
    return [
        Hold(single_use.account, single_use.ends, 1, 1, 1)
        for each in judgement.evaluations
        if each.mode is _ENFORCED and (single_use := each.single_use) is not None
    ]


def _overrides(judgement: Judgement) -> tuple[OverrideRecord, ...]:
    if judgement.verdict.status is _OK:
        return ()
    return tuple(
        OverrideRecord(each.policy_id, each.overrides, _granted(each), each.single_use is not None)
        for each in judgement.evaluations
        if each.overrides
    )


def _granted(evaluation: Evaluation) -> int:
    allowance = evaluation.allowance
    return allowance.extra if evaluation.single_use is None else allowance.once


def _estimate(
    call: Call,
    asked: Bound,
    granted: Bound,
    cost: CallCost,
    sheet: PriceSheet | None,
    route: Route,
    engine: Engine,
) -> EstimateRecord:
    ask = call.ask
    expected, method = expected_tokens(call, route, engine)
    output = asked.output_tokens // EXPECTED_OUTPUT_SHARE
    return EstimateRecord(
        ask.text_bytes,
        expected,
        granted.input_tokens,
        granted.output_tokens,
        ask.output_cap,
        granted.choices,
        None if sheet is None else sheet.text_cost(expected, output, ask.service_tier),
        cost.billed(sheet, granted),
        method,
    )


def expected_tokens(call: Call, route: Route, engine: Engine) -> tuple[int, str]:
    """Expected input tokens and how they were found: counted where the vocabulary is known, else by bytes.

    Media and stored input are no text to count.
    """
    ask = call.ask
    count = engine.token_counter
    if count is not None and route.provider_kind == COUNTED_KIND and _is_text(ask):
        counted = count(route.model.upstream_name, call.raw_body)
        if counted is not None:
            return max(1, counted), _COUNTED
    ratio = engine.records.input_ratio(route.model.provider, route.model.id)
    return expected_input(ask, ratio), _BY_BYTES if ratio is None else _BY_RATIO


def _is_text(ask: Ask) -> bool:
    return not (ask.images or ask.audio or ask.hidden_input)


def _price(route: Route, sheet: PriceSheet | None, engine: Engine) -> PriceRecord | None:
    if sheet is None or sheet is route.sheet:
        return route.price
    return price_record(sheet, engine.prices.version, known=False)


def clamp_record(asked: Bound, judgement: Judgement) -> ClampRecord | None:
    """How much less than ``asked`` a call was granted, and by which policy; None if it was not admitted."""
    if not judgement.admitted:
        return None
    tightest = min(judgement.evaluations, key=_slack)
    return ClampRecord(asked.output_cap, judgement.granted.output_cap, tightest.policy_id)


def _slack(evaluation: Evaluation) -> float:
    """Share of the hard limit that the call leaves; for comparing only."""
    if evaluation.hard_limit is None or evaluation.projected is None:
        return float("inf")
    return (evaluation.hard_limit - evaluation.projected) / max(1, evaluation.hard_limit)


def _evaluations(judgement: Judgement) -> tuple[EvaluationRecord, ...]:
    return tuple(
        [
            EvaluationRecord(each.binding.record, "ok", _WORD[each.mode], each.consumed, each.amount)
            if each.status is _OK
            else _evaluation(each)
            for each in judgement.evaluations
        ]
    )


def _evaluation(evaluation: Evaluation) -> EvaluationRecord:
    return EvaluationRecord(
        evaluation.binding.record,
        _WORD[evaluation.status],
        _WORD[evaluation.mode],
        evaluation.consumed,
        evaluation.amount,
        evaluation.would,
        evaluation.message,
    )
