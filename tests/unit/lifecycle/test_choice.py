"""Which model serves a call, on the whole path: whose choice it is, what binds it, what budgets move."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from fakes.engines import Bench, budget
from palyra.budgets.evaluation import Outcome
from palyra.budgets.terms import Mode
from palyra.core.errors import BudgetExceeded, ModelNotAllowed, ModelNotFound, PalyraError
from palyra.core.money import format_usd
from palyra.lifecycle.call import Call
from palyra.lifecycle.decision import Decision, RoutingRecord, Settlement
from palyra.lifecycle.plan import Plan, make_plan
from palyra.lifecycle.providers import ProviderTerms, Resilience
from palyra.lifecycle.survey import CANDIDATES_MAX
from palyra.lifecycle.wire import Endpoint
from palyra.registry.models import Capability, CostTier, Kind, LatencyTier, ModelEntry, Provider
from palyra.registry.registry import Registry
from palyra.routing.backoff import Retries
from palyra.routing.breaker import BreakerSettings
from palyra.routing.choose import Health, Option
from palyra.routing.failure import Fault, Reason
from palyra.routing.rules import RoutingRules, Smart

ALL = frozenset(Capability)
STUB = Provider("stub", Kind.OPENAI_COMPATIBLE)
OTHER = Provider("other", Kind.OPENAI_COMPATIBLE)
CLAUDE = Provider("claude", Kind.ANTHROPIC)
USED = (20, 40)
"""Input and output tokens of every answer."""
TIMES = {"tiny": 1, "small": 10, "large": 100}
"""Prices in 0.1 USD per million tokens of input, and twice that for output."""
TINY_COST = (20 + 2 * 40) * 100
"""Of a call like ``USED`` on ``tiny``, in nano-USD."""
TINY_HOLD = 64 * 200
"""Of the output of a call on ``tiny``: at least so much is held."""
BACKGROUND = {"x-palyra-task-class": "background_automation"}
SESSION = {"x-palyra-session": "run-7"}
TINY_SHARE = "0.0000001"
"""A share of a limit that every call passes."""
FRAGILE = Resilience(Retries(0), BreakerSettings(1))
"""The first fault opens the breaker."""
HARD: Mapping[str, object] = {
    "messages": [{"role": "user", "content": "x" * 20_000}] * 12,
    "tools": [{"type": "function", "function": {"name": f"f{number}"}} for number in range(8)],
}
MIDDLE: Mapping[str, object] = {"messages": [{"role": "user", "content": "x" * 16_000}]}


def entry(name: str, provider: str = "stub", tier: CostTier | None = None, **more: Any) -> ModelEntry:
    fields: dict[str, Any] = {"output_limit": 100_000, "capabilities": ALL, "cost_tier": tier, **more}
    return ModelEntry(name, provider, more.pop("upstream_name", name), **fields)


MODELS = (
    entry("small", tier=CostTier.STANDARD, aliases=("usual",)),
    entry("large", tier=CostTier.PREMIUM),
    entry("tiny", tier=CostTier.LOW, aliases=("cheap",)),
)


def prices(times: Mapping[str, int] = TIMES) -> dict[str, dict[str, str]]:
    return {name: {"input": f"{each / 10:.2f}", "output": f"{each / 5:.2f}"} for name, each in times.items()}


def bench(*policies: Mapping[str, object], smart: Smart = Smart.AUTO, **more: Any) -> Bench:
    settings: dict[str, Any] = {
        "models": MODELS,
        "prices": {"stub": prices()},
        "default_model": "small",
        "routing": more.pop("routing", RoutingRules(smart)),
        **more,
    }
    return Bench(*policies, **settings)


def planned(on: Bench, call: Call | None = None, principal: str = "alice") -> Plan:
    """What the path would decide now; nothing is held for it."""
    engine = on.engine
    call = call or on.call(model="auto")
    subject = engine.rules.snapshot.subject(principal)
    assert subject is not None
    return make_plan(call, subject, engine.rules.snapshot.index, engine, on.clock.now())


def routing(decision: Decision) -> RoutingRecord:
    assert decision.routing is not None
    return decision.routing


def told(plan: Plan) -> tuple[str, str, str]:
    """Model, recommended model and route."""
    decision = plan.decision
    return decision.model, decision.recommended_model, decision.route


def option(plan: Plan, model: str) -> Option:
    return next(each for each in routing(plan.decision).options if each.model == model)


def threshold(
    to: str | None, policy_id: str = "all", limit: str = "100.00", **more: Any
) -> dict[str, object]:
    """A budget that every call passes a mark of, and none goes above."""
    reached = {"at": TINY_SHARE, "then": "degrade"} | ({} if to is None else {"to": to})
    return budget(policy_id, limit, thresholds=[reached], **more)


def held_on(on: Bench, model: str) -> int:
    """What a call of this model holds at most."""
    cost = planned(on, on.call(model=model)).decision.cost_bound
    assert cost is not None
    return cost


def hold_of(model: str) -> int:
    return held_on(bench(routing=RoutingRules(Smart.NEVER)), model)


def between(low: str, high: str) -> str:
    """A limit in USD that one model fits in and the other does not."""
    return format_usd((hold_of(low) + hold_of(high)) // 2)


async def settled(on: Bench, call: Call) -> tuple[Decision, Settlement]:
    await on.answered(call, *USED)
    stored = await on.store.records.decision(call.request_id)
    assert stored is not None
    assert stored.settlement is not None
    return stored.decision, stored.settlement


# Whose choice it is.


@pytest.mark.parametrize("fields", [{}, HARD, MIDDLE])
async def test_a_named_model_is_never_swapped_for_taste(fields: Mapping[str, object]) -> None:
    on = bench()
    for name in ("tiny", "small", "large", "usual", "stub/large"):
        plan = planned(on, on.call(model=name, fields=fields))
        decision = plan.decision
        assert (decision.route, decision.routing, decision.counterfactual) == ("proceed", None, None)
        assert decision.model == decision.recommended_model == on.engine.registry.find(name).id


async def test_auto_is_the_default_where_the_choice_is_nobody_s() -> None:
    on = bench(smart=Smart.NEVER)
    plan = planned(on, on.call(model="auto"))
    assert told(plan) == ("small", "small", "proceed")
    assert plan.decision.routing is None


@pytest.mark.parametrize(
    ("fields", "expected", "by"),
    [
        ({}, ("tiny", "tiny", "degrade"), "easy"),
        (MIDDLE, ("small", "small", "proceed"), "default"),
        (HARD, ("large", "large", "upgrade"), "hard"),
    ],
)
async def test_auto_is_chosen_by_complexity(
    fields: Mapping[str, object], expected: tuple[str, str, str], by: str
) -> None:
    on = bench()
    plan = planned(on, on.call(model="auto", fields=fields))
    assert told(plan) == expected
    assert (routing(plan.decision).by, routing(plan.decision).open) == (by, True)
    assert plan.decision.counterfactual is None


async def test_in_always_a_named_model_is_chosen_anew_and_the_name_is_the_default() -> None:
    on = bench(smart=Smart.ALWAYS)
    assert told(planned(on, on.call(model="large", fields={}))) == ("tiny", "tiny", "degrade")
    plan = planned(on, on.call(model="large", fields=MIDDLE))
    assert told(plan) == ("large", "large", "proceed")
    assert routing(plan.decision).default_model == "large"


async def test_the_chosen_model_is_what_the_provider_is_asked_for() -> None:
    on = bench()
    await on.answered(on.call(model="auto"), *USED)
    assert on.upstream.calls[0].body["model"] == "tiny"


# The mode.


@pytest.mark.parametrize("mode", [Mode.SUGGEST, Mode.DRY_RUN])
async def test_only_enforced_changes_the_model_and_the_others_publish_it(mode: Mode) -> None:
    on = bench(smart=Smart.ALWAYS, mode=mode)
    decision, settlement = await settled(on, on.call(model="small"))

    assert on.upstream.calls[0].body["model"] == "small"
    assert (decision.model, decision.recommended_model, decision.route) == ("small", "tiny", "proceed")
    assert decision.counterfactual is not None
    assert decision.counterfactual.model == "tiny"
    assert decision.counterfactual.would == (() if mode is Mode.SUGGEST else ("routing=would_route",))
    assert (settlement.cost, settlement.counterfactual_cost) == (10 * TINY_COST, TINY_COST)


async def test_the_headers_publish_the_recommendation() -> None:
    on = bench(smart=Smart.ALWAYS, mode=Mode.SUGGEST)
    headers = dict((await on.answered(on.call(model="small"))).headers())
    assert headers[b"x-palyra-model"] == b"small"
    assert headers[b"x-palyra-recommended-model"] == b"tiny"
    assert headers[b"x-palyra-route"] == b"proceed"
    assert b"x-palyra-would" not in headers


async def test_a_dearer_recommendation_is_kept_with_what_it_would_have_cost() -> None:
    on = bench(smart=Smart.ALWAYS, mode=Mode.SUGGEST)
    _, settlement = await settled(on, on.call(model="small", fields=HARD))
    assert settlement.counterfactual_cost == 100 * TINY_COST


async def test_the_shadow_is_as_if_the_recommended_model_had_run() -> None:
    on = bench(budget("all", "1.00"), smart=Smart.ALWAYS, mode=Mode.DRY_RUN)
    await on.answered(on.call(model="small"), *USED)
    assert on.balance("all") == (10 * TINY_COST, 0, TINY_COST, 0)


async def test_without_enforcement_a_session_s_recommendations_are_those_it_would_have_stayed_on() -> None:
    """The session would run on ``tiny`` had the first recommendation been followed."""
    on = bench(smart=Smart.ALWAYS, mode=Mode.SUGGEST)
    for _ in range(3):
        decision, _ = await settled(on, on.call(model="small", headers=SESSION))
        assert decision.recommended_model == "tiny"


# What binds the choice.


async def test_a_key_s_models_bind_the_candidates() -> None:
    on = bench(allowed=("auto", "small", "large"))
    plan = planned(on, on.call(model="auto"))
    assert plan.decision.model == "small"
    assert option(plan, "tiny").lost == "the key may not use it"


async def test_a_key_that_may_not_ask_for_a_model_does_not_get_there_by_a_name() -> None:
    on = bench(allowed=("small",))
    for name in ("auto", "usual", "large"):
        with pytest.raises(ModelNotAllowed):
            planned(on, on.call(model=name))


async def test_a_stored_conversation_never_moves() -> None:
    """What one provider stores no other can read."""
    models = [entry(each.id, tier=each.cost_tier, context_window=100_000) for each in MODELS]
    on = bench(threshold("tiny"), smart=Smart.ALWAYS, models=models)
    fields = {"messages": None, "max_tokens": None, "max_output_tokens": 64, "input": "and then?"}

    def told_with(**more: object) -> tuple[str, str, str]:
        call = on.call(endpoint=Endpoint.responses, fields={**fields, **more}, model="small")
        return told(planned(on, call))

    assert told_with(previous_response_id="resp_1") == ("small", "small", "proceed")
    assert told_with() == ("tiny", "tiny", "degrade")


async def test_embeddings_never_move() -> None:
    on = bench(threshold("tiny"), smart=Smart.ALWAYS)
    call = on.call(endpoint=Endpoint.embeddings, fields={"messages": None, "max_tokens": None, "input": "x"})
    assert told(planned(on, call)) == ("small", "small", "proceed")


@pytest.mark.parametrize(
    ("fields", "lost"),
    [
        ({"tools": [{"type": "function"}]}, "has no tools"),
        ({"response_format": {"type": "json_object"}}, "has no json"),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}],
                    }
                ]
            },
            "has no vision",
        ),
        ({"stream": True}, "has no streaming"),
    ],
)
async def test_a_candidate_has_what_the_call_needs(fields: Mapping[str, object], lost: str) -> None:
    models = (MODELS[0], MODELS[1], entry("tiny", capabilities=frozenset()))
    on = bench(models=models)
    plan = planned(on, on.call(model="auto", fields=fields))
    assert option(plan, "tiny").lost == lost
    assert plan.decision.model != "tiny"
    assert planned(on).decision.model == "tiny"


async def test_a_candidate_s_window_holds_the_call() -> None:
    on = bench(models=(*MODELS[:2], entry("tiny", context_window=200)))
    assert planned(on, on.call(model="auto", max_tokens=64)).decision.model == "tiny"
    plan = planned(on, on.call(model="auto", max_tokens=190))
    assert plan.decision.model == "small"
    assert option(plan, "tiny").lost.startswith("its context window is 200 tokens, and about 2")


async def test_capabilities_that_nobody_said_are_not_there_but_streaming_is() -> None:
    on = bench(models=(*MODELS[:2], entry("tiny", capabilities=None)))
    assert planned(on, on.call(model="auto", stream=True)).decision.model == "tiny"
    plan = planned(on, on.call(model="auto", tools=[{"type": "function"}]))
    assert option(plan, "tiny").lost == "has no tools (its capabilities are not known)"


async def test_a_provider_never_gets_a_wire_format_that_it_does_not_speak() -> None:
    models = (*MODELS, entry("opus", "claude"), entry("haiku", "claude", context_window=10**6))
    on = bench(
        threshold("haiku"),
        smart=Smart.ALWAYS,
        providers=(
            Provider("stub", Kind.OPENAI_COMPATIBLE, endpoints=frozenset({"chat_completions"})),
            CLAUDE,
        ),
        models=models,
        prices={"stub": prices(), "claude": prices({"opus": 50, "haiku": 1})},
    )
    chat = planned(on, on.call(model="large"))
    assert {each.provider for each in routing(chat.decision).options} == {"stub"}
    messages = planned(on, on.call(endpoint=Endpoint.messages, model="opus"))
    assert {each.provider for each in routing(messages.decision).options} == {"claude"}
    assert messages.decision.model == "haiku"
    with pytest.raises(ModelNotFound, match="does not speak"):
        planned(on, on.call(model="opus"))
    with pytest.raises(ModelNotFound, match="does not speak"):
        planned(on, on.call(endpoint=Endpoint.messages, model="small"))


async def test_models_that_only_a_provider_lists_are_candidates_where_the_operator_says_so() -> None:
    found = {"stub": [entry("listed", capabilities=None)]}
    for discovered_too, expected in ((False, "tiny"), (True, "listed")):
        on = bench(
            routing=RoutingRules(discovered_too=discovered_too),
            prices={"stub": prices({**TIMES, "listed": 0})},
        )
        engine = on.engine
        engine.registry = engine.registry.with_discovered("stub", found["stub"])
        assert planned(on).decision.model == expected


async def test_so_many_candidates_are_looked_at_and_no_more() -> None:
    many = [entry(f"m{number}") for number in range(3 * CANDIDATES_MAX)]
    on = bench(
        models=(MODELS[0], *many), prices={"stub": prices({each.id: 7 for each in (MODELS[0], *many)})}
    )
    assert len(routing(planned(on).decision).options) <= CANDIDATES_MAX + 1


async def test_a_disabled_model_is_no_candidate() -> None:
    on = bench(models=(*MODELS[:2], entry("tiny", enabled=False)))
    plan = planned(on)
    assert plan.decision.model == "small"
    assert [each.model for each in routing(plan.decision).options] == ["small", "large"]


async def test_where_nothing_can_serve_the_asked_model_is_asked() -> None:
    """It says best what is wrong; its provider is well, so there is no failover."""
    bare = [entry(name, capabilities=frozenset()) for name in ("small", "large")]
    on = bench(models=[entry("small", capabilities=frozenset(), fallbacks=("large",)), bare[1]])
    plan = planned(on, on.call(model="auto", tools=[{"type": "function"}]))
    assert told(plan) == ("small", "small", "proceed")
    assert (routing(plan.decision).by, "is ok" in plan.decision.route_reason) == ("requested", False)


async def test_background_work_gets_no_dearer_model_although_the_default_cannot_serve_it() -> None:
    models = [entry("small", capabilities=frozenset()), entry("large")]
    on = bench(models=models)
    call = on.call(model="auto", headers=BACKGROUND, tools=[{"type": "function"}])
    assert planned(on, call).decision.model == "small"


async def test_background_work_takes_the_cheapest_and_never_a_dearer_one() -> None:
    on = bench()
    each_way: Sequence[Mapping[str, object]] = ({}, HARD)
    for fields in each_way:
        plan = planned(on, on.call(model="auto", headers=BACKGROUND, fields=fields))
        assert (plan.decision.model, routing(plan.decision).by) == ("tiny", "low_cost")


async def test_models_are_compared_by_the_tokens_of_the_asked_one() -> None:
    """A model is not dearer because it may answer at greater length."""
    models = (entry("small", output_limit=100), entry("tiny", output_limit=100_000))
    on = bench(models=models)
    plan = planned(on, on.call(model="auto", max_tokens=None))
    assert plan.decision.model == "tiny"
    assert (option(plan, "small").cost or 0) == 10 * (option(plan, "tiny").cost or 0)


# Budgets that move calls.


async def test_above_a_limit_that_degrades_a_call_runs_on_the_dearest_model_that_fits() -> None:
    on = bench(budget("all", between("small", "large"), action="degrade"))
    plan = planned(on, on.call(model="large"))
    assert told(plan) == ("small", "small", "degrade")
    assert plan.decision.status == "degraded"
    assert routing(plan.decision).degraded_by == ("all",)
    assert plan.decision.route_reason == "moved to a cheaper model by all"
    (evaluation,) = plan.decision.evaluations
    assert (evaluation.status, evaluation.would) == ("degraded", None)
    assert "on large" in evaluation.message
    assert "the call runs on small" in evaluation.message


@pytest.mark.parametrize(
    ("to", "expected"),
    [("low", "tiny"), ("standard", "small"), ("tiny", "tiny"), ("stub/tiny", "tiny"), ("cheap", "tiny")],
)
async def test_a_target_is_a_tier_an_id_or_an_alias(to: str, expected: str) -> None:
    must = bench(budget("all", between("small", "large"), action="degrade", degrade_to=to))
    assert planned(must, must.call(model="large")).decision.model == expected
    soft = bench(threshold(to))
    assert planned(soft, soft.call(model="large")).decision.model == expected


async def test_below_its_mark_a_threshold_moves_nothing() -> None:
    limit = 4 * hold_of("large")
    on = bench(budget("all", format_usd(limit), thresholds=[{"at": "0.5", "then": "degrade", "to": "low"}]))
    models: list[str] = []
    for _ in range(3):
        call = on.call(model="large")
        models.append(planned(on, call).decision.model)
        running = on.start(call)
        await on.at_provider(len(models))
        del running
    assert models == ["large", "tiny", "tiny"]


async def test_a_soft_limit_with_a_target_moves_calls() -> None:
    on = bench(budget("all", "100.00", soft_limit="0.000001", degrade_to="low"))
    assert told(planned(on, on.call(model="large"))) == ("tiny", "tiny", "degrade")


async def test_where_no_cheaper_model_fits_a_call_is_refused_as_by_block() -> None:
    on = bench(budget("all", "0.000001", action="degrade"))
    plan = planned(on, on.call(model="large"))
    assert (plan.admitted, plan.decision.outcome, plan.decision.model) == (False, "deny", "large")
    with pytest.raises(BudgetExceeded):
        await on.start(on.call(model="large"))
    assert on.upstream.calls == []


async def test_the_cheapest_model_has_nowhere_to_go() -> None:
    on = bench(budget("all", "0.000001", action="degrade"))
    assert planned(on, on.call(model="tiny")).decision.outcome == "deny"
    soft = bench(threshold(None))
    assert told(planned(soft, soft.call(model="tiny"))) == ("tiny", "tiny", "proceed")


async def test_a_wish_that_no_model_meets_leaves_the_call_where_it_is() -> None:
    on = bench(threshold("tiny"), allowed=("small", "large"))
    assert told(planned(on, on.call(model="large"))) == ("large", "large", "proceed")


async def test_an_output_is_cut_short_only_where_the_call_could_not_run_otherwise() -> None:
    """Both models would need a clamp: above the hard limit that is better than nothing, before it is not."""
    models = (MODELS[1], MODELS[2])
    limit = format_usd(hold_of("tiny") * 20)
    must = bench(
        budget("all", limit, action="degrade", min_output_tokens=1), models=models, default_model=None
    )
    plan = planned(must, must.call(model="large", max_tokens=50_000))
    assert (plan.admitted, plan.decision.model) == (True, "tiny")
    assert plan.decision.clamp is not None
    other = budget("tokens", 2_000, metric="output_tokens", min_output_tokens=1, scope="model:tiny")
    soft = bench(threshold("low"), other, models=models, default_model=None)
    plan = planned(soft, soft.call(model="large", max_tokens=50_000))
    assert (plan.admitted, plan.decision.model, plan.decision.clamp) == (True, "large", None)


async def test_an_unclamped_cheaper_model_is_better_than_a_dearer_one_with_a_clamp() -> None:
    limit = (hold_of("small") * 3) // 4
    on = bench(budget("all", format_usd(limit), action="degrade", min_output_tokens=1))
    plan = planned(on, on.call(model="large"))
    assert (plan.decision.model, plan.decision.clamp) == ("tiny", None)


async def test_several_policies_move_a_call_to_what_all_of_them_allow() -> None:
    on = bench(threshold("standard", "a"), threshold("low", "b"), threshold(None, "c"))
    plan = planned(on, on.call(model="large"))
    assert plan.decision.model == "tiny"
    assert routing(plan.decision).degraded_by == ("a", "b", "c")


async def test_a_wish_that_cannot_be_met_does_not_refuse_a_call_that_another_budget_can_move() -> None:
    """The docs: by a threshold "the call stays on its model" where none fits; it never stops a call."""
    must = budget("must", between("small", "large"), action="degrade")
    alone = bench(must, allowed=("small", "large"))
    assert planned(alone, alone.call(model="large")).decision.model == "small"
    on = bench(must, threshold("tiny", "wish"), allowed=("small", "large"))
    plan = planned(on, on.call(model="large"))
    assert (plan.admitted, plan.decision.model) == (True, "small")


async def test_other_policies_bind_the_cheaper_model_as_well() -> None:
    on = bench(
        budget("all", between("small", "large"), action="degrade"),
        budget("few", 1, metric="total_tokens", scope="model:small"),
    )
    plan = planned(on, on.call(model="large"))
    assert plan.decision.model == "tiny"
    assert {each.budget.policy_id for each in plan.decision.evaluations} == {"all"}


async def test_budgets_of_a_model_or_provider_are_read_anew_for_the_cheaper_model() -> None:
    on = bench(
        budget("dear", "0.000001", action="degrade", scope="model:large"),
        budget("cheap", "1.00", scope="model:tiny"),
        budget("away", "1.00", scope="provider:other"),
        models=(MODELS[1], entry("tiny", "other")),
        providers=(STUB, OTHER),
        prices={"stub": prices(), "other": prices()},
        default_model=None,
    )
    decision, settlement = await settled(on, on.call(model="large"))
    assert (decision.model, decision.provider) == ("tiny", "other")
    assert {each.budget.policy_id for each in decision.evaluations} == {"away", "cheap"}
    assert settlement.cost == TINY_COST
    assert on.balance("cheap", "tiny").posted == on.balance("away", "other").posted == TINY_COST
    assert on.balance("dear", "large") == (0, 0, 0, 0)


async def test_a_chosen_model_is_degraded_like_an_asked_one() -> None:
    """The budget binds only what routing would take."""
    on = bench(budget("dear", "0.000001", action="degrade", scope="model:large"))
    plan = planned(on, on.call(model="auto", fields=HARD))
    assert routing(plan.decision).by == "hard"
    assert plan.decision.model == "small"
    assert routing(plan.decision).degraded_by == ("dear",)


async def test_a_model_without_a_price_is_not_moved_and_not_moved_to() -> None:
    models = (*MODELS, entry("unpriced"))
    on = bench(threshold("unpriced"), models=models)
    assert told(planned(on, on.call(model="large"))) == ("large", "large", "proceed")
    tokens = bench(threshold("low", metric="total_tokens", limit="100000000"), models=models)
    assert planned(tokens, tokens.call(model="unpriced")).decision.model == "unpriced"


@pytest.mark.parametrize("health", [Health.OPEN, Health.COOLING])
async def test_no_budget_moves_a_call_to_a_provider_that_is_not_well(health: Health) -> None:
    on = bench(
        threshold("low"),
        providers=(STUB, OTHER),
        models=(MODELS[1], entry("tiny", "other", CostTier.LOW)),
        prices={"stub": prices(), "other": prices()},
        default_model=None,
        resilience=FRAGILE,
    )
    await sicken(on, "tiny", 500 if health is Health.OPEN else 429)
    assert told(planned(on, on.call(model="large"))) == ("large", "large", "proceed")


async def test_a_full_provider_does_not_turn_degrade_into_a_refusal() -> None:
    """A person's call waits for a slot; a budget that can be kept is no reason to refuse it."""
    on = bench(
        budget("all", between("tiny", "small"), action="degrade"),
        providers=(STUB, OTHER),
        models=(MODELS[0], entry("tiny", "other", CostTier.LOW)),
        prices={"stub": prices(), "other": prices({"tiny": 0})},
        terms={"other": ProviderTerms("key", concurrency=1)},
    )
    running = on.start(on.call(model="tiny"))
    await on.at_provider()
    plan = planned(on, on.call(model="small"))
    assert (plan.judgement.verdict.outcome, plan.decision.model) == (Outcome.ADMIT, "tiny")
    on.upstream.calls[0].answer(*USED)
    await running


