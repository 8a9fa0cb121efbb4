"""Turns, tools and JSON mode of a call, in every wire format, of plain and of long bodies."""

import json
from collections.abc import Mapping

import pytest

from palyra.core.errors import InvalidRequest
from palyra.gateway.asks import PLAIN_BYTES_MAX, parse
from palyra.lifecycle.call import Ask
from palyra.lifecycle.wire import Endpoint

CHAT, RESPONSES, MESSAGES = Endpoint.chat_completions, Endpoint.responses, Endpoint.messages
LONG = "x" * (PLAIN_BYTES_MAX + 1)
TOOL: Mapping[str, object] = {"type": "function", "function": {"name": "f", "parameters": {}}}


def ask(endpoint: Endpoint, **fields: object) -> Ask:
    body = {"model": "m", **fields}
    if endpoint is MESSAGES:
        body.setdefault("max_tokens", 9)
    return parse(endpoint, json.dumps(body).encode()).ask


def turns(count: int, text: str = "hi") -> list[dict[str, object]]:
    return [{"role": ("user", "assistant")[number % 2], "content": text} for number in range(count)]


def features(found: Ask) -> tuple[int, int, bool]:
    return found.turns, found.tools, found.wants_json


# Turns.


@pytest.mark.parametrize("endpoint", [CHAT, MESSAGES, Endpoint.count_tokens])
@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("text", ["hi", LONG])
def test_turns_are_messages(endpoint: Endpoint, count: int, text: str) -> None:
    assert features(ask(endpoint, messages=turns(count, text))) == (count, 0, False)


@pytest.mark.parametrize(
    ("given", "count"),
    [
        ("hi", 1),
        (turns(1), 1),
        (turns(5), 5),
        (turns(3, LONG), 3),
        (LONG, 1),
        ([], 1),
        ([{"type": "function_call_output", "call_id": "c", "output": "x"}, *turns(2)], 3),
    ],
)
def test_turns_of_a_response_are_the_items_of_its_input(given: object, count: int) -> None:
    assert ask(RESPONSES, input=given).turns == count


def test_a_response_without_input_has_one_turn() -> None:
    assert ask(RESPONSES, previous_response_id="resp_1").turns == 1
    assert ask(RESPONSES, input=None, previous_response_id="resp_1").turns == 1


def test_a_prompt_and_an_embedding_have_one_turn() -> None:
    assert ask(Endpoint.completions, prompt="hi").turns == 1
    assert ask(Endpoint.completions, prompt=["a", "b"]).turns == 1
    assert ask(Endpoint.embeddings, input=["a", "b"]).turns == 1


def test_a_message_with_parts_is_one_turn() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert ask(CHAT, messages=[{"role": "user", "content": parts}]).turns == 1


# Tools.


@pytest.mark.parametrize("text", ["hi", LONG])
@pytest.mark.parametrize(
    ("endpoint", "tool"),
    [
        (CHAT, TOOL),
        (RESPONSES, {"type": "function", "name": "f", "parameters": {}}),
        (MESSAGES, {"name": "f", "input_schema": {"type": "object"}}),
    ],
)
def test_tools_are_counted(endpoint: Endpoint, tool: object, text: str) -> None:
    fields: dict[str, object] = {"input": text} if endpoint is RESPONSES else {"messages": turns(1, text)}
    for count in (1, 3):
        assert ask(endpoint, **fields, tools=[tool] * count).tools == count
    assert ask(endpoint, **fields, tools=[]).tools == 0
    assert ask(endpoint, **fields, tools=None).tools == 0
    assert ask(endpoint, **fields).tools == 0


def test_a_tool_of_the_provider_counts_as_well() -> None:
    found = ask(
        MESSAGES, messages=turns(1), tools=[{"type": "web_search_20250305", "name": "s", "max_uses": 2}]
    )
    assert (found.tools, found.web_searches) == (1, 2)


# JSON.


