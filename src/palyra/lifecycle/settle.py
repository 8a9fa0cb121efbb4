"""What a finished call costs, and how its hold ends. Pure: an ending in, an event and a record out.

| the provider ...                                  | the hold is                          |
|---------------------------------------------------|--------------------------------------|
| was never sent the request                        | released                             |
| answered with an error                            | released                             |
| reported usage                                    | settled at that usage                |
| answered without (all of) the usage, or broke off | settled at an estimate, never zero   |
| was sent the request and never answered           | posted as held, in doubt             |
"""

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import structs

from palyra.core.instant import Instant
from palyra.ledger.account import Hold
from palyra.ledger.event import Expired, Released, Settled
from palyra.lifecycle.decision import AttemptRecord, CallState, Counterfactual, Settlement
from palyra.lifecycle.plan import Plan
from palyra.lifecycle.savings import Baseline
from palyra.lifecycle.usual import UsualPlan
from palyra.lifecycle.wire import Reported, UpstreamFailure
from palyra.pricing.sheet import PriceSheet
from palyra.pricing.usage import Metered, Usage

SUCCESS = range(200, 300)
_SETTLED = CallState.SETTLED


class Ending(msgspec.Struct, frozen=True, gc=False):
    """How the exchange with the provider ended. ``status`` is None if no response head came.

    ``seen_output_bytes`` is needed, and has to be right, only where ``reported`` does not say all.
    """

    at: Instant
    status: int | None
    reported: Reported | None
    seen_output_bytes: int
    failure: UpstreamFailure | None
    client_gone: bool
    first_byte_ms: int | None
    attempts: tuple[AttemptRecord, ...] = ()


Resolution = tuple[Settled | Released | Expired, Settlement]


def resolve(plan: Plan | UsualPlan, ending: Ending) -> Resolution:
    """The event that ends the reservation and the record that explains it."""
    failure = ending.failure
    if ending.status is None:
        if failure is not None and not failure.sent:
            return _released(plan, ending, f"the provider could not be reached: {failure.message}")
        reason = failure.message if failure is not None else "given up before the provider answered"
        return _in_doubt(plan, ending, f"sent, and no answer: {reason}")
    if ending.status not in SUCCESS:
        return _released(plan, ending, f"the provider answered {ending.status}")
    return _settled(plan, ending, metered_of(plan, ending))


def metered_of(plan: Plan | UsualPlan, ending: Ending) -> Metered:
    """The usage to bill: the provider's where it said all of it, else completed by an estimate (L6)."""
    reported = ending.reported
    if reported is not None and reported.input_known and reported.output_known:
        return Metered(reported.usage, "provider", "", reported.service_tier, reported.model)
    bound = plan.granted
    seen = max(1, min(ending.seen_output_bytes, bound.output_tokens)) if bound.output_tokens else 0
    if reported is None:
        return Metered(Usage(bound.input_tokens, seen), "estimated", _why(ending))
    usage = reported.usage
    completed = Usage(
        usage.input_tokens if reported.input_known else max(usage.input_tokens, bound.input_tokens),
        usage.output_tokens if reported.output_known else max(usage.output_tokens, seen),
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_5m_tokens=usage.cache_write_5m_tokens,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        web_searches=usage.web_searches,
    )
    return Metered(completed, "estimated", _why(ending), reported.service_tier, reported.model)


def _why(ending: Ending) -> str:
    if ending.failure is not None:
        return f"the answer broke off: {ending.failure.message}"
    if ending.client_gone:
        return "the client left and the rest of the answer was given up"
    return "the provider reported no usable usage"


def _settled(plan: Plan | UsualPlan, ending: Ending, metered: Metered) -> Resolution:
    usage, sheet = metered.usage, plan.sheet
    cost = None if sheet is None else sheet.cost(usage, metered.service_tier)
    if sheet is not None and cost is None:
        # Something was used that has no price, for example a search: the held amount stands in for it.
        cost = plan.decision.cost_bound
        metered = structs.replace(metered, source="estimated", reason="used something that has no price")
    amounts = used_amounts(usage, cost)
    overrun = not _is_within(plan, usage, cost) and _is_overrun(plan.reservation.holds, amounts)
    settlement = _settlement(plan, ending, _SETTLED, metered.reason, metered, cost, overrun)
    would_cost = settlement.counterfactual_cost
    shadow = None if would_cost is None or plan.advised_sheet is None else {"cost_usd": would_cost}
    return Settled(plan.reservation.id, ending.at, amounts, False, shadow), settlement


def used_amounts(usage: Usage, cost: int | None) -> dict[str, int]:
    """What a call used, by metric; no cost where it is not known, which is not zero (L6)."""
    tokens_in, tokens_out = usage.input_tokens, usage.output_tokens
    amounts = {
        "input_tokens": tokens_in,
        "output_tokens": tokens_out,
        "total_tokens": tokens_in + tokens_out,
        "requests": 1,
    }
    if cost is not None:
        amounts["cost_usd"] = cost
    return amounts


