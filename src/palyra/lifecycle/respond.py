"""What the caller is told: the ``x-palyra-*`` headers of an answer, and the error of a refusal."""

from collections.abc import Sequence

from palyra.budgets.evaluate import Amounts, Evaluation, Outcome, Status, tightest
from palyra.budgets.terms import Metric, Then, amount_fields, format_amount
from palyra.core.errors import ApprovalRequired, BudgetExceeded, PalyraError, PriceUnknown
from palyra.core.instant import isoformat
from palyra.core.money import format_usd
from palyra.lifecycle.decision import Decision, Settlement
from palyra.lifecycle.plan import Plan

Header = tuple[bytes, bytes]

NOT_PASSED = frozenset(
    {b"content-length", b"server", b"date", b"set-cookie", b"alt-svc", b"strict-transport-security"}
)
"""Headers that speak of the connection between Palyra and the provider."""


def decision_headers(plan: Plan, settlement: Settlement | None = None) -> list[Header]:
    """The headers of a decided call; the real cost is there once ``settlement`` is known."""
    decision = plan.decision
    headers = [
        (b"x-palyra-request-id", decision.request_id.encode()),
        (b"x-palyra-outcome", decision.outcome.encode()),
        (b"x-palyra-mode", decision.mode.encode()),
        (b"x-palyra-model", _text(decision.model)),
        (b"x-palyra-recommended-model", _text(decision.recommended_model)),
        (b"x-palyra-route", decision.route.encode()),
    ]
    if decision.cost_bound is not None:
        headers.append((b"x-palyra-estimated-cost-usd", format_usd(decision.cost_bound).encode()))
    if settlement is not None and settlement.cost is not None:
        headers.append((b"x-palyra-cost-usd", format_usd(settlement.cost).encode()))
    evaluations = plan.judgement.evaluations
    if evaluations:
        headers += _budget_headers(evaluations, settlement)
    if decision.clamp is not None and plan.judgement.admitted:
        headers.append((b"x-palyra-clamped-max-tokens", b"%d" % decision.clamp.granted))
    elif plan.output_cap is not None and plan.judgement.admitted:
        headers.append((b"x-palyra-clamped-max-tokens", b"%d" % plan.output_cap))
    if decision.counterfactual is not None and decision.counterfactual.would:
        headers.append((b"x-palyra-would", _text(", ".join(decision.counterfactual.would))))
    return headers


def answer_headers(
    plan: Plan, provider_headers: Sequence[Header], settlement: Settlement | None
) -> list[Header]:
    """All headers of an answer: the provider's that a client may see, then Palyra's."""
    passed = [header for header in provider_headers if header[0] not in NOT_PASSED]
    return passed + decision_headers(plan, settlement)


def refusal(plan: Plan, cheaper_models: Sequence[str]) -> PalyraError:
    """The error for a plan that was not admitted, with the numbers of the policy that decided."""
    deciding = plan.judgement.verdict.deciding
    if deciding is None:
        raise ValueError("an admitted call has no refusal")
    detail = _detail(plan.decision, deciding, cheaper_models)
    message = deciding.message
    if deciding.status is Status.UNKNOWN:
        return PriceUnknown(message, param="model", detail=detail)
    if plan.judgement.verdict.outcome is Outcome.ASK:
        return ApprovalRequired(message, detail=detail)
    return BudgetExceeded(message, detail=detail)


def _budget_headers(evaluations: Sequence[Evaluation], settlement: Settlement | None) -> list[Header]:
    headers: list[Header] = []
    least = tightest(evaluations)
    if least is not None and least.hard_limit is not None:
        left = least.hard_limit - least.consumed - _taken(least, settlement)
        remaining = f"{least.policy_id}={format_amount(least.metric, max(0, left))}"
        headers.append((b"x-palyra-budget-remaining", _text(remaining)))
    warnings = [
        f"{each.policy_id}={each.status.value}"
        for each in evaluations
        if each.status is not Status.OK or any(reached.then is Then.NOTIFY for reached in each.passed)
    ]
    if warnings:
        headers.append((b"x-palyra-budget-warning", _text(", ".join(warnings))))
    return headers


def _taken(evaluation: Evaluation, settlement: Settlement | None) -> int:
    """What this call takes from the account: its real usage once known, else what it holds."""
    if evaluation.outcome is not Outcome.ADMIT:
        return 0
    if settlement is None or settlement.usage is None:
        return evaluation.amount or 0
    usage = settlement.usage
    used = Amounts(settlement.cost, usage.input_tokens, usage.output_tokens)
    return used.amount_of(evaluation.metric) or 0


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
        "request_id": decision.request_id,
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
    return value.encode("ascii", "replace").replace(b"\r", b"?").replace(b"\n", b"?")
