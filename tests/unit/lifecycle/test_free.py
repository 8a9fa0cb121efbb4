"""Counting tokens: free, forwarded, and asked of another provider where the first one fails."""

import asyncio
from collections.abc import Sequence

import pytest

from fakes.engines import Bench
from palyra.core.errors import ProviderUnavailable, UpstreamFailed
from palyra.lifecycle.call import Call
from palyra.lifecycle.free import count_tokens
from palyra.lifecycle.idempotency import Replay
from palyra.lifecycle.providers import Resilience
from palyra.lifecycle.waiting import in_task
from palyra.lifecycle.wire import Endpoint, FailureKind, UpstreamFailure
from palyra.registry.models import Kind, ModelEntry, Provider
from palyra.routing.breaker import BreakerSettings

CUT = UpstreamFailure(FailureKind.cut, "it broke off", sent=True)


def bench(providers: Sequence[str] = ("one", "two")) -> Bench:
    return Bench(
        providers=[Provider(name, Kind.OPENAI_COMPATIBLE) for name in providers],
        models=[ModelEntry("small", name, "small") for name in providers],
        resilience=Resilience(breaker=BreakerSettings(failures=1)),
    )


def asked(on: Bench, model: str = "small") -> Call:
    return on.call(endpoint=Endpoint.count_tokens, fields={"max_tokens": None}, model=model)


def start(on: Bench, call: Call) -> "asyncio.Task[Replay]":
    return asyncio.create_task(in_task(count_tokens(call, on.engine)))


def at(on: Bench) -> list[str]:
    return [call.request.provider_id for call in on.upstream.calls]


async def test_a_count_goes_to_another_provider_of_the_model_where_the_first_fails() -> None:
    on = bench()
    counting = start(on, asked(on))
    (await on.at_provider()).sink.failed(CUT)
    (await on.at_provider(2)).answer(3, 0)

    assert (await counting).status == 200
    assert at(on) == ["one", "two"]
    assert on.engine.in_flight == 0


async def test_a_provider_that_fails_is_left_alone_by_counts_too() -> None:
    on = bench()
    first = start(on, asked(on))
    (await on.at_provider()).sink.failed(CUT)
    (await on.at_provider(2)).answer(3, 0)
    await first

    second = start(on, asked(on))
    (await on.at_provider(3)).answer(3, 0)
    await second
    assert at(on) == ["one", "two", "two"]


async def test_the_last_failure_is_told_and_then_nobody_is_asked() -> None:
    on = bench(["one"])
    counting = start(on, asked(on))
    (await on.at_provider()).sink.failed(CUT)
    with pytest.raises(UpstreamFailed, match="it broke off"):
        await counting
    with pytest.raises(ProviderUnavailable):
        await start(on, asked(on))
    assert at(on) == ["one"]


async def test_a_count_that_names_its_provider_stays_there() -> None:
    on = bench()
    counting = start(on, asked(on, "one/small"))
    (await on.at_provider()).sink.failed(CUT)
    with pytest.raises(UpstreamFailed):
        await counting
    assert at(on) == ["one"]


async def test_an_error_of_the_callers_own_is_handed_on() -> None:
    on = bench()
    counting = start(on, asked(on))
    (await on.at_provider()).answer(0, 0, status=400)
    assert (await counting).status == 400
    assert at(on) == ["one"]


async def test_a_caller_that_leaves_ends_its_count() -> None:
    on = bench()
    counting = start(on, asked(on))
    call = await on.at_provider()
    counting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await counting
    assert (call.aborted, on.engine.in_flight) == (True, 0)
