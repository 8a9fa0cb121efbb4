"""What becomes of a call: estimate, route, evaluate, clamp. No I/O and no waiting, so no balance can move
between the reading of it and the reservation that follows.
"""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from palyra.budgets.evaluate import Evaluation, ModeChoice, Outcome, Status, configured, effective_mode
from palyra.budgets.index import PolicyIndex
from palyra.budgets.terms import Mode
from palyra.core.instant import NANOSECONDS, Instant
from palyra.core.limits import LEASE_S
from palyra.identity.keys import Subject, may_loosen_mode
from palyra.ledger.account import Hold
from palyra.ledger.event import Reserved
from palyra.lifecycle.authenticate import labels_of
from palyra.lifecycle.call import Ask, Call
from palyra.lifecycle.counterfactual import Shadow, shadow_amount, shadow_of
from palyra.lifecycle.decision import (
    ClampRecord,
    Decision,
    EstimateRecord,
    EvaluationRecord,
    PriceRecord,
)
from palyra.lifecycle.engine import Engine
from palyra.lifecycle.estimate import EXPECTED_OUTPUT_SHARE, Bound, bound_of, expected_input
from palyra.lifecycle.route import Route, price_record, route_call
from palyra.lifecycle.weigh import CallCost, Judgement, Readings, evaluate_all, judge, read_balances
from palyra.lifecycle.wire import Endpoint
from palyra.pricing.sheet import PriceSheet

LEASE_NS = int(LEASE_S * NANOSECONDS)
_OK, _ENFORCED = Status.OK, Mode.ENFORCED
_WORD: Mapping[StrEnum, str] = {
    word: word.value for kind in (Endpoint, Mode, Outcome, Status) for word in kind
}
_COUNTED, _BY_BYTES, _BY_RATIO = METHODS = ("tokenizer", "bytes", "bytes x observed ratio")
"""How the expected input of a call was found."""
COUNTED_KIND = "openai"
"""The kind of provider whose tokens a ``TokenCounter`` may count."""


class Plan(msgspec.Struct, frozen=True, gc=False):
    """The decision for one call and, if it runs, what to hold, what to send and at what prices to settle."""

    decision: Decision
    route: Route
    judgement: Judgement
    reservation: Reserved
    sheet: PriceSheet | None

    @property
    def granted(self) -> Bound:
        """The most that the call may use."""
        return self.judgement.granted

    @property
    def admitted(self) -> bool:
        """Whether the call may run."""
        return self.judgement.admitted

    @property
    def output_cap(self) -> int | None:
        """The output cap to send upstream, None to leave the caller's own."""
        granted = self.judgement.granted
        return granted.output_cap if granted.cap_is_ours else None


def make_plan(call: Call, subject: Subject, policies: PolicyIndex, engine: Engine, now: Instant) -> Plan:
    """Decide one call; a refusal by budget is a Plan too. Raises ModelNotFound or ModelNotAllowed."""
    governance = engine.governance
    labels = labels_of(subject, call.hints)
    route = route_call(call.ask.model, call.endpoint, subject, engine.registry, engine.prices, now)
    bound = bound_of(call.ask, call.endpoint, route.model, governance.output_tokens_without_limit)
    cost = CallCost(call.ask, route, governance.unknown_price)
    readings = read_balances(policies, labels, route, engine.ledger, now)
    mode = _mode(call, subject, readings, cost, bound, governance.mode)
    judgement = judge(readings, cost, bound, mode.mode)
    shadow = shadow_of(readings, cost, judgement.granted, mode.mode) if judgement.admitted else None
    sheet = cost.billing_sheet(judgement.evaluations)
    estimate = _estimate(call, bound, judgement.granted, cost, sheet, route, engine)
    return Plan(
        Decision(
            call.request_id,
            now,
            _WORD[call.endpoint],
            call.ask.stream,
            labels,
            call.ask.model,
            route.model.id,
            route.model.id,
            route.model.provider,
            "proceed",
            route.reason,
            _WORD[mode.mode],
            mode.origin,
            _WORD[judgement.verdict.outcome],
            _WORD[judgement.verdict.status],
            estimate,
            _price(route, sheet, engine),
            _evaluations(judgement),
            None if judgement.granted is bound else _clamp_record(bound, judgement),
            None if shadow is None else shadow.record(cost),
            None,
            judgement.message,
            call.idempotency_key is not None,
        ),
        route,
        judgement,
        Reserved(
            call.request_id,
            now,
            Instant(now + LEASE_NS),
            _holds(judgement, cost, shadow),
        ),
        sheet,
    )


def _mode(
    call: Call, subject: Subject, readings: Readings, cost: CallCost, bound: Bound, default: Mode
) -> ModeChoice:
    tightens = readings.bindings.tightens
    if call.hints.mode is None and not tightens:
        return configured(default)
    return effective_mode(
        default,
        call.hints.mode,
        may_loosen=may_loosen_mode(subject),
        evaluations=evaluate_all(readings, cost, bound, default) if tightens else (),
    )


def _holds(judgement: Judgement, cost: CallCost, shadow: Shadow | None) -> tuple[Hold, ...]:
    """One hold per account; a limit binds where the policy is enforced and does more than alert."""
    if not judgement.admitted:
        return ()
    holds: list[Hold] = []
    for evaluation in judgement.evaluations:
        binding, amount = evaluation.binding, evaluation.amount
        if amount is None or binding.each_call:
            # A cost that this policy cannot know is not counted on its account, whatever others count.
            continue
        shadowed = amount if shadow is None else shadow_amount(binding, amount, cost, shadow)
        limit = binding.stops_at if evaluation.mode is _ENFORCED else None
        holds.append(Hold(binding.account, binding.window[1], amount, shadowed, limit))
    return tuple(holds)


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


def _clamp_record(asked: Bound, judgement: Judgement) -> ClampRecord | None:
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
