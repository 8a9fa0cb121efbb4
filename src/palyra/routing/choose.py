"""The choice of a model among those that may serve a call: options in, one of them and the reason out."""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

import msgspec

from palyra.routing.complexity import EASY, HARD
from palyra.routing.task import Preference, Traits

_UNKNOWN_COST = 2**63
_UNSAID = frozenset({"streaming"})


class Health(StrEnum):
    """Whether a call may go to a model now."""

    OK = "ok"
    OPEN = "open"
    """The breaker of its provider is open."""
    COOLING = "cooling"
    """Its credential was turned away a moment ago."""


class Need(msgspec.Struct, frozen=True, gc=False):
    """What a call needs of a model. ``tokens`` are its expected input and the output it asks for."""

    capabilities: frozenset[str]
    tokens: int


class Option(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A model that may serve a call, as far as the choice goes by it. Stored with the decision (G1).

    ``cost`` is the dearest bill of this call in nano-USD, None if it has no price. ``room`` is the state of
    its provider's capacity. ``lost`` says why it cannot serve, "" if it can. Ranks grow with cost and with
    latency.
    """

    model: str
    provider: str
    cost: int | None
    cost_rank: int
    latency_rank: int
    health: Health = Health.OK
    room: str = "ready"
    lost: str = ""


class Choice(NamedTuple):
    """The option that was chosen, and by what: a word for programs and a sentence for people."""

    option: Option
    by: str
    reason: str


Order = tuple[object, ...]


def why_not(
    need: Need, capabilities: frozenset[str] | None, context_window: int | None, *, allowed: bool
) -> str:
    """Why a model cannot serve the call, "" if it can.

    What nobody said of a model it does not have, but for streaming, which all have that are worth naming.
    """
    if not allowed:
        return "the key may not use it"
    lacking = need.capabilities - (_UNSAID if capabilities is None else capabilities)
    if lacking:
        unsaid = " (its capabilities are not known)" if capabilities is None else ""
        return f"has no {' and no '.join(sorted(lacking))}{unsaid}"
    if context_window is not None and need.tokens > context_window:
        return f"its context window is {context_window} tokens, and about {need.tokens} are needed"
    return ""


def choose(
    options: Sequence[Option], default: str, traits: Traits, score: int, sticky: str | None
) -> Choice | None:
    """The option for a call that leaves the choice to Palyra; None if none can serve it.

    ``default`` and ``sticky`` are models: what the caller named, and what its session ran on.
    """
    pool = _usable(options)
    if not pool:
        return None
    home = next((each for each in pool if each.model == default), None)
    held = next((each for each in _well(options) if each.model == sticky), None)
    if held is not None and traits.may_escalate:
        return Choice(held, "session", "the session runs on it")
    found = _by_preference(pool, home, traits.preference, score)
    most = _cost(next((each for each in options if each.model == default), found.option))
    if traits.may_escalate or _cost(found.option) <= most:
        return found
    within = [each for each in pool if _cost(each) <= most]
    if within:
        chosen = _by_preference(within, home, traits.preference, score).option
        return Choice(chosen, "guardrail", "no dearer model than the default")
    return None if home is None else Choice(home, "guardrail", "no dearer model than the default")


def cheaper(options: Sequence[Option], than: int | None) -> list[Option]:
    """Healthy options with a lower bill for this call, the dearest of them first: the least is given up.

    Those without a free slot come last: a call that is moved may have to wait, and is not refused.
    """
    if than is None:
        return []
    found = [each for each in _healthy(options) if each.cost is not None and each.cost < than]
    return sorted(found, key=lambda each: (not _is_ready(each), *_dearest(each)))


def from_cheapest(options: Sequence[Option]) -> list[Option]:
    """Healthy options that have a price, those with a free slot first, and of these the cheapest."""
    found = [each for each in _healthy(options) if each.cost is not None]
    return sorted(found, key=lambda each: (not _is_ready(each), *_cheapest(each)))


def _healthy(options: Sequence[Option]) -> list[Option]:
    return [each for each in options if not each.lost and _is_healthy(each)]


def _by_preference(pool: Sequence[Option], home: Option | None, preference: Preference, score: int) -> Choice:
    match preference:
        case Preference.LOW_COST:
            return Choice(min(pool, key=_cheapest), "low_cost", "the cheapest for this call")
        case Preference.LOW_LATENCY:
            return Choice(min(pool, key=_fastest), "low_latency", "the one that answers first")
        case _:
            if score >= HARD:
                return Choice(min(_priced(pool), key=_dearest), "hard", f"complexity {_shown(score)} is high")
            if score <= EASY:
                return Choice(min(pool, key=_cheapest), "easy", f"complexity {_shown(score)} is low")
            if home is not None:
                return Choice(home, "default", f"complexity {_shown(score)} is neither low nor high")
            return Choice(min(pool, key=_cheapest), "low_cost", "the default cannot serve this call")


def _usable(options: Sequence[Option]) -> list[Option]:
    """Those that can serve: healthy ones if there are any, and of these the ones with room if there are."""
    pool = _well(options)
    return [each for each in pool if _is_ready(each)] or pool


def _well(options: Sequence[Option]) -> list[Option]:
    """Those that can serve: healthy ones if there are any, else those that are at least not left alone."""
    pool = [each for each in options if not each.lost and each.health is not Health.OPEN]
    return [each for each in pool if _is_healthy(each)] or pool


def _priced(pool: Sequence[Option]) -> Sequence[Option]:
    return [each for each in pool if each.cost is not None] or pool


def _is_healthy(option: Option) -> bool:
    return option.health is Health.OK


def _is_ready(option: Option) -> bool:
    return option.room == "ready"


def _cost(option: Option) -> int:
    return _UNKNOWN_COST if option.cost is None else option.cost


def _cheapest(option: Option) -> Order:
    return (_cost(option), option.cost_rank, option.latency_rank, option.model, option.provider)


def _fastest(option: Option) -> Order:
    return (option.latency_rank, _cost(option), option.cost_rank, option.model, option.provider)


def _dearest(option: Option) -> Order:
    return (-(option.cost or 0), -option.cost_rank, option.latency_rank, option.model, option.provider)


def _shown(score: int) -> str:
    return f"{score / 1_000:.2f}"
