"""The page of one decision: the sentence first, every number behind it, and nothing invented."""

from typing import Any

import pytest
from msgspec.structs import replace

from fakes.calls import evaluation, refused, served
from fakes.records import NOON
from palyra.lifecycle.decision import AttemptRecord, CallState, RoutingRecord, StoredDecision
from palyra.lifecycle.decision_search import DecisionsFound, Scanned
from palyra.reports.explain import decision_document, decision_page
from palyra.reports.page import explain_lines, headline
from palyra.routing.choose import Health, Option
from palyra.routing.complexity import Features


def document(stored: StoredDecision) -> dict[str, Any]:
    return decision_document(stored)


def ended(state: CallState, **changes: Any) -> StoredDecision:
    stored = served()
    assert stored.settlement is not None
    return StoredDecision(stored.decision, state, replace(stored.settlement, state=state, **changes))


def routed() -> StoredDecision:
    """A call for ``auto`` that ran on another model than the default."""
    options = (
        Option("gpt-4o", "openai", 9_000_000, 2, 2),
        Option("gpt-4o-mini", "openai", 660_000, 0, 1),
        Option("gpt-4o-mini", "azure", 660_000, 0, 0, Health.COOLING, "waiting"),
        Option("house", "local", None, 1, 7, Health.OPEN, "ready", "has no tools"),
    )
    record = RoutingRecord(
        version=1,
        features=Features(400, 100, 3, 2, 1, wants_json=True),
        score=412,
        open=True,
        default_model="gpt-4o",
        sticky="gpt-4o-mini",
        options=options,
        by="session",
        reason="the session runs on it",
        degraded_by=("each-daily", "all"),
    )
    stored = served()
    decision = replace(
        stored.decision, requested_model="auto", recommended_model="gpt-4o-mini", routing=record
    )
    return replace(stored, decision=decision)


ROUTED = """\
Complexity
  score           0.412 of 1, by version 1 of the weights
  text            400 bytes, about 100 tokens
  messages        3
  tools           2
  pictures        1
  strict JSON     yes

Candidates
  model        provider         cost  tier      latency   health   room     kept              is
  gpt-4o       openai      0.009 USD  premium   high      ok       ready    yes               default
  gpt-4o-mini  openai    0.00066 USD  low       standard  ok       ready    yes               \
session, recommended, actual
  gpt-4o-mini  azure     0.00066 USD  low       low       cooling  waiting  yes
  house        local         unknown  standard  7         open     ready    no: has no tools
  choice          left to Palyra
  chosen by       session: the session runs on it
  session's model gpt-4o-mini
  made cheaper by each-daily, all
"""


def test_how_the_model_was_chosen_is_shown() -> None:
    lines = explain_lines(document(routed()))
    begin, end = lines.index("Complexity"), lines.index("Budgets")
    assert "\n".join(lines[begin:end]) == ROUTED
    assert lines.index("Estimate") < begin


def failed_over() -> dict[str, Any]:
    """A call whose provider failed twice, as the API shows it: with what took it up."""
    attempts = (
        AttemptRecord("openai", "gpt-4o-mini", 0, 210, 503, "overloaded", "it answered 503", "retry"),
        AttemptRecord("openai", "gpt-4o-mini", 460, 480, None, "unreachable", "", "failover"),
    )
    first = ended(CallState.RELEASED, reason="refused by the provider", attempts=attempts)
    second = served("req_1.2")
    taken = replace(
        second.decision, model="house", provider="local", continues="req_1", route_reason="openai failed"
    )
    return document(first) | {"continued_as": [document(replace(second, decision=taken))]}


def test_every_try_at_a_provider_is_shown() -> None:
    page = "\n".join(explain_lines(failed_over()))
    assert (
        """\
  Attempts
  provider  model        began ms  ended ms  status  outcome      then      message
  openai    gpt-4o-mini         0       210     503  overloaded   retry     it answered 503
  openai    gpt-4o-mini       460       480       -  unreachable  failover
"""
        in page
    )


def test_a_call_that_was_taken_up_elsewhere_is_told_to_its_end() -> None:
    lines = explain_lines(failed_over())
    assert lines[0] == (
        "The call of alice (nightly) to gpt-4o-mini was admitted in enforced mode; nothing was charged "
        "(refused by the provider). It was taken up by house at local: it cost 0.000066 USD."
    )
    page = "\n".join(lines)
    assert (
        """\
Taken up elsewhere
  request  model        provider  state             cost  why
  req_1    gpt-4o-mini  openai    released       nothing  as requested
  req_1.2  house        local     settled   0.000066 USD  openai failed
"""
        in page
    )
    assert page.index("---- req_1.2") < page.index("  continues       req_1")
    assert page.count("Settlement") == 2