# Policies on trial.


@pytest.mark.parametrize("mode", [Mode.SUGGEST, Mode.DRY_RUN])
async def test_without_enforcement_a_budget_moves_nothing_and_says_what_it_would(mode: Mode) -> None:
    on = bench(threshold("low"), mode=mode)
    decision, settlement = await settled(on, on.call(model="large"))
    assert (decision.model, decision.recommended_model, decision.route) == ("large", "tiny", "proceed")
    shadow = decision.counterfactual
    assert shadow is not None
    assert shadow.would == (("all=would_route",) if mode is Mode.DRY_RUN else ())
    assert (shadow.outcome, shadow.model) == ("admit", "tiny")
    assert (settlement.cost, settlement.counterfactual_cost) == (100 * TINY_COST, TINY_COST)
    assert on.balance("all").posted == 100 * TINY_COST


async def test_a_policy_on_trial_would_route_in_an_enforced_call() -> None:
    on = bench(threshold("low", mode="dry_run"), budget("other", "1.00"))
    decision, settlement = await settled(on, on.call(model="large"))
    assert (decision.model, decision.recommended_model) == ("large", "tiny")
    assert decision.counterfactual is not None
    assert decision.counterfactual.would == ("all=would_route",)
    assert settlement.counterfactual_cost == TINY_COST
    assert on.balance("all") == (100 * TINY_COST, 0, TINY_COST, 0)
    assert on.balance("other") == (100 * TINY_COST, 0, TINY_COST, 0)


