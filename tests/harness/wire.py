"""How the stub words its answers: OpenAI chat, completions, responses, embeddings and Anthropic messages.

Every function returns the answer as pieces: one piece for a plain body, one per event for a stream.
``Figures`` are the tokens it claims, rendered where each wire format has them.
"""

import base64
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import cast

Json = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Figures:
    """Token counts as the stub reports them. ``object``, because a test may report damage on purpose."""

    input: object
    output: object
    cache_read: object = None
    reasoning: object = None


class NoFigures(Enum):
    """Usage that is not there: the field is left out, or is JSON null."""

    ABSENT = "absent"
    NULL = "null"


@dataclass(frozen=True, slots=True)
class Marker:
    """Bytes that, once written, have told the client the input and/or output figures."""

    text: bytes
    input: bool
    output: bool


@dataclass(frozen=True, slots=True)
class Rendered:
    """An answer ready to write; ``markers`` say where the usage is, ``status`` is set for unknown paths."""

    content_type: str
    pieces: Sequence[bytes]
    markers: Sequence[Marker] = field(default=())
    status: int | None = None


@dataclass(frozen=True, slots=True)
class Wording:
    """What goes into an answer: the words (one per chunk), the figures and details of their form."""

    model: str
    words: Sequence[str]
    figures: Figures | NoFigures
    include_usage: bool = True
    done: bool = True
    message_start: bool = True
    usage_in_finish_chunk: bool = False
    service_tier: str | None = None
    finish_reason: str | None = None


