"""Usage in Anthropic's Messages API. Its input_tokens exclude cache reads and writes; ours include them.

In a stream ``message_start`` opens the usage and ``message_delta`` carries running totals: per field the
last non-null value wins. The start's output is a placeholder, so output is known only from a delta. Input
is unknown if neither carries it (llama.cpp sometimes leaves ``message_start`` out).
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

from palyra.lifecycle.wire import Reported
from palyra.pricing.usage import Usage
from palyra.upstream.content import Content, text_bytes
from palyra.upstream.counts import NOT_JSON, Count, count, damaged, group, reported


class _CacheCreation(msgspec.Struct, gc=False):
    ephemeral_5m_input_tokens: Count | None = None
    ephemeral_1h_input_tokens: Count | None = None


class _ServerTools(msgspec.Struct, gc=False):
    web_search_requests: Count | None = None


class _OutputDetails(msgspec.Struct, gc=False):
    thinking_tokens: Count | None = None


class _Usage(msgspec.Struct, gc=False):
    """What of a usage object can be believed."""

    input_tokens: Count | None = None
    output_tokens: Count | None = None
    cache_read_input_tokens: Count | None = None
    cache_creation_input_tokens: Count | None = None
    cache_creation: _CacheCreation | None = None
    server_tool_use: _ServerTools | None = None
    output_tokens_details: _OutputDetails | None = None
    service_tier: object = None
    speed: object = None


class _UsualMessage(msgspec.Struct):
    usage: _Usage
    model: object = None


class _Message(msgspec.Struct):
    usage: object = None
    model: object = None


class _Event(msgspec.Struct):
    type: object = None
    message: _Message | None = None
    usage: object = None
    model: object = None


class _ShownEvent(msgspec.Struct):
    type: str
    delta: object = None
    content_block: object = None
    message: object = None


class _Delta(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    text: str
    type: object = None


class _TextDelta(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The usual event of a message."""

    type: Literal["content_block_delta"]
    delta: _Delta
    index: object = None


class _ShownBody(msgspec.Struct):
    content: list[object]


_usual_message = msgspec.json.Decoder(_UsualMessage)
_shown_event = msgspec.json.Decoder(_ShownEvent)
_text_deltas = msgspec.json.Decoder(list[_TextDelta])
_WITHOUT_CONTENT = frozenset({"ping", "message_start", "message_delta", "message_stop", "content_block_stop"})


def read_usage(fields: Mapping[str, object], *, model: object, output_final: bool) -> Reported | None:
    """Read merged usage fields. None unless input or output is known."""
    split = group(fields.get("cache_creation"))
    usage = _Usage(
        input_tokens=count(fields, "input_tokens"),
        output_tokens=count(fields, "output_tokens"),
        cache_read_input_tokens=count(fields, "cache_read_input_tokens"),
        cache_creation_input_tokens=count(fields, "cache_creation_input_tokens"),
        cache_creation=_CacheCreation(*(count(split, name) for name in _CacheCreation.__struct_fields__)),
        server_tool_use=_ServerTools(count(group(fields.get("server_tool_use")), "web_search_requests")),
        output_tokens_details=_OutputDetails(
            count(group(fields.get("output_tokens_details")), "thinking_tokens")
        ),
        service_tier=fields.get("service_tier"),
        speed=fields.get("speed"),
    )
    whole = not damaged(fields, "cache_read_input_tokens", "cache_creation_input_tokens")
    return _report(usage, model, input_whole=whole, output_final=output_final)


def _report(usage: _Usage, model: object, *, input_whole: bool, output_final: bool) -> Reported | None:
    plain, output = usage.input_tokens, usage.output_tokens
    output_known = output is not None and output_final
    if plain is None and not output_known:
        return None
    output = output or 0
    read = usage.cache_read_input_tokens or 0
    minutes, hour = _written(usage)
    thinking = usage.output_tokens_details
    tools = usage.server_tool_use
    try:
        checked = Usage(
            (plain or 0) + read + minutes + hour,
            output,
            read,
            minutes,
            hour,
            min((thinking.thinking_tokens or 0) if thinking is not None else 0, output),
            web_searches=(tools.web_search_requests or 0) if tools is not None else 0,
        )
    except ValueError:
        # The sum is more than any provider serves.
        return None
    return reported(
        checked,
        model=model,
        tier="fast" if usage.speed == "fast" else usage.service_tier,
        input_known=plain is not None and input_whole,
        output_known=output_known,
    )


def _written(usage: _Usage) -> tuple[int, int]:
    """Return the tokens written to the cache for five minutes and for an hour."""
    written = usage.cache_creation_input_tokens or 0
    split = usage.cache_creation
    if split is None:
        return written, 0
    hour = split.ephemeral_1h_input_tokens or 0
    # What the split leaves out was written with the API's default lifetime, five minutes.
    return max(split.ephemeral_5m_input_tokens or 0, written - hour), hour


def read_body(body: bytes) -> Reported | None:
    """Read the body of an answer that was not streamed."""
    try:
        usual = _usual_message.decode(body)
    except NOT_JSON:
        pass
    else:
        return _report(usual.usage, usual.model, input_whole=True, output_final=True)
    try:
        answer = msgspec.json.decode(body, type=_Message)
    except NOT_JSON:
        return None
    return read_usage(group(answer.usage), model=answer.model, output_final=True)


def shown_in_body(body: bytes) -> int:
    """Bytes of the generated content in a message; the whole body's if it is none."""
    try:
        return text_bytes(msgspec.json.decode(body, type=_ShownBody).content)
    except NOT_JSON:
        return len(body)


class MessageStream:
    """Merges the usage of a stream's events."""

    __slots__ = ("_fields", "_model", "_output_final")
    divider = b"\n\nevent: content_block_delta\ndata: "

    def __init__(self) -> None:
        self._fields: dict[str, object] = {}
        self._model: object = None
        self._output_final = False

    def read(self, payload: bytes) -> bool | None:
        """Read one event; never one to hide. None if it is no event at all."""
        try:
            event = msgspec.json.decode(payload, type=_Event)
        except NOT_JSON:
            return None
        message = event.message
        if message is not None:
            self._model = message.model or self._model
            self._merge(message.usage)
        elif event.type != "message_start":
            self._model = event.model or self._model
            self._merge(event.usage)
            self._output_final = self._output_final or group(event.usage).get("output_tokens") is not None
        return False

    def reported(self) -> Reported | None:
        """Return what is known so far."""
        return read_usage(self._fields, model=self._model, output_final=self._output_final)

    def shown(self, payload: bytes) -> int:
        """Count the content of one event; signatures count, for they stand for thinking that is not shown."""
        try:
            event = _shown_event.decode(payload)
        except NOT_JSON:
            return len(payload)
        size = text_bytes(event.delta) + text_bytes(event.content_block)
        if event.type == "content_block_delta":
            return max(1, size)
        if event.type == "content_block_start" or event.type in _WITHOUT_CONTENT:
            return size + _prefilled(event.message)
        return len(payload)

    def shown_all(self, payloads: bytes) -> Content | None:
        """Count the content of many deltas of text."""
        try:
            texts = [event.delta.text for event in _text_deltas.decode(payloads)]
        except NOT_JSON:
            return None
        return text_bytes("".join(texts)) + texts.count("")

    def _merge(self, usage: object) -> None:
        self._fields.update({name: value for name, value in group(usage).items() if value is not None})


def _prefilled(message: object) -> int:
    """Content in a ``message_start``, where the API sends none."""
    return text_bytes(group(message).get("content"))
