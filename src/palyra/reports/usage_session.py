"""The calls of one session over time and by model, as JSON documents."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from palyra.core.hours import DAY_NS, HOUR_NS
from palyra.core.instant import NANOSECONDS, isoformat
from palyra.reports.explain import money

if TYPE_CHECKING:
    from palyra.lifecycle.decision import StoredDecision

_MINUTE_NS = 60 * NANOSECONDS
_STEPS = ((2 * HOUR_NS, "minute", _MINUTE_NS), (5 * DAY_NS, "hour", HOUR_NS))
"""Up to which length a session is cut in what."""


class _Sums(NamedTuple):
    """``cost`` in nano-USD, where it is known; calls that run count for nothing yet."""

    requests: int = 0
    denied: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: int = 0

    def plus(self, stored: "StoredDecision") -> "_Sums":
        """With one call more, as the rollups count it."""
        requests, denied, tokens_in, tokens_out, cost = self
        end = stored.settlement
        if end is None:
            return self._replace(denied=denied + (stored.state.value == "denied"))
        if end.usage is None or end.state.value == "released":
            return self
        used = end.usage
        return _Sums(
            requests + 1,
            denied,
            tokens_in + used.input_tokens,
            tokens_out + used.output_tokens,
            cost + (end.cost or 0),
        )

    def document(self) -> dict[str, object]:
        """Its figures, the cost in nano-USD and USD."""
        figures = self._asdict()
        cost = money("cost", figures.pop("cost"))
        return {**figures, **cost}


def timeline_of(calls: Sequence["StoredDecision"], *, truncated: bool) -> dict[str, object]:
    """Buckets of UTC from the first of the calls to the last, empty ones too: minutes, hours or days."""
    times = [each.decision.at for each in calls]
    first, last = min(times, default=0), max(times, default=0)
    word, step = "day", DAY_NS
    for length, shorter, its_step in reversed(_STEPS):
        if last - first <= length:
            word, step = shorter, its_step
    sums = dict.fromkeys(range(first // step, last // step + 1) if calls else (), _Sums())
    for each in calls:
        number = each.decision.at // step
        sums[number] = sums[number].plus(each)
    return {
        "bucket": word,
        "truncated": truncated,
        "buckets": [
            {"start": isoformat(number * step), **found.document()} for number, found in sums.items()
        ],
    }


def models_of(calls: Iterable["StoredDecision"]) -> list[dict[str, object]]:
    """The models that the calls ran on, the dearest first (W39)."""
    sums: dict[tuple[str, str], _Sums] = {}
    for each in calls:
        place = each.decision.model, each.decision.provider
        sums[place] = sums.get(place, _Sums()).plus(each)
    ordered = sorted(sums.items(), key=lambda item: (-item[1].cost, -item[1].requests, item[0]))
    return [
        {"model": model, "provider": provider, **found.document()} for (model, provider), found in ordered
    ]
