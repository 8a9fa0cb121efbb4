"""What the stub is told to do: the call it got, the answer it gives, the usage it claims."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

from harness import wire
from harness.gate import Gate
from harness.shapes import Shape
from harness.wire import Figures, NoFigures


@dataclass(slots=True)
class Call:
    """One request as it came in, and what became of its answer."""

    number: int
    connection: int
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    json: dict[str, object]
    reported_input: object = None
    reported_output: object = None
    status: int | None = None
    finished: bool = False
    client_gone: bool = False

    @property
    def stream(self) -> bool:
        """Whether a stream was asked for."""
        return self.json.get("stream") is True

    @property
    def output_cap(self) -> int:
        """Output tokens asked for at most, times ``n``; 16 where no cap was sent."""
        names = ("max_completion_tokens", "max_tokens", "max_output_tokens")
        caps = [value for name in names if isinstance(value := self.json.get(name), int)]
        choices = self.json.get("n")
        return (caps[0] if caps else 16) * (choices if isinstance(choices, int) else 1)

    @property
    def include_usage(self) -> bool:
        """Whether usage was asked for in the stream."""
        options = self.json.get("stream_options")
        return isinstance(options, dict) and cast("dict[str, object]", options).get("include_usage") is True


UsageRule = Callable[[Call], Figures | NoFigures]


def held(input_tokens: int | None = None) -> UsageRule:
    """Report the whole hold: output = the cap asked, input = ``input_tokens`` or the body's bytes."""

    def rule(call: Call) -> Figures:
        return Figures(len(call.body) if input_tokens is None else input_tokens, call.output_cap)

    return rule


def less(by: int = 1) -> UsageRule:
    """Report ``by`` tokens less than the hold on both sides, at least 0."""

    def rule(call: Call) -> Figures:
        return Figures(max(0, len(call.body) - by), max(0, call.output_cap - by))

    return rule


def more(by: int = 1) -> UsageRule:
    """Report ``by`` tokens more than the hold on both sides."""

    def rule(call: Call) -> Figures:
        return Figures(len(call.body) + by, call.output_cap + by)

    return rule


def fixed(
    input_tokens: object, output_tokens: object, *, cache_read: object = None, reasoning: object = None
) -> UsageRule:
    """Report exactly these values; they may be no numbers at all."""

    def rule(call: Call) -> Figures:
        return Figures(input_tokens, output_tokens, cache_read, reasoning)

    return rule


def absent(call: Call) -> NoFigures:
    """Report no usage."""
    return NoFigures.ABSENT


def null(call: Call) -> NoFigures:
    """Report ``"usage": null``."""
    return NoFigures.NULL


@dataclass(frozen=True, slots=True)
class Answer:
    """What the stub does with one call. The default is a good answer of three words that used the whole hold.

    ``body`` replaces the body; ``raw`` replaces the pieces of the body; ``shape`` changes them.
    ``cut_after_*`` breaks the connection, with a reset or a plain close; 0 pieces: right after the head.
    After ``stall_after`` pieces the stub says nothing more. ``include_usage=None``: in streams, if asked.
    """

    usage: UsageRule = field(default_factory=held)
    chunks: int = 3
    word: str = "word "
    status: int = 200
    headers: Sequence[tuple[str, str]] = ()
    content_type: str | None = None
    body: bytes | None = None
    raw: Sequence[bytes] | None = None
    shape: Shape | None = None
    gate: Gate | None = None
    gates: Mapping[int, Gate] = field(default_factory=dict[int, Gate])
    delay_s: float = 0.0
    between_s: float = 0.0
    stall_before_head: bool = False
    stall_after: int | None = None
    cut: Literal["reset", "close"] = "reset"
    cut_before_head: bool = False
    cut_after_pieces: int | None = None
    cut_after_bytes: int | None = None
    framing: Literal["auto", "chunked", "length", "close"] = "auto"
    include_usage: bool | None = None
    usage_in_finish_chunk: bool = False
    done: bool = True
    message_start: bool = True
    service_tier: str | None = None
    finish_reason: str | None = None
    model: str | None = None

    @property
    def at_once(self) -> bool:
        """Whether it can be written without waiting for anything."""
        return self == Answer(
            usage=self.usage,
            chunks=self.chunks,
            word=self.word,
            status=self.status,
            headers=self.headers,
            content_type=self.content_type,
            body=self.body,
            shape=self.shape,
            done=self.done,
            model=self.model,
            service_tier=self.service_tier,
        )


Script = Answer | Callable[[Call], Answer]


def failing(
    status: int, *, body: bytes | None = None, retry_after: str | None = None
) -> Callable[[Call], Answer]:
    """Answer with an error, in the wire format of the path unless ``body`` is given."""

    def script(call: Call) -> Answer:
        words = wire.failure(call.path, status, f"stub says {status}") if body is None else body
        headers = [("retry-after", retry_after)] if retry_after is not None else []
        return Answer(status=status, body=words, headers=headers)

    return script


def in_turn(*scripts: Script) -> Callable[[Call], Answer]:
    """The first call gets the first script, and so on; the last one serves the rest."""
    left = list(scripts)

    def script(call: Call) -> Answer:
        current = left.pop(0) if len(left) > 1 else left[0]
        return current if isinstance(current, Answer) else current(call)

    return script
