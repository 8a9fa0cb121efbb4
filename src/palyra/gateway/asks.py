"""What a body asks for, per wire format: typed reading of the fields that cost money, nothing else."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from palyra.core.errors import InvalidRequest
from palyra.core.limits import TOKENS_MAX
from palyra.gateway.body import Fields, JsonBody, read_chat, read_fields, read_messages
from palyra.gateway.media import count_media, is_marked
from palyra.lifecycle.call import Ask
from palyra.lifecycle.wire import Endpoint

Tokens = Annotated[int, Meta(ge=1, le=TOKENS_MAX)]
Choices = Annotated[int, Meta(ge=1, le=128)]
Name = Annotated[str, Meta(min_length=1, max_length=256)]

PLAIN_BYTES_MAX = 64 * 1024
"""Above this size the text of a body is not worth decoding to know that it is text."""
_CHATS = frozenset({Endpoint.chat_completions, Endpoint.messages})
_CHAT_CAPS = ("max_completion_tokens", "max_tokens")
WEB_SEARCHES_MAX = 10
"""Searches assumed for a call that allows web search and names no number."""


class _StreamOptions(Struct):
    include_usage: bool = False


class _Format(Struct):
    type: str = "text"


class _Text(Struct):
    format: _Format | None = None


class _Tool(Struct):
    type: str = "custom"
    max_uses: Annotated[int, Meta(ge=0, le=1000)] | None = None


class Metadata(Struct):
    """The fields of ``metadata`` that can name a session or an agent."""

    session_id: str | None = None
    session: str | None = None
    agent_id: str | None = None
    agent: str | None = None
    parent_session_id: str | None = None
    user_id: str | None = None


class Labelled(Struct, kw_only=True):
    """What every wire format has: a model, and who the call says it is for."""

    model: Name
    stream: bool | None = None
    service_tier: str | None = None
    user: str | None = None
    safety_identifier: str | None = None
    metadata: Metadata | None = None
    tools: list[_Tool] | None = None


class _Chat(Labelled, kw_only=True):
    messages: Raw
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    n: Choices | None = None
    stream_options: _StreamOptions | None = None
    response_format: _Format | None = None
    web_search_options: Raw | UnsetType = UNSET


class _PlainMessage(Struct, forbid_unknown_fields=True):
    role: str
    content: str
    name: str | None = None


class _PlainChat(Labelled, kw_only=True, forbid_unknown_fields=True):
    """A chat of nothing but text and numbers: no field of it can hold media, a tool or a name of ours."""

    messages: Annotated[list[_PlainMessage], Meta(min_length=1)]
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    n: Choices | None = None
    stream_options: _StreamOptions | None = None
    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    reasoning_effort: str | None = None


class _Completions(Labelled, kw_only=True):
    prompt: str | list[Any] | None = None
    max_tokens: Tokens | None = None
    n: Choices | None = None
    best_of: Choices | None = None
    stream_options: _StreamOptions | None = None


class _Responses(Labelled, kw_only=True):
    input: Raw | UnsetType = UNSET
    max_output_tokens: Tokens | None = None
    previous_response_id: str | None = None
    conversation: Raw | UnsetType = UNSET
    prompt: Raw | UnsetType = UNSET
    background: bool | None = None
    text: _Text | None = None


class _Embeddings(Labelled, kw_only=True):
    input: Annotated[str, Meta(min_length=1)] | Annotated[list[Any], Meta(min_length=1)]


class _Messages(Labelled, kw_only=True):
    messages: Raw
    max_tokens: Tokens
    container: Raw | UnsetType = UNSET
    speed: str | None = None
    output_format: _Format | None = None
    output_config: _Text | None = None


class _CountTokens(Labelled, kw_only=True):
    messages: Raw


class Parsed(NamedTuple):
    """A body that was understood: what it asks for, whom it names, and how to write it again."""

    ask: Ask
    labelled: Labelled
    body: JsonBody


B = TypeVar("B", bound=Labelled)


def parse(endpoint: Endpoint, raw: bytes) -> Parsed:
    """Read the body of one call. Raises InvalidRequest naming the field that is wrong."""
    if endpoint is Endpoint.chat_completions and len(raw) <= PLAIN_BYTES_MAX:
        plain = _plain_chat(raw)
        if plain is not None:
            return plain
    return _PARSERS[endpoint](_fields_of(endpoint, raw), raw)


def _fields_of(endpoint: Endpoint, raw: bytes) -> Fields:
    """A long chat is gone through once, if it is of text and of fields that are known."""
    if len(raw) > PLAIN_BYTES_MAX and endpoint in _CHATS:
        chat = read_chat(raw)
        if chat is not None and not any(map(is_marked, chat.messages)):
            return chat
    return read_fields(raw)


def _plain_chat(raw: bytes) -> Parsed | None:
    """The short way for most calls: decoded once; None for a body that is not plain, or not valid."""
    try:
        chat = _plain_decoder.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    if chat.tools is not None or chat.metadata is not None:
        return None
    cap, options = chat.max_completion_tokens, chat.stream_options
    ask = Ask(
        chat.model,
        bool(chat.stream),
        cap if cap is not None else chat.max_tokens,
        chat.n or 1,
        options is not None and options.include_usage,
        len(raw),
        0,
        False,
        False,
        0,
        chat.service_tier,
        False,
        chat.service_tier is None,
        len(chat.messages),
    )
    return Parsed(ask, chat, JsonBody(raw, _CHAT_CAPS, True))


def _chat(fields: Fields, raw: bytes) -> Parsed:
    chat = _decode(_chat_decoder, _without_messages(fields))
    cap = chat.max_completion_tokens if chat.max_completion_tokens is not None else chat.max_tokens
    searches = _searches(chat.tools)
    if _given(chat.web_search_options):
        searches = max(searches, WEB_SEARCHES_MAX)
    options = chat.stream_options
    ask = _ask(
        chat,
        fields,
        raw,
        read_messages(fields),
        output_cap=cap,
        choices=chat.n or 1,
        include_usage=options is not None and options.include_usage,
        web_searches=searches,
        wants_json=_is_json(chat.response_format),
    )
    return Parsed(ask, chat, JsonBody(fields, _CHAT_CAPS, usage_option=True))


def _completions(fields: Fields, raw: bytes) -> Parsed:
    body = _decode(_completions_decoder, raw)
    prompts = len(body.prompt) if isinstance(body.prompt, list) and _many(body.prompt) else 1
    options = body.stream_options
    ask = _ask(
        body,
        fields,
        raw,
        output_cap=body.max_tokens,
        choices=max(1, prompts) * max(body.n or 1, body.best_of or 1),
        include_usage=options is not None and options.include_usage,
    )
    return Parsed(ask, body, JsonBody(fields, ("max_tokens",), usage_option=True))


def _responses(fields: Fields, raw: bytes) -> Parsed:
    body = _decode(_responses_decoder, raw)
    if body.background:
        raise InvalidRequest(
            "'background' is not supported: the usage of a background response cannot be settled",
            param="background",
        )
    stored = body.previous_response_id is not None or _given(body.conversation) or _given(body.prompt)
    ask = _ask(
        body,
        fields,
        raw,
        output_cap=body.max_output_tokens,
        include_usage=True,
        web_searches=_searches(body.tools),
        hidden_input=stored,
        turns=_turns(body.input),
        wants_json=_is_json(body.text and body.text.format),
    )
    return Parsed(ask, body, JsonBody(fields, ("max_output_tokens",), usage_option=False))


def _embeddings(fields: Fields, raw: bytes) -> Parsed:
    body = _decode(_embeddings_decoder, raw)
    if body.stream:
        raise InvalidRequest("embeddings cannot be streamed; leave 'stream' out", param="stream")
    return Parsed(_ask(body, fields, raw, include_usage=True), body, JsonBody(fields, (), usage_option=False))


def _messages(fields: Fields, raw: bytes) -> Parsed:
    body = _decode(_messages_decoder, _without_messages(fields))
    ask = _ask(
        body,
        fields,
        raw,
        read_messages(fields),
        output_cap=body.max_tokens,
        include_usage=True,
        web_searches=_searches(body.tools),
        hidden_input=_given(body.container),
        service_tier="fast" if body.speed == "fast" else body.service_tier,
        wants_json=_is_json(body.output_format or (body.output_config and body.output_config.format)),
    )
    return Parsed(ask, body, JsonBody(fields, ("max_tokens",), usage_option=False))


def _count_tokens(fields: Fields, raw: bytes) -> Parsed:
    body = _decode(_count_decoder, _without_messages(fields))
    return Parsed(
        _ask(body, fields, raw, read_messages(fields), include_usage=True),
        body,
        JsonBody(fields, (), usage_option=False),
    )


def _ask(
    body: Labelled,
    fields: Fields,
    raw: bytes,
    messages: Sequence[Fields] = (),
    *,
    include_usage: bool,
    output_cap: int | None = None,
    choices: int = 1,
    web_searches: int = 0,
    hidden_input: bool = False,
    service_tier: str | None = None,
    turns: int | None = None,
    wants_json: bool = False,
) -> Ask:
    media = count_media(fields, messages)
    tier = service_tier or body.service_tier
    hidden = hidden_input or media.stored_files
    return Ask(
        model=body.model,
        stream=bool(body.stream),
        output_cap=output_cap,
        choices=choices,
        include_usage=include_usage,
        text_bytes=len(raw) - media.image_bytes,
        images=media.images,
        audio=media.audio,
        cache_writes=media.cache_writes,
        web_searches=web_searches,
        service_tier=tier,
        hidden_input=hidden,
        plain=not (media.images or media.audio or media.cache_writes or web_searches or tier or hidden),
        turns=(len(messages) or 1) if turns is None else turns,
        tools=len(body.tools or ()),
        wants_json=wants_json,
    )


def _given(field: Raw | UnsetType) -> bool:
    return field is not UNSET and field != _NOTHING


def _is_json(wanted: _Format | None) -> bool:
    return wanted is not None and wanted.type.startswith("json")


def _turns(given: Raw | UnsetType) -> int:
    """Items of a response's input; a text is one."""
    if given is UNSET or memoryview(given)[0] != _LIST:
        return 1
    return max(1, len(_items.decode(given)))


