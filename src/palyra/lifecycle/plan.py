"""What becomes of a call: estimate, route, evaluate, clamp. No I/O and no waiting, so no balance can move
between the reading of it and the reservation that follows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from palyra.budgets.evaluate import Evaluation, ModeChoice, Status, effective_mode
from palyra.budgets.index import PolicyIndex
from palyra.budgets.terms import Action, Mode
from palyra.budgets.windows import Interval
from palyra.core.instant import NANOSECONDS, Instant
from palyra.core.limits import LEASE_S
from palyra.identity.keys import Subject, may_loosen_mode
from palyra.ledger.account import Hold
from palyra.ledger.event import Reserved
from palyra.lifecycle.authenticate import labels_of
from palyra.lifecycle.call import Call
from palyra.lifecycle.counterfactual import Shadow, shadow_amount, shadow_of
from palyra.lifecycle.decision import (
    ClampRecord,
    Counterfactual,
    Decision,
    EstimateRecord,
    EvaluationRecord,
    Labels,
    PriceRecord,
)
from palyra.lifecycle.engine import Engine
from palyra.lifecycle.estimate import EXPECTED_OUTPUT_SHARE, Bound, bound_of, expected_input
from palyra.lifecycle.route import Route, price_record, route_call
from palyra.lifecycle.weigh import CallCost, Judgement, Reading, evaluate_all, judge, read_balances
from palyra.pricing.sheet import PriceSheet
from palyra.pricing.usage import Usage

LEASE_NS = int(LEASE_S * NANOSECONDS)
COUNTED_KIND = "openai"
"""The kind of provider whose tokens a ``TokenCounter`` may count."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The decision for one call and, if it runs, what to hold, what to send and at what prices to settle."""

    decision: Decision
    route: Route
    judgement: Judgement
    reservation: Reserved
    sheet: PriceSheet | None

    @property
    def output_cap(self) -> int | None:
        """The output cap to send upstream, None to leave the caller's own."""
        granted = self.judgement.granted
        return granted.output_cap if granted.cap_is_ours else None


def make_plan(call: Call, subject: Subject, policies: PolicyIndex, engine: Engine, now: Instant) -> Plan:
    """Decide one call; a refusal by budget is a Plan too. Raises ModelNotFound or ModelNotAllowed."""
    labels = labels_of(subject, call.hints)
    route = route_call(call.ask.model, call.endpoint, subject, engine.registry, engine.prices, now)
    bound = bound_of(call.ask, call.endpoint, route.model, engine.governance.output_tokens_without_limit)
    cost = CallCost(call.ask, route, engine.governance.unknown_price)
    readings = read_balances(policies, labels, route, engine.ledger, now)
    mode = _mode(call, subject, readings, cost, bound, engine)
    judgement = judge(readings, cost, bound, mode.mode)
    shadow = shadow_of(readings, cost, judgement.granted, mode.mode) if judgement.admitted else None
    sheet = cost.billing_sheet(judgement.evaluations)
    records = _Records(
        estimate=_estimate(call, bound, judgement.granted, cost, sheet, route, engine),
        price=_price(route, sheet, engine),
        clamp=_clamp_record(bound, judgement),
        counterfactual=shadow.record(cost) if shadow else None,
    )
    return Plan(
        decision=_decision(call, labels, route, mode, judgement, records, now),
        route=route,
        judgement=judgement,
        reservation=Reserved(
            call.request_id, now, Instant(now + LEASE_NS), _holds(readings, judgement, cost, shadow)
        ),
        sheet=sheet,
    )


@dataclass(frozen=True, slots=True)
class _Records:
    """The parts of a decision that carry numbers."""

    estimate: EstimateRecord
    price: PriceRecord | None
    clamp: ClampRecord | None
    counterfactual: Counterfactual | None


def _mode(
    call: Call, subject: Subject, readings: Sequence[Reading], cost: CallCost, bound: Bound, engine: Engine
) -> ModeChoice:
    default = engine.governance.mode
    tightening = [
        reading
        for reading in readings
        if reading.applicable.policy.routing_mode_override or reading.applicable.policy.thresholds
    ]
    return effective_mode(
        default,
        call.hints.mode,
        may_loosen=may_loosen_mode(subject),
        evaluations=evaluate_all(tightening, cost, bound, default) if tightening else (),
    )


