"""The usual way of planning a call says what the full way says, to the byte, or leaves the call to it."""

import asyncio
from collections.abc import Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from fakes.engines import Bench, budget
from palyra.budgets.terms import Mode
from palyra.core.money import format_usd
from palyra.identity.keys import Subject
from palyra.ledger.account import Account
from palyra.lifecycle.call import Call
from palyra.lifecycle.decision import write_decision
from palyra.lifecycle.plan import Plan, make_plan
from palyra.lifecycle.respond import answer_lines, decision_headers, header_lines
from palyra.lifecycle.settle import Ending, resolve
from palyra.lifecycle.usual import UsualPlan, plan_call
from palyra.lifecycle.wire import Reported
from palyra.pricing.usage import Usage
from palyra.store.codec import encode

METRICS = ("cost_usd", "total_tokens", "input_tokens", "output_tokens", "requests")
SCOPES = ("global", "principal:*", "principal:alice", "model:small", "session:*", "agent:*")
HEADERS: Sequence[Mapping[str, str]] = (
    {},
    {"x-palyra-session": "run NUMBER", "x-palyra-parent-session": "100 % \\"},
    {"x-palyra-agent": 'a "quoted" 100%', "x-palyra-session": "ü"},
)
PROVIDER = [(b"content-type", b"application/json"), (b"x-palyra-model", b"forged"), (b"date", b"now")]

amounts = st.integers(1, 4_000_000)
fractions = st.sampled_from(["0.1", "0.5", "0.99"])


@st.composite
def budgets(draw: st.DrawFn, number: int) -> Mapping[str, object]:
    metric = draw(st.sampled_from(METRICS))
    hard = draw(amounts)
    soft = draw(st.none() | st.integers(1, hard))
    money = metric == "cost_usd"
    limit = format_usd(hard) if money else hard
    return budget(
        f"b{number}",
        limit,
        metric=metric,
        scope=draw(st.sampled_from(SCOPES)),
        soft_limit=None if soft is None else format_usd(soft) if money else soft,
        action=draw(st.sampled_from(["block", "alert", "approval_required"])),
        thresholds=[{"at": draw(fractions), "then": "notify"}] if draw(st.booleans()) else [],
        interval=draw(st.sampled_from(["hour", "day", "total"])),
    )


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Sequence[Mapping[str, object]], Mode]:
    found = [draw(budgets(number)) for number in range(draw(st.integers(0, 4)))]
    return found, draw(st.sampled_from([Mode.ENFORCED, Mode.SUGGEST]))


calls = st.fixed_dictionaries(
    {
        "max_tokens": st.none() | st.integers(1, 120_000),
        "n": st.none() | st.integers(1, 3),
        "stream": st.booleans(),
        "messages": st.text(max_size=40).map(lambda text: [{"role": "user", "content": text}]),
    }
)


def subject_of(bench: Bench, call: Call) -> Subject:
    subject = bench.engine.rules.snapshot.subject(call.credential or "")
    assert subject is not None
    return subject


def both(bench: Bench, call: Call) -> tuple[Plan | UsualPlan, Plan]:
    """The plan that the path makes, and the full one; neither changes a balance."""
    policies, now = bench.engine.rules.snapshot.index, bench.clock.now()
    subject = subject_of(bench, call)
    planned = plan_call(call, subject, policies, bench.engine, now)
    return planned, make_plan(call, subject, policies, bench.engine, now)


def assert_alike(bench: Bench, usual: UsualPlan, full: Plan) -> None:
    assert write_decision(usual.decision) == write_decision(full.decision)
    assert usual.decision.whole() == full.decision
    assert usual.reservation.line == encode(full.reservation)
    assert usual.reservation.reserved() == full.reservation
    assert (usual.granted, usual.route, usual.output_cap) == (full.granted, full.route, full.output_cap)
    assert usual.sheet is full.sheet
    assert full.admitted
    for usage in (Usage(20, 40), Usage(20, 10**7), Usage(10**6, 0)):
        end = Ending(bench.clock.now(), 200, Reported(usage), 0, None, False, None)
        ends = resolve(usual, end), resolve(full, end)
        assert ends[0] == ends[1]
        settlement = ends[0][1]
        assert answer_lines(usual, PROVIDER, settlement) == answer_lines(full, PROVIDER, settlement)
    assert header_lines(decision_headers(usual)) == header_lines(decision_headers(full))


