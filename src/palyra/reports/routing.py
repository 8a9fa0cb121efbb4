"""What the router saves: the same calls on what ran, on the default, as recommended, and shuffled.

Every cost is that of the call's real usage at the price sheet of a model at the instant of the decision, in
nano-USD; the assumption is that another model would have used as many tokens. A model is known by its id: on
the one that ran, the call costs what it was settled at; on another, what the first of its candidates of that
id costs. So two providers of one model count as one.

The shuffle deals the same mix of recommended models out at random over the same calls of an endpoint, and its
cost is the expectation, not a sample. Let ``n(m)`` calls of the endpoint be recommended the model ``m``. A
call can be dealt the models of the mix that are possible for it: its candidates that were not ruled out, its
default, its recommended and its actual model, as far as they have a price for what it used. It is dealt ``m``
with the probability ``n(m) / (the sum of n over the models it can be dealt)``: a model that is not possible
for a call leaves its share to those that are, in proportion. Where every model is possible for every call,
that is the share of ``m`` among the calls. It is summed exactly and rounded once per endpoint, half-even.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple, Protocol

from palyra.core.instant import Instant, isoformat
from palyra.core.money import format_usd
from palyra.pricing.sheet import PriceSheet
from palyra.reports.explain import money
from palyra.routing.complexity import EASY, HARD

if TYPE_CHECKING:
    from palyra.lifecycle.decision import Decision, Settlement, StoredDecision

BANDS = ("easy", "default", "hard", "unscored")
"""By the complexity of a call; ``unscored`` are calls that were taken up elsewhere when a provider failed."""

_HOW_TO_COLLECT = (
    'To collect, set smart = "always" in [routing] and mode = "suggest" in [governance]: calls run as asked, '
    "and what Palyra would have chosen is recorded."
)


class PriceOf(Protocol):
    """The prices of a model at an instant, None if there are none."""

    def __call__(
        self, model_id: str, provider: str | None, endpoint: str, at: Instant, /
    ) -> PriceSheet | None:
        """Without a ``provider`` the model is a name as callers write it, of the wire format ``endpoint``."""
        ...


class Costs(NamedTuple):
    """One set of calls four times, in nano-USD."""

    ran: int
    default: int
    recommended: int
    shuffled: int


class _Call(NamedTuple):
    """A call that counts. ``costs`` are nano-USD by model: those with a price among the possible ones."""

    endpoint: str
    band: str
    actual: str
    default: str
    recommended: str
    costs: Mapping[str, int]


@dataclass(slots=True)
class Sums:
    """Calls of one endpoint or band. Costs in nano-USD; ``mix`` counts them by recommended model."""

    calls: int = 0
    ran: int = 0
    default: int = 0
    recommended: int = 0
    mix: Counter[str] = field(default_factory=Counter[str])

    def add(self, call: _Call) -> None:
        """One call more."""
        self.calls += 1
        self.ran += call.costs[call.actual]
        self.default += call.costs[call.default]
        self.recommended += call.costs[call.recommended]
        self.mix[call.recommended] += 1


class Tally:
    """Goes through calls one by one, in any order, and keeps sums only.

    What it keeps grows with the models and with the sets of them that calls can run on, not with the calls.
    Counts: ``read`` decisions, of which ``not_routed`` left Palyra nothing to choose, ``left_out`` cannot be
    compared (by reason), and ``counted`` are in the sums; of these ``estimated`` have an estimated usage,
    ``failed_over`` were taken up by another provider, and ``partly_priced`` have a candidate without a price.
    """

    def __init__(self, price_of: PriceOf) -> None:
        self._price_of = price_of
        self._endpoints: dict[str, Sums] = {}
        self._bands = {band: Sums() for band in BANDS}
        self._possible: dict[tuple[str, frozenset[str]], Counter[str]] = {}
        self._default: Counter[str] = Counter()
        self._ran: Counter[str] = Counter()
        self.read = 0
        self.not_routed = 0
        self.estimated = 0
        self.failed_over = 0
        self.partly_priced = 0
        self.left_out: Counter[str] = Counter(no_price=0, no_settlement=0)
        self.unpriced: Counter[str] = Counter()
        self.oldest: Instant | None = None

    @property
    def counted(self) -> int:
        """Calls in the sums."""
        return sum(each.calls for each in self._endpoints.values())

    def add(self, stored: "StoredDecision") -> None:
        """Take one call into account. Only settled ones count: a call that failed over has one of them."""
        if stored.state.value != "settled":
            return
        decision, settlement = stored.decision, stored.settlement
        self.read += 1
        self.oldest = decision.at if self.oldest is None else min(self.oldest, decision.at)
        if not _is_routed(decision):
            self.not_routed += 1
        elif settlement is None or settlement.usage is None:
            self.left_out["no_settlement"] += 1
        else:
            self._weigh(decision, settlement)

    def costs(self) -> Costs:
        """All calls that count, in nano-USD."""
        sums = self._endpoints.values()
        return Costs(
            sum(each.ran for each in sums),
            sum(each.default for each in sums),
            sum(each.recommended for each in sums),
            sum(self.shuffled(endpoint) for endpoint in self._endpoints),
        )

    def shuffled(self, endpoint: str) -> int:
        """The expected cost of the shuffle of an endpoint's calls in nano-USD, rounded once, half-even."""
        mix = self._endpoints[endpoint].mix
        expected = Fraction(0)
        for (place, possible), sums in self._possible.items():
            if place == endpoint:
                shares = {model: mix[model] for model in possible if model in mix}
                dealt = sum(share * sums[model] for model, share in shares.items())
                expected += Fraction(dealt, sum(shares.values()))
        return round(expected)

    def endpoints(self) -> Iterator[tuple[str, int, Costs]]:
        """Endpoint, calls and costs."""
        for endpoint, sums in sorted(self._endpoints.items()):
            costs = Costs(sums.ran, sums.default, sums.recommended, self.shuffled(endpoint))
            yield endpoint, sums.calls, costs

    def bands(self) -> Iterator[tuple[str, Sums]]:
        """Band and its sums, also where it has no calls."""
        yield from self._bands.items()

    def models(self) -> Iterator[tuple[str, int, int, int]]:
        """Model, and how many calls had it as default, as recommended and as actual model."""
        mix = Counter[str]()
        for each in self._endpoints.values():
            mix.update(each.mix)
        names = {*self._default, *mix, *self._ran}
        for model in sorted(names, key=lambda name: (-mix[name], name)):
            yield model, self._default[model], mix[model], self._ran[model]

    def _weigh(self, decision: "Decision", settlement: "Settlement") -> None:
        default = _default_of(decision)
        needed = (decision.model, default, decision.recommended_model)
        costs = self._costs(decision, settlement, default)
        unpriced = [model for model, cost in costs.items() if cost is None]
        self.unpriced.update(unpriced)
        if any(costs[model] is None for model in needed):
            self.left_out["no_price"] += 1
            return
        self.partly_priced += bool(unpriced)
        self.estimated += settlement.source == "estimated"
        self.failed_over += decision.continues is not None
        known = {model: cost for model, cost in costs.items() if cost is not None}
        self._take(_Call(decision.endpoint, _band(decision), *needed, known))

    def _costs(self, decision: "Decision", settlement: "Settlement", default: str) -> dict[str, int | None]:
        """The call on every model that is possible for it, in nano-USD; None without a price (L6)."""
        costs: dict[str, int | None] = {decision.model: settlement.cost}
        options = decision.routing.options if decision.routing is not None else ()
        places = [(each.model, each.provider) for each in options if not each.lost or each.model == default]
        named = [(model, None) for model in (default, decision.recommended_model)]
        for model, provider in (*places, *named):
            if model not in costs:
                sheet = self._price_of(model, provider, decision.endpoint, decision.at)
                costs[model] = _priced(sheet, settlement)
        return costs

    def _take(self, call: _Call) -> None:
        self._endpoints.setdefault(call.endpoint, Sums()).add(call)
        self._bands[call.band].add(call)
        self._default[call.default] += 1
        self._ran[call.actual] += 1
        self._possible.setdefault((call.endpoint, frozenset(call.costs)), Counter()).update(call.costs)