@pytest.mark.parametrize("text", ["hi", LONG])
@pytest.mark.parametrize(
    ("kind", "wants"),
    [("json_object", True), ("json_schema", True), ("text", False), ("grammar", False)],
)
def test_the_format_of_a_chat_says_whether_the_answer_must_be_json(kind: str, wants: bool, text: str) -> None:
    schema = {"name": "s", "schema": {"type": "object"}}
    found = ask(CHAT, messages=turns(1, text), response_format={"type": kind, "json_schema": schema})
    assert features(found) == (1, 0, wants)


@pytest.mark.parametrize("text", ["hi", LONG])
@pytest.mark.parametrize(
    ("given", "wants"),
    [
        ({"format": {"type": "json_schema", "name": "s", "schema": {}}}, True),
        ({"format": {"type": "json_object"}}, True),
        ({"format": {"type": "text"}}, False),
        ({"format": None}, False),
        ({"verbosity": "low"}, False),
        (None, False),
    ],
)
def test_the_text_of_a_response_says_whether_it_must_be_json(given: object, wants: bool, text: str) -> None:
    assert ask(RESPONSES, input=text, text=given).wants_json is wants


@pytest.mark.parametrize("text", ["hi", LONG])
@pytest.mark.parametrize(
    ("fields", "wants"),
    [
        ({"output_format": {"type": "json_schema", "schema": {}}}, True),
        ({"output_config": {"format": {"type": "json_schema", "schema": {}}}}, True),
        ({"output_config": {"effort": "low"}}, False),
        ({"output_config": {"format": None}}, False),
        ({"output_format": None, "output_config": None}, False),
        ({}, False),
    ],
)
def test_the_output_of_messages_says_whether_it_must_be_json(
    fields: dict[str, object], wants: bool, text: str
) -> None:
    assert ask(MESSAGES, messages=turns(1, text), **fields).wants_json is wants


def test_without_a_word_no_format_wants_json() -> None:
    assert not ask(CHAT, messages=turns(1)).wants_json
    assert not ask(CHAT, messages=turns(1), response_format=None).wants_json
    assert not ask(Endpoint.completions, prompt="hi").wants_json
    assert not ask(Endpoint.embeddings, input="hi").wants_json


@pytest.mark.parametrize(
    ("endpoint", "fields", "param"),
    [
        (CHAT, {"messages": turns(1), "response_format": {"type": 3}}, "response_format"),
        (CHAT, {"messages": turns(1), "tools": {"type": "function"}}, "tools"),
        (RESPONSES, {"input": "x", "text": "json"}, "text"),
        (MESSAGES, {"messages": turns(1), "output_config": {"format": 1}}, "output_config"),
    ],
)
def test_what_is_no_format_is_refused_with_its_field(
    endpoint: Endpoint, fields: dict[str, object], param: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        ask(endpoint, **fields)
    assert (caught.value.param or "").startswith(param)


# The short way and the full way say the same.


def test_a_plain_chat_says_the_same_as_one_with_a_field_that_is_not_plain() -> None:
    for count in (1, 4):
        plain, full = ask(CHAT, messages=turns(count)), ask(CHAT, messages=turns(count), logit_bias={})
        assert features(plain) == features(full) == (count, 0, False)
        assert plain.plain


def test_tools_and_json_leave_the_text_plain_for_its_price() -> None:
    """They cost nothing beside their tokens."""
    assert ask(CHAT, messages=turns(1), tools=[TOOL], response_format={"type": "json_object"}).plain


# What is stored at the provider.


@pytest.mark.parametrize("given", ["conv_1", {"id": "conv_1"}])
def test_a_stored_conversation_is_hidden_input(given: object) -> None:
    assert ask(RESPONSES, input="and then?", conversation=given).hidden_input


def test_a_stored_prompt_is_hidden_input() -> None:
    assert ask(RESPONSES, input="x", prompt={"id": "pmpt_1", "version": "2"}).hidden_input


@pytest.mark.parametrize("given", ["container_1", {"id": "container_1"}])
def test_a_container_is_hidden_input(given: object) -> None:
    assert ask(MESSAGES, messages=turns(1), container=given).hidden_input


def test_a_response_that_continues_another_has_hidden_input() -> None:
    assert ask(RESPONSES, input="and then?", previous_response_id="resp_1").hidden_input
    assert not ask(
        RESPONSES, input="x", previous_response_id=None, conversation=None, prompt=None
    ).hidden_input
