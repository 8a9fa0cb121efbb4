"""Usage in OpenAI's wire formats: chat completions, completions, embeddings, responses; and their dialects.

Where the figures of a provider contradict each other, the reading that bills more is taken:
- a total above prompt + completion means that reasoning is counted apart (x-ai, Gemini): it is output;
- more reasoning and audio than output means the same, where there is no total;
- audio and image parts above the input raise the input to their sum;
- a cached part above the input loses its discount.
"""

from collections.abc import Mapping

import msgspec

from palyra.core import limits
from palyra.lifecycle.wire import Reported
from palyra.upstream.content import Content, Shown, text_bytes
from palyra.upstream.counts import NOT_JSON, count, group, reported

_SEARCH = b"web_search_call"

_WITHOUT_CONTENT = (".added", ".done", ".in_progress", ".completed", ".searching")


class _Chunk(msgspec.Struct):
    """A chat chunk or a whole body; only what metering needs is decoded."""

    usage: object = None
    choices: msgspec.Raw = msgspec.Raw()
    model: object = None
    service_tier: object = None


class _Delta(msgspec.Struct, forbid_unknown_fields=True):
    content: str | None = None
    role: object = None


class _Choice(msgspec.Struct, forbid_unknown_fields=True):
    delta: _Delta
    index: object = None
    finish_reason: object = None
    logprobs: msgspec.Raw = msgspec.Raw()


class _PlainChunk(msgspec.Struct):
    """The usual chunk of a chat, where nothing but ``content`` was generated."""

    choices: list[_Choice]


class _AnyChunk(msgspec.Struct):
    choices: list[object]


class _AnyAnswer(msgspec.Struct):
    choices: list[object] | None = None
    output: list[object] | None = None


class _Response(msgspec.Struct):
    usage: object = None
    model: object = None
    service_tier: object = None
    output: msgspec.Raw = msgspec.Raw()


class _Action(msgspec.Struct):
    type: object = "search"


class _Item(msgspec.Struct):
    type: object = None
    action: _Action | None = None


class _ResponseEvent(msgspec.Struct):
    response: _Response | None = None


class _ShownResponse(msgspec.Struct):
    output: list[object] = []


class _ShownEvent(msgspec.Struct):
    """A Responses event. One text is told up to five times: delta, done, part, item, response."""

    type: str
    output_index: int = 0
    delta: object = None
    text: str = ""
    arguments: str = ""
    input: str = ""
    refusal: str = ""
    part: object = None
    item: object = None
    response: _ShownResponse | None = None


_plain_chunk = msgspec.json.Decoder(_PlainChunk)
_any_chunk = msgspec.json.Decoder(_AnyChunk)
_shown_event = msgspec.json.Decoder(_ShownEvent)


def read_usage(
    value: object, *, model: object, tier: object, output_expected: bool = True, searches: int = 0
) -> Reported | None:
    """Read a ``usage`` object. None unless input or output is known.

    ``output_expected`` is False for embeddings, whose usage has no output; ``searches`` were run beside it.
    """
    fields = group(value)
    given_input = count(fields, "prompt_tokens", "input_tokens")
    given_output = count(fields, "completion_tokens", "output_tokens")
    if given_input is None and given_output is None:
        return None
    if given_output is None and not output_expected:
        given_output = 0
    usage = {
        **_input(fields, given_input or 0),
        **_output(fields, given_input, given_output),
        "web_searches": searches,
    }
    return reported(
        usage,
        model=model,
        tier=tier,
        input_known=given_input is not None,
        output_known=given_output is not None,
    )


def _input(fields: Mapping[str, object], total: int) -> dict[str, int]:
    details = group(fields.get("prompt_tokens_details") or fields.get("input_tokens_details"))
    audio = count(details, "audio_tokens") or 0
    image = count(details, "image_tokens") or 0
    total = max(total, audio + image)
    cached = count(details, "cached_tokens")
    if cached is None:
        cached = count(fields, "prompt_cache_hit_tokens") or 0
    written = min(count(details, "cache_write_tokens") or 0, total)
    return {
        "input_tokens": total,
        "cache_read_tokens": cached if cached + written <= total else 0,
        "cache_write_5m_tokens": written,
        "input_audio_tokens": audio,
        "input_image_tokens": image,
    }


def _output(fields: Mapping[str, object], given_input: int | None, given: int | None) -> dict[str, int]:
    details = group(fields.get("completion_tokens_details") or fields.get("output_tokens_details"))
    reasoning = count(details, "reasoning_tokens") or 0
    audio = count(details, "audio_tokens") or 0
    output = given or 0
    both = count(fields, "total_tokens")
    if both is not None and given_input is not None and both > given_input + output:
        output = both - given_input if given is not None else output
    if reasoning + audio > output:
        output = max(output + reasoning, reasoning + audio)
    return {
        "output_tokens": min(output, limits.TOKENS_MAX),
        "reasoning_tokens": reasoning,
        "output_audio_tokens": audio,
    }