async def test_a_suggesting_policy_is_published_and_not_held_against_the_call() -> None:
    on = bench(threshold("low", mode="suggest"))
    plan = planned(on, on.call(model="large"))
    assert (plan.decision.model, plan.decision.recommended_model) == ("large", "tiny")


async def test_what_was_enforced_is_not_what_enforcement_would_add() -> None:
    on = bench(threshold("standard", "live"), threshold("low", "trial", mode="dry_run"))
    plan = planned(on, on.call(model="large"))
    assert told(plan)[:2] == ("small", "tiny")
    assert plan.decision.route_reason == "moved to a cheaper model by live"
    assert plan.decision.counterfactual is not None
    assert plan.decision.counterfactual.would == ("trial=would_route",)


async def test_a_mode_of_the_caller_tightens_what_moves() -> None:
    on = bench(threshold("low"), mode=Mode.SUGGEST)
    plan = planned(on, on.call(model="large", headers={"x-palyra-mode": "enforced"}))
    assert told(plan) == ("tiny", "tiny", "degrade")


async def test_a_recommendation_that_would_be_refused_everywhere_costs_nothing_in_the_shadow() -> None:
    on = bench(budget("all", "0.000001", action="degrade"), mode=Mode.DRY_RUN)
    decision, settlement = await settled(on, on.call(model="large"))
    assert decision.counterfactual is not None
    assert (decision.counterfactual.would, decision.counterfactual.outcome) == (("all=would_block",), "deny")
    assert settlement.counterfactual_cost == 0


