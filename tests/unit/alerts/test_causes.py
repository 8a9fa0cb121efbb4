"""Causes: the same for the same thing, and never for two things."""

from decimal import Decimal
from itertools import product

import pytest

from palyra.alerts import causes
from palyra.alerts.alert import Kind
from palyra.core.instant import Instant

WINDOW = Instant(86_400)
EVERY = {
    Kind.BUDGET_THRESHOLD: causes.budget_threshold("p", "e", WINDOW, Decimal("0.8")),
    Kind.BUDGET_EXHAUSTED: causes.budget_exhausted("p", "e", WINDOW),
    Kind.FORECAST_EXHAUSTION: causes.forecast_exhaustion("p", "e", WINDOW),
    Kind.APPROVAL_PENDING: causes.approval_pending("apr_1"),
    Kind.COST_SPIKE: causes.cost_spike("alice"),
    Kind.UNUSUAL_MODEL_MIX: causes.unusual_model_mix("alice"),
    Kind.PROVIDER_HEALTH: causes.provider_health("openai"),
    Kind.UNPRICED_MODEL: causes.unpriced_model("openai", "m"),
    Kind.OVERRUN: causes.overrun("openai", "m"),
    Kind.UNSETTLED_RESERVATION: causes.unsettled_reservation("openai"),
}


@pytest.mark.parametrize("kind", Kind)
def test_a_cause_begins_with_its_kind(kind: Kind) -> None:
    assert EVERY[kind].split(":")[0] == kind.value
    assert len(EVERY[kind].split(":")) > 1


def test_budgets_differ_by_policy_entity_window_and_level() -> None:
    assert EVERY[Kind.BUDGET_EXHAUSTED] == "budget_exhausted:p:e:86400"
    assert EVERY[Kind.BUDGET_THRESHOLD] == "budget_threshold:p:e:86400:0.8"
    texts = ("a", "b", "a:b", "b:1", "1")
    entities = product(("a", "b"), texts, (Instant(1), Instant(11)), (Decimal("0.5"), Decimal(1)))
    made = [causes.budget_threshold(*parts) for parts in entities]
    assert len(set(made)) == len(made)


def test_a_level_is_the_same_however_it_is_written() -> None:
    written = [Decimal("1"), Decimal("1.00"), Decimal("1E+0")]
    assert {causes.budget_threshold("p", "e", WINDOW, each)[-2:] for each in written} == {":1"}
    assert causes.budget_threshold("p", "e", WINDOW, Decimal("10.0")).endswith(":10")


def test_everybody_is_nobody() -> None:
    assert causes.cost_spike(None) == "cost_spike:~everybody"
    assert causes.unusual_model_mix(None) == "unusual_model_mix:~everybody"
    assert causes.unusual_model_mix("bob") == "unusual_model_mix:bob"


def test_models_differ_by_their_provider() -> None:
    for cause in (causes.unpriced_model, causes.overrun):
        assert len({cause("a", "m"), cause("b", "m"), cause("a", "m:b")}) == 3
