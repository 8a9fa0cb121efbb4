"""The tables that may stand many times: providers, models, prices, budgets, keys."""

import re
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import replace
from enum import StrEnum
from types import MappingProxyType
from typing import TypeVar

from palyra.budgets.policy import Known, Policy, PolicyDefaults, parse_policy, unmatchable
from palyra.config.problems import Report
from palyra.config.reader import TEXT_CHARS_MAX, Section, suggestion
from palyra.config.references import Surroundings
from palyra.config.sections import read_file_path, read_secret
from palyra.config.settings import ProviderSettings
from palyra.core.errors import FieldError
from palyra.core.limits import LABEL_CHARS_MAX, TOKENS_MAX, UPSTREAM_TOTAL_S
from palyra.identity.keys import ApiKey, parse_key_entry
from palyra.pricing.entry import PriceEntry, parse_price_entry
from palyra.pricing.rates import tier_of
from palyra.registry.models import (
    KIND_ENDPOINTS,
    Capability,
    CostTier,
    Kind,
    LatencyTier,
    ModelEntry,
    ModelRole,
)
from palyra.registry.registry import AUTO

Parsed = TypeVar("Parsed")
Choice = TypeVar("Choice", bound=StrEnum)

BASE_URLS: Mapping[Kind, str] = MappingProxyType(
    {Kind.OPENAI: "https://api.openai.com/v1", Kind.ANTHROPIC: "https://api.anthropic.com/v1"}
)
_PROVIDER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ACTOR = "config"
NAMES_MAX = 16
"""Aliases, and fallbacks, of one model."""
CONCURRENCY_MAX = 100_000


def read_providers(sections: Sequence[Section], around: Surroundings) -> list[ProviderSettings]:
    """``[[providers]]``, in order: the first one that has a model serves it."""
    providers = [_provider(section, around) for section in sections]
    _refuse_repeats(sections, [provider.id for provider in providers], "id")
    _refuse_two_bounds(sections, providers)
    return providers


def read_models(
    sections: Sequence[Section], providers: Sequence[str], report: Report
) -> tuple[list[ModelEntry], list[PriceEntry]]:
    """``[[models]]`` and their inline prices."""
    models: list[ModelEntry] = []
    prices: list[PriceEntry] = []
    for section in sections:
        model = _model(section, providers)
        price = section.table("price")
        section.finish()
        entry = _inline_price(price, model, report) if isinstance(section.data.get("price"), dict) else None
        if entry is not None:
            prices.append(entry)
            model = _with_tier(model, entry)
        models.append(model)
    _refuse_repeats(sections, [f"{model.provider}/{model.id}" for model in models], "id")
    _refuse_taken_aliases(sections, models)
    return models, prices


def read_prices(sections: Sequence[Section], report: Report) -> list[PriceEntry]:
    """``[[prices]]``: the operator's own prices."""
    found = [_entry(section, report, lambda data: parse_price_entry(data, "")) for section in sections]
    return [entry for entry in found if entry is not None]


def read_budgets(
    sections: Sequence[Section], timezone: str, providers: Sequence[str], report: Report
) -> list[Policy]:
    """``[[budgets]]``; one whose scope nothing can ever match is refused."""
    defaults = PolicyDefaults(timezone=timezone)
    known = Known(providers=frozenset(providers))

    def parse(data: Mapping[str, object]) -> Policy:
        policy = parse_policy(data, defaults=defaults, version=1, actor=_ACTOR, origin="file")
        reason = unmatchable(policy, known)
        if reason is not None:
            raise FieldError("scope", f"matches nothing: {reason}")
        return policy

    found = [_entry(section, report, parse) for section in sections]
    _refuse_repeats(sections, [policy and policy.id for policy in found], "id")
    return [policy for policy in found if policy is not None]


def read_keys(sections: Sequence[Section], report: Report) -> list[ApiKey]:
    """``[[keys]]``: declared by hash."""
    found = [_entry(section, report, parse_key_entry) for section in sections]
    _refuse_repeats(sections, [key and key.id for key in found], "id")
    _refuse_repeats(sections, [key and key.sha256 for key in found], "sha256")
    return [key for key in found if key is not None]


