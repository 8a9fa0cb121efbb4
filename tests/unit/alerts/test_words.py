"""What alerts say: whole sentences with amounts and the next step, and exact facts."""

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

import msgspec
import pytest

from palyra.alerts import words
from palyra.alerts.alert import Kind, Severity
from palyra.alerts.course import Finding, raised
from palyra.alerts.forecast import Basis, Forecast
from palyra.alerts.hourly import HourlyUse
from palyra.alerts.mix import ModelShare, Shift
from palyra.alerts.spike import Spike
from palyra.core.instant import END_OF_TIME, Instant, parse_instant

START, END = parse_instant("2026-11-01T00:00:00Z"), parse_instant("2026-12-01T00:00:00Z")
BUDGET = words.BudgetView(
    policy_id="team",
    name="Team",
    entity="alice",
    metric="cost_usd",
    window_start=START,
    window_end=END,
    consumed=8_123_456_789,
    limit=10_000_000_000,
    whose="principal alice",
    principal="alice",
)
SPIKE = Spike(HourlyUse(START, 50_000_000_000), 2_000_000_000, 6_000_000_000, 14)
SHIFT = Shift(
    Fraction(2, 3),
    "cost",
    ModelShare("big", Fraction(0), Fraction(2, 3)),
    ModelShare("small", Fraction(1), Fraction(1, 3)),
)
FORECAST = Forecast(
    basis=Basis.HOUR_OF_WEEK,
    until=END,
    consumed=8_123_456_789,
    limit=10_000_000_000,
    expected=12_345_678_900,
    low=11_000_000_000,
    high=13_999_999_999,
    exhausted_at=parse_instant("2026-11-20T08:15:00Z"),
)
EVERY: dict[Kind, Callable[[], Finding]] = {
    Kind.BUDGET_THRESHOLD: lambda: words.budget_threshold(BUDGET, Decimal("0.80")),
    Kind.BUDGET_EXHAUSTED: lambda: words.budget_exhausted(BUDGET, "Calls are refused.", stops_calls=True),
    Kind.FORECAST_EXHAUSTION: lambda: words.forecast_exhaustion(BUDGET, FORECAST),
    Kind.APPROVAL_PENDING: lambda: words.approval_pending("apr_1", "team", "alice", "cost_usd", 10**9, END),
    Kind.COST_SPIKE: lambda: words.cost_spike("alice", SPIKE),
    Kind.UNUSUAL_MODEL_MIX: lambda: words.unusual_model_mix("alice", SHIFT),
    Kind.PROVIDER_HEALTH: lambda: words.provider_health("openai", "timeout", START, is_open=True),
    Kind.UNPRICED_MODEL: lambda: words.unpriced_model("openai", "m", "The call was refused."),
    Kind.OVERRUN: lambda: words.overrun("openai", "m", "req_1", "cost_usd", 10**7, 2 * 10**7, "alice"),
    Kind.UNSETTLED_RESERVATION: lambda: words.unsettled_reservation(
        "openai", "req_1", "total_tokens", 500, "its lease ran out"
    ),
}


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_has_words_and_facts_that_can_be_stored(kind: Kind) -> None:
    finding = EVERY[kind]()
    alert = raised("alr_1", finding, START)
    assert msgspec.json.decode(msgspec.json.encode(alert), type=type(alert)) == alert
    assert finding.kind is kind
    assert finding.cause.startswith(f"{kind.value}:")
    assert finding.title[0] == finding.title[0].strip()
    assert not finding.title.endswith(".")
    assert finding.message.endswith(".")
    assert "  " not in finding.title + finding.message


@pytest.mark.parametrize(
    ("metric", "amount", "text"),
    [
        ("cost_usd", 8_129_999_999, "8.12 USD"),
        ("cost_usd", 123_456_789_012, "123.45 USD"),
        ("cost_usd", 12_345_678, "0.01234 USD"),
        ("cost_usd", 4_321, "0.000004321 USD"),
        ("cost_usd", 7, "0.000000007 USD"),
        ("cost_usd", 0, "0.00 USD"),
        ("cost_usd", 5_000_000_000, "5.00 USD"),
        ("total_tokens", 1, "1 token"),
        ("output_tokens", 1_234_567, "1234567 tokens"),
        ("requests", 1, "1 request"),
        ("requests", 2, "2 requests"),
    ],
)
def test_amounts_are_short_and_never_more_than_they_are(metric: str, amount: int, text: str) -> None:
    assert words.amount_text(metric, amount) == text


def test_a_threshold_says_how_full_it_is_and_until_when() -> None:
    finding = words.budget_threshold(BUDGET, Decimal("0.80"))
    assert finding.title == "Budget Team is at 80 %: principal alice"
    assert finding.message == (
        "8.12 USD of 10.00 USD is used or held. The next window begins at 2026-12-01T00:00:00Z. "
        "See `palyra budgets status team`."
    )
    assert finding.facts == {
        "entity": "alice",
        "metric": "cost_usd",
        "window_start": "2026-11-01T00:00:00Z",
        "window_end": "2026-12-01T00:00:00Z",
        "consumed": 8_123_456_789,
        "limit": 10_000_000_000,
        "at": "0.8",
    }
    assert (finding.policy_id, finding.principal) == ("team", "alice")


