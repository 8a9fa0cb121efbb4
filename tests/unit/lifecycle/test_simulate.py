"""Other budgets on real calls: who would have been stopped, cut short, moved or let in, and what it saves."""

from contextlib import suppress
from dataclasses import replace
from decimal import Decimal

import pytest

from fakes.engines import PRICES, STUB, Bench, NoCatalog, budget, turns
from fakes.past import Kept, simulated
from fakes.records import NOON
from palyra.budgets.evaluation import Outcome, Status
from palyra.budgets.policy import Policy, PolicyDefaults, parse_policy
from palyra.budgets.terms import Mode
from palyra.core.errors import PalyraError
from palyra.core.instant import NANOSECONDS, Instant
from palyra.lifecycle.call import Call
from palyra.lifecycle.decision import CallState, EstimateRecord, Settlement
from palyra.lifecycle.history import read_call
from palyra.lifecycle.recalled import PLAIN, terms_of
from palyra.lifecycle.recalled import Terms as CallTerms
from palyra.lifecycle.replay import begin_of
from palyra.lifecycle.simulate import Ended, Simulated, Simulation, Terms
from palyra.pricing.book import PriceBook
from palyra.pricing.entry import parse_price_entry
from palyra.pricing.rates import Bracket, Rates
from palyra.pricing.sheet import PriceSheet
from palyra.pricing.usage import Usage
from palyra.registry.models import Kind, ModelEntry, Provider
from palyra.registry.registry import Registry

SMALL, LARGE = 20 * 1_000 + 40 * 2_000, 20 * 10_000 + 40 * 20_000
"""Nano-USD of 20 input and 40 output tokens."""
USED = Usage(20, 40)
HOUR_NS = 3_600 * NANOSECONDS


def candidate(hard_limit: str | int, policy_id: str = "new", **fields: object) -> Policy:
    document = budget(policy_id, hard_limit, **fields)
    return parse_policy(document, defaults=PolicyDefaults(), version=1, actor="test", origin="api")


async def refused(bench: Bench, call: Call) -> PalyraError:
    running = bench.start(call)
    with pytest.raises(PalyraError) as told:
        await running
    return told.value


async def fail_all_tries(bench: Bench) -> None:
    """A call that its provider cannot be reached for."""
    running = bench.start(bench.call())
    while not running.done():
        await turns(lambda: running.done() or bool(bench.upstream.calls))
        if bench.upstream.calls:
            bench.upstream.calls.pop().fail(sent=False)
    with suppress(PalyraError):
        await running


def of(found: Kept, place: int) -> Simulated:
    simulation = found.decisions[place][1]
    assert simulation is not None
    return simulation


async def test_a_tighter_budget_stops_calls_that_ran_and_saves_what_they_cost() -> None:
    bench = Bench()
    for _ in range(3):
        await bench.answered(bench.call())
    found = await simulated(bench, [candidate(2, metric="requests")])

    assert [each.runs for _, each in found.decisions if each] == [True, True, False]
    assert of(found, 2).judgement.verdict.status is Status.BLOCKED
    assert [(each.cost, each.simulated_cost, each.estimated) for each in found.ends] == [
        (SMALL, SMALL, False),
        (SMALL, SMALL, False),
        (SMALL, 0, False),
    ]


async def test_a_call_that_is_stopped_leaves_room_for_the_next_one() -> None:
    bench = Bench()
    for tokens in (64, 5_000, 64):
        await bench.answered(bench.call(max_tokens=tokens))
    limit = candidate("0.000600", min_output_tokens=4_000)
    found = await simulated(bench, [limit])
    assert [each.runs for _, each in found.decisions if each] == [True, False, True]


async def test_what_is_asked_of_people_counts_as_not_run() -> None:
    bench = Bench()
    await bench.answered(bench.call())
    found = await simulated(bench, [candidate("0.000001", action="approval_required")])
    assert of(found, 0).judgement.verdict.outcome is Outcome.ASK
    assert not of(found, 0).runs


async def test_money_is_held_while_a_call_runs_and_what_it_used_is_posted_when_it_ends() -> None:
    """Two calls at once do not fit, one after the other they do."""
    for at_once, expected in ((True, [True, False]), (False, [True, True])):
        bench = Bench()
        first = bench.start(bench.call(max_tokens=64))
        provider = await bench.at_provider()
        if at_once:
            await bench.answered(bench.call(max_tokens=64))
            provider.answer(20, 40)
            await first
        else:
            provider.answer(20, 40)
            await first
            await bench.answered(bench.call(max_tokens=64))
        found = await simulated(bench, [candidate("0.000450", min_output_tokens=64)])
        assert [each.runs for _, each in found.decisions if each] == expected


