"""What routing saves on a call: the default model at the same usage, less what ran. Pure.

The routing report counts the same calls by the same prices (``reports.routing``): those whose model Palyra
had the choice of, or chose, and that have a price on the default, the recommended and the actual model. On
the default itself a call saves nothing, so it has no baseline.
"""

import msgspec

from palyra.lifecycle.choice import Routed
from palyra.lifecycle.route import find_sheet
from palyra.lifecycle.survey import Survey
from palyra.pricing.sheet import PriceSheet
from palyra.pricing.usage import Usage
from palyra.registry.models import Model


class Baseline(msgspec.Struct, frozen=True, gc=False):
    """The prices to compare a call with: of its default, and of the model that was recommended.

    ``recommended`` is None where that is the default or the model that runs.
    """

    default: PriceSheet
    recommended: PriceSheet | None

    def saved(self, usage: Usage, service_tier: str | None, cost: int) -> int | None:
        """What the default would have cost more than ``cost``, in nano-USD; None without a price (L6)."""
        default = self.default.cost(usage, service_tier)
        recommended = self.recommended
        if default is None or (recommended is not None and recommended.cost(usage, service_tier) is None):
            return None
        return default - cost


def baseline_of(survey: Survey, routed: Routed, *, continues: bool) -> Baseline | None:
    """What a call will be compared with; None where nothing was routed, or it runs on the default.

    ``continues``: it takes up a call whose provider failed. Models are told apart by their ids.
    """
    routing = routed.routing
    if routing is None and not continues:
        return None
    default = survey.call.ask.model if routing is None else routing.default_model
    here, recommended = routed.here.model.id, routed.recommended.model.id
    is_routed = recommended != default or (routing is not None and routing.open)
    sheet = survey.asked.route.sheet
    if not is_routed or here == default or sheet is None:
        return None
    if recommended in (here, default):
        return Baseline(sheet, None)
    advised = _sheet(survey, _named(survey, routed))
    return None if advised is None else Baseline(sheet, advised)


def _named(survey: Survey, routed: Routed) -> Model:
    """The recommended model where the report finds its price: at the first provider that could serve it."""
    advised = routed.recommended.model
    options = routed.routing.options if routed.routing is not None else ()
    found = (each for each in options if each.model == advised.id and not each.lost)
    first = next(found, None)
    return advised if first is None else survey.model_of(first)


def _sheet(survey: Survey, model: Model) -> PriceSheet | None:
    engine = survey.engine
    return find_sheet(model, engine.registry.kind_of(model.provider), engine.prices, survey.now)
