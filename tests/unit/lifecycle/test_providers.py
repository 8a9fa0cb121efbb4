"""Breakers, cooldowns and slots, as calls on their path meet them."""

import asyncio
from typing import Any, cast

import pytest

from fakes.engines import MODELS, PRICES, STUB, Bench, FakeCall, budget, slow, turns
from palyra.core.errors import CapacityDeferred, PalyraError, ProviderUnavailable, UpstreamFailed
from palyra.ledger.account import EMPTY
from palyra.lifecycle.decision import CallState
from palyra.lifecycle.flow import Answered
from palyra.lifecycle.ports import DecisionFilter
from palyra.lifecycle.providers import Providers, ProviderTerms, Resilience
from palyra.lifecycle.wire import FailureKind
from palyra.registry.models import Kind, ModelEntry, Provider
from palyra.routing.backoff import Retries
from palyra.routing.breaker import BreakerSettings, BreakerState
from palyra.routing.capacity import Priority
from palyra.routing.choose import Health

BACKGROUND = {"x-palyra-task-class": "background_automation"}
SECOND = 1_000_000_000
FAULTS = 3
FRAGILE = Resilience(Retries(0), BreakerSettings(FAULTS, 30 * SECOND, 60 * SECOND))
"""No retries; three faults in a row open the breaker for 30 s, at most for 60 s."""
SPARE = Provider("spare", Kind.OPENAI_COMPATIBLE)
SMALL_ELSEWHERE = ModelEntry("small", "spare", "small", output_limit=100_000)


def fragile(**settings: Any) -> Bench:
    chosen: dict[str, Any] = {"resilience": FRAGILE, **settings}
    return Bench(budget("all", "1.00"), **chosen)


def two_providers(**settings: Any) -> Bench:
    prices = {"stub": PRICES, "spare": PRICES}
    models = (*MODELS, SMALL_ELSEWHERE)
    return fragile(providers=(STUB, SPARE), models=models, prices=prices, **settings)


def limited(concurrency: int, **settings: Any) -> Bench:
    terms = {"stub": ProviderTerms("key", concurrency=concurrency)}
    return fragile(terms=terms, **settings)


async def failing(bench: Bench, times: int, status: int = 500) -> None:
    """So many calls, each refused by its provider."""
    for _ in range(times):
        number = len(bench.upstream.calls) + 1
        running = bench.start(bench.call())
        (await bench.at_provider(number)).refuse(status)
        assert cast("Answered", await running).exchange.status == status


async def refused(running: "asyncio.Task[Any]") -> PalyraError:
    with pytest.raises(PalyraError) as caught:
        await running
    return caught.value


async def served(bench: Bench) -> str:
    """One call that goes well: the route it took."""
    answered = await bench.answered(bench.call())
    return dict(answered.headers())[b"x-palyra-route"].decode()


def used(bench: Bench) -> tuple[int, int, int]:
    """Slots of foreground and background calls, and foreground waiters, of the first scope."""
    load = bench.engine.providers.loads()[0]
    return load.foreground, load.background, load.foreground_waiting


def health(bench: Bench) -> Health:
    model = bench.engine.registry.find("small")
    return bench.engine.providers.health(model, bench.clock.now())


# Breakers.


async def test_faults_in_a_row_open_the_breaker_and_calls_are_refused_unsent_and_unheld() -> None:
    bench = fragile()
    await failing(bench, FAULTS)

    error = await refused(bench.start(bench.call()))

    assert isinstance(error, ProviderUnavailable)
    assert (error.status, error.code, error.retry_after_s) == (503, "provider_unavailable", 30)
    assert len(bench.upstream.calls) == FAULTS
    assert bench.balance("all") == EMPTY
    assert bench.store.ledger.pending() == []
    held = [write for write in bench.store.journal.writes if write.state is CallState.PENDING]
    assert len(held) == FAULTS


