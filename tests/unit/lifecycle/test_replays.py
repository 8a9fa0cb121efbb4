"""Answers kept for repeats: bounded, never given to another request."""

from typing import cast

import pytest

from fakes.engines import Bench, turns
from palyra.core.errors import IdempotencyInFlight, IdempotencyMismatch, IdempotencySettled
from palyra.lifecycle.flow import Repeated
from palyra.lifecycle.idempotency import Replay, Replays

DAY_S = 86_400


def answer(size: int) -> Replay:
    return Replay(200, (), b"x" * size)


def test_what_is_too_large_is_not_kept() -> None:
    replays = Replays(each_max=10, total_max=100)

    replays.keep("a", answer(11))
    replays.keep("b", answer(10))

    assert replays.find("a") is None
    assert replays.find("b") == answer(10)


def test_the_oldest_make_room() -> None:
    replays = Replays(each_max=10, total_max=25)

    for name in "abcd":
        replays.keep(name, answer(10))

    assert [replays.find(name) is not None for name in "abcd"] == [False, False, True, True]


def test_the_first_answer_of_a_request_stays() -> None:
    replays = Replays()
    replays.keep("a", answer(1))
    replays.keep("a", answer(2))

    assert replays.find("a") == answer(1)


async def repeat(bench: Bench, **fields: object) -> Repeated:
    return cast("Repeated", await bench.start(bench.call(idempotency_key="k", fields=fields)))


async def test_in_flight_then_replayed_then_free_again_when_the_key_expires() -> None:
    bench = Bench()
    first = bench.start(bench.call(idempotency_key="k"))
    call = await bench.at_provider()
    with pytest.raises(IdempotencyInFlight):
        await repeat(bench)

    call.answer(1, 1)
    await first
    repeated = await repeat(bench)
    with pytest.raises(IdempotencyMismatch):
        await repeat(bench, max_tokens=65)
    bench.clock.advance(DAY_S - 1)
    assert (await repeat(bench)).request_id == repeated.request_id
    bench.clock.advance(2)
    again = bench.start(bench.call(idempotency_key="k"))
    (await bench.at_provider(2)).answer(1, 1)
    await again

    assert len(bench.upstream.calls) == 2


async def test_an_answer_too_large_to_keep_is_not_run_again() -> None:
    bench = Bench()
    bench.engine.replays = Replays(each_max=5)
    await bench.answered(bench.call(idempotency_key="k"))

    with pytest.raises(IdempotencySettled, match="req_0001"):
        await repeat(bench)

    assert len(bench.upstream.calls) == 1


async def test_a_cancelled_first_call_still_answers_its_repeats() -> None:
    bench = Bench()
    first = bench.start(bench.call(idempotency_key="k"))
    call = await bench.at_provider()
    first.cancel()
    await turns(first.done)

    with pytest.raises(IdempotencyInFlight):
        await repeat(bench)
    call.answer(3, 4)

    assert b'"prompt_tokens":3' in (await repeat(bench)).replay.body