async def test_a_call_is_cut_short_and_billed_at_the_prices_of_its_record() -> None:
    bench = Bench()
    await bench.answered(bench.call(max_tokens=2_000), 20, 1_500)
    bench.engine.prices = PriceBook((), None)  # nobody knows them any more
    found = await simulated(bench, [candidate(500, metric="output_tokens")])

    clamp = of(found, 0).clamp
    assert clamp is not None
    assert (clamp.requested, clamp.granted, clamp.policy_id) == (2_000, 500, "new")
    (end,) = found.ends
    assert (end.cost, end.simulated_cost) == (20 * 1_000 + 1_500 * 2_000, 20 * 1_000 + 500 * 2_000)
    assert end.estimated


async def test_an_answer_that_was_shorter_than_the_clamp_costs_what_it_did() -> None:
    bench = Bench()
    await bench.answered(bench.call(max_tokens=2_000))
    found = await simulated(bench, [candidate(500, metric="output_tokens")])
    assert of(found, 0).clamp is not None
    assert found.ends[0][1:5] == (SMALL, SMALL, SMALL, False)


async def test_an_answer_that_was_cut_off_would_have_gone_on_nobody_knows_how_far() -> None:
    bench = Bench(budget("old", 300, metric="output_tokens"))
    await bench.answered(bench.call(max_tokens=2_000), 20, 300)
    found = await simulated(bench, [candidate(9_000, metric="output_tokens")])
    assert of(found, 0).clamp is None
    assert found.ends[0].estimated


async def test_a_looser_budget_lets_calls_in_that_were_refused_at_what_they_were_expected_to_use() -> None:
    bench = Bench(budget("old", 1, metric="requests"))
    await bench.answered(bench.call())
    await refused(bench, bench.call(max_tokens=400))
    found = await simulated(bench, [candidate(5, metric="requests"), candidate("1.00", "money")])

    let_in = of(found, 1)
    assert let_in.runs
    assert let_in.expected is not None
    expected = let_in.past.estimate.cost_expected if let_in.past.estimate else None
    assert (let_in.expected.cost, let_in.expected.estimated) == (expected, True)
    posted = {key.policy_id: balance.posted for key, balance in found.balances.items()}
    assert posted == {"new": 2, "money": SMALL + (expected or 0)}


async def test_a_call_that_no_budget_refused_is_not_let_in() -> None:
    bench = Bench()
    for _ in range(5):
        await fail_all_tries(bench)
    assert not bench.engine.providers.calm
    await refused(bench, bench.call())
    found = await simulated(bench, [candidate("1.00")])
    last = of(found, len(found.decisions) - 1)
    assert last.past.error_code == "provider_unavailable"
    assert last.beyond_budgets
    assert not last.runs
    assert last.expected is None


async def test_a_call_is_moved_to_a_cheaper_model_at_the_prices_of_now() -> None:
    bench = Bench()
    await bench.answered(bench.call(model="large", max_tokens=64))
    limit = candidate("0.000600", action="degrade", degrade_to="small")
    found = await simulated(bench, [limit])

    moved = of(found, 0)
    assert moved.routed.here.model.id == "small"
    assert moved.causes == ["new"]
    assert moved.estimated
    assert found.ends[0][1:5] == (LARGE, SMALL, SMALL, True)
    assert [balance.posted for balance in found.balances.values()] == [SMALL]


async def test_a_call_that_was_moved_stays_where_it_was_asked_without_the_budget() -> None:
    bench = Bench(budget("old", "0.000600", action="degrade", degrade_to="small"))
    await bench.answered(bench.call(model="large", max_tokens=64))
    found = await simulated(bench, [candidate("1.00")])
    assert of(found, 0).past.model == "small"
    assert of(found, 0).routed.here.model.id == "large"
    assert found.ends[0][1:5] == (SMALL, LARGE, LARGE, True)


async def test_a_candidate_in_dry_run_stops_nothing_and_says_what_it_would() -> None:
    bench = Bench()
    for _ in range(2):
        await bench.answered(bench.call())
    found = await simulated(bench, [candidate(1, metric="requests", mode="dry_run")])
    assert [each.runs for _, each in found.decisions if each] == [True, True]
    shadow = of(found, 1).shadow
    assert shadow is not None
    assert dict(shadow.would) == {"new": "would_block"}
    assert [(each.simulated_cost, each.would_cost) for each in found.ends] == [(SMALL, SMALL), (SMALL, 0)]


