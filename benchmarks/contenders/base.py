"""What every contender tells the benchmark: how to install it, start it and ask it."""

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from benchmarks.driving import Door

Say = Callable[[str], None]


class UnavailableError(Exception):
    """A contender cannot be installed or started here; the message says why, and what would help."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where the stub answers. With ``ca`` (PEM) it speaks TLS, and ``ca`` is what vouches for it."""

    port: int
    ca: Path | None = None

    @property
    def host(self) -> str:
        """The name in its certificate, or the address."""
        return "localhost" if self.ca else "127.0.0.1"

    @property
    def url(self) -> str:
        """Its origin, without a slash at the end."""
        return f"{'https' if self.ca else 'http'}://{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Site:
    """Where one start happens: ``folder`` is its own and empty, ``installed`` is what ``install`` filled."""

    folder: Path
    installed: Path
    upstream: Upstream

    def write(self, name: str, text: str) -> Path:
        """Write a file into the folder."""
        path = self.folder / name
        path.write_text(text)
        return path


class Beside(Protocol):
    """What a contender cannot do without and what is weighed apart from it: a database server."""

    def cpu_s(self) -> float:
        """Seconds of CPU time used since it was started."""
        ...

    def freeze(self) -> None:
        """Let it use no CPU until ``wake``."""
        ...

    def wake(self) -> None:
        """Undo ``freeze``."""
        ...

    def end(self) -> None:
        """Stop it, and delete what it stored."""
        ...


@dataclass(frozen=True, slots=True)
class Launch:
    """A command that starts a contender; ``port`` None if its first line of output ends with the port.

    What runs ``beside`` it runs already.
    """

    arguments: Sequence[str]
    port: int | None
    door: Door = field(default_factory=Door)
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    beside: Beside | None = None


class Contender(Protocol):
    """Something to measure."""

    @property
    def name(self) -> str:
        """Short and unique; used on the command line and in tables."""
        ...

    @property
    def about(self) -> str:
        """What it does with a call here, so that readers compare like with like."""
        ...

    @property
    def tls(self) -> bool:
        """Whether it takes part where the provider speaks TLS."""
        ...

    def install(self, into: Path, say: Say) -> None:
        """Make sure it is there; UnavailableError if it cannot be."""
        ...

    def version(self, installed: Path) -> str:
        """Its version as it reports it."""
        ...

    def launch(self, site: Site) -> Launch:
        """Write its configuration, and return the command that starts it."""
        ...


def free_port() -> int:
    """A loopback port that nothing uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def is_root() -> bool:
    """Whether servers that drop to another user when started by root would do so."""
    return os.geteuid() == 0
