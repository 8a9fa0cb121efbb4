"""The usual call: plain text at known prices, within every limit. Prepared once for all calls alike.

Most calls differ from the one before in a few numbers. The full way of ``plan`` decides the first two of a
kind; from the second decision a ``Prepared`` is made, and the calls after it are decided by reading the
balances and filling in numbers. It decides only what the full way would decide in the same words (a test
compares the two), and leaves every other call to it: a limit or a threshold in reach, a cap of ours, media,
another mode.
"""

from collections.abc import Sequence
from itertools import chain
from operator import add, gt
from typing import Self

import msgspec
from msgspec import structs

from palyra.budgets.binding import Bindings
from palyra.budgets.index import PolicyIndex
from palyra.core.instant import Instant
from palyra.identity.keys import Subject
from palyra.ledger.account import Account
from palyra.ledger.held import NO_LIMIT, Held, Stakes
from palyra.lifecycle.call import Call
from palyra.lifecycle.decision import DecisionKind, WrittenDecision, write_part
from palyra.lifecycle.engine import Engine
from palyra.lifecycle.estimate import EXPECTED_OUTPUT_SHARE, Bound, bound_of
from palyra.lifecycle.plan import LEASE_NS, METHODS, Plan, expected_tokens, make_plan
from palyra.lifecycle.ports import Ledger
from palyra.lifecycle.route import Route, prices_until
from palyra.lifecycle.weigh import Judgement
from palyra.pricing.sheet import PriceSheet

_METHODS = {method: write_part(method) for method in METHODS}


class UsualPlan(msgspec.Struct, frozen=True, gc=False):
    """What ``Plan`` is, for a usual call: admitted as asked, on the asked model."""

    prepared: "Prepared"
    decision: WrittenDecision
    granted: Bound
    reservation: Held
    consumed: Sequence[int]
    """Of each account in the order of the bindings, before this call."""

    @property
    def route(self) -> Route:
        """The model that serves the call."""
        return self.prepared.route

    @property
    def sheet(self) -> PriceSheet | None:
        """The prices to settle at."""
        return self.prepared.sheet

    @property
    def advised_sheet(self) -> None:
        """No other model is recommended."""
        return

    @property
    def baseline(self) -> None:
        """Nothing was routed."""
        return

    @property
    def output_cap(self) -> None:
        """The caller's own output cap goes upstream."""
        return

    @property
    def admitted(self) -> bool:
        """It is."""
        return True