def test_a_call_that_nobody_could_take_up_says_why() -> None:
    shown = failed_over()
    shown["continued_as"] = [document(refused("req_1.2"))]
    assert "It could not be taken up elsewhere: each-daily: 4.50 USD would be" in headline(shown)


def test_money_is_an_integer_beside_a_decimal_string() -> None:
    shown = document(served())
    assert (shown["settlement"]["cost_nano_usd"], shown["settlement"]["cost_usd"]) == (66_000, "0.000066")
    assert shown["estimate"]["cost_bound_usd"] == "0.00066"
    assert shown["evaluations"][0]["hard_limit_usd"] == "5.00"
    assert shown["counterfactual"]["cost_nano_usd"] == 0


def test_counts_are_not_money() -> None:
    (shown,) = document(refused())["evaluations"]
    assert shown["hard_limit"] == 5_000_000_000
    assert "hard_limit_usd" not in shown


def test_an_unknown_cost_is_null_and_never_zero() -> None:
    shown = document(ended(CallState.SETTLED, cost=None))
    assert shown["settlement"]["cost_nano_usd"] is None
    assert "it cost unknown" in headline(shown)


@pytest.mark.parametrize(
    ("stored", "text"),
    [
        (served(), "was admitted in enforced mode; it cost 0.000066 USD."),
        (ended(CallState.SETTLED, source="estimated", overrun=True), "(estimated), more than was held."),
        (ended(CallState.RELEASED, reason="refused by the provider"), "nothing was charged (refused by"),
        (ended(CallState.IN_DOUBT), "so the held 0.00066 USD stands."),
        (StoredDecision(served().decision, CallState.PENDING, None), "it is still running."),
        (refused(), "was refused: each-daily: 4.50 USD would be above"),
        (refused(outcome="ask"), "needs an approval: each-daily"),
    ],
)
def test_the_first_line_says_what_happened(stored: StoredDecision, text: str) -> None:
    first = explain_lines(document(stored))[0]
    assert first.startswith("The call of alice (nightly) to ")
    assert text in first


def test_a_call_served_by_another_model_says_why() -> None:
    stored = served()
    moved = replace(stored.decision, model="gpt-3", route="degrade", route_reason="each-daily is full")
    line = headline(document(replace(stored, decision=moved)))
    assert "served by gpt-3 (degrade: each-daily is full)" in line


def test_the_page_has_every_section_with_its_numbers() -> None:
    page = "\n".join(explain_lines(document(served(clamp=True))))
    for part in (
        "at most 1000 tokens (asked for 64000)",
        "each-daily v3",
        "4.50",
        "lowered from 64000 to 1000 tokens to fit each-daily",
        "entry cfg:gpt-4o-mini of config, price book b1",
        "enforced, from config",
        "120 input tokens, 80 output tokens, 20 cache read tokens (provider)",
        "0.000048",
        "If everything were enforced",
        "block (outcome deny)",
    ):
        assert part in page


def test_sections_without_content_are_left_out() -> None:
    page = explain_lines(document(refused()))
    assert not {"Estimate", "Clamp", "Price", "Settlement"} & set(page)
    told = [line for line in page if "4.50 USD would be above the hard limit of 4.20 USD." in line]
    assert len(told) == 1, "what the page begins with is not told again"


def test_a_call_without_budgets_says_so() -> None:
    stored = served()
    free = replace(stored, decision=replace(stored.decision, evaluations=()))
    assert "  No budget applied to this call." in explain_lines(document(free))


def test_table_columns_line_up() -> None:
    lines = explain_lines(document(served()))
    place = lines.index("Budgets")
    assert lines[place + 1].index("status") == lines[place + 2].index("ok")
    assert evaluation().status == "ok"


def test_a_page_has_a_cursor_only_if_there_is_more() -> None:
    found = [served(f"req_{n}") for n in (3, 2, 1)]
    assert decision_page(DecisionsFound(found, None), 2)["next_cursor"] == "req_2"
    assert decision_page(DecisionsFound(found, None), 3)["next_cursor"] is None
    assert decision_page(DecisionsFound([], None), 3) == {
        "items": [],
        "next_cursor": None,
        "scanned_until": None,
    }


def test_a_page_of_a_search_that_stopped_goes_on_where_it_did_unless_it_is_full() -> None:
    found = DecisionsFound([served(f"req_{n}") for n in (8, 7)], Scanned("req_5", NOON))
    stopped = decision_page(found, 2)
    assert (stopped["next_cursor"], stopped["scanned_until"]) == ("req_5", "2026-11-23T12:00:00Z")
    full = decision_page(found, 1)
    assert (full["next_cursor"], full["scanned_until"]) == ("req_8", None)
