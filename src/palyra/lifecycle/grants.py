"""What people granted and is live: read by every call, written whole by ``Approvals``.

A grant is bound to its account (policy, entity and window; until a time, to every window), to the metric that
was asked for and to the principal that it was made for. One for a single call is bound to its content, too.
"""

from collections.abc import Iterable, Mapping, Sequence

from palyra.approvals.approval import Approval, GrantKind
from palyra.budgets.binding import Binding
from palyra.budgets.evaluation import NO_ALLOWANCE, Allowance, SingleUse
from palyra.core.instant import Instant
from palyra.ledger.account import Account, AccountKey
from palyra.lifecycle.call import Call
from palyra.lifecycle.idempotency import fingerprint_of

Accounts = Mapping[AccountKey, Account]


class Grants:
    """An immutable set of approvals by the account that they are for."""

    __slots__ = ("_by_account",)

    def __init__(self, approvals: Iterable[Approval] = ()) -> None:
        self._by_account: dict[tuple[str, str], list[Approval]] = {}
        for approval in approvals:
            self._by_account.setdefault((approval.policy_id, approval.entity), []).append(approval)

    def __bool__(self) -> bool:
        return bool(self._by_account)

    def of(self, policy_id: str, entity: str) -> Sequence[Approval]:
        """Those of one account, whatever its window."""
        return self._by_account.get((policy_id, entity), ())

    def raising(self, account: AccountKey, now: Instant) -> list[Approval]:
        """Those that are live and raise the limit of an account, in the order in which they were given."""
        found = [
            each
            for each in self.of(account.policy_id, account.entity)
            if _is_for(each, account) and (grant := each.live_grant(now)) and grant.kind is not GrantKind.ONCE
        ]
        return sorted(found, key=lambda each: (each.ruling.at if each.ruling else 0, each.id))

    def allowance(
        self, binding: Binding, call: Call, principal: str, accounts: Accounts, now: Instant
    ) -> Allowance:
        """What the live grants let a call of ``principal`` do beyond the hard limit of one policy.

        On an account that several share, the call needs a grant of its own to use what was granted at all.
        """
        found = self._by_account.get((binding.policy.id, binding.entity))
        if found is None:
            return NO_ALLOWANCE
        extra, mine = 0, list[str]()
        once, single_use = -1, None
        for approval in found:
            grant = approval.live_grant(now)
            if grant is None or not _is_for(approval, binding.account, each_call=binding.each_call):
                continue
            if grant.kind is not GrantKind.ONCE:
                extra += grant.extra
                if approval.principal in (None, principal):
                    mine.append(approval.id)
            elif grant.extra > once and _lets_through(approval, call, principal, accounts):
                once = grant.extra
                single_use = SingleUse(approval.id, approval.single_use, grant.expires_at)
        return Allowance(extra if mine else 0, tuple(mine), once, single_use)


def _is_for(approval: Approval, account: AccountKey, *, each_call: bool = False) -> bool:
    """Whether a grant is for this account: an edit may have given the policy another metric or window."""
    if approval.metric != account.metric or approval.grant is None:
        return False
    any_window = each_call or approval.grant.kind is GrantKind.TIMEBOXED
    return any_window or approval.window_start == account.window_start


def _lets_through(approval: Approval, call: Call, principal: str, accounts: Accounts) -> bool:
    """Whether this is the call that was asked for, and none was let through yet."""
    if approval.id not in call.approvals or approval.principal != principal:
        return False
    used = accounts.get(approval.single_use)
    if used is not None and used.posted + used.held > 0:
        return False
    return approval.fingerprint == fingerprint_of(call).hex()
