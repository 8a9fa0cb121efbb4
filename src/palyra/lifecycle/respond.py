"""What the caller is told: the ``x-palyra-*`` headers of an answer, and the error of a refusal."""

from collections.abc import Sequence
from functools import lru_cache

from palyra.budgets.binding import PLACES, Binding
from palyra.budgets.evaluate import least_left, tightest
from palyra.budgets.evaluation import Evaluation, Outcome, Status, amounts_of
from palyra.budgets.terms import Metric, Then, amount_fields, format_amount
from palyra.core.errors import (
    ApprovalRequired,
    BudgetExceeded,
    CapacityDeferred,
    PalyraError,
    PriceUnknown,
    ProviderUnavailable,
)
from palyra.core.instant import isoformat
from palyra.core.money import format_usd
from palyra.lifecycle.decision import Decision, Settlement
from palyra.lifecycle.plan import Plan
from palyra.lifecycle.providers import Later
from palyra.lifecycle.usual import UsualPlan
from palyra.lifecycle.weigh import Judgement

Header = tuple[bytes, bytes]

NOT_PASSED = frozenset(
    {b"content-length", b"server", b"date", b"set-cookie", b"alt-svc", b"strict-transport-security"}
)
"""Headers that speak of the connection between Palyra and the provider."""
_ROUTES_KEPT = 1_024
_OK, _ADMIT = Status.OK, Outcome.ADMIT
_COST = PLACES[Metric.COST_USD]


def decision_headers(plan: Plan | UsualPlan, settlement: Settlement | None = None) -> list[Header]:
    """The headers of a decided call; the real cost is there once ``settlement`` is known."""
    if isinstance(plan, UsualPlan):
        lines = _usual_lines(plan, settlement).split(b"\r\n")[:-1]
        return [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]
    decision, judgement = plan.decision, plan.judgement
    headers = [(b"x-palyra-request-id", decision.call_id.encode())]
    headers += _route_headers(
        decision.outcome, decision.mode, decision.model, decision.recommended_model, decision.route
    )
    held = decision.cost_bound
    if held is not None:
        headers.append((b"x-palyra-estimated-cost-usd", format_usd(held).encode()))
    if settlement is not None and settlement.cost is not None:
        headers.append((b"x-palyra-cost-usd", format_usd(settlement.cost).encode()))
    if judgement.evaluations:
        _add_budgets(headers, judgement, settlement)
    if judgement.admitted:
        if decision.clamp is not None:
            headers.append((b"x-palyra-clamped-max-tokens", b"%d" % decision.clamp.granted))
        elif judgement.granted.cap_is_ours:
            headers.append((b"x-palyra-clamped-max-tokens", b"%d" % judgement.granted.output_cap))
    if decision.counterfactual is not None and decision.counterfactual.would:
        headers.append((b"x-palyra-would", _text(", ".join(decision.counterfactual.would))))
    return headers


def error_headers(error: PalyraError, plan: Plan | UsualPlan) -> list[Header]:
    """The headers of a call that was planned, and failed."""
    headers = decision_headers(plan)
    if not isinstance(error, CapacityDeferred):
        return headers
    told = {b"x-palyra-outcome": b"deny", b"x-palyra-route": b"defer"}
    return [(name, told.get(name, value)) for name, value in headers]


def answer_headers(
    plan: Plan | UsualPlan, provider_headers: Sequence[Header], settlement: Settlement | None
) -> list[Header]:
    """All headers of an answer: the provider's that a client may see, then Palyra's."""
    return _passed(provider_headers) + decision_headers(plan, settlement)


def answer_lines(
    plan: Plan | UsualPlan, provider_headers: Sequence[Header], settlement: Settlement | None
) -> bytes:
    """``answer_headers`` as lines of HTTP. Raises ValueError for a header that would forge a line."""
    if isinstance(plan, Plan):
        return header_lines(answer_headers(plan, provider_headers, settlement))
    return header_lines(_passed(provider_headers)) + _usual_lines(plan, settlement)


def _passed(provider_headers: Sequence[Header]) -> list[Header]:
    """The provider's headers that a client may see: only Palyra speaks in Palyra's."""
    return [
        header
        for header in provider_headers
        if header[0] not in NOT_PASSED and not header[0].startswith(b"x-palyra-")
    ]


def header_lines(headers: Sequence[Header]) -> bytes:
    """Headers as lines of HTTP. Raises ValueError for one that would forge a line."""
    lines = b"".join([b"%b: %b\r\n" % header for header in headers])
    if lines.count(b"\n") != len(headers) or lines.count(b"\r") != len(headers):
        raise ValueError("a header of an answer has a line break in it")
    return lines


def refusal(plan: Plan, cheaper_models: Sequence[str]) -> PalyraError:
    """The error for a plan that was not admitted, with the numbers of the policy that decided."""
    deciding = plan.judgement.verdict.deciding
    if deciding is None and plan.later is not None:
        return _come_again(plan.decision, plan.later)
    if deciding is None:
        raise ValueError("an admitted call has no refusal")
    detail = _detail(plan.decision, deciding, cheaper_models)
    message = deciding.message
    if deciding.status is Status.UNKNOWN:
        return PriceUnknown(message, param="model", detail=detail)
    if plan.judgement.verdict.outcome is Outcome.ASK:
        return ApprovalRequired(message, detail=detail)
    return BudgetExceeded(message, detail=detail)


