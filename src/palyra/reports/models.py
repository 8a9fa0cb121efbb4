"""Models and providers as JSON documents: what they are, what they cost, and how they do."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from palyra.core.instant import NANOSECONDS, Instant, isoformat
from palyra.pricing.rates import plain
from palyra.pricing.sheet import PriceSheet
from palyra.registry.models import Model, Provider

if TYPE_CHECKING:
    from palyra.lifecycle.providers import Providers


_PRICES = ("input", "output", "cache_read")


def model_document(
    name: str,
    model: Model,
    provider: Provider,
    sheet: PriceSheet | None,
    providers: "Providers",
    now: Instant,
) -> dict[str, object]:
    """One model, by the name that asks for it, with how it and its provider do.

    Prices are decimal strings of USD per million tokens, None where there is no price.
    ``sources`` tells for each value who said it: config, discovery, price_book, family or default.
    """
    cooldown = providers.cooldown(model, now)
    sources: dict[str, str] = dict(model.sources)
    if sheet is not None:
        sources["price"] = sheet.source
    return {
        "id": name,
        "provider": model.provider,
        "upstream_name": model.upstream_name,
        "role": model.role.value,
        "cost_tier": model.cost_tier.value,
        "latency_tier": model.latency_tier.value,
        "context_window": model.context_window,
        "output_limit": model.output_limit,
        "capabilities": None if model.capabilities is None else sorted(model.capabilities),
        "origin": model.origin,
        "enabled": model.enabled and provider.enabled,
        "aliases": list(model.aliases),
        "fallbacks": list(model.fallbacks),
        "price": _price(sheet),
        "health": providers.health(model, now).value,
        "breaker": providers.breaker_state(model.provider, now).value,
        "cooldown": None
        if cooldown is None
        else {"until": isoformat(cooldown.until), "reason": cooldown.reason.value},
        "sources": sources,
    }


def _price(sheet: PriceSheet | None) -> dict[str, str | None]:
    """What a call of the standard tier costs by its tokens."""
    rates = None if sheet is None else sheet.standard
    figures = {} if rates is None else {name: getattr(rates, name) for name in _PRICES}
    shown = {f"{name}_usd_per_million": figures.get(name) for name in _PRICES}
    return {
        **{name: None if figure is None else plain(figure) for name, figure in shown.items()},
        "source": None if sheet is None else sheet.source,
    }


def health_document(providers: "Providers", provider_id: str, now: Instant) -> dict[str, object]:
    """How a provider does, as the calls of this gateway saw it since it started. Times in milliseconds."""
    seen = providers.seen(provider_id)
    breaker = seen.breaker
    fault = seen.last_fault
    cooling = [
        {"model": model, "until": isoformat(each.until), "reason": each.reason.value}
        for credential, model, each in providers.cooldowns(now)
        if credential == seen.terms.credential
    ]
    return {
        "breaker": breaker.state(now).value,
        "retry_at": None if breaker.retry_at is None else isoformat(breaker.retry_at),
        "attempts": seen.attempts,
        "faults": seen.faults,
        "first_byte_ms": seen.latency_ms,
        "last_ok_at": None if seen.last_ok is None else isoformat(seen.last_ok),
        "last_fault": None
        if fault is None
        else {"at": isoformat(fault.at), "reason": fault.reason.value, "message": fault.message},
        "cooldowns": cooling,
    }


def load_documents(providers: "Providers", scopes: Sequence[str]) -> list[dict[str, object]]:
    """How busy a provider and its credential are; empty where nothing is limited."""
    return [
        {
            "scope": load.scope,
            "limit": load.limit,
            "foreground": load.foreground,
            "background": load.background,
            "foreground_waiting": load.foreground_waiting,
            "background_waiting": load.background_waiting,
            "deferred_total": load.deferred_total,
            "timed_out_total": load.timed_out_total,
        }
        for load in providers.loads()
        if load.scope in scopes
    ]


def age_s(at: Instant, now: Instant) -> int:
    """Whole seconds since then."""
    return max(0, now - at) // NANOSECONDS


def check_document(
    provider_id: str, fields: Mapping[str, object], at: Instant, now: Instant
) -> dict[str, object]:
    """One connection test, with when it was made and how long ago."""
    return {"provider": provider_id, **fields, "checked_at": isoformat(at), "age_s": age_s(at, now)}