def _holds(
    readings: Sequence[Reading], judgement: Judgement, cost: CallCost, shadow: Shadow | None
) -> tuple[Hold, ...]:
    """One hold per account; a limit binds where the policy is enforced and does more than alert."""
    if not judgement.admitted:
        return ()
    holds: list[Hold] = []
    for reading, evaluation in zip(readings, judgement.evaluations, strict=True):
        policy, amount = evaluation.policy, evaluation.amount
        if policy.interval is Interval.REQUEST or amount is None:
            # A cost that this policy cannot know is not counted on its account, whatever others count.
            continue
        binds = evaluation.mode is Mode.ENFORCED and policy.action is not Action.ALERT
        holds.append(
            Hold(
                reading.account,
                reading.window.end,
                amount,
                shadow_amount(reading, amount, cost, shadow),
                policy.hard_limit if binds else None,
            )
        )
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
    expected, method = _expected_input(call, route, engine)
    output = asked.output_tokens // EXPECTED_OUTPUT_SHARE
    return EstimateRecord(
        input_bytes=call.ask.text_bytes,
        input_tokens_expected=expected,
        input_tokens_bound=granted.input_tokens,
        output_tokens_bound=granted.output_tokens,
        output_cap_requested=call.ask.output_cap,
        choices=granted.choices,
        cost_expected=sheet.cost(Usage(expected, output), call.ask.service_tier) if sheet else None,
        cost_bound=cost.billed(sheet, granted),
        method=method,
    )


def _expected_input(call: Call, route: Route, engine: Engine) -> tuple[int, str]:
    """Expected input tokens and how they were found: counted where the vocabulary is known, else by bytes.

    Media and stored input are no text to count.
    """
    ask = call.ask
    countable = route.provider_kind == COUNTED_KIND and not (ask.images or ask.audio or ask.hidden_input)
    if engine.token_counter is not None and countable:
        counted = engine.token_counter(route.model.upstream_name, call.raw_body)
        if counted is not None:
            return max(1, counted), "tokenizer"
    ratio = engine.records.input_ratio(route.model.provider, route.model.id)
    return expected_input(ask, ratio), "bytes" if ratio is None else "bytes x observed ratio"


def _price(route: Route, sheet: PriceSheet | None, engine: Engine) -> PriceRecord | None:
    if sheet is None:
        return None
    return price_record(sheet, engine.prices.version, known=route.sheet is not None)


def _clamp_record(asked: Bound, judgement: Judgement) -> ClampRecord | None:
    granted = judgement.granted
    if granted is asked or not judgement.admitted:
        return None
    tightest = min(judgement.evaluations, key=_slack)
    return ClampRecord(asked.output_cap, granted.output_cap, tightest.policy_id)


def _slack(evaluation: Evaluation) -> float:
    """Share of the hard limit that the call leaves; for comparing only."""
    if evaluation.hard_limit is None or evaluation.projected is None:
        return float("inf")
    return (evaluation.hard_limit - evaluation.projected) / max(1, evaluation.hard_limit)


def _decision(
    call: Call,
    labels: Labels,
    route: Route,
    mode: ModeChoice,
    judgement: Judgement,
    records: _Records,
    now: Instant,
) -> Decision:
    verdict = judgement.verdict
    return Decision(
        request_id=call.request_id,
        at=now,
        endpoint=call.endpoint.value,
        stream=call.ask.stream,
        labels=labels,
        requested_model=call.ask.model,
        recommended_model=route.model.id,
        model=route.model.id,
        provider=route.model.provider,
        route="proceed",
        route_reason=route.reason,
        mode=mode.mode.value,
        mode_origin=mode.origin,
        outcome=verdict.outcome.value,
        status=verdict.status.value,
        estimate=records.estimate,
        price=records.price,
        evaluations=tuple(_evaluation(each) for each in judgement.evaluations),
        clamp=records.clamp,
        counterfactual=records.counterfactual,
        message=verdict.deciding.message if verdict.deciding else "",
        idempotency_key=call.idempotency_key is not None,
    )


def _evaluation(evaluation: Evaluation) -> EvaluationRecord:
    policy = evaluation.policy
    return EvaluationRecord(
        policy_id=policy.id,
        policy_version=policy.version,
        scope=str(policy.scope),
        metric=policy.metric.value,
        interval=policy.interval.value,
        entity=evaluation.entity,
        window_start=evaluation.window.start,
        window_end=evaluation.window.end,
        status=evaluation.status.value,
        mode=evaluation.mode.value,
        consumed=evaluation.consumed,
        amount=evaluation.amount,
        projected=evaluation.projected,
        soft_limit=policy.soft_limit,
        hard_limit=policy.hard_limit,
        remaining=evaluation.remaining,
        would=evaluation.would,
        message=evaluation.message if evaluation.status is not Status.OK else "",
    )