async def test_after_its_time_one_call_probes_and_its_success_closes_the_breaker() -> None:
    bench = fragile()
    await failing(bench, FAULTS)
    bench.clock.advance(29)
    assert (await refused(bench.start(bench.call()))).retry_after_s == 1
    bench.clock.advance(1)

    probe = bench.start(bench.call())
    call = await bench.at_provider(FAULTS + 1)
    assert isinstance(await refused(bench.start(bench.call())), ProviderUnavailable)
    assert len(bench.upstream.calls) == FAULTS + 1
    call.answer(1, 1)
    await probe

    assert await served(bench) == "proceed"
    assert bench.engine.providers.calm


async def test_a_probe_that_fails_doubles_the_time_up_to_its_bound() -> None:
    bench = fragile()
    await failing(bench, FAULTS)
    for seconds in (30, 60, 60):
        bench.clock.advance(seconds - 1)
        assert (await refused(bench.start(bench.call()))).retry_after_s == 1
        bench.clock.advance(1)
        await failing(bench, 1)


async def test_a_probe_whose_client_leaves_lets_the_next_one_probe() -> None:
    bench = fragile()
    await failing(bench, FAULTS)
    bench.clock.advance(30)
    bench.engine.draining = 64
    probe = bench.start(bench.call())
    await bench.at_provider(FAULTS + 1)
    probe.cancel()
    await turns(probe.done)
    bench.engine.draining = 0

    assert bench.upstream.calls[-1].aborted
    assert await served(bench) == "proceed"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 413, 422, 429])
async def test_client_errors_never_open_the_breaker(status: int) -> None:
    """W34."""
    bench = fragile()

    await failing(bench, 10 * FAULTS, status)

    assert bench.engine.providers.breaker_state("stub", bench.clock.now()) is BreakerState.CLOSED
    assert await served(bench) == "proceed"


async def test_an_answer_between_faults_starts_the_count_anew() -> None:
    bench = fragile()
    for _ in range(5):
        await failing(bench, FAULTS - 1)
        await served(bench)
    await failing(bench, FAULTS - 1)
    await failing(bench, 1, 400)
    await failing(bench, FAULTS - 1)

    assert await served(bench) == "proceed"


async def test_an_error_long_ago_does_not_degrade_for_ever() -> None:
    """W28."""
    bench = fragile()
    await failing(bench, 1, 429)
    await failing(bench, FAULTS)
    assert health(bench) is Health.OPEN

    bench.clock.advance(3_600)

    assert health(bench) is Health.OK
    assert await served(bench) == "proceed"
    assert await served(bench) == "proceed"
    assert bench.engine.providers.calm
    background = bench.start(bench.call(headers=BACKGROUND))
    (await bench.at_provider(FAULTS + 4)).answer(1, 1)
    await background


async def test_calls_go_round_an_open_breaker_and_come_back_when_it_closes() -> None:
    bench = two_providers()
    for _ in range(FAULTS):
        number = len(bench.upstream.calls) + 1
        running = bench.start(bench.call())
        (await bench.at_provider(number)).refuse(500)
        (await bench.at_provider(number + 1)).answer(1, 1)
        await running
    before = len(bench.upstream.calls)

    assert await served(bench) == "failover"
    assert [call.request.provider_id for call in bench.upstream.calls[before:]] == ["spare"]

    bench.clock.advance(30)
    assert await served(bench) == "proceed"
    assert bench.upstream.calls[-1].request.provider_id == "stub"


async def test_a_call_that_was_held_when_the_breaker_opened_is_not_sent() -> None:
    bench = fragile()
    await failing(bench, FAULTS - 1)
    journal = slow(bench)
    first = bench.start(bench.call())
    await turns(lambda: len(journal.waiting) == 1)
    journal.flush()
    call = await bench.at_provider(FAULTS)
    second = bench.start(bench.call())
    await turns(lambda: len(journal.waiting) == 1)
    held, journal.waiting = journal.waiting, []
    call.refuse(500)
    await turns(lambda: len(journal.waiting) == 1)
    journal.waiting += held
    journal.flush()
    await first
    await turns(lambda: len(journal.waiting) == 1)
    assert journal.waiting[0].state is CallState.RELEASED
    journal.flush()

    assert isinstance(await refused(second), UpstreamFailed)
    assert len(bench.upstream.calls) == FAULTS
    assert bench.balance("all") == EMPTY