# Sessions.


async def test_a_session_stays_on_the_model_that_was_chosen_for_it() -> None:
    on = bench()
    await on.answered(on.call(model="auto", headers=SESSION, fields=HARD), *USED)
    plan = planned(on, on.call(model="auto", headers=SESSION))
    assert (plan.decision.model, routing(plan.decision).by) == ("large", "session")
    assert routing(plan.decision).sticky == "large"
    assert planned(on, on.call(model="auto", headers={"x-palyra-session": "run-8"})).decision.model == "tiny"
    assert planned(on, on.call("bob", model="auto", headers=SESSION), "bob").decision.model == "tiny"


@pytest.mark.parametrize(("seconds", "expected"), [(3_599, "large"), (3_600, "tiny")])
async def test_a_session_that_is_not_used_is_chosen_anew(seconds: int, expected: str) -> None:
    on = bench()
    await on.answered(on.call(model="auto", headers=SESSION, fields=HARD), *USED)
    on.clock.advance(seconds)
    assert planned(on, on.call(model="auto", headers=SESSION)).decision.model == expected


async def test_each_call_of_a_session_renews_it() -> None:
    on = bench()
    await on.answered(on.call(model="auto", headers=SESSION, fields=HARD), *USED)
    for _ in range(3):
        on.clock.advance(3_000)
        decision, _ = await settled(on, on.call(model="auto", headers=SESSION))
        assert decision.model == "large"


