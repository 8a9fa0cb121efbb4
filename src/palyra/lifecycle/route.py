"""A model to serve the call, and the prices it is bound to."""

import msgspec

from palyra.budgets.terms import UnknownPrice
from palyra.core.errors import ModelNotAllowed
from palyra.core.instant import Instant
from palyra.identity.keys import Subject
from palyra.lifecycle.decision import PriceRecord
from palyra.lifecycle.wire import Endpoint
from palyra.pricing.book import PriceBook
from palyra.pricing.sheet import PriceSheet
from palyra.registry.models import Model
from palyra.registry.registry import Registry


class Route(msgspec.Struct, frozen=True, gc=False):
    """The model that serves a call and the prices it is bound to. ``sheet`` is None if no price is known.

    ``ceiling`` is what stands in for an unknown price where a policy says so.
    """

    model: Model
    provider_kind: str
    sheet: PriceSheet | None
    ceiling: PriceSheet | None
    price: PriceRecord | None


def asked_model(requested: str, endpoint: Endpoint, subject: Subject, registry: Registry) -> Model:
    """The model that a name stands for. Raises ModelNotFound or ModelNotAllowed."""
    model = registry.resolve(requested, endpoint)
    if not (subject.may_use(model.id) and (requested == model.id or subject.may_use(requested))):
        raise ModelNotAllowed(
            f"this key may not use {requested!r}; allowed: {', '.join(subject.models)}", param="model"
        )
    return model


def route_to(model: Model, registry: Registry, prices: PriceBook, now: Instant) -> Route:
    """The route to a model at the prices of now."""
    kind = registry.kind_of(model.provider)
    sheet = find_sheet(model, kind, prices, now)
    if sheet is None:
        return Route(model, kind, None, prices.ceiling(kind), None)
    return Route(model, kind, sheet, None, price_record(sheet, prices.version, known=True))


def find_sheet(model: Model, kind: str, prices: PriceBook, now: Instant) -> PriceSheet | None:
    """The prices of a model, by the name its provider has for it, else by its own; None if there are none."""
    sheet = prices.find(model.provider, kind, model.upstream_name, now)
    if sheet is None and model.upstream_name != model.id:
        sheet = prices.find(model.provider, kind, model.id, now)
    return sheet


def prices_until(model: Model, kind: str, prices: PriceBook, now: Instant) -> Instant:
    """How long ``find_sheet`` goes on finding what it finds now."""
    names = (model.upstream_name, model.id)
    return min([prices.dated(model.provider, kind, name, now).until for name in names])


def price_record(sheet: PriceSheet, version: str, *, known: bool) -> PriceRecord:
    """What the decision says of the prices it used."""
    return PriceRecord(sheet.provider, sheet.model, sheet.source, sheet.entry_id, version, known)


def sheet_for(route: Route, rule: UnknownPrice) -> PriceSheet | None:
    """The prices that a policy with this rule for unknown prices computes with."""
    if route.sheet is not None:
        return route.sheet
    return route.ceiling if rule is UnknownPrice.CEILING else None