def report_document(
    tally: Tally, since: Instant, until: Instant, principal: str | None, *, truncated: bool
) -> dict[str, object]:
    """The report over [since, until). Costs in nano-USD and USD, each with what it saves against the default.

    ``truncated``: there are older calls that were not read, and ``read_since`` is the oldest one that was.
    """
    costs = tally.costs()
    return {
        "since": isoformat(since),
        "until": isoformat(until),
        "principal": principal,
        "truncated": truncated,
        "read_since": None if tally.oldest is None else isoformat(tally.oldest),
        "calls": {
            "read": tally.read,
            "not_routed": tally.not_routed,
            "counted": tally.counted,
            "estimated": tally.estimated,
            "failed_over": tally.failed_over,
            "partly_priced": tally.partly_priced,
            "left_out": dict(tally.left_out),
        },
        **_rows(costs),
        "verdict": _verdict(tally, costs),
        "bands": [{"band": band, "calls": sums.calls, **_three_rows(sums)} for band, sums in tally.bands()],
        "models": [
            {"model": model, "default": default, "recommended": recommended, "ran": ran}
            for model, default, recommended, ran in tally.models()
        ],
        "endpoints": [
            {"endpoint": endpoint, "calls": calls, **_rows(each)}
            for endpoint, calls, each in tally.endpoints()
        ],
        "unpriced_models": [
            {"model": model, "calls": calls}
            for model, calls in sorted(tally.unpriced.items(), key=lambda each: (-each[1], each[0]))
        ],
    }