async def test_a_fault_in_the_middle_of_an_answer_counts() -> None:
    bench = fragile()
    for number in range(1, FAULTS + 1):
        running = bench.start(bench.call(stream=True))
        call = await bench.at_provider(number)
        call.begin_stream()
        await running
        call.fail(FailureKind.idle_timeout)

    assert isinstance(await refused(bench.start(bench.call())), ProviderUnavailable)


# Cooldowns.


async def test_a_rate_limit_makes_work_that_can_wait_wait_and_nobody_else() -> None:
    bench = fragile()
    running = bench.start(bench.call())
    (await bench.at_provider()).refuse(429, {"retry-after": "40"})
    await running
    bench.clock.advance(10)
    asked = bench.call(headers=BACKGROUND)

    error = await refused(bench.start(asked))

    assert isinstance(error, CapacityDeferred)
    assert (error.status, error.code, error.retry_after_s) == (429, "capacity_deferred", 30)
    assert len(bench.upstream.calls) == 1
    assert bench.balance("all") == EMPTY
    stored = await bench.store.records.decision(asked.request_id)
    assert stored is not None
    assert (stored.state, stored.decision.route) == (CallState.DENIED, "defer")
    assert stored.decision.error_code == "capacity_deferred"
    assert await served(bench) == "proceed"


async def test_a_cooldown_is_of_the_model_and_ends_by_time() -> None:
    bench = fragile()
    running = bench.start(bench.call())
    (await bench.at_provider()).refuse(429, {"retry-after": "40"})
    await running

    other = bench.start(bench.call(model="tiny", headers=BACKGROUND))
    (await bench.at_provider(2)).answer(1, 1)
    await other
    bench.clock.advance(40)
    same = bench.start(bench.call(headers=BACKGROUND))
    (await bench.at_provider(3)).answer(1, 1)
    await same


async def test_calls_go_round_a_credential_that_cools() -> None:
    bench = two_providers()
    running = bench.start(bench.call())
    (await bench.at_provider()).refuse(401)
    (await bench.at_provider(2)).answer(1, 1)
    await running

    assert health(bench) is Health.COOLING
    assert await served(bench) == "failover"
    assert [call.request.provider_id for call in bench.upstream.calls] == ["stub", "spare", "spare"]


# Slots.


async def test_a_full_provider_makes_foreground_calls_wait_in_their_order() -> None:
    bench = limited(2)
    running = [bench.start(bench.call(user=f"{number}")) for number in range(5)]
    await turns(lambda: used(bench) == (2, 0, 3))
    assert len(bench.upstream.calls) == 2

    order = [_user(call) for call in bench.upstream.calls]
    for number in range(5):
        bench.upstream.calls[number].answer(1, 1)
        await running[number]
        order += [_user(call) for call in bench.upstream.calls[len(order) :]]

    assert order == ["0", "1", "2", "3", "4"]
    assert used(bench) == (0, 0, 0)
    assert bench.engine.providers.calm


def _user(call: FakeCall) -> str:
    return cast("str", call.body["user"])


async def test_work_that_can_wait_is_told_to_come_again_where_there_is_no_room() -> None:
    bench = limited(1)
    running = bench.start(bench.call())
    call = await bench.at_provider()
    held = bench.balance("all")

    error = await refused(bench.start(bench.call(headers=BACKGROUND)))

    assert isinstance(error, CapacityDeferred)
    assert (error.status, error.code, error.retry_after_s) == (429, "capacity_deferred", 1)
    assert bench.balance("all") == held
    assert len(bench.upstream.calls) == 1
    call.answer(1, 1)
    await running
    again = bench.start(bench.call(headers=BACKGROUND))
    (await bench.at_provider(2)).answer(1, 1)
    await again


async def test_work_that_can_wait_leaves_a_slot_for_people() -> None:
    bench = limited(2)
    first = bench.start(bench.call(headers=BACKGROUND))
    await bench.at_provider()

    assert isinstance(await refused(bench.start(bench.call(headers=BACKGROUND))), CapacityDeferred)

    person = bench.start(bench.call())
    await bench.at_provider(2)
    for call in bench.upstream.calls:
        call.answer(1, 1)
    await asyncio.gather(first, person)
    assert used(bench) == (0, 0, 0)