class Prepared:
    """What all calls of one kind have in common, until a price, a policy or a window changes."""

    __slots__ = (
        "_document",
        "_line",
        "_places",
        "_stakes",
        "_withins",
        "bindings",
        "hard_limits",
        "kind",
        "route",
        "sheet",
        "until",
    )

    def __init__(self, plan: Plan, sheet: PriceSheet, accounts: tuple[Account, ...], until: Instant) -> None:
        """``plan`` is a usual one; ``accounts`` are those of its bindings."""
        decision = plan.decision
        self.route = plan.route
        self.sheet = sheet
        self.bindings: Bindings = plan.judgement.bindings
        self.until = until
        self.kind = DecisionKind(
            decision.principal,
            decision.agent,
            decision.model,
            decision.provider,
            decision.outcome,
            decision.mode,
            decision.tags,
            decision.is_clamped,
        )
        self.hard_limits = tuple(each.hard_limit for each in self.bindings.each)
        self._stakes = Stakes(
            accounts,
            tuple(NO_LIMIT if hold.limit is None else hold.limit for hold in plan.reservation.holds),
            tuple(account.key.metric for account in accounts),
        )
        self._places = tuple(each.place for each in self.bindings.each)
        self._withins = tuple(each.within for each in self.bindings.each)
        self._document = _document(plan)
        self._line = _line(plan)

    @classmethod
    def of(cls, plan: Plan, engine: Engine) -> Self | None:
        """Prepare the calls like this one; None where it is not usual."""
        judgement, decision, sheet = plan.judgement, plan.decision, plan.sheet
        estimate, price = decision.estimate, decision.price
        if (
            not _is_far_from_limits(judgement)
            or sheet is None
            or sheet is not plan.route.sheet
            or estimate is None
            or estimate.cost_expected is None
            or estimate.cost_bound is None
            or price is None
            or decision.counterfactual is not None
            or decision.routing is not None
            or decision.route != "proceed"
            or decision.idempotency_key
            or judgement.granted.cap_is_ours
        ):
            return None
        accounts = _live(judgement.bindings, engine.ledger)
        if accounts is None:
            return None
        route = plan.route
        priced_until = prices_until(route.model, route.provider_kind, engine.prices, decision.at)
        return cls(plan, sheet, accounts, min(priced_until, judgement.bindings.until))

    def plan(self, call: Call, engine: Engine, now: Instant) -> UsualPlan | None:
        """Decide one call of this kind before ``until``; None where it is not usual after all."""
        ask, sheet, stakes = call.ask, self.sheet, self._stakes
        bound = bound_of(ask, call.endpoint, self.route.model, engine.governance.output_tokens_without_limit)
        tokens, output = bound.input_tokens, bound.output_tokens
        expected, method = expected_tokens(call, self.route, engine)
        likely = sheet.text_cost(expected, output // EXPECTED_OUTPUT_SHARE)
        cost = sheet.text_bound(tokens, output)
        if bound.cap_is_ours or cost is None or likely is None:
            return None
        amounts = (cost, tokens + output, tokens, output, 1)
        held = [amounts[place] for place in self._places]
        consumed = [account.posted + account.held for account in stakes.accounts]
        if any(map(gt, map(add, consumed, held), self._withins)):
            return None
        request_id, hints = call.request_id, call.hints
        name = request_id.encode()
        cap = ask.output_cap
        document = self._document % (
            name,
            now,
            write_part(hints.session),
            write_part(hints.parent_session),
            ask.text_bytes,
            expected,
            tokens,
            output,
            b"null" if cap is None else b"%d" % cap,
            bound.choices,
            likely,
            cost,
            _METHODS[method],
            *chain.from_iterable(zip(consumed, held, strict=True)),
        )
        expires = Instant(now + LEASE_NS)
        line = self._line % (name, now, expires, *chain.from_iterable(zip(held, held, strict=True)))
        return UsualPlan(
            self,
            WrittenDecision(request_id, now, ask.text_bytes, cost, document, hints.session, self.kind),
            bound,
            Held(request_id, now, expires, stakes, held, line),
            consumed,
        )


def plan_call(
    call: Call, subject: Subject, policies: PolicyIndex, engine: Engine, now: Instant
) -> Plan | UsualPlan:
    """Decide one call, by what was prepared for its kind or the full way. Raises as ``make_plan`` does."""
    ask, hints = call.ask, call.hints
    if not ask.plain or hints.tags or hints.mode is not None or call.idempotency_key is not None:
        return make_plan(call, subject, policies, engine, now)
    if not engine.providers.calm or engine.routing.leaves_open(ask.model):
        return make_plan(call, subject, policies, engine, now)
    kinds = engine.kinds.under(policies, engine.registry, engine.prices)
    sessions = policies.sees_sessions
    kind = (
        subject.key_id,
        call.endpoint,
        ask.model,
        ask.stream,
        hints.agent,
        hints.task_class,
        hints.session if sessions else None,
        hints.parent_session if sessions else None,
    )
    prepared = kinds.prepared.get(kind)
    if prepared is not None and now < prepared.until:
        return prepared.plan(call, engine, now) or make_plan(call, subject, policies, engine, now)
    plan = make_plan(call, subject, policies, engine, now)
    if kinds.seen_before(kind):
        # Preparing pays only for kinds that are seen again.
        kinds.prepared[kind] = Prepared.of(plan, engine)
    return plan


def _is_far_from_limits(judgement: Judgement) -> bool:
    """Whether every budget knows the call's amount, goes by the call's mode, and passes no level with it."""
    if judgement.bindings.capped:
        return False
    for evaluation in judgement.evaluations:
        binding, projected = evaluation.binding, evaluation.projected
        if binding.each_call or projected is None or projected > binding.within:
            return False
    return True


def _live(bindings: Bindings, ledger: Ledger) -> tuple[Account, ...] | None:
    """The accounts of the bindings; None where one does not exist yet, or would stand there twice."""
    keys = [each.account for each in bindings.each]
    found = [ledger.accounts.get(key) for key in keys]
    live = tuple(account for account in found if account is not None)
    return live if len(live) == len(set(keys)) == len(keys) else None


def _document(plan: Plan) -> bytes:
    """The decision as it is stored, with a place for each of the numbers that a call brings."""
    decision, labels = plan.decision, plan.decision.labels
    fixed = structs.astuple(decision)
    who = [_fixed(each) for each in (labels.key_id, labels.principal, labels.agent)]
    who += [b"%b", b"%b", _fixed(labels.task_class), _fixed(labels.tags)]
    before = [_fixed(each) for each in fixed[2:4]] + [b"[" + b",".join(who) + b"]"]
    before += [_fixed(each) for each in fixed[5:15]]
    estimate = b"[%d,%d,%d,%d,%b,%d,%d,%d,%b]"
    evaluations = [
        b"[%b,%b,%b,%%d,%%d,null,%b]"
        % (_fixed(each.budget), _fixed(each.status), _fixed(each.mode), _fixed(each.message))
        for each in decision.evaluations
    ]
    after = [_fixed(each) for each in fixed[18:]]
    budgets = b"[" + b",".join(evaluations) + b"]"
    parts = [b'"%b"', b"%d", *before, estimate, _fixed(decision.price), budgets, *after]
    return b"[" + b",".join(parts) + b"]"


def _line(plan: Plan) -> bytes:
    """The reservation as the journal stores it, with places for id, times and amounts."""
    holds = [
        b"[%b,%b,%%d,%%d,%b]" % (_fixed(hold.account), _fixed(hold.window_end), _fixed(hold.limit))
        for hold in plan.reservation.holds
    ]
    return b'["reserve","%b",%d,%d,[' + b",".join(holds) + b"]]"


def _fixed(value: object) -> bytes:
    """A part that is the same for all calls of the kind, as JSON that stands for itself in a template."""
    return write_part(value).replace(b"%", b"%%")