def _come_again(decision: Decision, later: Later) -> PalyraError:
    provider = decision.provider
    if later.why == "failing":
        told = f"provider {provider!r} fails and is left alone for a while, and no other serves this call"
        return ProviderUnavailable.after(told, later.seconds)
    busy = "has no free slot" if later.why == "busy" else "has just turned us away"
    told = f"provider {provider!r} {busy}, and this call can wait; come again later"
    return CapacityDeferred.after(told, later.seconds)


@lru_cache(_ROUTES_KEPT)
def _route_lines(outcome: str, mode: str, model: str, recommended: str, route: str) -> bytes:
    return header_lines(_route_headers(outcome, mode, model, recommended, route))


@lru_cache(_ROUTES_KEPT)
def _route_headers(outcome: str, mode: str, model: str, recommended: str, route: str) -> tuple[Header, ...]:
    """What many calls are told alike."""
    return (
        (b"x-palyra-outcome", outcome.encode()),
        (b"x-palyra-mode", mode.encode()),
        (b"x-palyra-model", _text(model)),
        (b"x-palyra-recommended-model", _text(recommended)),
        (b"x-palyra-route", route.encode()),
    )


def _usual_lines(plan: UsualPlan, settlement: Settlement | None) -> bytes:
    """What ``decision_headers`` tells of a usual call."""
    decision, kind = plan.decision, plan.prepared.kind
    lines = b"x-palyra-request-id: %b\r\n%bx-palyra-estimated-cost-usd: %b\r\n" % (
        decision.request_id.encode(),
        _route_lines(kind.outcome, kind.mode, kind.model, kind.model, "proceed"),
        format_usd(decision.cost_bound or 0).encode(),
    )
    if settlement is not None and settlement.cost is not None:
        lines += b"x-palyra-cost-usd: %b\r\n" % format_usd(settlement.cost).encode()
    bindings = plan.prepared.bindings.each
    place = least_left(plan.prepared.hard_limits, plan.consumed)
    if place is not None:
        binding = bindings[place]
        held = plan.reservation.amounts[place]
        taken = held if settlement is None else _used(binding, settlement, held)
        left = (binding.hard_limit or 0) - plan.consumed[place] - taken
        remaining = format_amount(binding.policy.metric, left if left > 0 else 0)
        lines += b"x-palyra-budget-remaining: %b\r\n" % _text(f"{binding.policy.id}={remaining}")
    return lines


def _add_budgets(headers: list[Header], judgement: Judgement, settlement: Settlement | None) -> None:
    evaluations = judgement.evaluations
    least = tightest(evaluations)
    if least is not None:
        hard = least.binding.hard_limit or 0
        left = hard - least.consumed - _taken(least, settlement)
        remaining = format_amount(least.binding.policy.metric, left if left > 0 else 0)
        headers.append((b"x-palyra-budget-remaining", _text(f"{least.policy_id}={remaining}")))
    if judgement.verdict.status is _OK and not judgement.bindings.notifies:
        return
    warnings = [
        f"{each.policy_id}={each.status.value}"
        for each in evaluations
        if each.status is not _OK or _notified(each)
    ]
    if warnings:
        headers.append((b"x-palyra-budget-warning", _text(", ".join(warnings))))


def _notified(evaluation: Evaluation) -> bool:
    return any(reached.then is Then.NOTIFY for reached in evaluation.passed)


def _taken(evaluation: Evaluation, settlement: Settlement | None) -> int:
    """What this call takes from the account: its real usage once known, else what it holds."""
    if evaluation.outcome is not _ADMIT:
        return 0
    held = evaluation.amount or 0
    return held if settlement is None else _used(evaluation.binding, settlement, held)


def _used(binding: Binding, settlement: Settlement, held: int) -> int:
    """What a call that is over took from an account: what it held, if nobody knows its usage."""
    usage = settlement.usage
    if usage is None:
        return held
    if binding.place == _COST:
        return settlement.cost or 0
    return amounts_of(settlement.cost, usage.input_tokens, usage.output_tokens)[binding.place] or 0


def _detail(decision: Decision, deciding: Evaluation, cheaper_models: Sequence[str]) -> dict[str, object]:
    """``error.palyra``: counts as integers; money as a decimal string of USD, with nano-USD beside it."""
    metric = deciding.metric
    amounts: dict[str, object] = {}
    for name, amount in (
        ("limit", deciding.hard_limit),
        ("consumed", deciding.consumed),
        ("projected", deciding.projected),
        ("remaining", deciding.remaining),
    ):
        amounts |= amount_fields(metric, name, amount)
        amounts[name] = amounts[f"{name}_usd"] if metric is Metric.COST_USD else amount
    return {
        "request_id": decision.call_id,
        "policy_id": deciding.policy_id,
        "scope": deciding.scope,
        "metric": metric.value,
        "interval": deciding.interval.value,
        **amounts,
        "window_end": isoformat(deciding.window.end),
        "approval_id": None,
        "approval_url": None,
        "cheaper_models": list(cheaper_models),
    }


def _text(value: str) -> bytes:
    """A header value: anything that is not printable ASCII is replaced."""
    shown = value.encode("ascii", "replace")
    return shown if value.isprintable() else shown.replace(b"\r", b"?").replace(b"\n", b"?")
