"""Calls whose provider fails before its first byte: tried again, taken elsewhere, every cent accounted for.

The provider ``stub`` serves all models of the bench; ``spare`` serves ``small`` at three times the price.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from fakes.engines import (
    AT_ONCE,
    MODELS,
    PRICES,
    STUB,
    Bench,
    FakeCall,
    NoCatalog,
    SlowJournal,
    budget,
    slow,
    turns,
)
from palyra.budgets.terms import Mode
from palyra.core.errors import (
    BudgetExceeded,
    IdempotencyInFlight,
    IdempotencySettled,
    LedgerUnavailable,
    PalyraError,
    UpstreamFailed,
    UpstreamTimedOut,
)
from palyra.core.money import format_usd
from palyra.ledger.account import EMPTY
from palyra.lifecycle.decision import CallState, StoredDecision
from palyra.lifecycle.flow import Answered, Repeated
from palyra.lifecycle.ports import DecisionFilter
from palyra.lifecycle.providers import ProviderTerms, Resilience
from palyra.lifecycle.wire import Endpoint, FailureKind
from palyra.registry.models import Kind, ModelEntry, Provider
from palyra.registry.registry import Registry
from palyra.routing.backoff import Retries
from palyra.routing.breaker import BreakerSettings
from palyra.routing.rules import RoutingRules

COST = 20 * 1_000 + 40 * 2_000
"""Nano-USD of 20 input and 40 output tokens of ``small`` at ``stub``."""
SPARE = Provider("spare", Kind.OPENAI_COMPATIBLE)
BOTH = (STUB, SPARE)
SMALL_ELSEWHERE = ModelEntry("small", "spare", "small", output_limit=100_000)
PRICED = {"stub": PRICES, "spare": {"small": {"input": "3.00", "output": "6.00"}}}
BACKGROUND = {"x-palyra-task-class": "background_automation"}
NO_RETRY = Resilience(Retries(0))

Break = Callable[[FakeCall], None]


def refusing(status: int, **headers: str) -> Break:
    return lambda call: call.refuse(
        status, {name.replace("_", "-"): value for name, value in headers.items()}
    )


def failing(kind: FailureKind, *, sent: bool) -> Break:
    return lambda call: call.fail(kind, sent=sent)


def with_fallbacks(*names: str) -> tuple[ModelEntry, ...]:
    """The models of the bench; ``small`` has these fallbacks."""
    return tuple(replace(each, fallbacks=names) if each.id == "small" else each for each in MODELS)


def two_providers(*budgets: Mapping[str, object], fallbacks: Sequence[str] = (), **settings: Any) -> Bench:
    """A bench where ``small`` is served elsewhere, too."""
    models = (*with_fallbacks(*fallbacks), SMALL_ELSEWHERE)
    settings = {"providers": BOTH, "models": models, "prices": PRICED, "resilience": NO_RETRY, **settings}
    return Bench(*budgets, **settings)


async def stored(bench: Bench, request_id: str) -> StoredDecision:
    found = await bench.store.records.decision(request_id)
    assert found is not None, request_id
    return found


async def all_stored(bench: Bench) -> list[str]:
    wanted = DecisionFilter(limit=100)
    return [each.decision.request_id for each in await bench.store.records.decisions(wanted)]


async def tries(bench: Bench, request_id: str) -> list[tuple[str, str, int | None, str, str]]:
    settlement = await bench.settlement(request_id)
    return [(each.provider, each.model, each.status, each.outcome, each.then) for each in settlement.attempts]


async def hold_of(bench: Bench, request_id: str) -> int:
    bound = (await stored(bench, request_id)).decision.cost_bound
    assert bound is not None
    return bound


def at(bench: Bench) -> list[str]:
    """Where the calls went, in order."""
    return [f"{call.request.provider_id}/{call.body['model']}" for call in bench.upstream.calls]


def headers_of(answered: object) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in cast("Answered", answered).headers()}


async def refused(running: "asyncio.Task[Any]") -> PalyraError:
    with pytest.raises(PalyraError) as caught:
        await running
    return caught.value


def is_quiet(bench: Bench) -> bool:
    """V1, W33: nothing is held, nothing in flight, no slot taken."""
    engine = bench.engine
    busy = [load for load in engine.providers.loads() if load.foreground or load.background]
    waiting = [load for load in engine.providers.loads() if load.foreground_waiting]
    in_flight = (engine.in_flight, engine.reserving, engine.draining)
    return not bench.store.ledger.pending() and in_flight == (0, 0, 0) and not busy and not waiting


class Timers:
    """Timers of the loop that wait for the test instead of the time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._set: list[tuple[float, asyncio.TimerHandle, Callable[[], object]]] = []

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, **_: Any
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(self._loop.time() + delay, callback, args, self._loop)
        self._set.append((delay, handle, lambda: callback(*args)))
        return handle

    def waiting(self) -> list[float]:
        """The delays of those that are not cancelled."""
        return [delay for delay, handle, _ in self._set if not handle.cancelled()]

    def fire(self, delay: float) -> None:
        """Let the time of one pass."""
        (found,) = [each for each in self._set if each[0] == delay and not each[1].cancelled()]
        self._set.remove(found)
        found[2]()


