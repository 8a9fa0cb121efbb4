"""Usage in OpenAI's wire formats: chat completions, completions, embeddings, responses; and their dialects.

Where the figures of a provider contradict each other, the reading that bills more is taken:
- a total above prompt + completion means that reasoning is counted apart (x-ai, Gemini): it is output;
- more reasoning and audio than output means the same, where there is no total;
- audio and image parts above the input raise the input to their sum;
- a cached part above the input loses its discount.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

from palyra.core import limits
from palyra.lifecycle.wire import Reported
from palyra.pricing.usage import Usage
from palyra.upstream.content import Content, Shown, text_bytes
from palyra.upstream.counts import NOT_JSON, Count, count, group, reported

_SEARCH = b"web_search_call"

_WITHOUT_CONTENT = (".added", ".done", ".in_progress", ".completed", ".searching")


class _Details(msgspec.Struct, gc=False):
    """Parts of the input, or of the output."""

    cached_tokens: Count | None = None
    cache_write_tokens: Count | None = None
    audio_tokens: Count | None = None
    image_tokens: Count | None = None
    reasoning_tokens: Count | None = None


class _Usage(msgspec.Struct, gc=False):
    """What of a usage object can be believed, by the names of all dialects."""

    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    total_tokens: Count | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    input_tokens_details: _Details | None = None
    output_tokens_details: _Details | None = None
    prompt_cache_hit_tokens: Count | None = None

    @property
    def ambiguous(self) -> bool:
        """Whether the lane for strange usage must decide: nothing is given, or details by both names are."""
        return (
            (self.prompt_tokens is None and self.input_tokens is None)
            or (self.prompt_tokens_details is not None and self.input_tokens_details is not None)
            or (self.completion_tokens_details is not None and self.output_tokens_details is not None)
        )


class _UsualChunk(msgspec.Struct):
    """A chat chunk with usage."""

    usage: _Usage
    choices: msgspec.Raw = msgspec.Raw()
    model: object = None
    service_tier: object = None


class _Chunk(msgspec.Struct):
    """Any chat chunk; only what metering needs is decoded."""

    usage: object = None
    choices: msgspec.Raw = msgspec.Raw()
    model: object = None
    service_tier: object = None


class _Delta(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    content: str | None = None
    role: object = None


class _Choice(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    delta: _Delta
    index: object = None
    finish_reason: object = None
    logprobs: msgspec.Raw = msgspec.Raw()


class _PlainChunk(msgspec.Struct, gc=False):
    """The usual chunk of a chat, where nothing but ``content`` was generated."""

    choices: list[_Choice]


class _AnyChunk(msgspec.Struct):
    choices: list[object]


class _AnyAnswer(msgspec.Struct):
    choices: list[object] | None = None
    output: list[object] | None = None


_NO_OUTPUT = msgspec.Raw()


class _Response(msgspec.Struct):
    usage: object = None
    model: object = None
    service_tier: object = None
    output: msgspec.Raw = _NO_OUTPUT


class _UsualResponse(msgspec.Struct):
    usage: _Usage
    model: object = None
    service_tier: object = None
    output: msgspec.Raw = _NO_OUTPUT


class _Action(msgspec.Struct):
    type: object = "search"


class _Item(msgspec.Struct):
    type: object = None
    action: _Action | None = None


class _ResponseEvent(msgspec.Struct):
    response: _Response | None = None


class _TextDelta(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The usual event of a response."""

    type: Literal["response.output_text.delta"]
    delta: str
    output_index: int = 0
    content_index: object = None
    item_id: object = None
    sequence_number: object = None
    logprobs: msgspec.Raw = msgspec.Raw()
    obfuscation: object = None


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


_usual_chunk = msgspec.json.Decoder(_UsualChunk)
_usual_response = msgspec.json.Decoder(_UsualResponse)
_plain_chunk = msgspec.json.Decoder(_PlainChunk)
_plain_chunks = msgspec.json.Decoder(list[_PlainChunk])
_text_deltas = msgspec.json.Decoder(list[_TextDelta])
_any_chunk = msgspec.json.Decoder(_AnyChunk)
_shown_event = msgspec.json.Decoder(_ShownEvent)


def read_usage(
    value: object, *, model: object, tier: object, output_expected: bool = True, searches: int = 0
) -> Reported | None:
    """Read a ``usage`` object. None unless input or output is known.

    ``output_expected`` is False for embeddings, whose usage has no output; ``searches`` were run beside it.
    """
    fields = group(value)
    usage = _Usage(
        prompt_tokens=count(fields, "prompt_tokens"),
        completion_tokens=count(fields, "completion_tokens"),
        total_tokens=count(fields, "total_tokens"),
        prompt_tokens_details=_details(fields, "prompt_tokens_details", "input_tokens_details"),
        completion_tokens_details=_details(fields, "completion_tokens_details", "output_tokens_details"),
        input_tokens=count(fields, "input_tokens"),
        output_tokens=count(fields, "output_tokens"),
        prompt_cache_hit_tokens=count(fields, "prompt_cache_hit_tokens"),
    )
    return _report(usage, model, tier, output_expected=output_expected, searches=searches)