def _provider(section: Section, around: Surroundings) -> ProviderSettings:
    provider_id = section.text("id", required=True)
    if provider_id and _PROVIDER_ID.fullmatch(provider_id) is None:
        section.wrong("id", f"{provider_id!r} is not an id; use 1 to 64 of A-Z a-z 0-9 . _ -")
    kind = section.choice("kind", Kind, Kind.OPENAI, required=True)
    base_url = section.optional_text("base_url", most=TEXT_CHARS_MAX) or BASE_URLS.get(kind)
    if base_url is None and "base_url" not in section.data:
        section.wrong("base_url", f"is required for the kind {kind.value}")
    reference = section.optional_text("credential", most=TEXT_CHARS_MAX)
    settings = ProviderSettings(
        id=provider_id,
        kind=kind,
        base_url=base_url or "",
        credential=read_secret(section, "credential", reference, around) if reference else None,
        credential_ref=reference,
        ca_file=read_file_path(section, "ca_file", around),
        connect_timeout_s=section.optional_seconds("connect_timeout_s", most=UPSTREAM_TOTAL_S),
        first_byte_timeout_s=section.optional_seconds("first_byte_timeout_s", most=UPSTREAM_TOTAL_S),
        idle_timeout_s=section.optional_seconds("idle_timeout_s", most=UPSTREAM_TOTAL_S),
        total_timeout_s=section.optional_seconds("total_timeout_s", most=UPSTREAM_TOTAL_S),
        enabled=section.flag("enabled", default=True),
        endpoints=_endpoints(section, kind),
        concurrency=section.optional_integer("concurrency", least=1, most=CONCURRENCY_MAX),
        credential_concurrency=section.optional_integer(
            "credential_concurrency", least=1, most=CONCURRENCY_MAX
        ),
        discover=section.flag("discover", default=True),
        display_name=section.optional_text("display_name"),
    )
    section.finish()
    return settings


def _endpoints(section: Section, kind: Kind) -> tuple[str, ...]:
    """Wire formats that the provider speaks: some of those of its kind. Empty where nothing is said."""
    names = section.strings("endpoints")
    valid = sorted(KIND_ENDPOINTS[kind])
    for place, name in enumerate(names):
        if name not in valid:
            problem = f"{name!r} is not one of: {', '.join(valid)} (kind {kind.value})"
            section.wrong(f"endpoints[{place}]", problem + suggestion(name, valid))
    if not names and section.data.get("endpoints") == []:
        section.wrong("endpoints", "is empty; leave it out, or write enabled = false")
    return tuple(dict.fromkeys(names))


def _model(section: Section, providers: Sequence[str]) -> ModelEntry:
    model_id = section.text("id", required=True)
    if model_id == AUTO:
        section.wrong("id", "'auto' is the alias of governance.default_model; choose another id")
    provider = section.text("provider", required=True)
    if provider and provider not in providers:
        listed = ", ".join(providers) or "none"
        section.wrong(
            "provider", f"no provider {provider!r}{suggestion(provider, providers)}; configured: {listed}"
        )
    capabilities = section.choices("capabilities", Capability)
    aliases = _names(section, "aliases")
    return ModelEntry(
        id=model_id,
        provider=provider,
        upstream_name=section.text("upstream_name", model_id),
        role=_optional_choice(section, "role", ModelRole, ModelRole.CHAT),
        cost_tier=_optional_choice(section, "cost_tier", CostTier, CostTier.STANDARD),
        latency_tier=_optional_choice(section, "latency_tier", LatencyTier, LatencyTier.STANDARD),
        context_window=section.optional_integer("context_window", least=1, most=TOKENS_MAX),
        output_limit=section.optional_integer("output_limit", least=1, most=TOKENS_MAX),
        capabilities=capabilities if "capabilities" in section.data else None,
        enabled=section.flag("enabled", default=True),
        aliases=aliases,
        fallbacks=_fallbacks(section, {model_id, f"{provider}/{model_id}", *aliases}),
    )


def _with_tier(model: ModelEntry, entry: PriceEntry) -> ModelEntry:
    """The model with the tier of its own price, unless the operator says another."""
    price = entry.rates.input if entry.rates.output is None else entry.rates.output
    if model.cost_tier is not None or price is None:
        return model
    return replace(model, cost_tier=CostTier(tier_of(price)))