@pytest.fixture
async def timers(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Timers]:
    loop = asyncio.get_running_loop()
    made = Timers(loop)
    monkeypatch.setattr(loop, "call_later", made.call_later)
    yield made
    monkeypatch.undo()


# Tried again at the same provider.


@pytest.mark.parametrize(
    ("break_it", "status", "outcome"),
    [
        *((refusing(status), status, "server_error") for status in (500, 502, 504, 521)),
        *((refusing(status), status, "overloaded") for status in (503, 529)),
        (refusing(408), 408, "timeout"),
        (refusing(429), 429, "rate_limited"),
        (failing(FailureKind.refused, sent=False), None, "unreachable"),
        (failing(FailureKind.connect_timeout, sent=False), None, "unreachable"),
        (failing(FailureKind.cut, sent=False), None, "cut"),
    ],
)
async def test_a_call_that_cannot_be_billed_is_tried_again_under_the_same_hold(
    break_it: Break, status: int | None, outcome: str
) -> None:
    bench = Bench(budget("all", "1.00"))
    asked = bench.call()
    running = bench.start(asked)
    first = await bench.at_provider()
    held = bench.balance("all")
    break_it(first)
    second = await bench.at_provider(2)
    assert bench.balance("all") == held
    assert second.request == first.request
    second.answer(20, 40)

    answered = cast("Answered", await running)

    assert (answered.exchange.status, headers_of(answered)["x-palyra-route"]) == (200, "proceed")
    assert bench.balance("all")[:2] == (COST, 0)
    assert await tries(bench, asked.request_id) == [
        ("stub", "small", status, outcome, "retry"),
        ("stub", "small", 200, "ok", ""),
    ]
    assert await all_stored(bench) == [asked.request_id]
    assert is_quiet(bench)


async def test_a_provider_that_goes_on_failing_has_the_last_word() -> None:
    bench = Bench(budget("all", "1.00"))
    asked = bench.call()
    running = bench.start(asked)
    for number in range(1, 4):
        body = b'{"error":{"message":"fault %d"}}' % number
        (await bench.at_provider(number)).refuse(503, {"x-from": "stub"}, body)

    answered = cast("Answered", await running)

    assert (answered.exchange.status, answered.exchange.body()) == (503, b'{"error":{"message":"fault 3"}}')
    assert headers_of(answered)["x-from"] == "stub"
    assert headers_of(answered)["x-palyra-request-id"] == asked.request_id
    failed = ("stub", "small", 503, "overloaded")
    assert await tries(bench, asked.request_id) == [(*failed, "retry"), (*failed, "retry"), (*failed, "")]
    assert (await bench.settlement(asked.request_id)).state is CallState.RELEASED
    assert bench.balance("all") == EMPTY
    assert is_quiet(bench)
    assert len(bench.upstream.calls) == 3