async def play(
    scene: tuple[Sequence[Mapping[str, object]], Mode],
    fields: Mapping[str, object],
    given_headers: Mapping[str, str] = HEADERS[0],
) -> int:
    """How many of four calls are planned the usual way."""
    policies, mode = scene
    bench = Bench(*policies, mode=mode)
    usual = 0
    for number in range(4):
        headers = {name: value.replace("NUMBER", str(number)) for name, value in given_headers.items()}
        call = bench.call(fields=fields, headers=headers)
        planned, full = both(bench, call)
        if isinstance(planned, UsualPlan):
            usual += 1
            assert_alike(bench, planned, full)
        elif not planned.admitted:
            break
        running = bench.start(call)
        (await bench.at_provider(len(bench.upstream.calls) + 1)).answer(20, 40)
        await running
    return usual


@given(scenes(), calls, st.sampled_from(HEADERS))
def test_what_is_decided_the_usual_way_is_what_the_full_way_decides(
    scene: tuple[Sequence[Mapping[str, object]], Mode],
    fields: Mapping[str, object],
    headers: Mapping[str, str],
) -> None:
    asyncio.run(play(scene, {**fields, "stream": None}, headers))


async def test_calls_alike_are_planned_the_usual_way_from_the_third_on() -> None:
    policies = [budget("cost", "1.00"), budget("tokens", 10**6, metric="total_tokens")]
    assert await play((policies, Mode.ENFORCED), {}) == 2


async def test_calls_of_many_sessions_are_alike_unless_a_budget_looks_at_sessions() -> None:
    many = HEADERS[1]
    assert await play(([budget("cost", "1.00")], Mode.ENFORCED), {}, many) == 2
    assert await play(([budget("each", "1.00", scope="session:*")], Mode.ENFORCED), {}, many) == 0


async def test_a_limit_in_reach_a_tag_or_another_mode_takes_the_full_way() -> None:
    bench = Bench(budget("calls", 6, metric="requests", soft_limit=4))
    kinds: list[type] = []
    for _ in range(6):
        call = bench.call()
        kinds.append(type(both(bench, call)[0]))
        await bench.answered(call)
    assert kinds == [Plan, Plan, UsualPlan, UsualPlan, Plan, Plan]
    for headers in ({"x-palyra-tags": "team=a"}, {"x-palyra-mode": "enforced"}):
        again = Bench(budget("much", "9.00"))
        for _ in range(4):
            call = again.call(headers=headers)
            assert isinstance(both(again, call)[0], Plan)
            await again.answered(call)


async def test_one_call_out_of_reach_does_not_unprepare_its_kind() -> None:
    bench = Bench(budget("cost", "0.05", soft_limit="0.01"))
    for _ in range(3):
        await bench.answered(bench.call())
    assert isinstance(both(bench, bench.call(max_tokens=10_000))[0], Plan), "above the soft limit"
    assert isinstance(both(bench, bench.call())[0], UsualPlan)


async def test_what_was_prepared_ends_with_its_window_its_rules_and_its_models() -> None:
    bench = Bench(budget("day", "1.00"))
    for _ in range(3):
        await bench.answered(bench.call())
    call = bench.call()
    planned, _ = both(bench, call)
    assert isinstance(planned, UsualPlan)
    accounts: tuple[Account, ...] = planned.reservation.stakes.accounts
    bench.clock.advance(24 * 3600)
    assert isinstance(both(bench, bench.call())[0], Plan), "a new day has an account of its own"
    for _ in range(3):
        await bench.answered(bench.call())
    tomorrow, _ = both(bench, bench.call())
    assert isinstance(tomorrow, UsualPlan)
    assert tomorrow.reservation.stakes.accounts != accounts
    bench.engine.registry = bench.engine.registry.with_discovered("stub", ())
    assert isinstance(both(bench, bench.call())[0], Plan), "the models may be others"