def test_a_threshold_that_changes_something_is_a_warning() -> None:
    assert words.budget_threshold(BUDGET, Decimal("0.8")).severity is Severity.INFO
    assert words.budget_threshold(BUDGET, Decimal(1)).severity is Severity.WARNING
    changed = words.budget_threshold(BUDGET, Decimal("0.8"), "Calls move to cheaper models.")
    assert changed.severity is Severity.WARNING
    assert "held. Calls move to cheaper models. The next" in changed.message


def test_an_exhausted_budget_is_critical_if_calls_stop() -> None:
    stopped = words.budget_exhausted(BUDGET, "Calls are refused.", stops_calls=True)
    assert stopped.severity is Severity.CRITICAL
    assert stopped.title == "Budget Team is exhausted: principal alice"
    assert "Calls are refused. The next window" in stopped.message
    assert "Ask for an override" in stopped.message
    assert stopped.facts["stops_calls"] is True
    told = words.budget_exhausted(BUDGET, "", stops_calls=False)
    assert told.severity is Severity.WARNING


def test_a_budget_without_end_has_no_next_window() -> None:
    total = msgspec.structs.replace(BUDGET, window_end=END_OF_TIME, whose="")
    finding = words.budget_exhausted(total, "Calls are refused.", stops_calls=True)
    assert finding.title == "Budget Team is exhausted"
    assert finding.message.startswith("8.12 USD of 10.00 USD is used or held. Calls are refused. Ask for")
    assert finding.facts["window_end"] is None


def test_a_forecast_says_when_and_how_much_and_how_sure_that_is() -> None:
    finding = words.forecast_exhaustion(BUDGET, FORECAST)
    assert finding.title == "Budget Team will not last: principal alice"
    assert finding.message == (
        "8.12 USD of 10.00 USD is used or held. As use goes on, the limit is reached at about "
        "2026-11-20T08:15:00Z, and 12.34 USD is expected by 2026-12-01T00:00:00Z (between 11.00 USD and "
        "13.99 USD). Raise the limit, or see what drives it with `palyra usage summary --by agent,model`."
    )
    assert finding.facts["exhausted_at"] == "2026-11-20T08:15:00Z"
    assert finding.facts["basis"] == "hour_of_week"
    assert finding.facts["expected"] == 12_345_678_900


def test_a_budget_that_lasts_has_no_such_words() -> None:
    with pytest.raises(ValueError, match="does not reach"):
        words.forecast_exhaustion(BUDGET, FORECAST._replace(exhausted_at=None))


def test_a_pending_approval_names_the_commands_that_decide_it() -> None:
    finding = EVERY[Kind.APPROVAL_PENDING]()
    assert finding.title == "alice asks to go over the budget team"
    assert "1.00 USD on top" in finding.message
    assert "`palyra approvals approve apr_1`" in finding.message
    assert (finding.policy_id, finding.principal) == ("team", "alice")


def test_a_spike_says_what_the_hour_cost_and_what_it_usually_does() -> None:
    finding = EVERY[Kind.COST_SPIKE]()
    assert finding.title == "alice: cost spike"
    assert "The hour from 2026-11-01T00:00:00Z cost 50.00 USD." in finding.message
    assert "2.00 USD, by the median of 14 days" in finding.message
    assert finding.facts["cost_nano_usd"] == 50_000_000_000
    assert words.cost_spike(None, SPIKE).title == "All principals: cost spike"


def test_another_mix_says_from_what_to_what() -> None:
    finding = EVERY[Kind.UNUSUAL_MODEL_MIX]()
    assert "66 % of the cost" in finding.message
    assert "big from 0 % to 66 %, small from 100 % to 33 %" in finding.message
    assert finding.facts == {"moved_percent": 66, "by": "cost", "gained": "big", "lost": "small"}
    assert "of the calls of" in words.unusual_model_mix(None, SHIFT._replace(by="calls")).message


def test_a_provider_without_calls_is_critical() -> None:
    assert EVERY[Kind.PROVIDER_HEALTH]().severity is Severity.CRITICAL
    failing = words.provider_health("openai", "timeout", START, is_open=False)
    assert failing.severity is Severity.WARNING
    assert "Calls are still sent to it." in failing.message


def test_times_are_told_by_the_second() -> None:
    at = Instant(START + 123_456_789)
    assert "Since 2026-11-01T00:00:00Z calls" in words.provider_health("p", "r", at, is_open=True).message


def test_an_overrun_and_a_call_in_doubt_name_the_call() -> None:
    overrun = EVERY[Kind.OVERRUN]()
    assert "0.01 USD was held for it and 0.02 USD was posted" in overrun.message
    assert "`palyra explain req_1`" in overrun.message
    assert overrun.principal == "alice"
    doubt = EVERY[Kind.UNSETTLED_RESERVATION]()
    assert "500 tokens is posted in doubt, as held: its lease ran out." in doubt.message


def test_a_model_without_a_price_says_what_became_of_the_call() -> None:
    message = EVERY[Kind.UNPRICED_MODEL]().message
    assert "not known. The call was refused. Add its price" in message
