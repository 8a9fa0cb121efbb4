"""Contenders that stand ready: started, answering, and frozen until it is their turn."""

import http.client
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.contenders.base import Beside, Contender, Launch, Site, UnavailableError
from benchmarks.driving import Door, Load, request
from benchmarks.processes import Tree

START_S = 120.0
ANSWER_S = 10.0
POLL_S = 0.05
PLAIN = Load("whole", 1)


@dataclass(frozen=True, slots=True)
class Standing:
    """Something to load. ``tree`` is None for the stub itself, whose cost is nobody's."""

    name: str
    port: int
    door: Door
    tree: Tree | None = None
    beside: Beside | None = None

    @contextmanager
    def awake(self) -> Generator[None]:
        """Running inside, frozen outside."""
        if self.tree is None:
            yield
            return
        self.wake()
        try:
            yield
        finally:
            self.freeze()

    def freeze(self) -> None:
        """Let it use no CPU until ``wake``."""
        for each in (self.tree, self.beside):
            if each is not None:
                each.freeze()

    def wake(self) -> None:
        """Undo ``freeze``; what the contender relies on comes first."""
        for each in (self.beside, self.tree):
            if each is not None:
                each.wake()

    def end(self) -> None:
        """Stop the contender, then what ran beside it."""
        for each in (self.tree, self.beside):
            if each is not None:
                each.end()


def start(contender: Contender, site: Site, core: int) -> Standing:
    """Start it, wait for a call answered with 200, freeze it. UnavailableError with its last words if not."""
    standing = launched(contender.name, contender.launch(site), site.folder, core)
    assert standing.tree is not None
    try:
        _wait(lambda: _answers(standing), standing.tree, "did not answer")
    except BaseException:
        standing.end()
        raise
    standing.freeze()
    return standing


def launched(name: str, launch: Launch, folder: Path, core: int) -> Standing:
    """Start a process and learn its port; it may not listen yet. UnavailableError if it does not start."""
    try:
        tree = Tree(launch.arguments, core, folder, launch.environment)
    except OSError as problem:
        if launch.beside is not None:
            launch.beside.end()
        raise UnavailableError(f"cannot be run: {problem}") from problem
    standing = Standing(name, launch.port or 0, launch.door, tree, launch.beside)
    try:
        return standing if launch.port else replace(standing, port=_announced_port(tree))
    except BaseException:
        standing.end()
        raise


def _announced_port(tree: Tree) -> int:
    _wait(lambda: None if tree.first_line() else "no line of output", tree, "did not tell its port")
    digits = "".join(each if each.isdecimal() else " " for each in tree.first_line() or "")
    return int(digits.split()[-1])


def _wait(problem: Callable[[], str | None], tree: Tree, what: str) -> None:
    """Until ``problem`` returns None."""
    deadline = time.monotonic() + START_S
    while (now := problem()) is not None:
        if tree.ended():
            raise UnavailableError(f"ended while starting: {tree.last_words()}")
        if time.monotonic() > deadline:
            raise UnavailableError(f"{what} within {START_S:.0f} s ({now}): {tree.last_words()}")
        time.sleep(POLL_S)


def _answers(standing: Standing) -> str | None:
    """None if a call is answered with 200, or what happened instead."""
    head, _, body = request(standing.port, standing.door, PLAIN).partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:])
    connection = http.client.HTTPConnection("127.0.0.1", standing.port, timeout=ANSWER_S)
    try:
        connection.request("POST", lines[0].split()[1], body, headers)
        answer = connection.getresponse()
        text = answer.read()
    except (OSError, http.client.HTTPException) as problem:
        return str(problem) or type(problem).__name__
    finally:
        connection.close()
    return None if answer.status == 200 else f"{answer.status} {text[:200].decode('utf-8', 'replace')}"
