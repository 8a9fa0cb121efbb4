"""Puts a model together from all who describe it: operator, discovery, price book, family, default."""

from collections.abc import Iterator
from typing import Any

from palyra.registry.families import family_of
from palyra.registry.models import Catalog, CostTier, Kind, Model, ModelEntry, Origin, Provider, Source

_DEFAULTS = frozenset({"role", "cost_tier", "latency_tier"})
MERGED = ("role", "cost_tier", "latency_tier", "context_window", "output_limit", "capabilities")
"""The values that more than one source may say; each one is taken from the strongest that says it."""


def describe(
    entry: ModelEntry, origin: Origin, listed: ModelEntry | None, provider: Provider, catalog: Catalog
) -> Model:
    """The model of ``entry``, which is the operator's, a discovered one, or only a name, as ``origin`` tells.

    ``listed`` is how the provider lists the operator's model, None if it does not. What nobody says has its
    default, or stays unknown.
    """
    said: dict[str, Any] = {}
    sources: dict[str, Source] = {}
    missing = list(MERGED)
    for source, layer in _layers(entry, origin, listed, provider, catalog):
        for name in missing:
            value: object = getattr(layer, name)
            if value is not None:
                said[name], sources[name] = value, source
        missing = [name for name in missing if name not in said]
        if not missing:
            break
    for name in missing:
        if name in _DEFAULTS:
            sources[name] = "default"
    return Model(
        id=entry.id,
        provider=entry.provider,
        upstream_name=entry.upstream_name,
        enabled=entry.enabled and provider.enabled,
        origin=origin,
        aliases=entry.aliases,
        fallbacks=entry.fallbacks,
        sources=sources,
        **said,
    )


def _layers(
    entry: ModelEntry, origin: Origin, listed: ModelEntry | None, provider: Provider, catalog: Catalog
) -> Iterator[tuple[Source, ModelEntry]]:
    """What each source says, the strongest first; those that cost a search only if they are needed."""
    if origin != "price_book":
        yield "config" if origin == "config" else "discovery", entry
    if listed is not None:
        yield "discovery", listed
    if provider.kind is not Kind.OPENAI_COMPATIBLE:
        # A published list is about the vendor's own service, not about who serves models of that name.
        yield "price_book", _from_prices(entry, provider, catalog)
    family = _from_family(entry)
    if family is not None:
        yield "family", family


def _from_prices(entry: ModelEntry, provider: Provider, catalog: Catalog) -> ModelEntry:
    tier = catalog.price_tier(provider.kind, entry.upstream_name)
    return ModelEntry(
        entry.id,
        entry.provider,
        entry.upstream_name,
        cost_tier=None if tier is None else CostTier(tier),
        context_window=catalog.context_window(provider.kind, entry.upstream_name),
    )


def _from_family(entry: ModelEntry) -> ModelEntry | None:
    family = family_of(entry.upstream_name)
    if family is None:
        return None
    return ModelEntry(
        entry.id,
        entry.provider,
        entry.upstream_name,
        role=family.role,
        cost_tier=family.cost_tier,
        latency_tier=family.latency_tier,
        context_window=family.context_window,
        output_limit=family.output_limit,
        capabilities=family.capabilities,
    )