async def test_a_provider_that_stays_unreachable_is_told_as_such() -> None:
    bench = Bench(budget("all", "1.00"))
    asked = bench.call()
    running = bench.start(asked)
    for number in range(1, 4):
        (await bench.at_provider(number)).fail(FailureKind.refused, sent=False)

    error = await refused(running)

    assert isinstance(error, UpstreamFailed)
    assert dict(error.headers)[b"x-palyra-request-id"] == asked.request_id.encode()
    assert len(await tries(bench, asked.request_id)) == 3
    assert bench.balance("all") == EMPTY


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (FailureKind.cut, UpstreamFailed),
        (FailureKind.protocol, UpstreamFailed),
        (FailureKind.first_byte_timeout, UpstreamTimedOut),
        (FailureKind.total_timeout, UpstreamTimedOut),
    ],
)
async def test_a_call_that_was_sent_and_not_answered_is_never_sent_again_and_posted_as_held(
    kind: FailureKind, error: type[PalyraError]
) -> None:
    bench = Bench(budget("all", "1.00"))
    asked = bench.call()
    running = bench.start(asked)
    call = await bench.at_provider()
    held = bench.balance("all").held
    call.fail(kind)

    assert isinstance(await refused(running), error)

    assert len(bench.upstream.calls) == 1
    assert bench.balance("all")[:2] == (held, 0)
    assert (await bench.settlement(asked.request_id)).state is CallState.IN_DOUBT


@pytest.mark.parametrize("status", [400, 403, 404, 409, 413, 422])
async def test_an_error_of_the_caller_is_his_at_once(status: int) -> None:
    bench = two_providers(budget("all", "1.00"), resilience=AT_ONCE)
    asked = bench.call()
    running = bench.start(asked)
    body = b'{"error":{"code":"content_policy_violation"}}'
    (await bench.at_provider()).refuse(status, body=body)

    answered = cast("Answered", await running)

    assert (answered.exchange.status, answered.exchange.body()) == (status, body)
    assert at(bench) == ["stub/small"]
    assert await tries(bench, asked.request_id) == []
    assert bench.balance("all") == EMPTY


async def test_a_provider_that_says_not_to_is_not_asked_again() -> None:
    bench = Bench()
    running = bench.start(bench.call())
    (await bench.at_provider()).refuse(500, {"x-should-retry": "false"})

    assert cast("Answered", await running).exchange.status == 500
    assert len(bench.upstream.calls) == 1


async def test_what_the_provider_asks_for_is_waited_for(timers: Timers) -> None:
    bench = Bench()
    running = bench.start(bench.call())
    (await bench.at_provider()).refuse(429, {"retry-after": "3"})
    await turns(lambda: timers.waiting() != [])

    assert timers.waiting() == [3.0]
    assert len(bench.upstream.calls) == 1
    timers.fire(3.0)
    (await bench.at_provider(2)).answer(1, 1)

    assert cast("Answered", await running).exchange.status == 200


async def test_waits_between_tries_double_and_are_spread_by_chance(timers: Timers) -> None:
    second = 1_000_000_000
    bench = Bench(resilience=Resilience(Retries(3, second, 3 * second)))
    bench.engine.random = lambda: 0.5
    running = bench.start(bench.call())
    for number, delay in enumerate([0.5, 1.0, 1.5], start=1):
        (await bench.at_provider(number)).refuse(500)
        await turns(lambda: timers.waiting() != [])
        assert timers.waiting() == [delay]
        timers.fire(delay)
    (await bench.at_provider(4)).answer(1, 1)

    await running


async def test_a_provider_that_asks_for_too_much_is_not_waited_for(timers: Timers) -> None:
    bench = Bench()
    running = bench.start(bench.call())
    (await bench.at_provider()).refuse(429, {"retry-after": "11"})
    await turns(running.done)

    answered = cast("Answered", await running)

    assert (answered.exchange.status, headers_of(answered)["retry-after"]) == (429, "11")
    assert len(bench.upstream.calls) == 1


async def test_with_another_provider_only_a_short_wait_is_worth_it(timers: Timers) -> None:
    bench = two_providers(resilience=AT_ONCE)
    running = bench.start(bench.call())
    (await bench.at_provider()).refuse(503, {"retry-after": "1"})
    await turns(lambda: timers.waiting() == [1.0])
    timers.fire(1.0)
    (await bench.at_provider(2)).refuse(503, {"retry-after": "2"})
    (await bench.at_provider(3)).answer(1, 1)

    await running

    assert at(bench) == ["stub/small", "stub/small", "spare/small"]


# Taken elsewhere.