async def test_a_suggested_candidate_does_nothing_at_all() -> None:
    bench = Bench()
    await bench.answered(bench.call())
    found = await simulated(bench, [candidate("0.000001", mode="suggest")])
    assert of(found, 0).runs
    assert of(found, 0).shadow is None


async def test_calls_keep_the_mode_of_their_day_unless_another_one_is_tried() -> None:
    bench = Bench(mode=Mode.SUGGEST)
    await bench.answered(bench.call())
    bench.engine.governance = replace(bench.engine.governance, mode=Mode.ENFORCED)
    limit = [candidate("0.000001")]
    assert of(await simulated(bench, limit), 0).runs
    assert not of(await simulated(bench, limit, Mode.ENFORCED), 0).runs


async def test_a_caller_that_asked_for_a_stricter_mode_has_it_again() -> None:
    bench = Bench(mode=Mode.SUGGEST)
    await bench.answered(bench.call(headers={"x-palyra-mode": "enforced"}))
    assert not of(await simulated(bench, [candidate("0.000001")]), 0).runs


async def test_a_model_without_a_price_follows_the_rule_of_each_budget() -> None:
    bench = Bench()
    await bench.answered(bench.call(model="unpriced"))
    (denied,) = (await simulated(bench, [candidate("1.00")])).decisions
    assert denied[1] is not None
    assert denied[1].judgement.verdict.status is Status.UNKNOWN
    ceiling = await simulated(bench, [candidate("1.00", unknown_price="ceiling")])
    assert ceiling.ends[0][1:5] == (None, LARGE, LARGE, True)
    allowed = await simulated(bench, [candidate("1.00", unknown_price="allow")])
    assert allowed.ends[0][1:5] == (None, None, None, False)


async def failed_over() -> Bench:
    """A call whose first provider fails and that another one takes up."""
    names = ("stub", "other")
    bench = Bench(
        providers=(STUB, Provider("other", Kind.OPENAI_COMPATIBLE)),
        models=[ModelEntry("small", name, "small", output_limit=100_000) for name in names],
        prices={name: {"small": PRICES["small"]} for name in names},
    )
    running = bench.start(bench.call())
    for _ in range(10):
        await turns(lambda: running.done() or bool(bench.upstream.calls))
        call = bench.upstream.calls.pop()
        if call.request.provider_id == "other":
            call.answer(20, 40)
            break
        call.fail(sent=False)
    await running
    return bench


async def test_a_call_that_would_not_have_run_is_not_taken_up_elsewhere() -> None:
    bench = await failed_over()
    found = await simulated(bench, [candidate("0.000001")])
    assert [past.continues for past, _ in found.decisions] == [None, "req_0001"]
    assert [each.follows for _, each in found.decisions if each] == [False, True]
    assert sum(each.cost or 0 for each in found.ends) == SMALL
    assert sum(each.simulated_cost or 0 for each in found.ends) == 0


async def test_a_call_that_is_taken_up_elsewhere_counts_once_more_there() -> None:
    bench = await failed_over()
    found = await simulated(bench, [candidate("1.00")])
    assert [each.runs for _, each in found.decisions if each] == [True, True]
    assert [each.simulated_cost for each in found.ends] == [0, SMALL]
    assert [(each.posted, each.held) for each in found.balances.values()] == [(SMALL, 0)]


async def test_the_late_truth_about_a_call_in_doubt_is_told_as_a_change() -> None:
    bench = Bench()
    running = bench.start(bench.call(max_tokens=64))
    provider = await bench.at_provider()
    provider.fail()
    with suppress(PalyraError):
        await running
    found = await simulated(bench, [candidate("1.00")])
    (doubted,) = found.ends
    assert doubted.cost == doubted.simulated_cost is not None

    simulation = Simulation(Terms([candidate("1.00")]), bench.engine)
    writes = bench.store.journal.writes
    simulation.decide(read_call(writes[0].document))
    held = Settlement(NOON, CallState.IN_DOUBT, "estimated", "", Usage(75, 64), 900, 900, 1)
    simulation.end("req_0001", held)
    late = Settlement(NOON, CallState.SETTLED, "provider", "", USED, SMALL, 900, 1, late=True)
    ended = simulation.end("req_0001", late)
    assert isinstance(ended, Ended)
    assert ended.is_late
    assert ended.cost == SMALL - 900
    assert [each.balance().posted for each in simulation.book.accounts.values()] == [SMALL]
    assert not simulation.knows("req_0001")