def _searches(tools: list[_Tool] | None) -> int:
    """The most searches that the tools allow; providers bill each."""
    return sum(
        WEB_SEARCHES_MAX if tool.max_uses is None else tool.max_uses
        for tool in tools or ()
        if tool.type.startswith("web_search")
    )


def _many(prompt: list[Any]) -> bool:
    """A list of prompts, not one prompt given as token ids."""
    return bool(prompt) and not isinstance(prompt[0], int)


def _decode(decoder: msgspec.json.Decoder[B], raw: bytes) -> B:
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        param = path.rstrip("`").removeprefix(".") or _missing_field(message)
        raise InvalidRequest(f"{param or 'body'}: {message}", param=param) from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"the body is not valid JSON: {error}") from None


def _without_messages(fields: Fields) -> bytes:
    """The body but for its largest field, which is read apart: a long prompt is not gone through twice."""
    return _encoder.encode({**fields, "messages": _NOTHING} if "messages" in fields else fields)


def _missing_field(message: str) -> str | None:
    _, found, rest = message.partition("missing required field `")
    return rest.rstrip("`") if found else None


_LIST = ord("[")
_NOTHING = Raw(b"null")
_encoder = msgspec.json.Encoder()
_items = msgspec.json.Decoder(list[Raw])
_plain_decoder = msgspec.json.Decoder(_PlainChat)
_chat_decoder = msgspec.json.Decoder(_Chat)
_completions_decoder = msgspec.json.Decoder(_Completions)
_responses_decoder = msgspec.json.Decoder(_Responses)
_embeddings_decoder = msgspec.json.Decoder(_Embeddings)
_messages_decoder = msgspec.json.Decoder(_Messages)
_count_decoder = msgspec.json.Decoder(_CountTokens)

_PARSERS: dict[Endpoint, Callable[[Fields, bytes], Parsed]] = {
    Endpoint.chat_completions: _chat,
    Endpoint.completions: _completions,
    Endpoint.responses: _responses,
    Endpoint.embeddings: _embeddings,
    Endpoint.messages: _messages,
    Endpoint.count_tokens: _count_tokens,
}
