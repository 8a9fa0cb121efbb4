"""One run of the load driver."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from benchmarks.native_tools import Tools
from benchmarks.processes import Tree, on_core

MODEL = "bench-model"
INTERVAL_US = 4_000
CHUNKS = 50
WAIT_S = 30.0
_SENTENCE = "A ledger that balances tells you what was spent and what is still promised. "


@dataclass(frozen=True, slots=True)
class Door:
    """How a contender wants to be asked. ``model`` is None where the path says it."""

    path: str = "/v1/chat/completions"
    stream_path: str = "/v1/chat/completions"
    headers: tuple[tuple[str, str], ...] = ()
    model: str | None = MODEL


@dataclass(frozen=True, slots=True)
class Load:
    """``connections`` callers, each with one call at a time; bodies of about ``size`` bytes.

    Streams begin spread over the time that one lasts, or all ``together``; they are of ``chunks`` chunks, one
    every ``interval_us``, as the stub was told.
    """

    kind: Literal["whole", "stream"]
    connections: int
    size: int = 1_010
    together: bool = False
    interval_us: int = INTERVAL_US
    chunks: int = CHUNKS

    @property
    def spread_us(self) -> int:
        """Microseconds from the first connection's call to the last one's first call."""
        return 0 if self.together or self.kind == "whole" else self.interval_us * self.chunks


class Driven(msgspec.Struct, frozen=True):
    """What the driver saw: counts, per second rates, microseconds."""

    done: int
    rate: float
    events: int
    events_rate: float
    latency_p50_us: float
    latency_p99_us: float
    latency_max_us: float
    first_p50_us: float
    first_p99_us: float
    first_max_us: float
    lag_p50_us: float
    lag_p99_us: float
    errors: int
    not_ok: int
    unfinished: int
    said: str

    def complaint(self) -> str | None:
        """What was wrong with the answers, or None."""
        if self.not_ok:
            return f"{self.not_ok} answers were not 200, e.g. {self.said}"
        if self.errors:
            return f"{self.errors} connections were closed or streams cut short"
        if not self.done and not self.events:
            return "nothing was answered in time"
        return None


def request(port: int, door: Door, load: Load) -> bytes:
    """The bytes of one chat completion."""
    document: dict[str, object] = {} if door.model is None else {"model": door.model}
    document["max_tokens"] = 256
    if load.kind == "stream":
        document |= {"stream": True, "stream_options": {"include_usage": True}}
    message = {"role": "user", "content": ""}
    document["messages"] = [message]
    room = load.size - len(json.dumps(document))
    message["content"] = (_SENTENCE * (room // len(_SENTENCE) + 1))[:room]
    body = json.dumps(document).encode()
    path = door.path if load.kind == "whole" else door.stream_path
    own = "".join(f"{name}: {value}\r\n" for name, value in door.headers)
    head = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n{own}accept: */*\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@dataclass(frozen=True, slots=True)
class Driver:
    """The load driver on its core; requests are handed over in ``folder``.

    ``companions`` are at work with it: the stub, and what ends TLS in front of it.
    """

    tools: Tools
    core: int
    folder: Path
    companions: tuple[Tree, ...]

    def run(self, port: int, door: Door, load: Load, seconds: float) -> Driven:
        """Load the port for so long. AssertionError if nothing listens there or the driver fails."""
        file = self.folder / "request"
        file.write_bytes(request(port, door, load))
        words = [load.kind, port, load.connections, seconds, file, load.chunks, load.spread_us]
        with on_core(self.core):
            process = subprocess.Popen(
                [str(self.tools.load), *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        try:
            out, errors = process.communicate(timeout=seconds + WAIT_S)
        finally:
            process.kill()
        if process.returncode != 0:
            raise AssertionError(f"the load driver failed: {errors.decode().strip()}")
        return msgspec.json.decode(out, type=Driven)