@pytest.mark.parametrize("how", ["answered", "refused", "unsent", "in doubt", "stream", "broken stream"])
async def test_a_slot_is_free_again_however_its_call_ends(how: str) -> None:
    """W33."""
    bench = limited(1)
    running = bench.start(bench.call(stream="stream" in how))
    call = await bench.at_provider()
    assert used(bench) == (1, 0, 0)
    match how:
        case "answered":
            call.answer(1, 1)
        case "refused":
            call.refuse(400)
        case "unsent":
            call.fail(FailureKind.refused, sent=False)
        case "in doubt":
            call.fail(FailureKind.first_byte_timeout)
        case _:
            call.begin_stream()
            await running
            assert used(bench) == (1, 0, 0)
            call.sink.end() if how == "stream" else call.fail()
    await asyncio.gather(running, return_exceptions=True)

    assert used(bench) == (0, 0, 0)
    assert await served(bench) == "proceed"


async def test_a_slot_is_taken_and_freed_by_each_try() -> None:
    bench = limited(1, resilience=Resilience(Retries(2, 0, 0)))
    running = bench.start(bench.call())
    for number in (1, 2):
        call = await bench.at_provider(number)
        assert used(bench) == (1, 0, 0)
        call.refuse(500)
    (await bench.at_provider(3)).answer(1, 1)

    await running

    assert used(bench) == (0, 0, 0)


async def test_a_failover_takes_the_slot_of_the_other_provider() -> None:
    terms = {"stub": ProviderTerms("one", concurrency=1), "spare": ProviderTerms("two", concurrency=1)}
    bench = two_providers(terms=terms)
    running = bench.start(bench.call())
    (await bench.at_provider()).refuse(500)
    second = await bench.at_provider(2)

    assert [load.foreground for load in bench.engine.providers.loads()] == [0, 1]
    second.answer(1, 1)
    await running
    assert [load.foreground for load in bench.engine.providers.loads()] == [0, 0]


async def test_a_client_that_leaves_while_it_waits_for_a_slot_frees_its_place_and_its_hold() -> None:
    bench = limited(1)
    first = bench.start(bench.call())
    call = await bench.at_provider()
    held = bench.balance("all")
    gone, stays = bench.start(bench.call()), bench.start(bench.call())
    await turns(lambda: used(bench) == (1, 0, 2))

    gone.cancel()
    await turns(gone.done)

    assert used(bench) == (1, 0, 1)
    assert bench.balance("all").held == 2 * held.held
    call.answer(1, 1)
    (await bench.at_provider(2)).answer(1, 1)
    await asyncio.gather(first, stays)
    assert used(bench) == (0, 0, 0)
    assert bench.store.ledger.pending() == []


async def test_a_client_that_leaves_keeps_its_slot_until_the_answer_is_drained() -> None:
    bench = limited(1)
    running = bench.start(bench.call())
    call = await bench.at_provider()

    running.cancel()
    await turns(running.done)

    assert used(bench) == (1, 0, 0), "the provider still works on it"
    call.answer(1, 1)
    assert used(bench) == (0, 0, 0)


async def test_a_wait_for_a_slot_has_an_end() -> None:
    """V2: the call is told to come again, and nothing of it is held."""
    bench = limited(1, resilience=Resilience(Retries(0), capacity_wait_s=0.01))
    first = bench.start(bench.call())
    call = await bench.at_provider()
    held = bench.balance("all")
    asked = bench.call()

    error = await refused(bench.start(asked))

    assert isinstance(error, CapacityDeferred)
    assert dict(error.headers)[b"x-palyra-request-id"] == asked.request_id.encode()
    assert bench.balance("all") == held
    assert (await bench.settlement(asked.request_id)).state is CallState.RELEASED
    assert bench.engine.providers.loads()[0].timed_out_total == 1
    call.answer(1, 1)
    await first
    assert used(bench) == (0, 0, 0)