def read_body(body: bytes) -> Reported | None:
    """Read the body of a completion or a response."""
    return _read_body(body, output_expected=True)


def read_embeddings(body: bytes) -> Reported | None:
    """Read the body of an embeddings answer: no output."""
    return _read_body(body, output_expected=False)


def _read_body(body: bytes, *, output_expected: bool) -> Reported | None:
    try:
        answer = msgspec.json.decode(body, type=_Response)
    except NOT_JSON:
        return None
    return _read_response(answer, output_expected=output_expected)


def _read_response(answer: _Response, *, output_expected: bool = True) -> Reported | None:
    return read_usage(
        answer.usage,
        model=answer.model,
        tier=answer.service_tier,
        output_expected=output_expected,
        searches=_searches(answer.output),
    )


def _searches(output: msgspec.Raw) -> int:
    """Web searches among a response's output items: they are billed each, and usage does not tell them.

    Opening a page and looking through it are free; a search that does not say what it did is billed.
    """
    raw = bytes(output)
    if _SEARCH not in raw:
        return 0
    try:
        items = msgspec.json.decode(raw, type=list[_Item])
    except NOT_JSON:
        return raw.count(_SEARCH)
    calls = [item for item in items if item.type == _SEARCH.decode()]
    return sum(1 for call in calls if call.action is None or call.action.type == "search")


def shown_in_body(body: bytes) -> int:
    """Bytes of the generated content in a completion or a response; the whole body's if it is neither."""
    try:
        answer = msgspec.json.decode(body, type=_AnyAnswer)
        known = answer.choices is not None or answer.output is not None
        return text_bytes(answer.choices) + text_bytes(answer.output) if known else len(body)
    except NOT_JSON:
        return len(body)


class ChatStream:
    """Reads chat and text completion chunks. The last usage wins, whatever its chunk's choices."""

    __slots__ = ("_reported",)

    def __init__(self) -> None:
        self._reported: Reported | None = None

    def read(self, payload: bytes) -> bool | None:
        """Read one chunk; True if it is the extra usage chunk, None if it is no chunk at all."""
        try:
            chunk = msgspec.json.decode(payload, type=_Chunk)
        except NOT_JSON:
            return None
        if not chunk.usage:
            return False
        self._reported = read_usage(chunk.usage, model=chunk.model, tier=chunk.service_tier)
        return bytes(chunk.choices).translate(None, b" \t\r\n") == b"[]"

    def reported(self) -> Reported | None:
        """Return the usage seen so far."""
        return self._reported

    def shown(self, payload: bytes) -> Content:
        """Count the content of one chunk: a choice in it is a token at least."""
        try:
            choices = _plain_chunk.decode(payload).choices
        except NOT_JSON:
            return _shown_in_any_chunk(payload)
        size = 0
        for choice in choices:
            size += max(1, text_bytes(choice.delta.content))
        return size


class ResponseStream:
    """Reads Responses API events: ``response.completed``, ``.incomplete`` and ``.failed`` carry usage."""

    __slots__ = ("_reported",)

    def __init__(self) -> None:
        self._reported: Reported | None = None

    def read(self, payload: bytes) -> bool | None:
        """Read one event; never one to hide. None if it is no event at all."""
        try:
            event = msgspec.json.decode(payload, type=_ResponseEvent)
        except NOT_JSON:
            return None
        response = event.response
        if response is not None and response.usage:
            self._reported = _read_response(response)
        return False

    def reported(self) -> Reported | None:
        """Return the usage seen so far."""
        return self._reported

    def shown(self, payload: bytes) -> Content:
        """Count the content of one event."""
        try:
            event = _shown_event.decode(payload)
        except NOT_JSON:
            return len(payload)
        if event.response is not None:
            return tuple(
                Shown(text_bytes(item), index, telling=4) for index, item in enumerate(event.response.output)
            )
        told = (event.text, event.arguments, event.input, event.refusal)
        sizes = (text_bytes(event.delta), sum(map(text_bytes, told)), text_bytes(event.part))
        sizes = (*sizes, text_bytes(event.item))
        if event.type.endswith(".delta"):
            sizes = (max(1, sizes[0]), *sizes[1:])
        elif not any(sizes) and not event.type.endswith(_WITHOUT_CONTENT):
            return len(payload)
        return tuple(Shown(size, event.output_index, telling) for telling, size in enumerate(sizes))


def _shown_in_any_chunk(payload: bytes) -> int:
    """Count a chunk with tool calls, reasoning, plain text or anything else."""
    try:
        choices = _any_chunk.decode(payload).choices
    except NOT_JSON:
        return len(payload)
    return max(text_bytes(choices), len(choices))
