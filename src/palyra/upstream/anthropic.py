"""Usage in Anthropic's Messages API. Its input_tokens exclude cache reads and writes; ours include them.

In a stream ``message_start`` opens the usage and ``message_delta`` carries running totals: per field the
last non-null value wins. The start's output is a placeholder, so output is known only from a delta. Input
is unknown if neither carries it (llama.cpp sometimes leaves ``message_start`` out).
"""

from collections.abc import Mapping

import msgspec

from palyra.lifecycle.wire import Reported
from palyra.upstream.content import text_bytes
from palyra.upstream.counts import NOT_JSON, count, damaged, group, reported


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


class _ShownBody(msgspec.Struct):
    content: list[object]


_shown_event = msgspec.json.Decoder(_ShownEvent)
_WITHOUT_CONTENT = frozenset({"ping", "message_start", "message_delta", "message_stop", "content_block_stop"})


def read_usage(fields: Mapping[str, object], *, model: object, output_final: bool) -> Reported | None:
    """Read merged usage fields. None unless input or output is known."""
    plain = count(fields, "input_tokens")
    output = count(fields, "output_tokens")
    thinking = count(group(fields.get("output_tokens_details")), "thinking_tokens") or 0
    if plain is None and (output is None or not output_final):
        return None
    cache = ("cache_read_input_tokens", "cache_creation_input_tokens")
    read = count(fields, cache[0]) or 0
    split = group(fields.get("cache_creation"))
    hour = count(split, "ephemeral_1h_input_tokens") or 0
    # What the split leaves out was written with the API's default lifetime, five minutes.
    minutes = max(
        count(split, "ephemeral_5m_input_tokens") or 0,
        (count(fields, cache[1]) or 0) - hour,
    )
    return reported(
        {
            "input_tokens": (plain or 0) + read + minutes + hour,
            "output_tokens": output or 0,
            "cache_read_tokens": read,
            "cache_write_5m_tokens": minutes,
            "cache_write_1h_tokens": hour,
            "reasoning_tokens": min(thinking, output or 0),
            "web_searches": count(group(fields.get("server_tool_use")), "web_search_requests") or 0,
        },
        model=model,
        tier="fast" if fields.get("speed") == "fast" else fields.get("service_tier"),
        input_known=plain is not None and not damaged(fields, *cache),
        output_known=output is not None and output_final,
    )


def read_body(body: bytes) -> Reported | None:
    """Read the body of an answer that was not streamed."""
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

    def _merge(self, usage: object) -> None:
        self._fields.update({name: value for name, value in group(usage).items() if value is not None})


def _prefilled(message: object) -> int:
    """Content in a ``message_start``, where the API sends none."""
    return text_bytes(group(message).get("content"))