async def test_a_named_model_in_a_session_leaves_the_session_where_it_is() -> None:
    on = bench()
    await on.answered(on.call(model="auto", headers=SESSION, fields=HARD), *USED)
    await on.answered(on.call(model="tiny", headers=SESSION), *USED)
    assert planned(on, on.call(model="auto", headers=SESSION)).decision.model == "large"


async def test_a_budget_moves_a_session() -> None:
    on = bench(budget("dear", "0.000001", action="degrade", scope="model:large"))
    on.engine.sessions.keep("alice", "run-7", "large", on.clock.now())
    decision, _ = await settled(on, on.call(model="auto", headers=SESSION))
    assert (decision.model, routing(decision).by) == ("small", "session")
    assert planned(on, on.call(model="auto", headers=SESSION)).decision.model == "small"


@pytest.mark.parametrize("status", [429, 500])
async def test_health_moves_a_session(status: int) -> None:
    on = bench(
        providers=(STUB, OTHER),
        models=(*MODELS, entry("huge", "other")),
        prices={"stub": prices(), "other": prices({"huge": 1_000})},
        resilience=FRAGILE,
    )
    on.engine.sessions.keep("alice", "run-7", "huge", on.clock.now())
    assert planned(on, on.call(model="auto", headers=SESSION)).decision.model == "huge"
    await sicken(on, "huge", status)
    plan = planned(on, on.call(model="auto", headers=SESSION))
    assert (plan.decision.model, routing(plan.decision).by) == ("tiny", "easy")


