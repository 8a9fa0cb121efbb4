"""A call that a budget stops until somebody lets it run: ask, and wait for the answer if the caller does."""

from typing import NamedTuple

from msgspec.structs import replace

from palyra.approvals.approval import Approval, State
from palyra.approvals.rules import standing
from palyra.budgets.evaluation import Outcome
from palyra.core.errors import ApprovalRequired, BudgetExceeded, PalyraError
from palyra.core.instant import NANOSECONDS
from palyra.identity.keys import Subject
from palyra.lifecycle.approval_drafts import draft_of_call
from palyra.lifecycle.approvals import Approvals
from palyra.lifecycle.call import Call
from palyra.lifecycle.engine import Engine
from palyra.lifecycle.plan import Plan

APPROVALS_SHOWN_MAX = 16
"""So many approvals a call may show (V2)."""


class Asked(NamedTuple):
    """What became of asking. ``again`` is the call as it may be tried anew, with what was approved.

    ``notes`` say why approvals that the caller showed are of no use.
    """

    approval: Approval | None = None
    again: Call | None = None
    notes: tuple[str, ...] = ()


NOBODY = Asked()
"""Nobody was asked."""


async def ask_people(plan: Plan, call: Call, subject: Subject, engine: Engine) -> Asked:
    """Ask for a call that was not admitted, where a person may admit it. Raises LedgerUnavailable.

    Everything is decided anew after an approval: the key, the budgets and the prices may be others by then.
    So it is where something was granted while the call was on its way here.
    """
    desk = engine.approvals
    if desk is None or plan.later is not None or plan.judgement.verdict.outcome is not Outcome.ASK:
        return NOBODY
    known = engine.grants
    shown = await desk.read(call.approvals) if call.approvals else []
    own = [each for each in shown if each.requester == subject.principal]
    notes = _notes(own, call, engine)
    draft = draft_of_call(plan, call, subject, desk.new_id(), desk.terms.expire_after_ns)
    refused = next((each for each in own if each.state is State.DENIED and each.cause == draft.cause), None)
    approval = refused or await desk.ask(draft, known)
    if approval is not None and approval.state is State.APPROVED:
        return Asked(approval, call, notes)
    if approval is None or approval.state is not State.PENDING or not call.wait_s:
        return Asked(approval, None, notes)
    return await _wait(approval, call, desk, engine, notes)


def with_approval(error: PalyraError, asked: Asked, desk: Approvals) -> PalyraError:
    """The refusal of a call that people were asked for, with where that stands and what to do next."""
    if not isinstance(error, ApprovalRequired):
        return error
    approval = asked.approval
    if approval is None:
        next_step = "too many of your requests wait for approval already; have some decided first"
        return ApprovalRequired(_told(error.message, asked.notes, next_step), detail=error.detail)
    detail = error.detail | {
        "approval_id": approval.id,
        "approval_url": desk.url_of(approval.id),
        "approval_state": approval.state.value,
    }
    if approval.state is State.DENIED:
        message = _told(error.message, asked.notes, f"approval {approval.id} is {standing(approval)}")
        return BudgetExceeded(message, detail=detail)
    next_step = (
        f"approval {approval.id} is {standing(approval)}; once it is granted, repeat the call with the "
        f"header x-palyra-approval: {approval.id}"
    )
    return ApprovalRequired(_told(error.message, asked.notes, next_step), detail=detail)


async def learn(call: Call, engine: Engine) -> None:
    """Read the approvals that a call shows and that were decided at another gateway. Raises
    LedgerUnavailable.
    """
    desk = engine.approvals
    if desk is not None and (unread := desk.unread(call.approvals)):
        await desk.read(unread)


def _told(message: str, notes: tuple[str, ...], next_step: str) -> str:
    sentences = (*notes, next_step)
    return f"{message} " + " ".join(f"{each[0].upper()}{each[1:]}." for each in sentences)


async def _wait(
    approval: Approval, call: Call, desk: Approvals, engine: Engine, notes: tuple[str, ...]
) -> Asked:
    since = engine.clock.now()
    decided = await desk.decided(approval, min(call.wait_s, desk.terms.wait_max_s))
    now = engine.clock.now()
    if decided.live_grant(now) is None or len(call.approvals) >= APPROVALS_SHOWN_MAX:
        return Asked(decided, None, notes)
    left = max(0, call.wait_s - (now - since) // NANOSECONDS)
    return Asked(decided, replace(call, approvals=(*call.approvals, decided.id), wait_s=left), notes)


def _notes(own: list[Approval], call: Call, engine: Engine) -> tuple[str, ...]:
    known = {each.id for each in own}
    unknown = [f"approval {each} is not known" for each in call.approvals if each not in known]
    ruled = [each for each in own if each.state is not State.PENDING]
    return (*unknown, *(f"approval {each.id} {_of_no_use(each, engine)}" for each in ruled))


def _of_no_use(approval: Approval, engine: Engine) -> str:
    account = engine.ledger.accounts.get(approval.single_use)
    was_released = account is not None and not account.posted + account.held
    if approval.used_by is not None and not was_released:
        return f"was used up by request {approval.used_by}"
    if approval.state is State.APPROVED:
        return "does not cover this call: it is for another body, is used up, or gives too little"
    return f"is {standing(approval)}"
