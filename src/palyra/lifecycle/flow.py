"""THE PATH of one call, all its stages in reading order."""

from dataclasses import dataclass

from msgspec.structs import replace

from palyra.budgets.terms import Mode
from palyra.core.errors import Overloaded, PalyraError
from palyra.identity.keys import Subject
from palyra.lifecycle.admit import admit
from palyra.lifecycle.asking import Asked, ask_people, learn, with_approval
from palyra.lifecycle.authenticate import authenticate
from palyra.lifecycle.call import Call
from palyra.lifecycle.dispatch import Exchange
from palyra.lifecycle.engine import Engine
from palyra.lifecycle.estimate import cost_bound
from palyra.lifecycle.idempotency import Header, Replay, claim_of, earlier_answer
from palyra.lifecycle.plan import Plan
from palyra.lifecycle.ports import IdempotencyClaim
from palyra.lifecycle.recover import Recovery, attempt
from palyra.lifecycle.respond import (
    answer_headers,
    answer_lines,
    decision_headers,
    error_headers,
    refusal,
)
from palyra.lifecycle.route import find_sheet
from palyra.lifecycle.signals import tell_of_plan
from palyra.lifecycle.usual import UsualPlan, plan_call
from palyra.routing.task import TaskClass

CHEAPER_MODELS_MAX = 5


@dataclass(frozen=True, slots=True)
class Answered:
    """A call that ran. For a stream the exchange is still going; otherwise it is settled on disk."""

    plan: Plan | UsualPlan
    exchange: Exchange

    def headers(self) -> list[Header]:
        """The provider's headers and Palyra's; the real cost is among them unless it is a stream."""
        return answer_headers(self.plan, self.exchange.headers, self.exchange.acknowledged)

    def lines(self) -> bytes:
        """The same as lines of HTTP."""
        return answer_lines(self.plan, self.exchange.headers, self.exchange.acknowledged)


@dataclass(frozen=True, slots=True)
class Repeated:
    """A call whose Idempotency-Key was served before: the first answer again, nothing spent."""

    request_id: str
    replay: Replay


async def run(call: Call, engine: Engine) -> Answered | Repeated:
    """Take one call from its key to its answer. Raises PalyraError for every call that does not run."""
    rules = engine.rules.snapshot
    subject = authenticate(call.credential, rules)
    claim = claim_of(call, subject.principal)
    if claim is not None and subject.may_use(call.ask.model):
        earlier = await _look_up(claim, engine)
        if earlier is not None:
            return Repeated(*earlier)
    if engine.full:
        raise Overloaded("too many calls are in flight; retry in a moment")
    policies = rules.index
    if engine.routing.leaves_open(call.ask.model):
        await engine.sessions.refresh(subject.principal, call.hints.session, engine.clock.now())
    if call.approvals:
        await learn(call, engine)
    plan = await admit(lambda: plan_call(call, subject, policies, engine, engine.clock.now()), claim, engine)
    if isinstance(plan, Plan):
        tell_of_plan(plan, engine.alarms)
        if not plan.admitted:
            return await _ask(plan, call, subject, engine)
        _remember(plan, engine)
    recovery: Recovery | None = None
    try:
        exchange = await attempt(call, plan, engine, keep=claim is not None)
        if exchange.fault is not None:
            recovery = Recovery(call, subject, policies, claim, engine, plan)
            exchange = await recovery.go_on(exchange)
    except PalyraError as error:
        error.headers = error_headers(error, plan if recovery is None else recovery.plan)
        raise
    return Answered(plan if recovery is None else recovery.plan, exchange)


async def _look_up(claim: IdempotencyClaim, engine: Engine) -> tuple[str, Replay] | None:
    """What the Idempotency-Key was answered before, here or at another gateway."""
    if engine.others is not None:
        await engine.others.look_up(claim)
    return earlier_answer(claim, engine.records, engine.replays)


async def _ask(plan: Plan, call: Call, subject: Subject, engine: Engine) -> Answered | Repeated:
    """Run the call after all, if somebody lets it and the caller waits for that; else refuse it."""
    asked = await ask_people(plan, call, subject, engine)
    if asked.again is None:
        raise _refuse(plan, call, subject, engine, asked)
    return await run(asked.again, engine)


def _remember(plan: Plan, engine: Engine) -> None:
    """Keep the session on the model that was chosen for it: in a trial, on the one that would have been.

    Work on the side, such as a summary, does not move it. What the call used up of what was granted is noted.
    """
    decision = plan.decision
    if decision.overrides and engine.approvals is not None:
        used_up = [each.approvals[0] for each in decision.overrides if each.single_use]
        engine.approvals.note_use(used_up, decision.call_id, decision.labels.key_id)
    interactive = decision.labels.task_class == TaskClass.PRIMARY_INTERACTIVE
    if interactive and decision.routing is not None and decision.routing.open:
        chosen = decision.model if decision.mode == Mode.ENFORCED else decision.recommended_model
        engine.sessions.keep(decision.principal, decision.session, chosen, decision.at)


def _refuse(plan: Plan, call: Call, subject: Subject, engine: Engine, asked: Asked) -> Exception:
    error = refusal(plan, _cheaper_models(plan, call, subject, engine))
    if engine.approvals is not None:
        error = with_approval(error, asked, engine.approvals)
    engine.records.record_denial(replace(plan.decision, error_code=error.code, message=error.message))
    error.headers = decision_headers(plan)
    return error


def _cheaper_models(plan: Plan, call: Call, subject: Subject, engine: Engine) -> list[str]:
    """Models this key may use here whose dearest bill for this call is lower than the asked model's."""
    granted, now = plan.judgement.granted, plan.decision.at
    asked = cost_bound(plan.sheet, call.ask, granted.input_tokens, granted.output_tokens)
    if asked is None:
        return []
    found: list[tuple[int, str]] = []
    for model in engine.registry.models():
        if not engine.registry.speaks(model.provider, call.endpoint):
            continue
        kind = engine.registry.kind_of(model.provider)
        sheet = find_sheet(model, kind, engine.prices, now)
        cost = cost_bound(sheet, call.ask, granted.input_tokens, granted.output_tokens)
        if cost is not None and cost < asked and subject.may_use(model.id):
            found.append((cost, engine.registry.name_of(model)))
    return [model_id for _, model_id in sorted(found)[:CHEAPER_MODELS_MAX]]