async def test_a_caller_that_waited_in_vain_for_a_slot_is_not_said_to_have_left() -> None:
    bench = limited(1, resilience=Resilience(Retries(0), capacity_wait_s=0.001))
    first = bench.start(bench.call())
    call = await bench.at_provider()
    asked = bench.call()

    await refused(bench.start(asked))

    call.answer(1, 1)
    await first
    assert (await bench.settlement(asked.request_id)).client_gone is False


async def test_providers_of_one_credential_share_its_slots() -> None:
    terms = {
        "stub": ProviderTerms("key", credential_concurrency=1),
        "spare": ProviderTerms("key", credential_concurrency=1),
    }
    bench = two_providers(terms=terms)
    first = bench.start(bench.call())
    await bench.at_provider()
    second = bench.start(bench.call(model="spare/small"))
    await turns(lambda: used(bench) == (1, 0, 1))
    assert isinstance(
        await refused(bench.start(bench.call(model="spare/small", headers=BACKGROUND))), CapacityDeferred
    )
    bench.upstream.calls[0].answer(1, 1)
    (await bench.at_provider(2)).answer(1, 1)
    await asyncio.gather(first, second)

    assert used(bench) == (0, 0, 0)


async def test_when_the_calls_of_a_shared_credential_are_over_there_is_nothing_to_look_at() -> None:
    terms = {name: ProviderTerms("key", credential_concurrency=1) for name in ("stub", "spare")}
    bench = two_providers(terms=terms)
    first = bench.start(bench.call())
    call = await bench.at_provider()
    second = bench.start(bench.call(model="spare/small"))
    await turns(lambda: used(bench) == (1, 0, 1))
    call.answer(1, 1)
    (await bench.at_provider(2)).answer(1, 1)
    await asyncio.gather(first, second)

    assert used(bench) == (0, 0, 0)
    assert bench.engine.providers.calm


async def test_a_provider_without_limits_takes_no_slots() -> None:
    bench = limited(1)
    providers = Providers({"other": ProviderTerms("key", concurrency=1)}, FRAGILE)
    bench.engine.providers = providers
    running = [bench.start(bench.call()) for _ in range(20)]
    await bench.at_provider(20)
    for call in bench.upstream.calls:
        call.answer(1, 1)
    await asyncio.gather(*running)

    assert not providers.is_limited("stub")
    assert providers.loads()[0].foreground == 0


async def test_deferred_work_is_listed_with_the_reason() -> None:
    bench = limited(1)
    running = bench.start(bench.call())
    call = await bench.at_provider()
    await refused(bench.start(bench.call(headers=BACKGROUND)))
    call.answer(1, 1)
    await running

    wanted = DecisionFilter(limit=10)
    (deferred,) = [
        each for each in await bench.store.records.decisions(wanted) if each.state is CallState.DENIED
    ]

    assert deferred.decision.route == "defer"
    assert deferred.decision.error_code == "capacity_deferred"


# Figures for people.


async def test_what_was_seen_of_a_provider_is_remembered() -> None:
    bench = fragile()
    await failing(bench, 1)
    running = bench.start(bench.call())
    call = await bench.at_provider(2)
    bench.clock.advance(2)
    call.answer(1, 1)
    await running

    seen = bench.engine.providers.seen("stub")

    assert (seen.attempts, seen.faults, seen.latency_ms) == (2, 1, 2_000)
    assert seen.last_ok == bench.clock.now()
    assert seen.last_fault is not None
    assert (seen.last_fault.reason.value, seen.last_fault.message) == ("server_error", "it answered 500")


async def test_room_is_what_a_call_would_find() -> None:
    bench = limited(2)
    providers = bench.engine.providers
    assert [providers.room("stub", each) for each in Priority] == ["ready", "ready"]

    one = await providers.lease("stub", Priority.FOREGROUND)
    two = await providers.lease("stub", Priority.FOREGROUND)

    assert [providers.room("stub", each) for each in Priority] == ["waiting", "waiting"]
    providers.give_back("stub", one)
    providers.give_back("stub", one)
    assert [providers.room("stub", each) for each in Priority] == ["ready", "ready"]
    providers.give_back("stub", two)
    assert providers.calm
