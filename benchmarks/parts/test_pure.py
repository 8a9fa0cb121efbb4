"""What is decided and written down, without a loop: microseconds of one."""

import pytest

from benchmarks import scene
from benchmarks.parts.conftest import Timed
from palyra.budgets.evaluate import verdict
from palyra.gateway.asks import parse
from palyra.ledger.book import Book
from palyra.ledger.event import Settled
from palyra.lifecycle.authenticate import authenticate, labels_of
from palyra.lifecycle.decision import write_decision, write_settlement
from palyra.lifecycle.engine import Engine
from palyra.lifecycle.estimate import bound_of, cost_bound
from palyra.lifecycle.plan import Plan, make_plan
from palyra.lifecycle.respond import answer_headers
from palyra.lifecycle.route import asked_model, route_to
from palyra.lifecycle.settle import Ending, resolve
from palyra.lifecycle.weigh import CallCost, evaluate_all, read_balances
from palyra.lifecycle.wire import Endpoint, Reported
from palyra.pricing.usage import Usage
from palyra.upstream.meters import make_meter

USED = {"input_tokens": 250, "output_tokens": 120, "total_tokens": 370, "requests": 1, "cost_usd": 490_000}
CHUNK = (
    b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1795431004,'
    b'"model":"bench-model","choices":[{"index":0,"delta":{"content":" word"},"logprobs":null,'
    b'"finish_reason":null}],"usage":null}\n\n'
)


def test_read_a_1_kb_body(timed: Timed) -> None:
    raw = scene.body()
    timed.repeat(parse, Endpoint.chat_completions, raw)


def test_authenticate(timed: Timed, engine: Engine) -> None:
    timed.repeat(authenticate, scene.KEY, engine.rules.snapshot)


def test_estimate_a_call(timed: Timed, engine: Engine) -> None:
    call, subject = scene.call(engine), scene.subject()
    now = engine.clock.now()

    def estimate() -> int | None:
        model = asked_model(call.ask.model, call.endpoint, subject, engine.registry)
        route = route_to(model, engine.registry, engine.prices, now)
        bound = bound_of(call.ask, call.endpoint, route.model, 16_384)
        return cost_bound(route.sheet, call.ask, bound.input_tokens, bound.output_tokens)

    assert timed.repeat(estimate)


def test_evaluate_5_of_10_000_policies(timed: Timed, engine: Engine) -> None:
    call, subject = scene.call(engine), scene.subject()
    now = engine.clock.now()
    model = asked_model(call.ask.model, call.endpoint, subject, engine.registry)
    route = route_to(model, engine.registry, engine.prices, now)
    bound = bound_of(call.ask, call.endpoint, route.model, 16_384)
    labels, governance = labels_of(subject, call.hints), engine.governance

    def evaluate() -> int:
        cost = CallCost(call.ask, route, governance.unknown_price)
        readings = read_balances(engine.rules.snapshot.index, labels, route, call, engine, now)
        evaluations = evaluate_all(readings, cost, bound, governance.mode)
        verdict(evaluations)
        return len(evaluations)

    assert timed.repeat(evaluate) == 5


def test_plan_a_call(timed: Timed, engine: Engine) -> None:
    call, subject = scene.call(engine), scene.subject()
    plan = timed.repeat(make_plan, call, subject, engine.rules.snapshot.index, engine, engine.clock.now())
    assert len(plan.judgement.evaluations) == 5


def test_reserve_and_settle_in_memory(timed: Timed, engine: Engine) -> None:
    call = scene.call(engine)
    plan = make_plan(call, scene.subject(), engine.rules.snapshot.index, engine, engine.clock.now())
    book, reserved = Book(), plan.reservation
    settled = Settled(reserved.id, reserved.at, USED)

    def through_the_book() -> None:
        assert book.shortfall(reserved.holds) is None
        book.apply(reserved)
        book.apply(settled)

    timed.repeat(through_the_book)


def test_settle_a_call(timed: Timed, engine: Engine) -> None:
    plan, ending = _ended(engine)
    timed.repeat(resolve, plan, ending)


def test_write_a_decision_record(timed: Timed, engine: Engine) -> None:
    plan, ending = _ended(engine)
    _, settlement = resolve(plan, ending)

    def write() -> int:
        return len(write_decision(plan.decision)) + len(write_settlement(settlement))

    timed.note("bytes", timed.repeat(write))


def test_headers_of_an_answer(timed: Timed, engine: Engine) -> None:
    plan, ending = _ended(engine)
    _, settlement = resolve(plan, ending)
    timed.repeat(answer_headers, plan, [(b"content-type", b"application/json")], settlement)


@pytest.mark.parametrize("hide", [False, True], ids=["", "hiding_the_usage_chunk"])
def test_relay_one_sse_chunk(timed: Timed, hide: bool) -> None:
    meter = make_meter(Endpoint.chat_completions, True, hide)
    assert timed.repeat(meter.feed, CHUNK) == CHUNK


def _ended(engine: Engine) -> tuple[Plan, Ending]:
    call = scene.call(engine)
    now = engine.clock.now()
    plan = make_plan(call, scene.subject(), engine.rules.snapshot.index, engine, now)
    ending = Ending(
        at=now,
        status=200,
        reported=Reported(Usage(250, 120)),
        seen_output_bytes=0,
        failure=None,
        client_gone=False,
        first_byte_ms=3,
    )
    return plan, ending
