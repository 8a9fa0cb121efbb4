"""Simulating the very policies that were in force gives exactly the decisions that were made."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fakes.engines import Bench, FakeCall, budget, turns
from fakes.past import Kept, simulated
from palyra.budgets.policy import Policy
from palyra.budgets.terms import Mode
from palyra.core.errors import PalyraError
from palyra.core.money import format_usd
from palyra.lifecycle.history import PastCall
from palyra.lifecycle.simulate import Simulated

METRICS = ("cost_usd", "total_tokens", "input_tokens", "output_tokens", "requests")
SCOPES = ("global", "principal:*", "principal:alice", "model:small", "provider:stub", "session:*", "agent:*")
HEADERS: Sequence[Mapping[str, str]] = (
    {},
    {"x-palyra-session": "run", "x-palyra-agent": "bot"},
    {"x-palyra-session": "child", "x-palyra-parent-session": "run", "x-palyra-mode": "enforced"},
)
BETWEEN = st.sampled_from([1, 600, 3_600, 86_400])
ACTIONS = ("block", "block", "alert", "approval_required", "degrade")
MODES = (None, None, "dry_run", "suggest", "enforced")


@st.composite
def budgets(draw: st.DrawFn, number: int) -> Mapping[str, object]:
    metric = draw(st.sampled_from(METRICS))
    money = metric == "cost_usd"
    most = {"requests": 8, "cost_usd": 3_000_000}.get(metric, 3_000)
    hard = draw(st.integers(1, most))
    soft = draw(st.none() | st.integers(1, hard))
    fields: dict[str, object] = {
        "metric": metric,
        "scope": draw(st.sampled_from(SCOPES)),
        "soft_limit": None if soft is None else format_usd(soft) if money else soft,
        "action": draw(st.sampled_from(ACTIONS if money else ACTIONS[:-1])),
        "interval": draw(st.sampled_from(["request", "hour", "day", "total"])),
        "timezone": draw(st.sampled_from(["UTC", "Europe/Prague", "Australia/Lord_Howe"])),
        "mode": draw(st.sampled_from(MODES)),
        "min_output_tokens": draw(st.sampled_from([1, 100, 256])),
        "unknown_price": draw(st.sampled_from([None, "deny", "ceiling", "allow"])),
    }
    if soft is not None and fields["mode"] is None:
        fields["routing_mode_override"] = draw(st.sampled_from([None, "dry_run", "enforced"]))
    if metric == "requests" and fields["interval"] == "request":
        fields["interval"] = "hour"
    if fields["interval"] != "request" and draw(st.booleans()):
        fields["thresholds"] = [{"at": "0.5", "then": draw(st.sampled_from(["notify", "degrade"]))}]
    return budget(f"b{number}", format_usd(hard) if money else hard, **fields)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Sequence[Mapping[str, object]], Mode]:
    found = [draw(budgets(number)) for number in range(draw(st.integers(1, 4)))]
    return found, draw(st.sampled_from([Mode.ENFORCED, Mode.ENFORCED, Mode.DRY_RUN, Mode.SUGGEST]))


calls = st.fixed_dictionaries(
    {
        "max_tokens": st.sampled_from([None, 16, 300, 1_500]),
        "n": st.none() | st.integers(1, 3),
        "model": st.sampled_from(["small", "small", "large", "tiny", "unpriced"]),
        "messages": st.integers(1, 60).map(lambda size: [{"role": "user", "content": "x" * size}]),
        "service_tier": st.sampled_from([None, None, "flex"]),
    }
)
steps = st.lists(
    st.tuples(st.just("call"), st.sampled_from(["alice", "bob"]), st.sampled_from(HEADERS), calls)
    | st.tuples(st.just("answer"), st.integers(0, 5), st.integers(1, 60), st.integers(0, 2_000))
    | st.tuples(st.just("fail"), st.integers(0, 5), st.booleans())
    | st.tuples(st.just("advance"), BETWEEN),
    min_size=4,
    max_size=40,
)


class Traffic:
    """Calls that run at the same time, started, answered and failed one step at a time."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.open: list[FakeCall] = []
        self._running: list[asyncio.Task[Any]] = []

    async def step(self, kind: str, *details: Any) -> None:
        match kind, details:
            case "call", (principal, headers, fields):
                await self._start(principal, headers, fields)
            case "answer", (place, input_tokens, output_tokens) if self.open:
                self._take(place).answer(input_tokens, output_tokens)
            case "fail", (place, sent) if self.open:
                self._take(place).fail(sent=sent)
            case "advance", (seconds,):
                self.bench.clock.advance(seconds)
            case _:
                return
        await self._settle_down()

    async def end(self) -> None:
        while self.open:
            self._take(0).answer(10, 20)
            await self._settle_down()
        for task in self._running:
            with suppress(PalyraError):
                await task

    async def _start(self, principal: str, headers: Mapping[str, str], fields: Mapping[str, object]) -> None:
        before = len(self.bench.upstream.calls)
        with suppress(PalyraError):
            call = self.bench.call(principal, headers=headers, fields=fields)
            task = self.bench.start(call)
            self._running.append(task)
            await turns(lambda: task.done() or len(self.bench.upstream.calls) > before)
            self.open += self.bench.upstream.calls[before:]

    async def _settle_down(self) -> None:
        before = len(self.bench.upstream.calls)
        for _ in range(20):
            await asyncio.sleep(0)
        self.open += self.bench.upstream.calls[before:]

    def _take(self, place: int) -> FakeCall:
        return self.open.pop(place % len(self.open))


async def play(
    scene: tuple[Sequence[Mapping[str, object]], Mode], traffic: Sequence[tuple[Any, ...]]
) -> tuple[Bench, Kept]:
    policies, mode = scene
    bench = Bench(*policies, mode=mode)
    running = Traffic(bench)
    for kind, *details in traffic:
        await running.step(kind, *details)
    await running.end()
    in_force: list[Policy] = list(bench.engine.rules.snapshot.policies.values())
    return bench, await simulated(bench, in_force)


def assert_same(past: PastCall, found: Simulated | None) -> None:
    assert found is not None
    judgement = found.judgement
    assert found.runs is not past.refused
    # A provider that fails, or has no room, refuses calls that every budget admits.
    assert found.beyond_budgets or judgement.verdict.outcome == past.outcome
    assert found.clamp == past.clamp
    assert found.routed.mode.mode == past.mode
    here = found.routed.here.model
    assert (here.id, here.provider) == (past.model, past.provider)
    assert [
        (each.budget.policy_id, each.budget.window_start, each.consumed, each.amount, each.status, each.would)
        for each in past.evaluation_records
    ] == [
        (each.policy_id, each.window.start, each.consumed, each.amount, each.status, each.would)
        for each in judgement.evaluations
    ]


@given(scenes(), steps)
def test_the_policies_in_force_decide_every_call_again_as_they_did(
    scene: tuple[Sequence[Mapping[str, object]], Mode], traffic: Sequence[tuple[Any, ...]]
) -> None:
    bench, kept = asyncio.run(play(scene, traffic))
    for past, found in kept.decisions:
        assert_same(past, found)
    for ended in kept.ends:
        assert ended.simulated_cost == ended.cost
        assert not ended.estimated
    live = bench.store.ledger.book
    assert kept.balances == {key: account.balance() for key, account in live.accounts.items()}
    assert kept.pending == len(live.pending) == 0