def dumps(value: object) -> bytes:
    """Compact JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def event(data: object, name: str | None = None) -> bytes:
    """One server-sent event with LF line ends."""
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + dumps(data) + b"\n\n"


def total(figures: Figures) -> object:
    """Input + output where both are numbers, else what the input is."""
    both = (figures.input, figures.output)
    if isinstance(both[0], int) and isinstance(both[1], int):
        return both[0] + both[1]
    return both[0]


def openai_usage(figures: Figures) -> dict[str, object]:
    """The ``usage`` object of chat and text completions."""
    usage: dict[str, object] = {
        "prompt_tokens": figures.input,
        "completion_tokens": figures.output,
        "total_tokens": total(figures),
    }
    if figures.cache_read is not None:
        usage["prompt_tokens_details"] = {"cached_tokens": figures.cache_read}
    if figures.reasoning is not None:
        usage["completion_tokens_details"] = {"reasoning_tokens": figures.reasoning}
    return usage


def responses_usage(figures: Figures) -> dict[str, object]:
    """The ``usage`` object of the responses API."""
    return {
        "input_tokens": figures.input,
        "input_tokens_details": {"cached_tokens": figures.cache_read or 0},
        "output_tokens": figures.output,
        "output_tokens_details": {"reasoning_tokens": figures.reasoning or 0},
        "total_tokens": total(figures),
    }


def anthropic_usage(figures: Figures) -> dict[str, object]:
    """The ``usage`` object of Anthropic messages; cached tokens stand beside the input, not inside it."""
    usage: dict[str, object] = {"input_tokens": figures.input, "output_tokens": figures.output}
    if figures.cache_read is not None:
        usage["cache_read_input_tokens"] = figures.cache_read
    return usage


def with_usage(
    body: dict[str, object], figures: Figures | NoFigures, usage: Mapping[str, object] | None
) -> Sequence[Marker]:
    """Put ``usage`` into ``body`` (or null, or nothing) and say which bytes carry it."""
    if usage is not None:
        body["usage"] = usage
        return (Marker(b'"usage":' + dumps(usage), input=True, output=True),)
    if figures is NoFigures.NULL:
        body["usage"] = None
    return ()


def chat(wording: Wording) -> Rendered:
    """A chat completion in one body."""
    body: dict[str, object] = {
        "id": "chatcmpl-stub",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": wording.model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "".join(wording.words)},
                "finish_reason": wording.finish_reason or "stop",
            }
        ],
    }
    return _openai_body(body, wording)


def completion(wording: Wording) -> Rendered:
    """A text completion in one body."""
    body: dict[str, object] = {
        "id": "cmpl-stub",
        "object": "text_completion",
        "created": 1_700_000_000,
        "model": wording.model,
        "choices": [{"index": 0, "text": "".join(wording.words), "logprobs": None, "finish_reason": "stop"}],
    }
    return _openai_body(body, wording)


def _openai_body(body: dict[str, object], wording: Wording) -> Rendered:
    if wording.service_tier is not None:
        body["service_tier"] = wording.service_tier
    figures = wording.figures
    usage = openai_usage(figures) if isinstance(figures, Figures) else None
    markers = with_usage(body, figures, usage)
    return Rendered("application/json", (dumps(body),), markers)


def chat_stream(wording: Wording) -> Rendered:
    """A chat completion as events: role, one delta per word, finish, usage if asked, ``[DONE]``."""
    deltas: list[dict[str, object]] = [{"role": "assistant", "content": ""}]
    deltas.extend({"content": word} for word in wording.words)
    choices: list[dict[str, object]] = [
        {"index": 0, "delta": delta, "finish_reason": None} for delta in deltas
    ]
    choices.append({"index": 0, "delta": {}, "finish_reason": wording.finish_reason or "stop"})
    return _openai_stream(wording, "chatcmpl-stub", "chat.completion.chunk", choices)


def completion_stream(wording: Wording) -> Rendered:
    """A text completion as server-sent events."""
    choices: list[dict[str, object]] = [
        {"index": 0, "text": word, "logprobs": None, "finish_reason": None} for word in wording.words
    ]
    choices.append({"index": 0, "text": "", "logprobs": None, "finish_reason": "stop"})
    return _openai_stream(wording, "cmpl-stub", "text_completion", choices)


def _openai_stream(
    wording: Wording, answer_id: str, kind: str, choices: Sequence[dict[str, object]]
) -> Rendered:
    base: dict[str, object] = {
        "id": answer_id,
        "object": kind,
        "created": 1_700_000_000,
        "model": wording.model,
    }
    if wording.service_tier is not None:
        base["service_tier"] = wording.service_tier
    figures = wording.figures
    usage = openai_usage(figures) if isinstance(figures, Figures) and wording.include_usage else None
    bodies: list[dict[str, object]] = [{**base, "choices": [choice]} for choice in choices]
    markers: Sequence[Marker] = ()
    if wording.usage_in_finish_chunk:
        markers = with_usage(bodies[-1], figures, usage)
    elif wording.include_usage and figures is not NoFigures.ABSENT:
        bodies.append({**base, "choices": []})
        markers = with_usage(bodies[-1], figures, usage)
    pieces = [event(body) for body in bodies]
    if wording.done:
        pieces.append(b"data: [DONE]\n\n")
    return Rendered("text/event-stream", pieces, markers)


def _response_object(wording: Wording, status: str) -> dict[str, object]:
    finished = status == "completed"
    return {
        "id": "resp_stub",
        "object": "response",
        "created_at": 1_700_000_000,
        "model": wording.model,
        "status": status,
        "output": [_output_item(wording, "completed")] if finished else [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    }


def _output_item(wording: Wording, status: str) -> dict[str, object]:
    content: list[Json] = [{"type": "output_text", "text": "".join(wording.words), "annotations": []}]
    return {
        "id": "msg_stub",
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": content if status == "completed" else [],
    }


def responses(wording: Wording) -> Rendered:
    """An answer of the responses API in one body."""
    body = _response_object(wording, "completed")
    figures = wording.figures
    usage = responses_usage(figures) if isinstance(figures, Figures) else None
    markers = with_usage(body, figures, usage)
    return Rendered("application/json", (dumps(body),), markers)


def responses_stream(wording: Wording) -> Rendered:
    """An answer of the responses API as its event sequence; usage is in ``response.completed``."""
    text = "".join(wording.words)
    at: dict[str, object] = {"item_id": "msg_stub", "output_index": 0, "content_index": 0}
    part: Json = {"type": "output_text", "text": "", "annotations": []}
    final = _response_object(wording, "completed")
    figures = wording.figures
    usage = responses_usage(figures) if isinstance(figures, Figures) else None
    markers = with_usage(final, figures, usage)
    events: list[dict[str, object]] = [
        {"type": "response.created", "response": _response_object(wording, "in_progress")},
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": _output_item(wording, "in_progress"),
        },
        {"type": "response.content_part.added", **at, "part": part},
        *({"type": "response.output_text.delta", **at, "delta": word} for word in wording.words),
        {"type": "response.output_text.done", **at, "text": text},
        {"type": "response.content_part.done", **at, "part": {**part, "text": text}},
        {"type": "response.output_item.done", "output_index": 0, "item": _output_item(wording, "completed")},
        {"type": "response.completed", "response": final},
    ]
    pieces = [
        event({**body, "sequence_number": number}, str(body["type"])) for number, body in enumerate(events)
    ]
    return Rendered("text/event-stream", pieces, markers)


def messages(wording: Wording) -> Rendered:
    """An Anthropic message in one body."""
    body = _message_object(wording, [{"type": "text", "text": "".join(wording.words)}])
    body["stop_reason"] = wording.finish_reason or "end_turn"
    figures = wording.figures
    usage = anthropic_usage(figures) if isinstance(figures, Figures) else None
    markers = with_usage(body, figures, usage)
    return Rendered("application/json", (dumps(body),), markers)


def _message_object(wording: Wording, content: list[dict[str, object]]) -> dict[str, object]:
    return {
        "id": "msg_stub",
        "type": "message",
        "role": "assistant",
        "model": wording.model,
        "content": content,
        "stop_reason": None,
        "stop_sequence": None,
    }


def messages_stream(wording: Wording) -> Rendered:
    """An Anthropic message as events: input tokens in ``message_start``, output in ``message_delta``."""
    start = _message_object(wording, [])
    delta: dict[str, object] = {
        "type": "message_delta",
        "delta": {"stop_reason": wording.finish_reason or "end_turn", "stop_sequence": None},
    }
    markers: list[Marker] = []
    figures = wording.figures
    if isinstance(figures, Figures):
        opening = {**anthropic_usage(figures), "output_tokens": 1}
        closing = {"output_tokens": figures.output}
        start["usage"], delta["usage"] = opening, closing
        markers.append(Marker(b'"usage":' + dumps(opening), input=True, output=False))
        markers.append(Marker(b'"usage":' + dumps(closing), input=False, output=True))
    elif figures is NoFigures.NULL:
        start["usage"] = delta["usage"] = None
    events: list[dict[str, object]] = []
    if wording.message_start:
        events.append({"type": "message_start", "message": start})
    block: Json = {"type": "text", "text": ""}
    events.append({"type": "content_block_start", "index": 0, "content_block": block})
    events.append({"type": "ping"})
    for word in wording.words:
        text: Json = {"type": "text_delta", "text": word}
        events.append({"type": "content_block_delta", "index": 0, "delta": text})
    events.append({"type": "content_block_stop", "index": 0})
    events.append(delta)
    if wording.done:
        events.append({"type": "message_stop"})
    return Rendered("text/event-stream", [event(body, str(body["type"])) for body in events], markers)


def embeddings(wording: Wording, asked: Json) -> Rendered:
    """Vectors of 8 numbers, one per input, as floats or base64 as asked."""
    given = asked.get("input")
    count = len(cast("list[object]", given)) if isinstance(given, list) else 1
    vector = [0.125 * place for place in range(8)]
    shown: object = vector
    if asked.get("encoding_format") == "base64":
        shown = base64.b64encode(struct.pack("<8f", *vector)).decode()
    body: dict[str, object] = {
        "object": "list",
        "model": wording.model,
        "data": [{"object": "embedding", "index": place, "embedding": shown} for place in range(count)],
    }
    figures = wording.figures
    usage: Json | None = None
    if isinstance(figures, Figures):
        usage = {"prompt_tokens": figures.input, "total_tokens": figures.input}
    markers = with_usage(body, figures, usage)
    return Rendered("application/json", (dumps(body),), markers)


def models(names: Sequence[str]) -> Rendered:
    """The model list, OpenAI's form."""
    data = [
        {"id": name, "object": "model", "created": 1_700_000_000, "owned_by": "stub", "type": "model"}
        for name in names
    ]
    body = {"object": "list", "data": data, "has_more": False}
    return Rendered("application/json", (dumps(body),))


def failure(path: str, status: int, message: str) -> bytes:
    """An error body in the wire format of ``path``."""
    if "/messages" in path:
        kinds = {400: "invalid_request_error", 401: "authentication_error", 429: "rate_limit_error"}
        kind = kinds.get(status, "api_error")
        return dumps({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_stub"})
    return dumps({"error": {"message": message, "type": "stub_error", "param": None, "code": f"e{status}"}})
