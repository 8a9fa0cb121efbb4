"""What people are told of models: without a daemon, and by one that is moved by hand."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest

from fakes.engines import Bench, budget, turns
from harness.script import Answer, failing
from harness.stub import Stub
from palyra.config.load import load_settings
from palyra.config.settings import Settings
from palyra.core.errors import (
    FieldError,
    InvalidRequest,
    ModelNotAllowed,
    ModelNotFound,
    NotFound,
    UpstreamFailed,
)
from palyra.daemon.models import ModelDesk
from palyra.daemon.offline import offline_desk
from palyra.ledger.account import EMPTY
from palyra.registry.models import Kind, ModelEntry, Provider
from palyra.routing.rules import RoutingRules, Smart

SECRET = "sk-provider-secret-0123456789"
PRICE = 'price = { input = "1.00", output = "2.00" }'
KEY_SHA256 = "ab" * 32
PATIENCE_S = 10.0
Document = dict[str, Any]


def provider(name: str, url: str, **more: object) -> str:
    fields: dict[str, object] = {"id": name, "kind": "openai_compatible", "base_url": f"{url}/v1", **more}
    return table("providers", fields)


def model(name: str, place: str, price: str = PRICE, **more: object) -> str:
    return table("models", {"id": name, "provider": place, **more}) + f"{price}\n"


def table(name: str, fields: Mapping[str, object]) -> str:
    lines = [
        f"{key} = {str(value).lower() if isinstance(value, bool) else repr(value)}"
        for key, value in fields.items()
    ]
    return f"[[{name}]]\n" + "\n".join(lines) + "\n"


def settings(folder: Path, text: str, env: Mapping[str, str] | None = None) -> Settings:
    path = folder / "palyra.toml"
    path.write_text(text)
    return load_settings(path, {"KEY": SECRET, **(env or {})}, folder)


async def offline(folder: Path, text: str, env: Mapping[str, str] | None = None) -> ModelDesk:
    return await offline_desk(settings(folder, text, env))


ONE = provider("one", "http://127.0.0.1:9") + model("small", "one", output_limit=1_000)
HEAD = '[governance]\ndefault_model = "small"\n'
TIGHT = table(
    "budgets",
    {"id": "tight", "scope": "global", "metric": "cost_usd", "interval": "day", "hard_limit": "0.000001"},
)


def items(desk: ModelDesk) -> dict[str, Document]:
    listed = desk.listing()["items"]
    assert isinstance(listed, list)
    return {each["id"]: each for each in cast("list[Document]", listed)}


def problems(desk: ModelDesk) -> dict[str, tuple[str, str]]:
    found = cast("list[Document]", desk.status()["problems"])
    return {each["field"]: (each["severity"], each["message"]) for each in found}


# Status.


async def test_a_whole_configuration_has_no_problems(tmp_path: Path) -> None:
    desk = await offline(tmp_path, HEAD + ONE)
    status = desk.status()
    assert status["problems"] == []
    assert (status["live"], status["default_model"], status["models"], status["priced"]) == (
        False,
        "small",
        1,
        1,
    )
    assert status["mode"] == "enforced"
    assert status["routing"] == {
        "smart": "auto",
        "candidates": "configured",
        "failover": True,
        "sticky_s": 3_600,
        "retries": 2,
        "breaker_failures": 5,
        "breaker_open_s": 30.0,
    }
    (found,) = cast("list[Document]", status["providers"])
    assert (found["id"], found["kind"], found["models"], found["priced"]) == (
        "one",
        "openai_compatible",
        1,
        1,
    )
    assert found["credential"] == {"reference": None, "present": False, "needed": False}
    assert (found["health"], found["check"], found["discovered_at"], found["load"]) == (None, None, None, [])


async def test_problems_name_the_field_to_mend(tmp_path: Path) -> None:
    text = (
        '[governance]\ndefault_model = "gone"\n'
        + provider("one", "http://127.0.0.1:9", credential="env:MISSING")
        + model("small", "one", fallbacks=["nowhere", "large"])
        + model("large", "one", price="")
        + model("off", "one", price="", enabled=False)
        + provider("two", "http://127.0.0.1:9", credential="env:MISSING", enabled=False)
    )
    desk = await offline(tmp_path, text)
    found = problems(desk)
    assert set(found) == {
        "providers.one.credential",
        "governance.default_model",
        "models.small.fallbacks",
        "models.large.price",
    }
    assert found["providers.one.credential"] == ("error", "env:MISSING is not set")
    assert found["governance.default_model"][0] == "error"
    assert "'gone'" in found["governance.default_model"][1]
    assert found["models.small.fallbacks"][0] == found["models.large.price"][0] == "warning"
    assert "'nowhere'" in found["models.small.fallbacks"][1]


async def test_a_credential_is_named_and_never_shown(tmp_path: Path) -> None:
    text = ONE + provider("two", "http://127.0.0.1:9", credential="env:KEY")
    desk = await offline(tmp_path, text)
    (_, two) = cast("list[Document]", desk.status()["providers"])
    assert two["credential"] == {"reference": "env:KEY", "present": True, "needed": False}
    assert SECRET not in repr(desk.status())
    assert SECRET not in repr(desk.listing())


# Listing.


async def test_each_value_of_a_model_says_who_said_it(tmp_path: Path) -> None:
    text = (
        table("providers", {"id": "openai", "kind": "openai", "credential": "env:KEY"})
        + model("gpt-4o-mini", "openai", "", cost_tier="premium", aliases=["fast"], fallbacks=["plain"])
        + provider("local", "http://127.0.0.1:9")
        + model("plain", "local", context_window=9_000)
    )
    found = items(await offline(tmp_path, text))
    known, plain = found["gpt-4o-mini"], found["plain"]
    assert (known["cost_tier"], known["sources"]["cost_tier"]) == ("premium", "config")
    assert known["sources"]["context_window"] == "price_book"
    assert known["sources"]["capabilities"] == "family"
    assert known["price"]["input_usd_per_million"] == "0.15"
    assert (known["aliases"], known["fallbacks"]) == (["fast"], ["plain"])
    assert (plain["context_window"], plain["sources"]["context_window"]) == (9_000, "config")
    assert (plain["capabilities"], plain["sources"]["latency_tier"]) == (None, "default")
    assert (known["price"]["cache_read_usd_per_million"], known["price"]["source"]) == (
        "0.075",
        known["sources"]["price"],
    )
    assert plain["price"] == {
        "input_usd_per_million": "1",
        "output_usd_per_million": "2",
        "cache_read_usd_per_million": None,
        "source": "config",
    }
    assert {(each["breaker"], each["cooldown"]) for each in found.values()} == {("closed", None)}
    assert {each["health"] for each in found.values()} == {"ok"}
    assert {each["origin"] for each in found.values()} == {"config"}


async def test_a_model_that_is_switched_off_is_listed_as_such(tmp_path: Path) -> None:
    text = ONE + model("off", "one", enabled=False) + provider("two", "http://127.0.0.1:9", enabled=False)
    found = items(await offline(tmp_path, text + model("there", "two")))
    assert {name: each["enabled"] for name, each in found.items()} == {
        "small": True,
        "off": False,
        "there": False,
    }


async def test_the_same_model_at_two_providers_is_listed_twice_each_with_its_price(tmp_path: Path) -> None:
    """The operator prices it by the id that calls name, not by what its provider calls it."""
    text = (
        ONE
        + provider("two", "http://127.0.0.1:9")
        + model("small", "two", "", upstream_name="org/small-v2")
        + table("prices", {"provider": "two", "model": "small", "input": "3.00", "output": "4.00"})
    )
    desk = await offline(tmp_path, text)
    found = items(desk)
    assert found["small"]["price"]["input_usd_per_million"] == "1"
    assert found["two/small"]["price"]["input_usd_per_million"] == "3"
    assert desk.status()["problems"] == []


# Explain.


async def test_a_call_that_would_run_is_explained_and_nothing_is_held(tmp_path: Path) -> None:
    desk = await offline(tmp_path, HEAD + ONE + TIGHT.replace("0.000001", "1.00"))
    found = await desk.explain({"prompt": "hi", "max_tokens": 9, "session": "s"})
    assert (found["would_run"], found["error"], found["live"]) == (True, None, False)
    assert (found["model"], found["provider"], found["outcome"]) == ("small", "one", "admit")
    assert found["estimate"]["output_tokens_bound"] == 9
    assert [each["policy_id"] for each in found["evaluations"]] == ["tight"]
    assert desk.engine.ledger.accounts == {}
    assert not {"request_id", "state", "settlement", "key_id"} & set(found)


async def test_a_call_that_a_budget_would_refuse_is_explained_as_well(tmp_path: Path) -> None:
    desk = await offline(tmp_path, HEAD + ONE + TIGHT)
    found = await desk.explain({"prompt": "hi", "max_tokens": 900})
    assert (found["would_run"], found["outcome"]) == (False, "deny")
    assert found["error"] == {"status": 402, "code": "budget_exceeded"}
    assert found["error_code"] == "budget_exceeded"
    assert "tight" in found["message"]
    assert await desk.engine.records.decisions(_all()) == []


async def test_a_call_without_a_price_would_be_refused_under_a_money_budget(tmp_path: Path) -> None:
    text = provider("one", "http://127.0.0.1:9") + model("free", "one", "") + TIGHT
    found = await (await offline(tmp_path, text)).explain({"prompt": "hi", "model": "free", "max_tokens": 9})
    assert found["error"] == {"status": 402, "code": "price_unknown"}


async def test_what_comes_to_no_decision_is_refused_as_the_call_would_be(tmp_path: Path) -> None:
    desk = await offline(tmp_path, HEAD + ONE)
    with pytest.raises(ModelNotFound, match="no model 'smal'"):
        await desk.explain({"prompt": "hi", "model": "smal"})
    with pytest.raises(FieldError):
        await desk.explain({})
    with pytest.raises(InvalidRequest):
        await desk.explain({"body": {"model": "small", "messages": 3}})
    with pytest.raises(NotFound):
        await desk.explain({"prompt": "hi", "key_id": "nobody"})


async def test_without_a_default_a_question_names_a_model(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="default_model"):
        await (await offline(tmp_path, ONE)).explain({"prompt": "hi"})


async def test_a_key_of_the_file_asks_with_its_rights(tmp_path: Path) -> None:
    key = {"id": "ci", "sha256": KEY_SHA256, "principal": "robot", "agent": "nightly", "models": ["small"]}
    desk = await offline(tmp_path, HEAD + ONE + model("large", "one") + table("keys", key))
    found = await desk.explain({"prompt": "hi", "model": "small", "key_id": "ci", "principal": "bob"})
    assert (found["principal"], found["agent"]) == ("robot", "nightly")
    with pytest.raises(ModelNotAllowed):
        await desk.explain({"prompt": "hi", "model": "large", "key_id": "ci"})


async def test_numbers_of_a_body_may_have_a_point(tmp_path: Path) -> None:
    body = {
        "model": "small",
        "messages": [{"role": "user", "content": "hi"}],
        "temperature": Decimal("0.7"),
        "max_tokens": 9,
    }
    assert (await (await offline(tmp_path, ONE)).explain({"body": body}))["would_run"]


async def test_a_choice_is_explained_with_its_candidates(tmp_path: Path) -> None:
    text = (
        HEAD + ONE + model("tiny", "one", 'price = { input = "0.10", output = "0.20" }', output_limit=1_000)
    )
    found = await (await offline(tmp_path, text)).explain({"prompt": "hi"})
    assert (found["model"], found["route"], found["routing"]["by"]) == ("tiny", "degrade", "easy")
    assert [each["model"] for each in found["routing"]["candidates"]] == ["small", "tiny"]


async def test_without_a_daemon_no_call_is_made(tmp_path: Path) -> None:
    desk = await offline(tmp_path, ONE)
    request: Any = type("Request", (), {"provider_id": "one"})()
    with pytest.raises(UpstreamFailed, match="without a running daemon"):
        desk.engine.upstream.send(request, cast("Any", None))
    await desk.engine.upstream.close()


# Connection tests.


def on_bench(
    folder: Path, text: str, bench: Bench | None = None, *, live: bool = True
) -> tuple[ModelDesk, Bench]:
    """A desk whose clock is moved by hand."""
    bench = bench or Bench(providers=(Provider("one", Kind.OPENAI_COMPATIBLE),), models=())
    return ModelDesk(settings(folder, text), bench.engine, live), bench


def only(found: Mapping[str, Any]) -> Document:
    (result,) = found["providers"]
    return result


async def test_a_result_is_given_again_while_it_is_young(tmp_path: Path, shared_stub: Stub) -> None:
    desk, bench = on_bench(tmp_path, provider("one", shared_stub.url) + "[discovery]\nhealth_ttl_s = 60\n")
    first = await desk.test(None, PATIENCE_S, refresh=False)
    assert (first["ok"], first["live"]) == (True, True)
    assert (only(first)["state"], only(first)["cached"], only(first)["age_s"]) == ("ok", False, 0)
    assert only(first)["models"] == shared_stub.models
    bench.clock.advance(59)
    again = only(await desk.test("one", PATIENCE_S, refresh=False))
    assert (again["cached"], again["age_s"], again["checked_at"]) == (True, 59, only(first)["checked_at"])
    assert len(shared_stub.calls) == 1
    bench.clock.advance(1)
    assert only(await desk.test("one", PATIENCE_S, refresh=False))["cached"] is False
    assert len(shared_stub.calls) == 2


async def test_a_refresh_asks_anew_and_its_result_is_kept(tmp_path: Path, shared_stub: Stub) -> None:
    desk, _ = on_bench(tmp_path, provider("one", shared_stub.url))
    await desk.test(None, PATIENCE_S, refresh=False)
    shared_stub.script = failing(401)
    assert only(await desk.test(None, PATIENCE_S, refresh=False))["state"] == "ok"
    found = await desk.test(None, PATIENCE_S, refresh=True)
    assert (found["ok"], only(found)["state"]) == (False, "auth_failed")
    assert only(await desk.test(None, PATIENCE_S, refresh=False))["state"] == "auth_failed"
    status = cast("list[Document]", desk.status()["providers"])[0]
    assert (status["check"]["state"], status["check"]["cached"]) == ("auth_failed", True)


async def test_one_provider_or_all_are_tested(tmp_path: Path, shared_stub: Stub) -> None:
    text = provider("one", shared_stub.url) + provider("two", shared_stub.url)
    desk = await offline(tmp_path, text)
    assert [each["provider"] for each in (await desk.test(None, 5, refresh=False))["providers"]] == [
        "one",
        "two",
    ]
    assert [each["provider"] for each in (await desk.test("two", 5, refresh=True))["providers"]] == ["two"]
    with pytest.raises(NotFound, match="configured: one, two"):
        await desk.test("three", 5, refresh=False)


async def test_what_need_not_be_asked_is_not(tmp_path: Path, shared_stub: Stub) -> None:
    text = provider("off", shared_stub.url, enabled=False)
    text += provider("bare", shared_stub.url, credential="env:MISSING")
    found = await (await offline(tmp_path, text)).test(None, 5, refresh=False)
    off, bare = found["providers"]
    assert (off["state"], off["enabled"], off["well"]) == ("disabled", False, False)
    assert (bare["state"], bare["message"]) == ("missing_credential", "env:MISSING is not set")
    assert found["ok"] is False
    assert shared_stub.calls == []


async def test_a_disabled_provider_does_not_spoil_the_whole(tmp_path: Path, shared_stub: Stub) -> None:
    text = provider("one", shared_stub.url) + provider("off", shared_stub.url, enabled=False)
    assert (await (await offline(tmp_path, text)).test(None, 5, refresh=False))["ok"] is True


async def test_a_result_never_shows_the_credential(tmp_path: Path, shared_stub: Stub) -> None:
    shared_stub.script = Answer(body=SECRET.encode())
    desk = await offline(tmp_path, provider("one", shared_stub.url, credential="env:KEY"))
    found = await desk.test(None, 5, refresh=False)
    assert SECRET not in repr(found)
    assert shared_stub.calls[0].headers["authorization"] == f"Bearer {SECRET}"


async def test_a_url_that_no_credential_may_go_to_is_refused_with_its_field(tmp_path: Path) -> None:
    desk = await offline(tmp_path, provider("one", "http://example.org"))
    with pytest.raises(FieldError) as caught:
        await desk.test(None, 5, refresh=False)
    assert caught.value.field == "providers[one].base_url"


# Discovery.


async def test_a_discovery_takes_what_is_listed_into_the_registry(tmp_path: Path, shared_stub: Stub) -> None:
    body = b'{"data":[{"id":"listed","context_length":4096},{"id":"small"}]}'
    shared_stub.script = Answer(body=body)
    desk = await offline(tmp_path, provider("one", shared_stub.url) + model("small", "one"))
    before = desk.engine.registry
    found = await desk.test("one", 5, refresh=False, discover=True)
    assert found["ok"]
    assert desk.engine.registry is not before
    listed = items(desk)
    assert (listed["listed"]["origin"], listed["listed"]["context_window"]) == ("discovered", 4_096)
    assert listed["listed"]["sources"]["context_window"] == "discovery"
    assert listed["small"]["origin"] == "config"
    (one,) = cast("list[Document]", desk.status()["providers"])
    assert (one["models"], one["discovery_age_s"]) == (2, 0)
    assert (await desk.explain({"prompt": "hi", "model": "listed"}))["model"] == "listed"


async def test_a_plain_test_leaves_the_registry_alone(tmp_path: Path, shared_stub: Stub) -> None:
    desk = await offline(tmp_path, provider("one", shared_stub.url))
    before = desk.engine.registry
    await desk.test(None, 5, refresh=True)
    assert desk.engine.registry is before


async def test_a_discovery_that_fails_keeps_what_was_known(tmp_path: Path, shared_stub: Stub) -> None:
    desk = await offline(tmp_path, provider("one", shared_stub.url))
    await desk.test(None, 5, refresh=False, discover=True)
    known = set(items(desk))
    for script in (failing(404), failing(500), Answer(body=b"<html>")):
        shared_stub.script = script
        await desk.test(None, 5, refresh=False, discover=True)
        assert set(items(desk)) == known == set(shared_stub.models)


async def test_a_discovery_never_takes_an_older_result(tmp_path: Path, shared_stub: Stub) -> None:
    desk, _ = on_bench(tmp_path, provider("one", shared_stub.url))
    await desk.test(None, PATIENCE_S, refresh=False)
    shared_stub.models = ["new"]
    try:
        await desk.test(None, PATIENCE_S, refresh=False, discover=True)
    finally:
        shared_stub.models = ["stub-model", "stub-embed", "stub-claude"]
    assert set(items(desk)) == {"new"}


# A daemon's desk.


async def test_health_and_load_are_a_daemon_s_to_tell(tmp_path: Path) -> None:
    text = provider("one", "http://127.0.0.1:9")
    desk, _ = on_bench(tmp_path, text)
    (one,) = cast("list[Document]", desk.status()["providers"])
    assert (one["health"]["breaker"], one["health"]["attempts"], one["health"]["cooldowns"]) == (
        "closed",
        0,
        [],
    )
    (offline_one,) = cast("list[Document]", replace(desk, live=False).status()["providers"])
    assert offline_one["health"] is None


async def test_explain_sees_what_is_used(tmp_path: Path) -> None:
    bench = Bench(budget("calls", 1, metric="requests"))
    desk, _ = on_bench(tmp_path, provider("stub", "http://127.0.0.1:9"), bench)
    question = {"prompt": "hi", "model": "small", "max_tokens": 9}
    assert (await desk.explain(question))["would_run"]
    await bench.answered(bench.call())
    found = await desk.explain(question)
    assert found["error"] == {"status": 402, "code": "budget_exceeded"}
    assert bench.balance("calls").held == 0


async def test_explain_sees_the_session_and_does_not_keep_it(tmp_path: Path) -> None:
    bench = Bench(default_model="small", routing=RoutingRules(Smart.AUTO))
    desk, _ = on_bench(tmp_path, provider("stub", "http://127.0.0.1:9"), bench)
    question = {"prompt": "hi", "session": "run-7", "principal": "alice", "max_tokens": 9}
    assert (await desk.explain(question))["routing"]["session_model"] is None
    assert (await desk.explain(question))["routing"]["session_model"] is None
    bench.engine.sessions.keep("alice", "run-7", "large", bench.clock.now())
    found = await desk.explain(question)
    assert (found["model"], found["routing"]["by"]) == ("large", "session")


def two_places(folder: Path) -> tuple[ModelDesk, Bench]:
    """The same model at two providers."""
    names = ("one", "two")
    bench = Bench(
        budget("all", "1.00"),
        providers=[Provider(each, Kind.OPENAI_COMPATIBLE) for each in names],
        models=[ModelEntry("small", each, "small", output_limit=1_000) for each in names],
        prices={each: {"small": {"input": "1.00", "output": "2.00"}} for each in names},
    )
    text = "".join(provider(each, "http://127.0.0.1:9") for each in names)
    return on_bench(folder, text, bench)


async def generated(desk: ModelDesk, bench: Bench, provider_id: str, *refusals: int) -> Document:
    """A generation whose first tries are refused with these, and whose next one is answered."""
    first = len(bench.upstream.calls)
    running = asyncio.create_task(desk.generate(provider_id, "alice"))
    for tries, status in enumerate((*refusals, 200), first + 1):
        await turns(lambda number=tries: running.done() or len(bench.upstream.calls) >= number)
        if running.done():
            break
        if status == 200:
            bench.upstream.calls[-1].answer(5, 1)
        else:
            bench.upstream.calls[-1].refuse(status)
    (found,) = await running
    return found


async def test_a_generation_is_one_token_held_counted_and_billed(tmp_path: Path) -> None:
    desk, bench = two_places(tmp_path)
    found = await generated(desk, bench, "one")
    assert (found["ok"], found["model"], found["cost_nano_usd"]) == (True, "small", 5 * 1_000 + 2_000)
    assert bench.upstream.calls[0].body["max_tokens"] == 1
    assert bench.balance("all").posted == 7_000
    stored = await bench.store.records.decision(found["request_id"])
    assert stored is not None
    assert stored.decision.principal == "alice"


async def test_a_generation_reaches_each_of_two_providers_of_the_same_model(tmp_path: Path) -> None:
    desk, bench = two_places(tmp_path)
    for name in ("one", "two"):
        found = await generated(desk, bench, name)
        assert (found["ok"], found["message"]) == (True, "it answered 200")
        assert bench.upstream.calls[-1].request.provider_id == name


async def test_a_generation_that_is_refused_is_no_success(tmp_path: Path) -> None:
    desk, bench = two_places(tmp_path)
    found = await generated(desk, bench, "one", 400)
    assert (found["ok"], found["message"]) == (False, "it answered 400")


async def test_an_answer_of_another_provider_is_not_told_as_this_one_s(tmp_path: Path) -> None:
    """The call fails over; what was asked is whether ``one`` works."""
    desk, bench = two_places(tmp_path)
    found = await generated(desk, bench, "one", 401)
    assert found["ok"] is False
    assert found["message"] != "it answered 200"


async def test_a_generation_with_a_wrong_key_says_so_and_holds_nothing(tmp_path: Path) -> None:
    desk, bench = two_places(tmp_path)
    (found,) = await desk.generate("one", "mallory")
    assert (found["ok"], "API key" in found["message"]) == (False, True)
    assert (bench.upstream.calls, bench.balance("all")) == ([], EMPTY)


async def test_a_provider_without_chat_models_has_nothing_to_generate_with(tmp_path: Path) -> None:
    desk, _ = on_bench(tmp_path, provider("one", "http://127.0.0.1:9"))
    (found,) = await desk.generate("one", "alice")
    assert (found["ok"], found["message"]) == (False, "it has no chat model to ask")


def _all() -> Any:
    from palyra.lifecycle.ports import DecisionFilter

    return DecisionFilter()
