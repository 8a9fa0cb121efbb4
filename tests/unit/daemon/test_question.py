"""A question about a call becomes the call that a client would make, or says what is wrong with it."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from fakes.engines import MODELS, PRICES, STUB, Bench
from palyra.budgets.terms import Mode
from palyra.core.errors import FieldError, InvalidRequest, ModelNotFound, NotFound
from palyra.core.limits import LABEL_CHARS_MAX, TOKENS_MAX
from palyra.daemon.question import IMAGES_MAX, Question, call_of, read_question, subject_of
from palyra.identity.keys import Role
from palyra.lifecycle.call import Call
from palyra.lifecycle.wire import Endpoint
from palyra.registry.models import Kind, ModelEntry, Provider

CLAUDE = Provider("claude", Kind.ANTHROPIC)
CHATS = ["chat_completions", "responses", "messages"]
ENDPOINTS = [*CHATS, "completions", "embeddings"]


def on() -> Bench:
    return Bench(
        providers=(STUB, CLAUDE),
        models=(*MODELS, ModelEntry("opus", "claude", "opus")),
        prices={"stub": PRICES},
        default_model="small",
    )


def asked(document: Mapping[str, object], engine: Bench | None = None) -> Call:
    return call_of(read_question(document), (engine or on()).engine)


def wrong(document: Mapping[str, object]) -> FieldError:
    with pytest.raises(FieldError) as caught:
        read_question(document)
    return caught.value


# Reading.


def test_a_prompt_is_enough() -> None:
    assert read_question({"prompt": "hi"}) == Question(prompt="hi")
    assert read_question({"prompt": ""}).prompt == ""


def test_every_field_is_read() -> None:
    document: dict[str, object] = {
        "prompt": "hi",
        "endpoint": "responses",
        "model": "small",
        "max_tokens": 5,
        "json_mode": True,
        "vision": 2,
        "tools": 3,
        "stream": True,
        "key_id": "key-alice",
        "principal": "alice",
        "agent": "nightly",
        "session": "run-7",
        "parent_session": "run-1",
        "task_class": "auxiliary_summary",
        "tags": {"team": "platform"},
        "mode": "dry_run",
    }
    question = read_question(document)
    assert {name: getattr(question, name) for name in document} == document
    assert question.mode is Mode.DRY_RUN
    assert set(document) | {"body"} == set(Question.__struct_fields__)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt", 3),
        ("body", "hi"),
        ("body", [1]),
        ("endpoint", "count_tokens"),
        ("endpoint", "/v1/messages"),
        ("model", ""),
        ("model", "x" * (LABEL_CHARS_MAX + 1)),
        ("max_tokens", 0),
        ("max_tokens", TOKENS_MAX + 1),
        ("max_tokens", "5"),
        ("max_tokens", Decimal("1.5")),
        ("json_mode", "yes"),
        ("vision", -1),
        ("vision", IMAGES_MAX + 1),
        ("tools", IMAGES_MAX + 1),
        ("stream", 1),
        ("key_id", ""),
        ("principal", ""),
        ("principal", None),
        ("agent", "x" * (LABEL_CHARS_MAX + 1)),
        ("session", 7),
        ("parent_session", ""),
        ("task_class", ""),
        ("tags", ["a"]),
        ("mode", "strict"),
    ],
)
def test_a_bad_field_is_named(field: str, value: object) -> None:
    assert wrong({"prompt": "hi", field: value}).field == field


def test_a_bad_tag_is_named_within() -> None:
    assert wrong({"prompt": "hi", "tags": {"a": 1}}).field.startswith("tags")


def test_unknown_fields_are_refused() -> None:
    error = wrong({"prompt": "hi", "temperature": 1})
    assert "temperature" in error.message
    assert error.field in ("temperature", "body")


def test_a_prompt_or_a_body_and_not_both() -> None:
    assert wrong({}).field == "prompt"
    assert wrong({"model": "small"}).field == "prompt"
    assert wrong({"prompt": "hi", "body": {"model": "small"}}).field == "prompt"
    assert read_question({"prompt": None, "body": {"model": "small"}}).prompt is None


# The call.


async def test_a_prompt_becomes_a_chat_of_the_default_model() -> None:
    call = asked({"prompt": "hi"})
    assert (call.endpoint, call.ask.model, call.ask.stream) == (Endpoint.chat_completions, "auto", False)
    assert (call.ask.output_cap, call.ask.turns, call.ask.tools) == (None, 1, 0)
    assert (call.credential, call.idempotency_key) == (None, None)
    assert call.hints.task_class == "primary_interactive"


async def test_the_format_is_that_of_the_provider_that_has_the_model() -> None:
    assert asked({"prompt": "hi", "model": "small"}).endpoint is Endpoint.chat_completions
    call = asked({"prompt": "hi", "model": "opus"})
    assert (call.endpoint, call.ask.output_cap) == (Endpoint.messages, 1_024)
    assert asked({"prompt": "hi", "model": "opus", "max_tokens": 9}).ask.output_cap == 9
    body = {"model": "opus", "max_tokens": 7, "messages": [{"role": "user", "content": "hi"}]}
    assert asked({"body": body}).endpoint is Endpoint.messages


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_a_plain_question_parses_in_every_format(endpoint: str) -> None:
    call = asked({"prompt": "hi", "endpoint": endpoint, "model": "small"})
    assert (call.endpoint.value, call.ask.model) == (endpoint, "small")
    assert b"hi" in call.raw_body
    assert not call.ask.hidden_input


@pytest.mark.parametrize("endpoint", CHATS)
async def test_pictures_tools_and_json_are_asked_for_in_every_chat_format(endpoint: str) -> None:
    call = asked(
        {
            "prompt": "look",
            "endpoint": endpoint,
            "model": "small",
            "max_tokens": 9,
            "vision": 3,
            "tools": 2,
            "json_mode": True,
            "stream": True,
        }
    )
    ask = call.ask
    assert (ask.images, ask.tools, ask.wants_json, ask.stream, ask.output_cap) == (3, 2, True, True, 9)
    assert (ask.turns, ask.audio, ask.web_searches) == (1, False, 0)


async def test_completions_have_their_cap_and_stream() -> None:
    ask = asked(
        {"prompt": "hi", "endpoint": "completions", "model": "small", "max_tokens": 9, "stream": True}
    ).ask
    assert (ask.output_cap, ask.stream) == (9, True)


async def test_a_whole_request_is_taken_as_it_is() -> None:
    body = {
        "model": "small",
        "messages": [{"role": "user", "content": "hi"}] * 3,
        "max_tokens": 5,
        "temperature": Decimal("0.7"),
        "metadata": {"session_id": "run-9", "agent_id": "nightly"},
    }
    call = asked({"body": body})
    assert (call.ask.turns, call.ask.output_cap) == (3, 5)
    assert (call.hints.session, call.hints.agent) == ("run-9", "nightly")


async def test_a_model_beside_a_body_wins() -> None:
    body: dict[str, object] = {"messages": [{"role": "user", "content": "hi"}]}
    assert asked({"body": {**body, "model": "large"}, "model": "small"}).ask.model == "small"
    assert asked({"body": body, "model": "small"}).ask.model == "small"


async def test_a_body_without_a_model_is_told_so() -> None:
    body = {"messages": [{"role": "user", "content": "hi"}]}
    for document in ({"body": body}, {"body": body, "endpoint": "chat_completions"}):
        with pytest.raises(InvalidRequest) as caught:
            asked(document)
        assert caught.value.param == "model"


async def test_a_wrong_body_is_refused_as_the_data_plane_would() -> None:
    body: dict[str, object] = {"model": "small", "messages": [], "max_tokens": -1}
    with pytest.raises(InvalidRequest, match="max_tokens"):
        asked({"body": body})
    with pytest.raises(InvalidRequest, match="messages"):
        asked({"body": {"model": "small"}, "endpoint": "messages"})


async def test_an_unknown_model_is_told_with_close_matches() -> None:
    with pytest.raises(ModelNotFound, match="small"):
        asked({"prompt": "hi", "model": "smal"})


async def test_labels_are_read_as_those_of_a_client() -> None:
    hints = asked(
        {
            "prompt": "hi",
            "agent": "nightly",
            "session": "run-7",
            "parent_session": "run-1",
            "task_class": "auxiliary_recall",
            "tags": {"team": "platform", "env": "ci"},
            "mode": "suggest",
        }
    ).hints
    assert (hints.agent, hints.session, hints.parent_session) == ("nightly", "run-7", "run-1")
    assert (hints.task_class, hints.mode) == ("auxiliary_recall", Mode.SUGGEST)
    assert hints.tags == {"team": "platform", "env": "ci"}


async def test_a_wrong_label_is_refused_as_the_data_plane_would() -> None:
    with pytest.raises(InvalidRequest, match="task"):
        asked({"prompt": "hi", "task_class": "holiday"})


# Who asks.


def subject(bench: Bench, **fields: Any) -> Any:
    return subject_of(Question(prompt="hi", **fields), bench.engine.rules.snapshot)


async def test_without_a_key_the_question_is_a_caller_s() -> None:
    bench = on()
    found = subject(bench, principal="carol")
    assert (found.principal, found.roles, found.models, dict(found.tags)) == (
        "carol",
        frozenset({Role.CALLER}),
        (),
        {},
    )
    assert subject(bench).principal == "owner"


async def test_a_key_brings_its_own_rights_and_principal() -> None:
    bench = on()
    found = subject(bench, key_id="key-root", principal="alice")
    assert (found.key_id, found.principal, found.roles) == ("key-root", "root", frozenset({Role.ADMIN}))


@pytest.mark.parametrize("key_id", ["key-nobody", "alice", "KEY-ALICE"])
async def test_a_key_that_is_not_active_is_told(key_id: str) -> None:
    with pytest.raises(NotFound, match="no active key"):
        subject(on(), key_id=key_id)
