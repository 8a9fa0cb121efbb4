"""All that is wrong with a budget as written, for whoever is still writing it. Pure."""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from palyra.budgets.fields import (
    as_list,
    read_choice,
    read_flag,
    read_id,
    read_instant,
    read_optional_choice,
    read_optional_text,
    read_text,
    read_zone,
)
from palyra.budgets.policy import (
    CHECKS,
    Known,
    PolicyDefaults,
    draft_policy,
    parse_scope,
    read_limit,
    read_min_output_tokens,
    read_threshold,
    read_thresholds,
    refuse_fields,
    unknown_target,
    unmatchable,
)
from palyra.budgets.terms import Action, Metric, Mode, UnknownPrice
from palyra.budgets.windows import Interval
from palyra.core.errors import FieldError

Document = Mapping[str, object]

PROBLEMS_MAX: Final = 100
"""Nobody reads more, and a document of a megabyte may have a hundred thousand (V2)."""


def policy_problems(data: Document, defaults: PolicyDefaults, known: Known) -> list[FieldError]:
    """What ``parse_policy`` and the configuration would refuse, field by field; nothing for a good budget.

    What only several fields together can get wrong is told once each of them is right by itself.
    """
    found: list[FieldError] = []
    for read in _readers(data, defaults):
        try:
            read()
        except FieldError as error:
            found.append(error)
            if len(found) == PROBLEMS_MAX:
                break
    return _unique(found) or _problems_together(data, defaults, known)


def _problems_together(data: Document, defaults: PolicyDefaults, known: Known) -> list[FieldError]:
    draft = draft_policy(data, defaults=defaults, version=1, actor="", origin="api")
    found: list[FieldError] = []
    for check in CHECKS:
        try:
            check(draft)
        except FieldError as error:
            found.append(error)
    reason, target = unmatchable(draft, known), unknown_target(draft, known)
    if reason is not None:
        found.append(FieldError("scope", reason))
    if target is not None:
        found.append(FieldError(*target))
    return found


def _readers(data: Document, defaults: PolicyDefaults) -> Iterator[Callable[[], object]]:
    """What reads each field of a budget by itself."""
    for name in data:
        yield lambda name=name: refuse_fields({name: data[name]})
    yield lambda: read_id(data, "id")
    yield lambda: read_text(data, "name", "-")
    yield lambda: parse_scope(read_text(data, "scope"))
    yield lambda: read_choice(data, "metric", Metric)
    yield lambda: read_choice(data, "interval", Interval)
    yield lambda: read_zone(data, "timezone", defaults.timezone)
    yield from _limit_readers(data)
    yield lambda: read_choice(data, "action", Action, Action.BLOCK)
    for name in ("mode", "routing_mode_override"):
        yield lambda name=name: read_optional_choice(data, name, Mode)
    yield lambda: read_optional_text(data, "degrade_to")
    yield from _threshold_readers(data)
    yield lambda: read_min_output_tokens(data)
    yield lambda: read_optional_choice(data, "unknown_price", UnknownPrice)
    yield lambda: read_flag(data, "enabled", default=True)
    for name in ("valid_from", "valid_until"):
        yield lambda name=name: read_instant(data, name)


def _threshold_readers(data: Document) -> Iterator[Callable[[], object]]:
    """One by one, and then all together, which finds those that say the same."""
    try:
        entries = as_list(data.get("thresholds") or (), "thresholds")
    except FieldError:
        pass
    else:
        for place, entry in enumerate(entries):
            yield lambda place=place, entry=entry: read_threshold(entry, f"thresholds[{place}]")
    yield lambda: read_thresholds(data)


def _limit_readers(data: Document) -> Iterator[Callable[[], object]]:
    """None while it is not known in what unit the limits are."""
    try:
        metric = read_choice(data, "metric", Metric)
    except FieldError:
        return
    for name in ("soft_limit", "hard_limit"):
        yield lambda name=name: read_limit(data, name, metric)


def _unique(found: list[FieldError]) -> list[FieldError]:
    return list({(each.field, each.message): each for each in found}.values())
