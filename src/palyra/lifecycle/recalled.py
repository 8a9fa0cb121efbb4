"""A call of the past as the path sees a call: its bounds, its cost and its request, from what was recorded.

The record of a call has its bounds and what they cost at most, and not why it cost that: whether it had audio
or pictures, searched the web, or asked for a service tier. That is found out by trying which of these gives
the recorded cost at the prices of its time. Where none does (prices were changed since, or taken out), the
recorded cost stands, and only parts of it are computed from the prices of now.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple, NoReturn

from palyra.budgets.binding import Binding
from palyra.budgets.evaluation import NO_ALLOWANCE, Allowance, Amounts, SingleUse, amounts_of
from palyra.budgets.terms import UnknownPrice
from palyra.core.instant import END_OF_TIME, Instant
from palyra.core.invariant import unreachable
from palyra.identity.keys import Subject
from palyra.ledger.account import Account, AccountKey, Balance, Shortfall
from palyra.ledger.book import Book
from palyra.ledger.event import Expired, Released, Settled
from palyra.ledger.held import Reservation
from palyra.lifecycle.call import Ask, Call, Hints
from palyra.lifecycle.decision import AnyDecision, EstimateRecord, OverrideRecord, Settlement
from palyra.lifecycle.estimate import TEMPLATE_TOKENS_MAX, Bound, image_tokens
from palyra.lifecycle.grants import Accounts, Grants
from palyra.lifecycle.history import PastCall
from palyra.lifecycle.ports import Done, IdempotencyClaim
from palyra.lifecycle.route import Route
from palyra.lifecycle.survey import Survey, Weighed
from palyra.lifecycle.weigh import CallCost
from palyra.lifecycle.wire import Endpoint
from palyra.pricing.sheet import PriceSheet
from palyra.registry.models import Model
from palyra.routing.choose import Option

SEARCHES_MAX = 32
"""So many web searches are tried as what explains a recorded cost."""
_USED_UP = "recorded override"


class Terms(NamedTuple):
    """What of a request changes what its tokens cost at most."""

    service_tier: str | None = None
    cache_writes: bool = False
    audio: bool = False
    images: bool = False
    web_searches: int = 0


PLAIN = Terms()


class _NoBody:
    """Nothing of a body is recorded."""

    def rewritten(self, model: str, output_cap: int | None, include_usage: bool) -> bytes:
        del model, output_cap, include_usage
        unreachable("G2", "a call of the past is sent nowhere")


def _ask(terms: Terms) -> Ask:
    """An ask of which nothing but its terms is known."""
    return Ask(
        "",
        False,
        None,
        1,
        False,
        0,
        int(terms.images),
        terms.audio,
        terms.cache_writes,
        terms.web_searches,
        terms.service_tier,
        plain=terms == PLAIN,
    )


PLAIN_ASK = _ask(PLAIN)
NO_HINTS = Hints(None, None, None, "", {}, None)
ANY_CALL = Call("", Endpoint.chat_completions, None, NO_HINTS, PLAIN_ASK, _NoBody(), b"", (), None)


def asked_bound(estimate: EstimateRecord, past: PastCall) -> Bound:
    """The bound of a call as it was asked, before it was cut short."""
    choices = estimate.choices
    cap = past.clamp.requested if past.clamp is not None else estimate.output_tokens_bound // choices
    return Bound(estimate.input_tokens_bound, cap, choices, False, cap * choices)


def recalled_cost(
    estimate: EstimateRecord, past: PastCall, route: Route, default: UnknownPrice
) -> tuple[CallCost, bool]:
    """What the call costs at most, and whether prices that are known give the recorded amount.

    ``route.sheet`` is None where the price was not known when the call was decided.
    """
    cost = estimate.cost_bound
    sheet = route.sheet or (route.ceiling if past.price is not None else None)
    if sheet is None:
        if cost is None:
            return CallCost(PLAIN_ASK, route, default), True
        return RecordedCost(PLAIN_ASK, route, default, estimate, past), False
    tokens, output = estimate.input_tokens_bound, estimate.output_tokens_bound
    if sheet.text_bound(tokens, output) == cost:
        return CallCost(PLAIN_ASK, route, default), True
    terms = terms_of(estimate, sheet)
    if terms is not None:
        return CallCost(_ask(terms), route, default), True
    return RecordedCost(PLAIN_ASK, route, default, estimate, past), False


def terms_of(estimate: EstimateRecord, sheet: PriceSheet) -> Terms | None:
    """The terms that give the recorded cost at these prices, the plainest of them; None if none do."""
    for terms in _all_terms(sheet):
        bound = sheet.upper_bound(
            estimate.input_tokens_bound,
            estimate.output_tokens_bound,
            service_tier=terms.service_tier,
            cache_writes=terms.cache_writes,
            audio=terms.audio,
            images=terms.images,
            web_searches=terms.web_searches,
        )
        if bound == estimate.cost_bound:
            return terms
    return None


def _all_terms(sheet: PriceSheet) -> Iterator[Terms]:
    flags = (False, True)
    for tier, writes, audio, images in product((None, *sheet.tiers), flags, flags, flags):
        yield Terms(tier, writes, audio, images)
    if sheet.web_search is not None:
        for searches, writes in product(range(1, SEARCHES_MAX + 1), flags):
            yield Terms(cache_writes=writes, web_searches=searches)


class RecordedCost(CallCost):
    """The cost of a call whose recorded amount no price of now gives: that amount for what was granted.

    Less output is priced by the prices of now, and is never dearer than what was granted.
    """

    __slots__ = ("_cost", "_granted", "_rule")

    def __init__(
        self, ask: Ask, route: Route, default: UnknownPrice, estimate: EstimateRecord, past: PastCall
    ) -> None:
        super().__init__(ask, route, default)
        self._cost = estimate.cost_bound
        self._granted = (estimate.input_tokens_bound, estimate.output_tokens_bound)
        was_known = past.price is not None and past.price.known
        self._rule = None if was_known else UnknownPrice.CEILING
        """The rule under which the call had the recorded cost; None if it had it under all."""

    def _at_most(self, rule: UnknownPrice, bound: Bound) -> Amounts:
        computed = super()._at_most(rule, bound)
        if self._cost is None or self._rule not in (None, rule):
            return computed
        tokens, output = self._granted
        cost = computed.cost
        if (bound.input_tokens, bound.output_tokens) == self._granted or cost is None:
            cost = self._cost
        elif bound.input_tokens <= tokens and bound.output_tokens <= output:
            cost = min(cost, self._cost)
        return amounts_of(cost, bound.input_tokens, bound.output_tokens)


class RecordedGrants(Grants):
    """What people had granted when a call ran: by its record, for policies of the same id."""

    __slots__ = ("_overrides",)

    def __init__(self, overrides: tuple[OverrideRecord, ...]) -> None:
        super().__init__()
        self._overrides = {each.policy_id: each for each in overrides}

    def __bool__(self) -> bool:
        return bool(self._overrides)

    def allowance(
        self, binding: Binding, call: Call, principal: str, accounts: Accounts, now: Instant
    ) -> Allowance:
        """See ``Grants.allowance``."""
        del call, principal, accounts, now
        found = self._overrides.get(binding.policy.id)
        if found is None:
            return NO_ALLOWANCE
        if not found.single_use:
            return Allowance(found.extra, found.approvals)
        account = AccountKey(binding.policy.id, "requests", f"{_USED_UP} {found.approvals[0]}", 0)
        return Allowance(0, (), found.extra, SingleUse(found.approvals[0], account, END_OF_TIME))


@dataclass(slots=True)
class PastSurvey(Survey):
    """A call of the past on each model that could have served it; ``under_way`` is the one it asked for."""

    def _asked_model(self) -> Model:
        if self.under_way is None:
            unreachable("G1", "a call of the past names its model")
        return self.under_way

    def know(self, weighed: Weighed) -> None:
        """Take what is recorded of the call on one model."""
        self._weighed[weighed.model.provider, weighed.model.id] = weighed

    def offer(self, model: Model, option: Option) -> Option:
        """Take an option as it was recorded."""
        self._models[option.provider, option.model] = model
        return option


def recalled_call(
    past: PastCall, estimate: EstimateRecord, model: Model, terms: Terms
) -> tuple[Call, Subject]:
    """The request and who made it, as far as the choice of a model goes by them."""
    labels, record = past.labels, past.routing_record
    features = None if record is None else record.features
    images, is_hidden = _media(estimate, model)
    ask = Ask(
        past.requested_model,
        past.stream,
        estimate.output_cap_requested,
        estimate.choices,
        False,
        estimate.input_bytes,
        images,
        terms.audio,
        terms.cache_writes,
        terms.web_searches,
        terms.service_tier,
        is_hidden,
        turns=1 if features is None else features.turns,
        tools=0 if features is None else features.tools,
        wants_json=features is not None and features.wants_json,
    )
    hints = Hints(labels.agent, labels.session, labels.parent_session, labels.task_class, labels.tags, None)
    subject = Subject(labels.key_id, labels.principal, None, frozenset(), (), {})
    call = Call(past.request_id, Endpoint(past.endpoint), None, hints, ask, _NoBody(), b"", (), None)
    return call, subject


def _media(estimate: EstimateRecord, model: Model) -> tuple[int, bool]:
    """How many pictures explain the recorded bound, or whether only input that is not in the body does."""
    beyond = estimate.input_tokens_bound - estimate.input_bytes - TEMPLATE_TOKENS_MAX
    images, rest = divmod(beyond, image_tokens(model.upstream_name))
    if beyond <= 0 or rest == 0:
        return max(images, 0), False
    return 0, True


def terms_in(cost: CallCost) -> Terms:
    """The terms that a recalled cost was computed with."""
    ask = cost.ask
    return Terms(ask.service_tier, ask.cache_writes, ask.audio, ask.images > 0, ask.web_searches)


class RecalledLedger:
    """The balances of a book, to be read by whoever decides. Nobody writes to it."""

    def __init__(self, book: Book) -> None:
        self._book = book

    @property
    def accounts(self) -> Mapping[AccountKey, Account]:
        """See ``Ledger.accounts``."""
        return self._book.accounts

    def balance(self, key: AccountKey) -> Balance:
        """See ``Ledger.balance``."""
        return self._book.balance(key)

    def pending(self) -> Sequence[Reservation]:
        """See ``Ledger.pending``."""
        return list(self._book.pending.values())

    def reserve(
        self, event: Reservation, decision: AnyDecision, claim: IdempotencyClaim | None, done: Done
    ) -> Shortfall | None:
        """Refused: nothing of a simulation is stored."""
        del event, decision, claim, done
        _refuse()

    def settle(self, event: Settled, decision: AnyDecision, settlement: Settlement, done: Done) -> None:
        """Refused."""
        del event, decision, settlement, done
        _refuse()

    def release(self, event: Released, decision: AnyDecision, settlement: Settlement, done: Done) -> None:
        """Refused."""
        del event, decision, settlement, done
        _refuse()

    def expire(self, event: Expired, decision: AnyDecision, settlement: Settlement, done: Done) -> None:
        """Refused."""
        del event, decision, settlement, done
        _refuse()


def _refuse() -> NoReturn:
    unreachable("D2", "a simulation stores nothing")
