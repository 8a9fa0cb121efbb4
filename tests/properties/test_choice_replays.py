"""G1: a decision replays from its stored inputs."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from fakes.engines import Bench, budget
from palyra.budgets.terms import Mode
from palyra.core.money import format_usd
from palyra.lifecycle.decision import Decision, read_decision, write_decision
from palyra.lifecycle.plan import make_plan
from palyra.registry.models import Capability, CostTier, Kind, LatencyTier, Model, ModelEntry, Provider
from palyra.routing.choose import choose
from palyra.routing.complexity import VERSION, score
from palyra.routing.failure import Fault, Reason
from palyra.routing.rules import RoutingRules, Smart
from palyra.routing.task import TRAITS, TaskClass

PROVIDERS = (Provider("p", Kind.OPENAI_COMPATIBLE), Provider("q", Kind.OPENAI_COMPATIBLE))
NAMES = ("a", "b", "c")
SESSION = "run-7"
TINY_SHARE = "0.0000001"
FAULT = Fault(Reason.SERVER_ERROR, provider_fault=True, retry_here=False, elsewhere=False)

capabilities = st.none() | st.frozensets(st.sampled_from(list(Capability)))


@dataclass(frozen=True)
class Scene:
    """An engine and what is asked of it."""

    models: Sequence[ModelEntry]
    prices: Mapping[str, Mapping[str, Mapping[str, object]]]
    policies: Sequence[Mapping[str, object]]
    mode: Mode
    smart: Smart
    asked: str
    task: TaskClass
    fields: Mapping[str, object]
    sticky: str | None
    open_provider: str | None


@st.composite
def models(draw: st.DrawFn) -> Sequence[ModelEntry]:
    places = draw(st.lists(st.sampled_from([(n, p) for n in NAMES for p in "pq"]), min_size=1, unique=True))
    return [
        ModelEntry(
            name,
            provider,
            name,
            cost_tier=draw(st.sampled_from(CostTier)),
            latency_tier=draw(st.sampled_from(LatencyTier)),
            context_window=draw(st.sampled_from([None, 50, 100_000])),
            output_limit=draw(st.sampled_from([None, 10, 4_000])),
            capabilities=draw(capabilities),
            fallbacks=draw(st.sampled_from([(), NAMES])) if name not in NAMES else (),
        )
        for name, provider in places
    ]


@st.composite
def calls(draw: st.DrawFn) -> Mapping[str, object]:
    text = "x" * draw(st.sampled_from([1, 5_000, 20_000]))
    fields: dict[str, object] = {
        "messages": [{"role": "user", "content": text}] * draw(st.integers(1, 3)),
        "max_tokens": draw(st.none() | st.integers(1, 2_000)),
        "stream": draw(st.booleans()),
    }
    if draw(st.booleans()):
        fields["tools"] = [{"type": "function", "function": {"name": "f"}}] * 8
    if draw(st.booleans()):
        fields["response_format"] = {"type": "json_object"}
    return fields


@st.composite
def budgets(draw: st.DrawFn, number: int) -> Mapping[str, object]:
    kind = draw(st.sampled_from(["must", "threshold", "block"]))
    limit = format_usd(draw(st.integers(1, 3_000_000)))
    scope = draw(st.sampled_from(["global", "model:a", "provider:p"]))
    mode = draw(st.sampled_from([None, "dry_run"]))
    more: dict[str, object] = {"scope": scope}
    if mode is not None:
        more["mode"] = mode
    to = draw(st.sampled_from([None, "low", "standard", "b"]))
    if kind == "must":
        return budget(
            f"b{number}", limit, action="degrade", **more, **({} if to is None else {"degrade_to": to})
        )
    if kind == "threshold":
        mark: dict[str, object] = {"at": TINY_SHARE, "then": "degrade"}
        if to is not None:
            mark["to"] = to
        return budget(f"b{number}", "9.00", thresholds=[mark], **more)
    return budget(f"b{number}", limit, **more)


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    found = draw(models())
    priced: dict[str, dict[str, Mapping[str, object]]] = {"p": {}, "q": {}}
    for each in found:
        if draw(st.integers(0, 4)):
            rate = draw(st.sampled_from(["0.00", "0.10", "1.00", "10.00"]))
            priced[each.provider][each.id] = {"input": rate, "output": rate}
    names = sorted({each.id for each in found})
    return Scene(
        found,
        priced,
        [draw(budgets(number)) for number in range(draw(st.integers(0, 3)))],
        draw(st.sampled_from(Mode)),
        draw(st.sampled_from([Smart.AUTO, Smart.ALWAYS])),
        draw(st.sampled_from(["auto", *names])),
        draw(st.sampled_from(TaskClass)),
        draw(calls()),
        draw(st.none() | st.sampled_from(NAMES)),
        draw(st.sampled_from([None, None, "p", "q"])),
    )


def decided(scene: Scene) -> Decision:
    """The decision of a call, as it is read back from the store."""
    bench = Bench(
        *scene.policies,
        mode=scene.mode,
        providers=PROVIDERS,
        models=scene.models,
        prices=scene.prices,
        default_model=scene.models[0].id,
        routing=RoutingRules(scene.smart),
    )
    engine, now = bench.engine, bench.clock.now()
    if scene.sticky is not None:
        engine.sessions.keep("alice", SESSION, scene.sticky, now)
    if scene.open_provider is not None:
        for _ in range(engine.providers.resilience.breaker.failures):
            attempt = engine.providers.begin(Model("any", scene.open_provider, "any"), now)
            assert attempt is not None
            engine.providers.failed(attempt, FAULT, "it answered 500", now)
    headers = {"x-palyra-session": SESSION, "x-palyra-task-class": scene.task.value}
    call = bench.call(model=scene.asked, headers=headers, fields=scene.fields)
    subject = engine.rules.snapshot.subject("alice")
    assert subject is not None
    plan = make_plan(call, subject, engine.rules.snapshot.index, engine, now)
    read = read_decision(write_decision(plan.decision))
    assert read == plan.decision
    return read


async def assert_replays(scene: Scene) -> bool:
    """Whether there was a choice to replay."""
    decision = decided(scene)
    record = decision.routing
    if record is None:
        return False
    assert (record.version, record.score) == (VERSION, score(record.features))
    traits = TRAITS[TaskClass(decision.labels.task_class)]
    assert (record.provider, record.model) in {(each.provider, each.model) for each in record.options}
    again = choose(record.options, record.default_model, traits, record.score, record.sticky)
    if not record.open or again is None:
        assert record.by in ("requested", "failover")
        return False
    chosen = again.option
    assert (record.provider, record.model) == (chosen.provider, chosen.model)
    assert (record.by, record.reason) == (again.by, again.reason)
    if not record.degraded_by and not record.would_degrade:
        assert decision.recommended_model == chosen.model
    if not record.degraded_by and Mode(decision.mode) is Mode.ENFORCED:
        assert (decision.provider, decision.model) == (chosen.provider, chosen.model)
    return True


@given(scenes())
def test_a_choice_replays_from_what_is_stored_with_it(scene: Scene) -> None:
    asyncio.run(assert_replays(scene))


@given(scenes())
def test_only_enforced_changes_the_model_that_runs(scene: Scene) -> None:
    async def play() -> None:
        decision = decided(scene)
        if Mode(decision.mode) is not Mode.ENFORCED:
            asked = scene.models[0].id if scene.asked == "auto" else scene.asked
            assert decision.model == asked

    asyncio.run(play())


@given(scenes())
def test_no_class_but_a_person_s_is_chosen_a_dearer_model_than_the_default(scene: Scene) -> None:
    """Whatever may serve. The default itself may be dearer elsewhere, where its provider fails."""

    async def play() -> None:
        record = decided(scene).routing
        if record is None or not record.open or TRAITS[scene.task].may_escalate or record.by == "failover":
            return
        if record.model == record.default_model:
            return
        found = {(each.provider, each.model): each.cost for each in record.options}
        home, chosen = record.options[0].cost, found[record.provider, record.model]
        if home is not None:
            assert chosen is not None
            assert chosen <= home

    asyncio.run(play())


async def test_the_scenes_come_to_choices() -> None:
    """Otherwise the test above shows nothing."""
    models = [ModelEntry(name, "p", name, output_limit=4_000) for name in NAMES]
    prices = {"p": {name: {"input": f"{rate}.00", "output": f"{rate}.00"} for rate, name in enumerate(NAMES)}}
    fields = {"messages": [{"role": "user", "content": "hi"}]}
    for smart, asked in ((Smart.AUTO, "auto"), (Smart.ALWAYS, "c")):
        scene = Scene(
            models, prices, [], Mode.ENFORCED, smart, asked, TaskClass.PRIMARY_INTERACTIVE, fields, None, None
        )
        assert await assert_replays(scene)