@pytest.mark.parametrize(
    "break_it",
    [
        refusing(500),
        refusing(401),
        refusing(402),
        failing(FailureKind.refused, sent=False),
        failing(FailureKind.tls, sent=False),
    ],
)
async def test_a_failover_moves_the_hold_to_the_price_of_the_other_provider(break_it: Break) -> None:
    bench = two_providers(budget("all", "1.00"))
    asked = bench.call()
    running = bench.start(asked)
    first = await bench.at_provider()
    held = bench.balance("all").held
    assert held == await hold_of(bench, asked.request_id)
    break_it(first)
    second = await bench.at_provider(2)
    assert bench.balance("all")[:2] == (0, 3 * held)
    assert await hold_of(bench, f"{asked.request_id}.2") == 3 * held
    second.answer(20, 40)

    answered = await running

    assert bench.balance("all")[:2] == (3 * COST, 0)
    assert at(bench) == ["stub/small", "spare/small"]
    told = headers_of(answered)
    assert (told["x-palyra-request-id"], told["x-palyra-route"]) == (asked.request_id, "failover")
    assert told["x-palyra-cost-usd"] == format_usd(3 * COST)
    one, two = await stored(bench, asked.request_id), await stored(bench, f"{asked.request_id}.2")
    assert (one.state, two.state) == (CallState.RELEASED, CallState.SETTLED)
    assert (one.decision.continues, two.decision.continues) == (None, asked.request_id)
    assert (two.decision.provider, two.decision.route) == ("spare", "failover")
    assert [each[-1] for each in await tries(bench, asked.request_id)] == ["failover"]
    assert is_quiet(bench)


async def test_fallbacks_are_tried_in_order_after_the_same_model_elsewhere_and_only_so_many() -> None:
    bench = two_providers(
        budget("all", "1.00"), fallbacks=["tiny", "gone", "large", "spare/small", "unpriced"]
    )
    asked = bench.call()
    running = bench.start(asked)
    for number in range(1, 5):
        (await bench.at_provider(number)).refuse(500, body=b'{"number":%d}' % number)

    answered = cast("Answered", await running)

    assert at(bench) == ["stub/small", "spare/small", "stub/tiny", "stub/large"]
    assert (answered.exchange.status, answered.exchange.body()) == (500, b'{"number":4}')
    ids = [asked.request_id, *(f"{asked.request_id}.{number}" for number in (2, 3, 4))]
    assert sorted(await all_stored(bench)) == ids
    states = [(await stored(bench, each)).state for each in ids]
    assert states == [CallState.RELEASED] * 4
    continued = [(await stored(bench, each)).decision.continues for each in ids]
    assert continued == [None, *ids[:3]]
    assert bench.balance("all") == EMPTY
    assert is_quiet(bench)


async def test_the_retries_of_the_other_provider_are_its_own() -> None:
    bench = two_providers(resilience=AT_ONCE)
    asked = bench.call()
    running = bench.start(asked)
    for number in range(1, 6):
        (await bench.at_provider(number)).refuse(500)
    (await bench.at_provider(6)).answer(20, 40)

    await running

    assert at(bench) == ["stub/small"] * 3 + ["spare/small"] * 3
    assert [each[-1] for each in await tries(bench, asked.request_id)] == ["retry", "retry", "failover"]
    assert [each[-1] for each in await tries(bench, f"{asked.request_id}.2")] == ["retry", "retry", ""]


async def test_auto_takes_further_candidates_from_the_cheapest_on() -> None:
    bench = Bench(budget("all", "1.00"), default_model="large", resilience=NO_RETRY)
    asked = bench.call(model="auto", headers={"x-palyra-task-class": "auxiliary_summary"})
    running = bench.start(asked)
    (await bench.at_provider()).refuse(500)
    (await bench.at_provider(2)).answer(20, 40)
    await running

    assert at(bench)[0] == "stub/tiny", "work that can wait takes the cheapest"
    assert at(bench)[1] == "stub/small", "the next cheapest stands in"


async def test_a_failover_that_no_budget_pays_for_leaves_the_first_answer_and_nothing_held() -> None:
    probe = two_providers()
    probed = probe.call()
    await probe.answered(probed)
    held = await hold_of(probe, probed.request_id)
    bench = two_providers(budget("all", format_usd(3 * held - 1)))
    asked = bench.call()
    running = bench.start(asked)
    (await bench.at_provider()).refuse(500, body=b"the first answer")

    answered = cast("Answered", await running)

    assert (answered.exchange.status, answered.exchange.body()) == (500, b"the first answer")
    assert headers_of(answered)["x-palyra-route"] == "proceed"
    assert at(bench) == ["stub/small"]
    assert bench.balance("all") == EMPTY
    assert await all_stored(bench) == [asked.request_id]
    assert is_quiet(bench)