async def test_an_auxiliary_call_does_not_move_the_session_of_a_person() -> None:
    """Neither health nor a budget asks for it, and the cache of the long conversation is lost."""
    on = bench()
    await on.answered(on.call(model="auto", headers=SESSION, fields=HARD), *USED)
    summary = {**SESSION, "x-palyra-task-class": "auxiliary_summary"}
    decision, _ = await settled(on, on.call(model="auto", headers=summary))
    assert decision.model == "tiny"
    assert planned(on, on.call(model="auto", headers=SESSION)).decision.model == "large"


# Health.


async def sicken(on: Bench, model: str, status: int = 500) -> None:
    """The provider of a model fails one call."""
    running = on.start(on.call("bob", model=model))
    (await on.at_provider(len(on.upstream.calls) + 1)).refuse(status)
    await running


def spread(**more: Any) -> Bench:
    """``small`` at two providers, ``large`` as its fallback at the other one."""
    settings: dict[str, Any] = {
        "providers": (STUB, OTHER),
        "models": (
            entry("small", fallbacks=("large",)),
            entry("small", "other"),
            entry("large", "other"),
            entry("tiny"),
        ),
        "prices": {"stub": prices(), "other": prices()},
        "resilience": FRAGILE,
        **more,
    }
    return bench(**settings)