def _is_within(plan: Plan | UsualPlan, usage: Usage, cost: int | None) -> bool:
    """Whether each amount is within its bound, so that no account can have been overrun.

    Only of a usual plan: another may hold less than its bound says on an account of its own rules.
    """
    return (
        isinstance(plan, UsualPlan)
        and cost is not None
        and cost <= (plan.decision.cost_bound or 0)
        and usage.input_tokens <= plan.granted.input_tokens
        and usage.output_tokens <= plan.granted.output_tokens
    )


def _is_overrun(holds: Sequence[Hold], amounts: Mapping[str, int]) -> bool:
    """Whether more was used than was held on an account whose limit binds (L4)."""
    for hold in holds:  # noqa: SIM110 (any() of a generator takes twice as long)
        if hold.limit is not None and amounts.get(hold.account[1], 0) > hold.amount:
            return True
    return False


def _released(plan: Plan | UsualPlan, ending: Ending, reason: str) -> Resolution:
    settlement = _settlement(plan, ending, CallState.RELEASED, reason, None, None, overrun=False)
    return Released(plan.reservation.id, ending.at, reason), settlement


def _in_doubt(plan: Plan | UsualPlan, ending: Ending, reason: str) -> Resolution:
    bound = plan.granted
    metered = Metered(Usage(bound.input_tokens, bound.output_tokens), "estimated", reason)
    cost = plan.decision.cost_bound
    settlement = _settlement(plan, ending, CallState.IN_DOUBT, reason, metered, cost, overrun=False)
    return Expired(plan.reservation.id, ending.at, reason), settlement


def _settlement(
    plan: Plan | UsualPlan,
    ending: Ending,
    state: CallState,
    reason: str,
    metered: Metered | None,
    cost: int | None,
    overrun: bool,
) -> Settlement:
    decision = plan.decision
    if metered is None:
        return Settlement(
            ending.at,
            state,
            "none",
            reason,
            None,
            cost,
            decision.cost_bound,
            decision.elapsed_ms(ending.at),
            upstream_status=ending.status,
            client_gone=ending.client_gone,
            first_byte_ms=ending.first_byte_ms,
            attempts=ending.attempts,
        )
    sheet = plan.sheet
    return Settlement(
        ending.at,
        state,
        metered.source,
        reason,
        metered.usage,
        cost,
        decision.cost_bound,
        decision.elapsed_ms(ending.at),
        overrun,
        False,
        metered.service_tier,
        ending.status,
        metered.model,
        ending.client_gone,
        ending.first_byte_ms,
        (),
        None if decision.counterfactual is None else _counterfactual_cost(plan, metered, cost),
        () if sheet is None else sheet.unit_prices(metered.usage, metered.service_tier),
        ending.attempts,
        None if plan.baseline is None or state is not _SETTLED else _saved(plan.baseline, metered, cost),
    )


def _saved(baseline: Baseline, metered: Metered, cost: int | None) -> int | None:
    """What routing saved, in nano-USD; None where that is not known."""
    return None if cost is None else baseline.saved(metered.usage, metered.service_tier, cost)


def _counterfactual_cost(plan: Plan | UsualPlan, metered: Metered, cost: int | None) -> int | None:
    shadow, sheet = plan.decision.counterfactual, plan.sheet
    if shadow is None or sheet is None:
        return None
    if shadow.model is not None:
        sheet = plan.advised_sheet
    return would_cost(shadow, plan.granted.choices, sheet, metered.usage, metered.service_tier, cost)


def would_cost(
    shadow: Counterfactual,
    choices: int,
    sheet: PriceSheet | None,
    usage: Usage,
    service_tier: str | None,
    cost: int | None,
) -> int | None:
    """What a call would have cost under full enforcement: on the recommended model, within its clamp.

    ``sheet`` are the prices of that model, ``cost`` is what the call cost where it ran, all in nano-USD.
    """
    if shadow.outcome != "admit":
        return 0
    most = shadow.clamped_output_tokens
    if most is not None and usage.output_tokens > most * choices:
        usage = shortened(usage, most * choices)
    elif shadow.model is None:
        return cost
    return None if sheet is None else sheet.cost(usage, service_tier)


def shortened(usage: Usage, most: int) -> Usage:
    """The same usage, cut off after ``most`` output tokens."""
    audio = min(usage.output_audio_tokens, most)
    reasoning = min(usage.reasoning_tokens, most - audio)
    return structs.replace(usage, output_tokens=most, output_audio_tokens=audio, reasoning_tokens=reasoning)