async def test_a_failover_never_takes_a_budget_over_its_limit() -> None:
    """L1: the balance is exact before, between and after."""
    probe = two_providers()
    probed = probe.call()
    await probe.answered(probed)
    held = await hold_of(probe, probed.request_id)
    bench = two_providers(budget("all", format_usd(4 * held)))
    running = [bench.start(bench.call()) for _ in range(2)]
    await bench.at_provider(2)
    first, second = bench.upstream.calls
    assert bench.balance("all").held == 2 * held
    first.refuse(500)
    await bench.at_provider(3)
    assert bench.balance("all").held == 4 * held
    second.refuse(500)
    await turns(running[1].done)

    assert cast("Answered", await running[1]).exchange.status == 500
    assert bench.balance("all")[:2] == (0, 3 * held)
    bench.upstream.calls[2].answer(20, 40)
    await running[0]
    assert bench.balance("all")[:2] == (3 * COST, 0)


async def test_a_first_try_that_may_be_billed_is_posted_and_the_second_is_settled_beside_it() -> None:
    bench = two_providers(budget("all", "1.00"))
    asked = bench.call()
    running = bench.start(asked)
    first = await bench.at_provider()
    held = bench.balance("all").held
    first.fail(FailureKind.cut)
    second = await bench.at_provider(2)
    assert bench.balance("all")[:2] == (held, 3 * held)
    second.answer(20, 40)

    await running

    assert bench.balance("all")[:2] == (held + 3 * COST, 0)
    assert (await bench.settlement(asked.request_id)).state is CallState.IN_DOUBT
    assert (await bench.settlement(f"{asked.request_id}.2")).cost == 3 * COST
    (total,) = await bench.store.records.usage(bench.clock.now() - 1, bench.clock.now() + 1, ())  # type: ignore[arg-type]
    assert total.cost == held + 3 * COST


async def test_what_may_be_billed_counts_before_the_call_is_taken_elsewhere() -> None:
    probe = two_providers()
    probed = probe.call()
    await probe.answered(probed)
    held = await hold_of(probe, probed.request_id)
    bench = two_providers(budget("all", format_usd(4 * held - 1)))
    running = bench.start(bench.call())
    (await bench.at_provider()).fail(FailureKind.cut)

    assert isinstance(await refused(running), UpstreamFailed)

    assert bench.balance("all")[:2] == (held, 0)
    assert at(bench) == ["stub/small"]
    assert is_quiet(bench)


@pytest.mark.parametrize("mode", [Mode.SUGGEST, Mode.DRY_RUN])
async def test_only_enforced_changes_the_model(mode: Mode) -> None:
    bench = two_providers(fallbacks=["tiny"], mode=mode)
    running = bench.start(bench.call())
    (await bench.at_provider()).refuse(500)
    (await bench.at_provider(2)).refuse(502)

    assert cast("Answered", await running).exchange.status == 502
    assert at(bench) == ["stub/small", "spare/small"]


async def test_failover_can_be_switched_off() -> None:
    bench = two_providers(fallbacks=["tiny"], routing=RoutingRules(failover=False))
    running = bench.start(bench.call())
    (await bench.at_provider()).refuse(500)

    assert cast("Answered", await running).exchange.status == 500
    assert at(bench) == ["stub/small"]


async def test_a_key_is_not_taken_to_a_model_that_it_may_not_use() -> None:
    bench = two_providers(fallbacks=["tiny"], allowed=["small"])
    running = bench.start(bench.call())
    (await bench.at_provider()).refuse(500)
    (await bench.at_provider(2)).refuse(500)

    assert cast("Answered", await running).exchange.status == 500
    assert at(bench) == ["stub/small", "spare/small"]


async def test_a_provider_that_does_not_speak_the_endpoint_is_passed_over() -> None:
    mute = Provider("spare", Kind.OPENAI_COMPATIBLE, endpoints=frozenset({"messages"}))
    bench = two_providers(providers=(STUB, mute))
    running = bench.start(bench.call())
    (await bench.at_provider()).refuse(500)

    assert cast("Answered", await running).exchange.status == 500
    assert at(bench) == ["stub/small"]


