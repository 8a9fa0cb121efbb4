"""Requests as calls make them, at a control plane without a data plane."""

from msgspec import structs

from palyra.api.deps import ApiDeps
from palyra.approvals.approval import Approval
from palyra.identity.keys import Role, Subject
from palyra.ledger.account import AccountKey, Balance
from palyra.lifecycle.approval_drafts import Wish, draft_up_front
from palyra.lifecycle.standing import AccountStatus


def stopped_call(deps: ApiDeps, policy_id: str, requester: str, entity: str, **fields: object) -> Approval:
    """What a call of ``requester`` would ask for. It would hold 20, 10 of them beyond the limit."""
    policy, now = deps.rules.snapshot.policies[policy_id], deps.clock.now()
    subject = Subject(f"key-of-{requester}", requester, None, frozenset({Role.CALLER}), (), {})
    wish = Wish(policy, entity, 10, requester, "")
    desk = deps.approvals
    draft = draft_up_front(wish, deps.ledger.balance, subject, desk.new_id(), now, desk.terms.expire_after_ns)
    made = structs.replace(
        draft,
        agent="nightly",
        session="run-7",
        model="gpt-4o-mini",
        request_id="req_1",
        fingerprint="f1",
        amount=20,
        cause=f"{policy_id} {requester} f1",
    )
    return structs.replace(made, **fields)


def used(approval: Approval, posted: int, held: int = 0) -> AccountStatus:
    """The account of a request with what is counted on it."""
    key = AccountKey(approval.policy_id, approval.metric, approval.entity, approval.window_start)
    return AccountStatus(key, approval.window_end, Balance(posted, held, posted, held), sliced=1)
