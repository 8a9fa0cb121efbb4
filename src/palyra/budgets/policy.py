"""A budget policy: what it is, how it is read from a document, and how it is shown."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil
from typing import Final, Literal
from zoneinfo import ZoneInfo

import msgspec

from palyra.budgets.fields import (
    as_choice,
    as_list,
    as_table,
    read_choice,
    read_count,
    read_flag,
    read_fraction,
    read_id,
    read_instant,
    read_optional_choice,
    read_optional_text,
    read_text,
    read_usd,
    read_zone,
)
from palyra.budgets.terms import (
    EACH,
    TIERS,
    Action,
    Metric,
    Mode,
    Scope,
    ScopeKind,
    Then,
    Threshold,
    UnknownPrice,
    amount_fields,
)
from palyra.budgets.windows import Interval
from palyra.core.errors import FieldError
from palyra.core.fields import as_label, closest, refuse_unknown
from palyra.core.instant import Instant, isoformat
from palyra.core.limits import TOKENS_MAX
from palyra.core.money import format_usd

Origin = Literal["file", "api"]

MIN_OUTPUT_TOKENS = 256
THRESHOLD_AT_MAX = 10
UNLABELLED = "~"
"""First character of the entities of calls that carry no session or agent label."""

WRITABLE_FIELDS = (
    "id",
    "name",
    "scope",
    "metric",
    "interval",
    "timezone",
    "soft_limit",
    "hard_limit",
    "action",
    "mode",
    "routing_mode_override",
    "degrade_to",
    "thresholds",
    "min_output_tokens",
    "unknown_price",
    "enabled",
    "valid_from",
    "valid_until",
)
_FIELDS_OF_PALYRA = ("version", "created_by", "updated_by", "origin")
_FIELDS_TO_COME = ("match",)


@dataclass(frozen=True, slots=True)
class PolicyDefaults:
    """What a policy takes from the configuration where it is silent itself."""

    timezone: str = "UTC"


@dataclass(frozen=True, slots=True)
class Policy:
    """One version of a budget policy. Limits are nano-USD for ``cost_usd``, else whole tokens or requests.

    ``degrade_to`` is a model id or one of TIERS: where to move calls, None for any cheaper model.
    ``levels`` are the amounts at which the thresholds are reached, in the order of ``thresholds``.
    """

    id: str
    name: str
    scope: Scope
    metric: Metric
    interval: Interval
    timezone: str
    soft_limit: int | None
    hard_limit: int | None
    action: Action
    mode: Mode | None
    routing_mode_override: Mode | None
    degrade_to: str | None
    thresholds: tuple[Threshold, ...]
    min_output_tokens: int
    unknown_price: UnknownPrice | None
    enabled: bool
    valid_from: Instant | None
    valid_until: Instant | None
    version: int
    created_by: str
    updated_by: str
    origin: Origin
    levels: tuple[int, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        base = self.hard_limit if self.hard_limit is not None else self.soft_limit
        # Rounded up, so that reaching the level is reaching the fraction; never 0, which is always reached.
        levels = tuple(max(1, ceil(Fraction(each.at) * (base or 0))) for each in self.thresholds)
        object.__setattr__(self, "levels", levels)

    @property
    def zone(self) -> ZoneInfo:
        """The time zone that the intervals are cut in."""
        return ZoneInfo(self.timezone)

    def live_at(self, now: Instant) -> bool:
        """True if the policy is enabled and ``now`` is in [valid_from, valid_until)."""
        return (
            self.enabled
            and (self.valid_from is None or self.valid_from <= now)
            and (self.valid_until is None or now < self.valid_until)
        )


@dataclass(frozen=True, slots=True)
class Known:
    """What is configured; None means that clients may bring their own."""

    providers: frozenset[str] | None = None
    models: frozenset[str] | None = None
    principals: frozenset[str] | None = None
    tags: frozenset[str] | None = None


def parse_policy(
    data: Mapping[str, object],
    *,
    defaults: PolicyDefaults,
    version: int,
    actor: str,
    origin: Origin,
    created_by: str | None = None,
) -> Policy:
    """Read one ``[[budgets]]`` entry or API body.

    Money limits are decimal strings of USD (or whole dollars), token limits whole numbers. ``actor``
    is who writes this version; pass ``created_by`` on an edit. Raises FieldError naming the field and
    what to write instead; nothing is ignored.
    """
    policy = draft_policy(
        data, defaults=defaults, version=version, actor=actor, origin=origin, created_by=created_by
    )
    for check in CHECKS:
        check(policy)
    return policy


def draft_policy(
    data: Mapping[str, object],
    *,
    defaults: PolicyDefaults,
    version: int,
    actor: str,
    origin: Origin,
    created_by: str | None = None,
) -> Policy:
    """``parse_policy`` without the ``CHECKS``, of what only several fields together can get wrong."""
    refuse_fields(data)
    metric = read_choice(data, "metric", Metric)
    policy_id = read_id(data, "id")
    return Policy(
        id=policy_id,
        name=read_text(data, "name", policy_id),
        scope=parse_scope(read_text(data, "scope")),
        metric=metric,
        interval=read_choice(data, "interval", Interval),
        timezone=read_zone(data, "timezone", defaults.timezone).key,
        soft_limit=read_limit(data, "soft_limit", metric),
        hard_limit=read_limit(data, "hard_limit", metric),
        action=read_choice(data, "action", Action, Action.BLOCK),
        mode=read_optional_choice(data, "mode", Mode),
        routing_mode_override=read_optional_choice(data, "routing_mode_override", Mode),
        degrade_to=read_optional_text(data, "degrade_to"),
        thresholds=read_thresholds(data),
        min_output_tokens=read_min_output_tokens(data),
        unknown_price=read_optional_choice(data, "unknown_price", UnknownPrice),
        enabled=read_flag(data, "enabled", default=True),
        valid_from=read_instant(data, "valid_from"),
        valid_until=read_instant(data, "valid_until"),
        version=version,
        created_by=created_by or actor,
        updated_by=actor,
        origin=origin,
    )


def parse_scope(text: str) -> Scope:
    """Read ``global`` or ``kind:id``; ``*`` as the id means each. Raises FieldError on field ``scope``."""
    kind_text, colon, entity = text.partition(":")
    kind = as_choice(ScopeKind, kind_text, "scope")
    if kind is ScopeKind.GLOBAL:
        if colon and entity != EACH:
            raise FieldError("scope", f"{text!r}: the global scope has no id; write 'global'.")
        return Scope.everything()
    if not entity:
        raise FieldError("scope", f"{text!r} names nothing; write '{kind}:ID', or '{kind}:*' for each.")
    as_label(entity, "scope")
    if kind is ScopeKind.TAG:
        return _tag_scope(text, entity)
    if "*" in entity and entity != EACH:
        raise FieldError("scope", f"{text!r}: '*' stands alone; write '{kind}:*' for each, or one whole id.")
    if kind in (ScopeKind.SESSION, ScopeKind.AGENT) and entity.startswith(UNLABELLED):
        raise FieldError(
            "scope", f"{text!r}: Palyra keeps ids that begin with '~' for calls without a label."
        )
    return Scope(kind, entity)


def policy_document(policy: Policy) -> dict[str, object]:
    """The policy as ``[[budgets]]`` entry: ``parse_policy`` reads it back to the same policy."""
    document: dict[str, object] = {
        "id": policy.id,
        "name": policy.name,
        "scope": str(policy.scope),
        "metric": policy.metric.value,
        "interval": policy.interval.value,
        "timezone": policy.timezone,
        "soft_limit": _written_limit(policy.metric, policy.soft_limit),
        "hard_limit": _written_limit(policy.metric, policy.hard_limit),
        "action": policy.action.value,
        "mode": _value(policy.mode),
        "routing_mode_override": _value(policy.routing_mode_override),
        "degrade_to": policy.degrade_to,
        "thresholds": [_threshold_document(each) for each in policy.thresholds] or None,
        "min_output_tokens": policy.min_output_tokens,
        "unknown_price": _value(policy.unknown_price),
        "enabled": policy.enabled,
        "valid_from": _time(policy.valid_from),
        "valid_until": _time(policy.valid_until),
    }
    return {name: value for name, value in document.items() if value is not None}


def digest_of(policy: Policy) -> str:
    """What an edit changes, as 64 hex digits: also an edit of the config file, which counts no versions."""
    return hashlib.sha256(msgspec.json.encode(policy_document(policy))).hexdigest()


def policy_to_dict(policy: Policy) -> dict[str, object]:
    """The policy as JSON: every field, null where not set.

    Money limits are ``<name>_nano_usd`` and ``<name>_usd`` beside ``<name>`` as it is written.
    """
    document = policy_document(policy)
    shown: dict[str, object] = {name: document.get(name) for name in WRITABLE_FIELDS}
    shown |= amount_fields(policy.metric, "soft_limit", policy.soft_limit)
    shown |= amount_fields(policy.metric, "hard_limit", policy.hard_limit)
    return shown | {
        "thresholds": document.get("thresholds", []),
        "version": policy.version,
        "created_by": policy.created_by,
        "updated_by": policy.updated_by,
        "origin": policy.origin,
    }


def unmatchable(policy: Policy, known: Known) -> str | None:
    """Why no call can ever match the scope of ``policy``, with what to write instead; None if one can."""
    kind, entity = policy.scope
    if entity == EACH:
        return None
    match kind:
        case ScopeKind.PROVIDER:
            names, noun = known.providers, "provider"
        case ScopeKind.MODEL:
            names, noun = known.models, "model"
        case ScopeKind.PRINCIPAL:
            names, noun = known.principals, "principal"
        case ScopeKind.TAG:
            names, noun, entity = known.tags, "tag", entity.partition("=")[0]
        case _:
            return None
    if names is None or entity in names:
        return None
    return f"no {noun} {_not_configured(entity, names)}"


def unknown_target(policy: Policy, known: Known) -> tuple[str, str] | None:
    """The field of ``policy`` that moves calls to a model that is not there, and what is wrong with it.

    None if ``degrade_to`` and the ``to`` of each ``degrade`` threshold name a tier or a configured model,
    or if models are not known. Places of thresholds are those in ``policy.thresholds``, lowest first.
    """
    if known.models is None:
        return None
    targets = [("degrade_to", policy.degrade_to)]
    targets += [
        (f"thresholds[{place}].to", each.to)
        for place, each in enumerate(policy.thresholds)
        if each.then is Then.DEGRADE
    ]
    for name, target in targets:
        if target is not None and target not in TIERS and target not in known.models:
            wrong = _not_configured(target, known.models, tuple(known.models) + TIERS)
            return name, f"no model {wrong} Or write a tier: {', '.join(TIERS)}."
    return None


def _not_configured(entity: str, names: frozenset[str], like: Iterable[str] = ()) -> str:
    listed = ", ".join(sorted(names)) or "none"
    return f"{entity!r} is configured.{closest(entity, like or names)} Configured: {listed}."


def refuse_fields(data: Mapping[str, object]) -> None:
    """Raises FieldError for the first field that a budget does not have, or that only Palyra writes."""
    for name in _FIELDS_OF_PALYRA:
        if name in data:
            raise FieldError(name, "is set by Palyra; leave it out.")
    for name in _FIELDS_TO_COME:
        if data.get(name) is not None:
            raise FieldError(name, "is not available yet in this version; leave it out.")
    refuse_unknown(data, (*WRITABLE_FIELDS, *_FIELDS_TO_COME), "a budget")


def read_limit(data: Mapping[str, object], name: str, metric: Metric) -> int | None:
    """A limit in the unit of its metric, None where the field is absent."""
    return (read_usd if metric is Metric.COST_USD else read_count)(data, name)


def read_min_output_tokens(data: Mapping[str, object]) -> int:
    """The least output cap that a call is cut short to."""
    value = read_count(data, "min_output_tokens")
    if value is None:
        return MIN_OUTPUT_TOKENS
    if not 1 <= value <= TOKENS_MAX:
        raise FieldError("min_output_tokens", f"{value} is out of range; write 1 to {TOKENS_MAX}.")
    return value


def read_thresholds(data: Mapping[str, object]) -> tuple[Threshold, ...]:
    """The thresholds, the lowest first."""
    value = data.get("thresholds")
    entries = [] if value is None else as_list(value, "thresholds")
    found: list[Threshold] = []
    for place, entry in enumerate(entries):
        where = f"thresholds[{place}]"
        threshold = read_threshold(entry, where)
        if any(each.at == threshold.at and each.then is threshold.then for each in found):
            raise FieldError(where, f"says again what happens at {threshold.at}; leave one of the two out.")
        found.append(threshold)
    return tuple(sorted(found, key=lambda each: each.at))


def read_threshold(entry: object, where: str) -> Threshold:
    """One threshold; ``where`` is its place, which comes before the field of an error."""
    table = as_table(entry, where)
    try:
        return _threshold(table)
    except FieldError as error:
        raise error.under(where) from None


def _threshold(table: Mapping[str, object]) -> Threshold:
    refuse_unknown(table, ("at", "then", "to"), "a threshold")
    at = read_fraction(table.get("at"), "at", most=THRESHOLD_AT_MAX)
    then = read_choice(table, "then", Then, Then.NOTIFY)
    match then:
        case Then.DEGRADE:
            return Threshold(at, then, read_optional_text(table, "to"))
        case Then.ROUTING_MODE:
            mode = read_optional_choice(table, "to", Mode)
            return Threshold(at, then, _value(mode))
        case _:
            if table.get("to") is not None:
                raise FieldError("to", "means nothing with 'notify'; leave it out.")
            return Threshold(at, then)


def _check_limits(policy: Policy) -> None:
    soft, hard = policy.soft_limit, policy.hard_limit
    if soft is None and hard is None:
        if policy.thresholds:
            raise FieldError("thresholds", "are fractions of a limit; write a hard_limit or a soft_limit.")
        raise FieldError("hard_limit", "is missing, and so is soft_limit; write at least one of them.")
    if soft is not None and hard is not None and soft > hard:
        raise FieldError("soft_limit", "is above hard_limit; write a smaller one, or leave it out.")
    if hard is None and policy.action is Action.APPROVAL_REQUIRED:
        raise FieldError("action", "'approval_required' asks at the hard limit; write a hard_limit.")
    if hard is None and policy.action is Action.DEGRADE:
        raise FieldError("action", "'degrade' moves calls at the hard limit; write a hard_limit.")
    if policy.interval is Interval.REQUEST and policy.metric is Metric.REQUESTS:
        raise FieldError("interval", "'request' with the metric 'requests' is always 1; write a longer one.")


def _check_thresholds(policy: Policy) -> None:
    if policy.thresholds and policy.interval is Interval.REQUEST:
        raise FieldError("thresholds", "need something that fills up; interval 'request' starts at zero.")
    for place, threshold in enumerate(policy.thresholds):
        if (
            threshold.then is Then.ROUTING_MODE
            and threshold.to is None
            and policy.routing_mode_override is None
        ):
            raise FieldError(f"thresholds[{place}].to", "is required; write one of: " + ", ".join(Mode) + ".")


def _check_override(policy: Policy) -> None:
    if policy.routing_mode_override is None or policy.soft_limit is not None:
        return
    if not any(each.then is Then.ROUTING_MODE and each.to is None for each in policy.thresholds):
        raise FieldError(
            "routing_mode_override",
            "would never apply; write a soft_limit, or a threshold with then = 'routing_mode'.",
        )


def _check_degrade(policy: Policy) -> None:
    if policy.action is Action.DEGRADE and policy.metric is not Metric.COST_USD:
        what = "requests" if policy.metric is Metric.REQUESTS else "tokens"
        raise FieldError(
            "action",
            f"'degrade' does not help with the metric {policy.metric.value!r}: a cheaper model uses as many "
            f"{what}; write the metric 'cost_usd', or a threshold with then = 'degrade'.",
        )
    if policy.degrade_to is None or policy.action is Action.DEGRADE or policy.soft_limit is not None:
        return
    if not any(each.then is Then.DEGRADE and each.to is None for each in policy.thresholds):
        raise FieldError(
            "degrade_to",
            "would never apply; write action = 'degrade', a soft_limit, or a threshold with "
            "then = 'degrade' and without to.",
        )


def _check_validity(policy: Policy) -> None:
    start, end = policy.valid_from, policy.valid_until
    if start is not None and end is not None and end <= start:
        raise FieldError("valid_until", "is not after valid_from; write a later time.")


CHECKS: Final[tuple[Callable[[Policy], None], ...]] = (
    _check_limits,
    _check_thresholds,
    _check_override,
    _check_degrade,
    _check_validity,
)
"""What only several fields together can get wrong; each raises FieldError."""


def _tag_scope(text: str, entity: str) -> Scope:
    key, equals, value = entity.partition("=")
    if not equals or not key or not value or "*" in key:
        raise FieldError("scope", f"{text!r} is not a tag; write 'tag:KEY=VALUE', or 'tag:KEY=*' for each.")
    if "*" in value and value != EACH:
        raise FieldError("scope", f"{text!r}: '*' stands alone; write 'tag:{key}=*' for each value.")
    return Scope(ScopeKind.TAG, entity)


def _threshold_document(threshold: Threshold) -> dict[str, object]:
    document: dict[str, object] = {"at": f"{threshold.at:f}", "then": threshold.then.value}
    return document if threshold.to is None else document | {"to": threshold.to}


def _written_limit(metric: Metric, limit: int | None) -> str | int | None:
    if limit is None or metric is not Metric.COST_USD:
        return limit
    return format_usd(limit)


def _value(member: Mode | UnknownPrice | None) -> str | None:
    return None if member is None else member.value


def _time(instant: Instant | None) -> str | None:
    return None if instant is None else isoformat(instant)