async def test_embeddings_fail_over_to_the_same_model_only() -> None:
    bench = two_providers(fallbacks=["tiny"])
    asked = bench.call(endpoint=Endpoint.embeddings, messages=None, max_tokens=None, input="hi")
    running = bench.start(asked)
    (await bench.at_provider()).refuse(500)
    (await bench.at_provider(2)).refuse(500)

    await running

    assert at(bench) == ["stub/small", "spare/small"]


async def test_a_ledger_that_takes_no_more_calls_leaves_the_provider_s_answer() -> None:
    bench = two_providers(budget("all", "1.00"))
    running = bench.start(bench.call())
    call = await bench.at_provider()
    bench.store.journal.failure = LedgerUnavailable("full")
    call.refuse(500)

    assert cast("Answered", await running).exchange.status == 500
    assert bench.balance("all") == EMPTY
    assert at(bench) == ["stub/small"]


async def test_a_hold_elsewhere_that_does_not_reach_the_disk_leaves_the_provider_s_answer() -> None:
    bench = two_providers(budget("all", "1.00"))
    journal = slow(bench)
    running = bench.start(bench.call())
    await turns(lambda: len(journal.waiting) == 1)
    journal.flush()
    (await bench.at_provider()).refuse(500)
    await turns(lambda: len(journal.waiting) == 2)
    release, hold = journal.waiting
    journal.waiting = [release]
    journal.flush()
    assert not running.done()
    journal.waiting = [hold]
    journal.flush(LedgerUnavailable("full"))
    await turns(running.done)

    assert cast("Answered", await running).exchange.status == 500
    assert bench.balance("all") == EMPTY
    assert at(bench) == ["stub/small"]


async def test_work_that_can_wait_is_not_taken_to_a_provider_without_room() -> None:
    """A plan that is not admitted holds nothing, so nothing may be sent by it (D1)."""
    terms = {"spare": ProviderTerms("spare", concurrency=1)}
    bench = two_providers(budget("all", "1.00"), terms=terms)
    busy = bench.start(bench.call(model="spare/small"))
    await bench.at_provider()
    held = bench.balance("all").held
    asked = bench.call(headers=BACKGROUND)
    running = bench.start(asked)
    (await bench.at_provider(2)).refuse(500, body=b"the first answer")
    await turns(running.done)

    answered = cast("Answered", await running)

    assert (answered.exchange.status, answered.exchange.body()) == (500, b"the first answer")
    assert at(bench) == ["spare/small", "stub/small"]
    assert bench.balance("all").held == held
    bench.upstream.calls[0].answer(1, 1)
    await busy
    assert is_quiet(bench)


async def test_a_model_that_goes_while_its_call_fails_leaves_the_answer_and_nothing_held() -> None:
    """Discovery swaps the registry at any time."""
    bench = two_providers(budget("all", "1.00"))
    running = bench.start(bench.call())
    call = await bench.at_provider()
    bench.engine.registry = Registry(BOTH, MODELS[1:], NoCatalog(), None)
    call.refuse(500)
    await turns(running.done)

    assert bench.store.ledger.pending() == []
    assert cast("Answered", await running).exchange.status == 500


# Streams.


class Reader:
    """What a client of a stream gets."""

    def __init__(self) -> None:
        self.data = b""
        self.ended = False
        self.error: PalyraError | None = None

    def chunk(self, data: bytes) -> None:
        self.data += data

    def end(self) -> None:
        self.ended = True

    def broken(self, error: PalyraError) -> None:
        self.error = error


async def test_a_stream_that_fails_before_its_head_is_taken_elsewhere() -> None:
    bench = two_providers(budget("all", "1.00"))
    asked = bench.call(stream=True)
    running = bench.start(asked)
    (await bench.at_provider()).refuse(500)
    second = await bench.at_provider(2)
    second.begin_stream()
    answered = cast("Answered", await running)
    reader = Reader()
    answered.exchange.read_by(reader)
    second.event({"choices": [{"delta": {"content": "hello"}}]})
    second.event({"choices": [], "usage": {"prompt_tokens": 20, "completion_tokens": 40}})
    second.sink.end()
    await turns(lambda: is_quiet(bench))

    assert headers_of(answered)["x-palyra-route"] == "failover"
    assert b"hello" in reader.data
    assert reader.ended
    assert bench.balance("all")[:2] == (3 * COST, 0)