def _details(fields: Mapping[str, object], *names: str) -> _Details:
    given = next((fields[name] for name in names if fields.get(name)), None)
    members = group(given)
    return _Details(*(count(members, name) for name in _Details.__struct_fields__))


def _report(
    usage: _Usage, model: object, tier: object, *, output_expected: bool = True, searches: int = 0
) -> Reported | None:
    given_input = usage.prompt_tokens if usage.prompt_tokens is not None else usage.input_tokens
    given_output = usage.completion_tokens if usage.completion_tokens is not None else usage.output_tokens
    if given_output is None:
        if given_input is None:
            return None
        if not output_expected:
            given_output = 0
    total, read, written, audio, image = _input(usage, given_input or 0)
    output, reasoning, spoken = _output(usage, given_input, given_output)
    try:
        checked = Usage(total, output, read, written, 0, reasoning, audio, spoken, image, searches)
    except ValueError:
        # The counts contradict each other beyond what was mended.
        return None
    return reported(
        checked,
        model=model,
        tier=tier,
        input_known=given_input is not None,
        output_known=given_output is not None,
    )


def _input(usage: _Usage, total: int) -> tuple[int, int, int, int, int]:
    """Return all input, and of it: read from a cache, written to one, audio, image."""
    details = usage.prompt_tokens_details or usage.input_tokens_details
    cached = usage.prompt_cache_hit_tokens or 0
    if details is None:
        return total, cached if cached <= total else 0, 0, 0, 0
    audio, image = details.audio_tokens or 0, details.image_tokens or 0
    if audio + image > total:
        total = audio + image
    if details.cached_tokens is not None:
        cached = details.cached_tokens
    written = min(details.cache_write_tokens or 0, total)
    return total, cached if cached + written <= total else 0, written, audio, image


def _output(usage: _Usage, given_input: int | None, given: int | None) -> tuple[int, int, int]:
    """Return all output, and of it: reasoning, audio."""
    details = usage.completion_tokens_details or usage.output_tokens_details
    reasoning = audio = 0
    if details is not None:
        reasoning, audio = details.reasoning_tokens or 0, details.audio_tokens or 0
    output = given or 0
    both = usage.total_tokens
    if both is not None and given_input is not None and both > given_input + output:
        output = both - given_input if given is not None else output
    if reasoning + audio > output:
        output = max(output + reasoning, reasoning + audio)
    return min(output, limits.TOKENS_MAX), reasoning, audio


def read_body(body: bytes) -> Reported | None:
    """Read the body of a completion or a response."""
    return _read_body(body, output_expected=True)


def read_embeddings(body: bytes) -> Reported | None:
    """Read the body of an embeddings answer: no output."""
    return _read_body(body, output_expected=False)


def _read_body(body: bytes, *, output_expected: bool) -> Reported | None:
    try:
        usual = _usual_response.decode(body)
        if not usual.usage.ambiguous:
            return _report(
                usual.usage,
                usual.model,
                usual.service_tier,
                output_expected=output_expected,
                searches=_searches(usual.output),
            )
    except NOT_JSON:
        pass
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
    if output is _NO_OUTPUT:
        return 0
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
    divider = b"\n\ndata: "

    def __init__(self) -> None:
        self._reported: Reported | None = None

    def read(self, payload: bytes) -> bool | None:
        """Read one chunk; True if it is the extra usage chunk, None if it is no chunk at all."""
        try:
            usual = _usual_chunk.decode(payload)
            if not usual.usage.ambiguous:
                self._reported = _report(usual.usage, usual.model, usual.service_tier)
                return _is_empty(usual.choices)
        except NOT_JSON:
            pass
        try:
            chunk = msgspec.json.decode(payload, type=_Chunk)
        except NOT_JSON:
            return None
        if not chunk.usage:
            return False
        self._reported = read_usage(chunk.usage, model=chunk.model, tier=chunk.service_tier)
        return _is_empty(chunk.choices)

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

    def shown_all(self, payloads: bytes) -> Content | None:
        """Count the content of many chunks that only have ``content``."""
        try:
            chunks = _plain_chunks.decode(payloads)
        except NOT_JSON:
            return None
        texts = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
        return text_bytes("".join(texts)) + texts.count("")


class ResponseStream:
    """Reads Responses API events: ``response.completed``, ``.incomplete`` and ``.failed`` carry usage."""

    __slots__ = ("_reported",)
    divider = b"\n\nevent: response.output_text.delta\ndata: "

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

    def shown_all(self, payloads: bytes) -> Content | None:
        """Count the content of many deltas of text."""
        try:
            events = _text_deltas.decode(payloads)
        except NOT_JSON:
            return None
        return [Shown(max(1, text_bytes(event.delta)), event.output_index) for event in events]


def _is_empty(choices: msgspec.Raw) -> bool:
    return bytes(choices).translate(None, b" \t\r\n") == b"[]"


def _shown_in_any_chunk(payload: bytes) -> int:
    """Count a chunk with tool calls, reasoning, plain text or anything else."""
    try:
        choices = _any_chunk.decode(payload).choices
    except NOT_JSON:
        return len(payload)
    return max(text_bytes(choices), len(choices))
