"""Unusual model mix: the last day's calls went to other models than those of the week before.

How far two mixes are apart is their total variation distance: the share that would have to move from some
models to others to make one out of the other. 0 is the same mix, 1 is nothing in common.
"""

from collections.abc import Mapping
from fractions import Fraction
from typing import NamedTuple

import msgspec


class ModelUse(NamedTuple):
    """What one model served: calls, and their cost in nano-USD (0 where there is no price)."""

    calls: int
    cost: int


class MixRules(msgspec.Struct, frozen=True, gc=False):
    """When a mix is unusual.

    ``calls_min``: each of the two stretches needs so many calls. ``percent``: so many percent of the use must
    have moved. Raises ValueError unless ``calls_min`` is at least 1 and ``percent`` in 1..100.
    """

    calls_min: int = 50
    percent: int = 30

    def __post_init__(self) -> None:
        if self.calls_min < 1 or not 1 <= self.percent <= 100:
            raise ValueError("a mix needs at least 1 call, and a shift is 1 to 100 percent")


class ModelShare(NamedTuple):
    """The share of a model before and now, in 0..1."""

    model: str
    before: Fraction
    now: Fraction


class Shift(NamedTuple):
    """``moved`` of the use (in 0..1) went from some models to others. ``by`` is ``cost`` or ``calls``.

    ``gained`` and ``lost`` are the models with the largest gain and loss.
    """

    moved: Fraction
    by: str
    gained: ModelShare
    lost: ModelShare


DEFAULTS = MixRules()


def find_shift(
    before: Mapping[str, ModelUse], now: Mapping[str, ModelUse], rules: MixRules = DEFAULTS
) -> Shift | None:
    """How the mix of ``now`` (the last day) differs from that of ``before`` (the week before that).

    Both by model. Shares are of the cost, or of the calls where either stretch cost nothing that is known.
    None if less than ``rules.percent`` moved, if either has too few calls, or if one and the same model is
    all there is in both.
    """
    if min(sum(use.calls for use in mix.values()) for mix in (before, now)) < rules.calls_min:
        return None
    costs_known = all(sum(use.cost for use in mix.values()) > 0 for mix in (before, now))
    by = "cost" if costs_known else "calls"
    then, today = (
        shares({model: use.cost if costs_known else use.calls for model, use in mix.items()})
        for mix in (before, now)
    )
    moved = distance(then, today)
    if moved * 100 < rules.percent:
        return None
    changes = [
        ModelShare(model, then.get(model, Fraction(0)), today.get(model, Fraction(0)))
        for model in sorted(then.keys() | today.keys())
    ]
    return Shift(moved, by, max(changes, key=_change), min(changes, key=_change))


def shares(amounts: Mapping[str, int]) -> dict[str, Fraction]:
    """The share of each model that has any, in 0..1; they add up to exactly 1. Empty if nothing was used."""
    whole = sum(amounts.values())
    return {model: Fraction(amount, whole) for model, amount in amounts.items() if amount > 0}


def distance(one: Mapping[str, Fraction], other: Mapping[str, Fraction]) -> Fraction:
    """The total variation distance of two mixes of shares, in 0..1, the same in both directions."""
    nothing = Fraction(0)
    apart = (abs(one.get(model, nothing) - other.get(model, nothing)) for model in one.keys() | other.keys())
    return sum(apart, nothing) / 2


def _change(share: ModelShare) -> Fraction:
    return share.now - share.before