async def test_a_stream_that_breaks_after_its_head_is_taken_nowhere() -> None:
    bench = two_providers(budget("all", "1.00"), resilience=AT_ONCE)
    asked = bench.call(stream=True)
    running = bench.start(asked)
    call = await bench.at_provider()
    call.begin_stream()
    answered = cast("Answered", await running)
    reader = Reader()
    answered.exchange.read_by(reader)
    call.fail(FailureKind.cut)
    await turns(lambda: is_quiet(bench))

    assert at(bench) == ["stub/small"]
    assert isinstance(reader.error, UpstreamFailed)
    settlement = await bench.settlement(asked.request_id)
    assert (settlement.state, settlement.source) == (CallState.SETTLED, "estimated")
    assert bench.balance("all").posted == settlement.cost


async def test_an_answer_that_breaks_after_its_head_is_taken_nowhere() -> None:
    bench = two_providers(budget("all", "1.00"), resilience=AT_ONCE)
    running = bench.start(bench.call())
    call = await bench.at_provider()
    call.sink.head(200, [(b"content-type", b"application/json")])
    call.fail(FailureKind.cut)

    assert isinstance(await refused(running), UpstreamFailed)
    assert at(bench) == ["stub/small"]
    assert is_quiet(bench)
    assert bench.balance("all").posted > 0


# The client leaves.


async def test_a_client_that_leaves_before_a_second_try_leaves_nothing_behind(timers: Timers) -> None:
    bench = Bench(budget("all", "1.00"), resilience=Resilience(Retries(base_ns=1_000_000_000)))
    bench.engine.random = lambda: 0.5
    asked = bench.call()
    running = bench.start(asked)
    (await bench.at_provider()).refuse(500)
    await turns(lambda: timers.waiting() != [])

    running.cancel()
    await turns(running.done)
    await turns(lambda: is_quiet(bench))

    assert 0.5 not in timers.waiting()
    assert len(bench.upstream.calls) == 1
    assert bench.balance("all") == EMPTY
    settlement = await bench.settlement(asked.request_id)
    assert (settlement.state, settlement.client_gone) == (CallState.RELEASED, True)


@pytest.mark.parametrize("number", [1, 2, 3, 4])
@pytest.mark.parametrize("how", ["answered", "error", "cut"])
async def test_a_client_may_leave_during_any_try(number: int, how: str) -> None:
    """Tries 1 and 2 at ``stub``, 3 and 4 at ``spare``: the one that runs is drained, and none follows."""
    bench = two_providers(budget("all", "1.00"), resilience=Resilience(Retries(1, 0, 0)))
    asked = bench.call()
    running = bench.start(asked)
    for before in range(1, number):
        (await bench.at_provider(before)).refuse(500)
    call = await bench.at_provider(number)
    held = bench.balance("all").held

    running.cancel()
    await turns(running.done)
    assert bench.balance("all").held == held, "the provider still works on it"
    match how:
        case "answered":
            call.answer(20, 40)
        case "error":
            call.refuse(500)
        case _:
            call.fail(FailureKind.cut)
    await turns(lambda: is_quiet(bench))

    assert len(bench.upstream.calls) == number
    price = 1 if number <= 2 else 3
    assert bench.balance("all")[:2] == ({"answered": price * COST, "error": 0, "cut": held}[how], 0)


async def test_a_client_that_leaves_while_the_hold_elsewhere_is_written_leaves_nothing_behind() -> None:
    bench = two_providers(budget("all", "1.00"))
    journal = slow(bench)
    running = bench.start(bench.call())
    await turns(lambda: len(journal.waiting) == 1)
    journal.flush()
    (await bench.at_provider()).refuse(500)
    await turns(lambda: len(journal.waiting) == 2)

    running.cancel()
    await turns(running.done)
    await flushed(journal)

    assert at(bench) == ["stub/small"]
    assert bench.balance("all") == EMPTY
    assert is_quiet(bench)


async def test_a_client_that_leaves_while_the_end_is_written_leaves_nothing_behind() -> None:
    bench = Bench(budget("all", "1.00"), resilience=NO_RETRY)
    journal = slow(bench)
    running = bench.start(bench.call())
    await turns(lambda: len(journal.waiting) == 1)
    journal.flush()
    (await bench.at_provider()).refuse(500)
    await turns(lambda: len(journal.waiting) == 1)

    running.cancel()
    await turns(running.done)
    await flushed(journal)

    assert bench.balance("all") == EMPTY
    assert is_quiet(bench)