async def open_stub(on: Bench) -> None:
    """The provider ``stub`` fails, and nobody takes its call up."""
    providers, now = on.engine.providers, on.clock.now()
    attempt = providers.begin(on.engine.registry.find("stub/small"), now)
    assert attempt is not None
    fault = Fault(Reason.SERVER_ERROR, provider_fault=True, retry_here=False, elsewhere=False)
    providers.failed(attempt, fault, "it answered 500", now)


async def test_a_call_goes_to_the_same_model_elsewhere_while_its_provider_fails() -> None:
    on = spread()
    await open_stub(on)
    plan = planned(on, on.call(model="small"))
    assert (plan.decision.provider, *told(plan)) == ("other", "small", "small", "failover")
    assert plan.decision.route_reason == "provider 'stub' fails"
    assert routing(plan.decision).by == "failover"


async def test_without_failover_a_call_waits_for_its_own_provider() -> None:
    on = spread(routing=RoutingRules(failover=False))
    await open_stub(on)
    plan = planned(on, on.call(model="small"))
    assert (plan.decision.provider, plan.decision.model, plan.admitted) == ("stub", "small", False)
    assert plan.decision.route == "defer"


@pytest.mark.parametrize("mode", [Mode.SUGGEST, Mode.DRY_RUN])
async def test_without_enforcement_a_call_may_change_its_provider_and_not_its_model(mode: Mode) -> None:
    on = spread(mode=mode)
    await open_stub(on)
    plan = planned(on, on.call(model="small"))
    assert (plan.decision.provider, plan.decision.model, plan.decision.route) == (
        "other",
        "small",
        "failover",
    )
    alone = spread(mode=mode, models=(entry("small", fallbacks=("large",)), entry("large", "other")))
    await open_stub(alone)
    plan = planned(alone, alone.call(model="small"))
    assert (plan.decision.provider, plan.decision.model, plan.admitted) == ("stub", "small", False)