def percent(part: int, whole: int) -> str | None:
    """``part`` of ``whole`` in percent with two decimals, half-even; None of nothing."""
    if not whole:
        return None
    hundredths = round(Fraction(part * 10_000, whole))
    sign = "-" if hundredths < 0 else ""
    return f"{sign}{abs(hundredths) // 100}.{abs(hundredths) % 100:02d}"


def _is_routed(decision: "Decision") -> bool:
    """Whether Palyra had the choice of the model, or chose another one than was asked for.

    Without a record of the choice that is a call which was taken up elsewhere: else nothing was chosen, and
    where the names differ, one stands for the other.
    """
    if decision.routing is not None and decision.routing.open:
        return True
    chosen = decision.routing is not None or decision.continues is not None
    return chosen and decision.recommended_model != _default_of(decision)


def _default_of(decision: "Decision") -> str:
    """The model that serves the call where nobody chooses: the one that was asked for."""
    return decision.requested_model if decision.routing is None else decision.routing.default_model


def _band(decision: "Decision") -> str:
    if decision.routing is None:
        return "unscored"
    score = decision.routing.score
    return "easy" if score <= EASY else "hard" if score >= HARD else "default"


def _priced(sheet: PriceSheet | None, settlement: "Settlement") -> int | None:
    if sheet is None or settlement.usage is None:
        return None
    return sheet.cost(settlement.usage, settlement.service_tier)


def _rows(costs: Costs) -> dict[str, object]:
    return {
        "ran": _row(costs.ran, costs.default),
        "always_default": _row(costs.default, costs.default),
        "always_recommended": _row(costs.recommended, costs.default),
        "shuffled": _row(costs.shuffled, costs.default),
    }


def _three_rows(sums: Sums) -> dict[str, object]:
    """Without the shuffle, which is rounded per endpoint and cannot be cut in bands that add up."""
    rows = _rows(Costs(sums.ran, sums.default, sums.recommended, 0))
    del rows["shuffled"]
    return rows


def _row(cost: int, default: int) -> dict[str, object]:
    saving = default - cost
    return {
        **money("cost", cost),
        **money("saving", saving),
        "saving_percent": percent(saving, default),
    }


def _verdict(tally: Tally, costs: Costs) -> dict[str, str]:
    """A word for programs and sentences for people."""
    if not tally.counted:
        return _nothing_to_say(tally)
    calls = "this call" if tally.counted == 1 else f"these {tally.counted} calls"
    against = _compared(costs.recommended, costs.default)
    first = f"On {calls} the recommended models cost {against} the default ones."
    beyond = costs.shuffled - costs.recommended
    amount = f"{format_usd(abs(beyond))} USD"
    if beyond == 0:
        code = "nothing_beyond_mix"
        second = (
            "The same models dealt out at random over the same calls cost as much: "
            "which call gets which model saves nothing beyond the mix."
        )
    elif beyond > 0:
        code = "saves_beyond_mix"
        second = (
            f"The same models dealt out at random over the same calls would cost {amount} more: "
            "that much the choice itself saves, beyond the mix."
        )
    else:
        code = "dearer_than_mix"
        second = (
            f"The same models dealt out at random over the same calls would cost {amount} less: "
            "which call gets which model saves nothing beyond the mix. That much it costs to give the dearer "
            "models the larger calls; whether their answers are worth it is not measured here."
        )
    return {"code": code, "text": f"{first} {second}"}


def _nothing_to_say(tally: Tally) -> dict[str, str]:
    left_out = sum(tally.left_out.values())
    if left_out:
        text = (
            f"No call of this period can be compared: all that could be routed ({left_out}) were left out. "
            "Give every model a price ('palyra prices check' says what is missing)."
        )
        return {"code": "nothing_comparable", "text": text}
    return {"code": "no_calls", "text": f"No call in this period left a choice to Palyra. {_HOW_TO_COLLECT}"}


def _compared(cost: int, other: int) -> str:
    if cost == other:
        return "as much as"
    word = "less" if cost < other else "more"
    share = percent(abs(other - cost), other)
    shown = "" if share is None else f" ({share} %)"
    return f"{format_usd(abs(other - cost))} USD{shown} {word} than"