async def test_the_end_of_a_call_that_was_never_seen_changes_nothing() -> None:
    simulation = Simulation(Terms([candidate("1.00")]), Bench().engine)
    late = Settlement(NOON, CallState.SETTLED, "provider", "", USED, SMALL, 900, 1)
    assert simulation.end("req_0001", late) is None


async def test_a_changed_price_leaves_the_recorded_cost_and_marks_what_is_computed_anew() -> None:
    bench = Bench()
    await bench.answered(bench.call(max_tokens=1_000))
    dearer = parse_price_entry({"provider": "stub", "model": "small", "input": "3", "output": "9"}, "prices")
    bench.engine.prices = PriceBook((dearer,), None)
    whole = await simulated(bench, [candidate("1.00")])
    recorded = of(whole, 0).past.estimate
    assert recorded is not None
    assert of(whole, 0).judgement.evaluations[0].amount == recorded.cost_bound
    assert not of(whole, 0).estimated
    cut = await simulated(bench, [candidate("0.001500", min_output_tokens=10)])
    assert of(cut, 0).clamp is not None
    assert of(cut, 0).estimated


async def test_a_model_and_a_provider_that_are_gone_still_count() -> None:
    bench = Bench()
    await bench.answered(bench.call(max_tokens=64))
    bench.engine.registry = Registry((), (), NoCatalog(), None)
    bench.engine.prices = PriceBook((), None)
    found = await simulated(
        bench, [candidate("1.00"), candidate(9, "calls", metric="requests", scope="model:small")]
    )
    assert of(found, 0).runs
    assert found.ends[0][1:5] == (SMALL, SMALL, SMALL, False)
    posted = {key.policy_id: balance.posted for key, balance in found.balances.items()}
    assert posted == {"new": SMALL, "calls": 1}


RATES = Rates(
    input=Decimal(1),
    output=Decimal(2),
    cache_write_5m=Decimal("1.25"),
    input_audio=Decimal(40),
    output_audio=Decimal(80),
    input_image=Decimal(7),
)
FLEX = Rates(input=Decimal(3), output=Decimal(5))
SHEET = PriceSheet(
    "p",
    "m",
    "s",
    "e",
    {"standard": (Bracket(-1, RATES),), "flex": (Bracket(-1, FLEX),)},
    web_search=Decimal("0.01"),
)


@pytest.mark.parametrize(
    "terms",
    [
        PLAIN,
        CallTerms(service_tier="flex"),
        CallTerms(cache_writes=True),
        CallTerms(audio=True),
        CallTerms(images=True),
        CallTerms(web_searches=3),
        CallTerms(cache_writes=True, web_searches=2),
    ],
)
def test_what_a_call_was_is_found_out_from_what_it_cost(terms: CallTerms) -> None:
    tier, writes, audio, images, searches = terms
    cost = SHEET.upper_bound(
        1_000, 300, service_tier=tier, cache_writes=writes, audio=audio, images=images, web_searches=searches
    )
    estimate = EstimateRecord(900, 250, 1_000, 300, 300, 1, 1, cost, "bytes")
    assert terms_of(estimate, SHEET) == terms


def test_a_cost_that_no_price_gives_is_of_unknown_terms() -> None:
    assert terms_of(EstimateRecord(900, 250, 1_000, 300, 300, 1, 1, 7, "bytes"), SHEET) is None


def test_reading_begins_where_the_longest_window_begins_that_holds_then() -> None:
    since = Instant(NOON + HOUR_NS // 2)
    each_call = candidate("1.00", "call", interval="request")
    assert begin_of([each_call], since) == since
    assert begin_of([each_call, candidate("1.00", interval="hour")], since) == NOON
    assert begin_of([candidate("1.00", timezone="Europe/Prague")], since) == NOON - 13 * HOUR_NS
    assert begin_of([candidate("1.00", interval="total")], since) == 0
    assert begin_of([candidate("1.00", interval="total", enabled=False)], since) == since
    late = candidate("1.00", interval="total", valid_from="2026-11-23T12:10:00Z")
    assert begin_of([late], since) == NOON + 600 * NANOSECONDS