def _optional_choice(section: Section, name: str, enum: type[Choice], default: Choice) -> Choice | None:
    """As ``Section.choice``; None where the key is absent, so that other sources may say it."""
    chosen = section.choice(name, enum, default)
    return chosen if name in section.data else None


def _names(section: Section, key: str) -> tuple[str, ...]:
    """A list of different names of models."""
    names = section.strings(key)
    if len(names) > NAMES_MAX:
        section.wrong(key, f"has {len(names)} names; write at most {NAMES_MAX}")
    for place, name in enumerate(names):
        field = f"{key}[{place}]"
        if len(name) > LABEL_CHARS_MAX or not name.isprintable():
            section.wrong(field, f"must be at most {LABEL_CHARS_MAX} visible characters")
        elif name in names[:place]:
            section.wrong(field, f"{name!r} is in the list already")
    return names


def _fallbacks(section: Section, own: Set[str]) -> tuple[str, ...]:
    """Names of other models; whether there are such is seen when they are needed."""
    names = _names(section, "fallbacks")
    for place, name in enumerate(names):
        if name in own:
            section.wrong(f"fallbacks[{place}]", f"{name!r} is the model itself; name another")
    return names


def _refuse_taken_aliases(sections: Sequence[Section], models: Sequence[ModelEntry]) -> None:
    ids = {model.id: section.path for section, model in reversed(list(zip(sections, models, strict=True)))}
    taken: dict[str, str] = {}
    for section, model in zip(sections, models, strict=True):
        for place, alias in enumerate(model.aliases):
            field = f"aliases[{place}]"
            if alias == AUTO:
                section.wrong(field, "'auto' is the alias of governance.default_model; choose another")
            elif alias in ids:
                section.wrong(field, f"{alias!r} is the id of {ids[alias]}; choose another")
            elif taken.setdefault(alias, section.path) != section.path:
                section.wrong(field, f"{alias!r} is an alias of {taken[alias]} already; choose another")


def _refuse_two_bounds(sections: Sequence[Section], providers: Sequence[ProviderSettings]) -> None:
    """One credential has one bound: providers that share it must not contradict each other."""
    first: dict[str, tuple[int, str]] = {}
    for section, provider in zip(sections, providers, strict=True):
        bound = provider.credential_concurrency
        if bound is None:
            continue
        said, where = first.setdefault(provider.credential_id, (bound, section.path))
        if said != bound:
            section.wrong("credential_concurrency", f"is {bound}, but {said} at {where} for this credential")


def _inline_price(section: Section, model: ModelEntry, report: Report) -> PriceEntry | None:
    for name in ("provider", "model"):
        if name in section.data:
            section.wrong(name, "is that of the model; leave it out")
    labels = {"provider": model.provider or "?", "model": model.upstream_name or "?"}
    return _entry(section, report, lambda data: parse_price_entry({**data, **labels}, ""))


def _entry(
    section: Section, report: Report, parse: Callable[[Mapping[str, object]], Parsed]
) -> Parsed | None:
    """Parse one table; the parser stops at its first mistake, so it is asked again without the wrong keys.

    Later rounds may only complain about keys that are written: what is missing then, we have taken away.
    """
    data = dict(section.data)
    first = True
    while True:
        try:
            parsed = parse(data)
        except FieldError as error:
            field = error.field.lstrip(".")
            key = re.split(r"[.\[]", field, maxsplit=1)[0]
            if not first and key not in data:
                return None
            report.add(section.field(field) if field else section.path, error.message.rstrip("."))
            if key not in data:
                return None
            del data[key]
            first = False
        else:
            return parsed if first else None


def _refuse_repeats(sections: Sequence[Section], ids: Sequence[str | None], name: str) -> None:
    seen: dict[str, str] = {}
    for section, each in zip(sections, ids, strict=True):
        if not each:
            continue
        if each in seen:
            section.wrong(name, f"{section.data.get(name)!r} is used by {seen[each]} already; choose another")
        else:
            seen[each] = section.path