async def flushed(journal: SlowJournal) -> None:
    while journal.waiting:
        journal.flush()
        await asyncio.sleep(0)


# Idempotency (K1).


async def test_one_key_is_one_claim_over_a_failover_and_its_replay_is_the_answer_given() -> None:
    bench = two_providers(budget("all", "1.00"))
    running = bench.start(bench.call(idempotency_key="k"))
    (await bench.at_provider()).refuse(500)
    assert isinstance(await refused(bench.start(bench.call(idempotency_key="k"))), IdempotencyInFlight)
    second = await bench.at_provider(2)
    assert isinstance(await refused(bench.start(bench.call(idempotency_key="k"))), IdempotencyInFlight)
    second.answer(20, 40)
    answered = cast("Answered", await running)

    again = await bench.start(bench.call(idempotency_key="k"))

    assert isinstance(again, Repeated)
    assert again.replay.body == answered.exchange.body()
    shown = {name.decode(): value.decode() for name, value in again.replay.headers}
    assert shown["x-palyra-route"] == "failover"
    assert shown["x-palyra-request-id"] == headers_of(answered)["x-palyra-request-id"]
    assert len(bench.upstream.calls) == 2
    assert bench.balance("all")[:2] == (3 * COST, 0)


async def test_a_key_stays_claimed_while_a_retry_is_waited_for(timers: Timers) -> None:
    bench = Bench(budget("all", "1.00"))
    running = bench.start(bench.call(idempotency_key="k"))
    (await bench.at_provider()).refuse(429, {"retry-after": "3"})
    await turns(lambda: timers.waiting() == [3.0])

    assert isinstance(await refused(bench.start(bench.call(idempotency_key="k"))), IdempotencyInFlight)

    timers.fire(3.0)
    (await bench.at_provider(2)).answer(20, 40)
    await running
    assert isinstance(await bench.start(bench.call(idempotency_key="k")), Repeated)
    assert bench.balance("all")[:2] == (COST, 0)


async def test_a_key_is_free_again_when_every_try_failed() -> None:
    bench = two_providers(budget("all", "1.00"))
    running = bench.start(bench.call(idempotency_key="k"))
    (await bench.at_provider()).refuse(500)
    (await bench.at_provider(2)).refuse(500)
    await running

    again = bench.start(bench.call(idempotency_key="k"))
    (await bench.at_provider(3)).answer(20, 40)

    assert cast("Answered", await again).exchange.status == 200


async def test_a_key_stays_used_when_a_try_may_be_billed_and_none_else_could_run() -> None:
    bench = Bench(budget("all", "1.00"))
    running = bench.start(bench.call(idempotency_key="k"))
    (await bench.at_provider()).fail(FailureKind.cut)
    await refused(running)

    assert isinstance(await refused(bench.start(bench.call(idempotency_key="k"))), IdempotencySettled)
    assert len(bench.upstream.calls) == 1


async def test_a_refused_call_is_not_recovered() -> None:
    bench = two_providers(budget("all", "0.000001"))

    assert isinstance(await refused(bench.start(bench.call())), BudgetExceeded)

    assert bench.upstream.calls == []
    assert bench.balance("all") == EMPTY


async def test_calls_that_wait_for_a_second_try_count_among_those_in_flight(timers: Timers) -> None:
    """V2: a provider that fails at once must not make the number of calls in memory unbounded."""
    bench = Bench()
    bench.engine.calls_in_flight_max = 1
    running = bench.start(bench.call())
    (await bench.at_provider()).refuse(429, {"retry-after": "3"})
    await turns(lambda: timers.waiting() == [3.0])

    assert bench.engine.full

    timers.fire(3.0)
    (await bench.at_provider(2)).answer(1, 1)
    await running
    assert not bench.engine.full


async def test_a_breaker_that_opens_between_two_tries_leaves_the_provider_s_answer() -> None:
    bench = Bench(resilience=Resilience(Retries(2, 0, 0), BreakerSettings(failures=2)))
    asked = bench.call()
    running = bench.start(asked)
    (await bench.at_provider()).refuse(500)
    (await bench.at_provider(2)).refuse(500, body=b"the last answer")
    await turns(running.done)

    answered = cast("Answered", await running)

    assert (answered.exchange.status, answered.exchange.body()) == (500, b"the last answer")
    assert [each[-1] for each in await tries(bench, asked.request_id)] == ["retry", ""]
