"""The real vocabularies on request bodies: close to what OpenAI bills, and never unbounded."""

import json
import sys

import pytest

from palyra.upstream.tokenizer import COUNTED_BYTES_MAX, OpenAiTokens

pytestmark = pytest.mark.filterwarnings("ignore:open_binary is deprecated:DeprecationWarning")

PROSE = "Every entry is written twice: what one account gains, another one loses. "


@pytest.fixture(scope="module")
def counter() -> OpenAiTokens:
    return OpenAiTokens()


def chat(*contents: object, **fields: object) -> bytes:
    messages = [{"role": "user", "content": content} for content in contents]
    return json.dumps({"model": "gpt-4o-mini", "messages": messages, **fields}).encode()


def test_without_the_extra_there_is_no_counter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bpe_openai", None)
    with pytest.raises(ImportError):
        OpenAiTokens()


@pytest.mark.parametrize("turns", [1, 2, 9])
def test_a_chat_is_counted_to_about_one_token_a_message(counter: OpenAiTokens, turns: int) -> None:
    # "What", " is", " a", " ledger", "?"; OpenAI bills 3 + 1 (the role) per message and 3 for the answer.
    billed = turns * (5 + 4) + 3
    counted = counter("gpt-4o-mini", chat(*["What is a ledger?"] * turns))
    assert counted is not None
    assert abs(counted - billed) <= turns


def test_escapes_and_fields_that_no_model_reads_are_not_counted(counter: OpenAiTokens) -> None:
    plain = counter("gpt-4o-mini", chat("line one\nline two\n" * 20))
    labelled = chat("line one\nline two\n" * 20, user="somebody", metadata={"session": "run-7"}, seed=7)
    assert counter("gpt-4o-mini", labelled) == plain
    escaped = json.dumps(json.loads(chat("žluťoučký kůň")), ensure_ascii=True).encode()
    unescaped = json.dumps(json.loads(chat("žluťoučký kůň")), ensure_ascii=False).encode()
    assert counter("gpt-4o-mini", escaped) == counter("gpt-4o-mini", unescaped)


def test_tools_and_schemas_are_counted(counter: OpenAiTokens) -> None:
    tool = {"type": "function", "function": {"name": "post_entry", "parameters": {"type": "object"}}}
    plain = counter("gpt-4o-mini", chat("Pay."))
    with_tool = counter("gpt-4o-mini", chat("Pay.", tools=[tool]))
    assert plain is not None
    assert with_tool is not None
    assert with_tool > plain + 10


def test_parts_of_a_message_count_as_its_text(counter: OpenAiTokens) -> None:
    whole, part = counter("gpt-4o", chat(PROSE)), counter("gpt-4o", chat([{"type": "text", "text": PROSE}]))
    assert whole is not None
    assert part is not None
    assert 0 <= part - whole <= 3


def test_token_ids_count_one_each(counter: OpenAiTokens) -> None:
    one = counter("text-embedding-3-small", b'{"model":"m","input":[[9906]]}')
    many = counter("text-embedding-3-small", b'{"model":"m","input":[[9906,1917,0,15339,1917]]}')
    assert one is not None
    assert many == one + 4


@pytest.mark.parametrize(
    "model", ["gpt-4o-2024-08-06", "gpt-5-mini", "gpt-6-sol", "o3", "o4-mini", "gpt-4.1", "ft:gpt-4o:acme::x"]
)
def test_newer_models_use_the_large_vocabulary(counter: OpenAiTokens, model: str) -> None:
    # One token there, two in the older one.
    assert counter(model, chat("žádný")) == counter("gpt-4o", chat("žádný"))
    assert counter(model, chat("Přeji hezký den")) != counter("gpt-4-turbo", chat("Přeji hezký den"))


@pytest.mark.parametrize("model", ["gpt-4", "gpt-4-turbo-2024-04-09", "gpt-3.5-turbo-0125"])
def test_older_models_use_the_small_vocabulary(counter: OpenAiTokens, model: str) -> None:
    assert counter(model, chat("Přeji hezký den")) == counter("gpt-4", chat("Přeji hezký den"))


@pytest.mark.parametrize("model", ["claude-opus-5", "mistral-large", "llama-3", "davinci-002", ""])
def test_a_model_with_another_vocabulary_is_not_guessed(counter: OpenAiTokens, model: str) -> None:
    assert counter(model, chat(PROSE)) is None


def test_a_body_above_the_bound_is_not_counted(counter: OpenAiTokens) -> None:
    empty = len(chat(""))
    assert counter("gpt-4o", chat("a" * (COUNTED_BYTES_MAX - empty))) is not None
    assert counter("gpt-4o", chat("a" * (COUNTED_BYTES_MAX - empty + 1))) is None


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"messages":"\xff"}', b'{"messages":' + b"[" * 9000 + b"}"],
)
def test_what_is_no_body_is_not_counted(counter: OpenAiTokens, body: bytes) -> None:
    assert counter("gpt-4o", body) is None


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"messages":null}',
        b'{"messages":7}',
        b'{"messages":{"role":[1.5,true,null,"x"]}}',
        b'{"prompt":[[1,2],"a"]}',
        b'{"input":"<|endoftext|>"}',
        b'{"input":"\\ud800"}',
        b'{"input":' + b"[" * 500 + b"]" * 500 + b"}",
    ],
)
def test_odd_bodies_are_counted_without_raising(counter: OpenAiTokens, body: bytes) -> None:
    tokens = counter("gpt-4o", body)
    assert tokens is None or 0 < tokens <= len(body) + 64