async def test_a_fallback_is_taken_where_no_other_provider_has_the_model() -> None:
    on = spread(models=(entry("small", fallbacks=("large",)), entry("large", "other")))
    await open_stub(on)
    plan = planned(on, on.call(model="small"))
    assert (plan.decision.provider, *told(plan)) == ("other", "large", "large", "failover")


async def test_a_key_is_not_failed_over_to_a_model_that_it_may_not_use() -> None:
    on = spread(models=(entry("small", fallbacks=("large",)), entry("large", "other")), allowed=("small",))
    await open_stub(on)
    assert planned(on, on.call(model="small")).decision.model == "small"


async def test_open_choices_avoid_a_provider_that_fails() -> None:
    on = spread()
    await open_stub(on)
    plan = planned(on)
    assert (plan.decision.provider, plan.decision.model) == ("other", "small")


async def test_what_a_choice_went_by_is_stored() -> None:
    on = bench()
    call = on.call(model="auto", tools=[{"type": "function"}], response_format={"type": "json_object"})
    record = routing(planned(on, call).decision)
    assert record.features.text_bytes == call.ask.text_bytes
    assert record.features.tokens == round(call.ask.text_bytes / 4)
    assert (record.features.turns, record.features.tools, record.features.images) == (1, 1, 0)
    assert record.features.wants_json
    assert record.default_model == "small"
    assert [each.model for each in record.options] == ["small", "large", "tiny"]
    assert [each.cost_rank for each in record.options] == [1, 2, 0]
    assert {(each.health, each.room, each.lost) for each in record.options} == {(Health.OK, "ready", "")}


async def test_latency_tiers_are_ranks_of_the_options() -> None:
    models = (
        entry("small", latency_tier=LatencyTier.HIGH),
        entry("large", latency_tier=LatencyTier.LOW),
        entry("tiny", latency_tier=LatencyTier.STANDARD),
    )
    on = bench(models=models)
    record = routing(planned(on).decision)
    assert {each.model: each.latency_rank for each in record.options} == {"small": 2, "large": 0, "tiny": 1}


async def test_unknown_models_are_told_as_always() -> None:
    on = bench(smart=Smart.ALWAYS)
    with pytest.raises(ModelNotFound, match="no model 'gone'"):
        planned(on, on.call(model="gone"))
    registry = on.engine.registry
    assert isinstance(registry, Registry)


async def test_nothing_is_refused_for_what_routing_did() -> None:
    """The path as a whole: every call of a mixed day runs, on the model that its decision names."""
    on = bench(threshold("low", limit="1.00"), smart=Smart.ALWAYS)
    asked: Sequence[tuple[str, Mapping[str, object], Mapping[str, str]]] = [
        ("large", HARD, SESSION),
        ("auto", {}, BACKGROUND),
        ("small", MIDDLE, {}),
        ("tiny", {}, SESSION),
    ]
    for name, fields, headers in asked:
        try:
            decision, _ = await settled(on, on.call(model=name, fields=fields, headers=headers))
        except PalyraError as error:
            pytest.fail(f"{name}: {error.message}")
        assert on.upstream.calls[-1].body["model"] == decision.model
