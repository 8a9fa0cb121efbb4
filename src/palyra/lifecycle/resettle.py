"""What a call of the past would have used and cost, had it been decided otherwise. Pure."""

from decimal import Decimal
from typing import NamedTuple

from palyra.core.money import NANO_PER_USD
from palyra.lifecycle.choice import Routed
from palyra.lifecycle.counterfactual import Shadow
from palyra.lifecycle.decision import EstimateRecord, Settlement
from palyra.lifecycle.estimate import EXPECTED_OUTPUT_SHARE
from palyra.lifecycle.history import PastCall
from palyra.lifecycle.plan import counterfactual_of
from palyra.lifecycle.settle import shortened, would_cost
from palyra.pricing.sheet import PriceSheet, bill_lines
from palyra.pricing.usage import Usage


class Bill(NamedTuple):
    """What a call would have used and cost, in nano-USD; None where that is not known.

    ``would_cost`` is with the dry-run policies enforced. ``estimated``: history does not tell it.
    """

    usage: Usage
    cost: int | None
    would_cost: int | None
    estimated: bool


def is_moved(past: PastCall, routed: Routed) -> bool:
    """Whether the call runs on another model than its record names."""
    model = routed.here.model
    return (model.id, model.provider) != (past.model, past.provider)


def expected_bill(past: PastCall, estimate: EstimateRecord, routed: Routed) -> Bill:
    """A call that never ran: what it was expected to use."""
    here, granted = routed.here, routed.judgement.granted
    output = min(here.bound.output_tokens // EXPECTED_OUTPUT_SHARE, granted.output_tokens)
    usage = Usage(min(estimate.input_tokens_expected, granted.input_tokens), output)
    if estimate.cost_expected is not None and granted is here.bound and not is_moved(past, routed):
        return Bill(usage, estimate.cost_expected, estimate.cost_expected, True)
    sheet = _sheet(routed)
    cost = None if sheet is None else sheet.text_cost(*_tokens(usage), here.cost.ask.service_tier)
    if cost is None and not is_moved(past, routed):
        cost = estimate.cost_expected
    return Bill(usage, cost, cost, True)


def held_cost(routed: Routed) -> int | None:
    """What the call is held at, in nano-USD: what stands for one whose end is not known."""
    cost = routed.here.cost
    return cost.billed(cost.billing_sheet(routed.judgement.evaluations), routed.judgement.granted)


def bill_of(
    past: PastCall, routed: Routed, shadow: Shadow | None, settlement: Settlement, used: Usage
) -> Bill:
    """A call that ran, as it would have run. ``used`` is what it did use."""
    granted, moved = routed.judgement.granted, is_moved(past, routed)
    before = granted.output_tokens if past.estimate is None else past.estimate.output_tokens_bound
    usage, estimated = used, moved
    if granted.output_tokens < before and used.output_tokens > granted.output_tokens:
        usage, estimated = shortened(used, granted.output_tokens), True
    elif past.clamp is not None and granted.output_tokens > before <= used.output_tokens:
        # It was cut off, and would have gone on: nobody knows how far.
        estimated = True
    cost, is_guess = _cost(past, routed, settlement, usage, moved, usage is not used)
    would = cost
    if shadow is not None or routed.recommended is not routed.here:
        would = _would_cost(routed, shadow, settlement, usage, cost)
    return Bill(usage, cost, would, estimated or is_guess)


def _cost(
    past: PastCall, routed: Routed, settlement: Settlement, usage: Usage, moved: bool, is_cut: bool
) -> tuple[int | None, bool]:
    """Nano-USD, and whether they were computed from the prices of now."""
    sheet = _sheet(routed)
    price = past.price
    # A ceiling is what a call is billed at only where a policy says so.
    if not moved and price is not None and (price.known or sheet is not None):
        if not is_cut:
            return settlement.cost, False
        if settlement.prices:
            return _billed(usage, settlement), False
    if sheet is None:
        return None, False
    cost = sheet.cost(usage, settlement.service_tier)
    return held_cost(routed) if cost is None else cost, True


def _billed(usage: Usage, settlement: Settlement) -> int:
    """Nano-USD at the prices that the call was billed at."""
    lines = bill_lines(usage, settlement.prices)
    return round(sum((Decimal(each.cost or 0) for each in lines), Decimal(0)) * NANO_PER_USD)


def _would_cost(
    routed: Routed, shadow: Shadow | None, settlement: Settlement, usage: Usage, cost: int | None
) -> int | None:
    record = counterfactual_of(routed, shadow)
    sheet = _sheet(routed)
    if record is None or sheet is None:
        return cost
    if record.model is not None:
        sheet = routed.recommended.route.sheet
    choices = routed.judgement.granted.choices
    return would_cost(record, choices, sheet, usage, settlement.service_tier, cost)


def _sheet(routed: Routed) -> PriceSheet | None:
    """The prices that the call would have been billed at."""
    return routed.here.cost.billing_sheet(routed.judgement.evaluations)


def _tokens(usage: Usage) -> tuple[int, int]:
    return usage.input_tokens, usage.output_tokens
