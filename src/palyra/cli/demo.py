"""``palyra demo``: the daemon in front of a small real model, on this machine, with a scene to watch."""

import json
import os
import shlex
import signal
import socket
import sys
import time
from collections.abc import Generator, Iterable, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, NoReturn, cast

import httpx2
import typer
from rich.console import Console

from palyra.cli.child import Child, ChildFailed, start
from palyra.cli.demo_config import DATABASE
from palyra.cli.demo_scene import Scene, SceneFailed, chat_body
from palyra.cli.demo_write import NOWHERE, new_folder, prepare
from palyra.cli.model_server import ModelUnavailable, ensure_weights, is_healthy, require_runtime
from palyra.cli.output import CommandError, ExitCode, JsonOption, emit, stdout_console
from palyra.config.settings import DEFAULT_PORT
from palyra.core.instant import Instant

START_S = 60.0
PORTS_TRIED = 50
PRINCIPALS: Mapping[str, Mapping[str, object]] = {"alice": {"agent": "researcher"}, "bob": {}}


@dataclass(frozen=True, slots=True)
class Stage:
    """What runs: the daemon's address and keys, and the processes behind it."""

    url: str
    owner_key: str
    keys: Mapping[str, str]
    config: Path
    children: tuple[Child, ...]

    @property
    def console(self) -> str:
        """Where people look at it."""
        return f"{self.url}/console"


def demo(
    port: Annotated[
        int, typer.Option(help="Port of the daemon; the next free one if it is taken.")
    ] = DEFAULT_PORT,
    once: Annotated[bool, typer.Option("--once", help="Play the scene and exit.")] = False,
    no_history: Annotated[
        bool, typer.Option("--no-history", help="Begin with an empty ledger, without a month of history.")
    ] = False,
    write: Annotated[
        Path | None,
        typer.Option(
            help="Write the configuration and the ledger with the month into this folder, start nothing.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run the daemon in front of a small real model, with a month behind it, and show what budgets do.

    The month is generated: five teams, three providers, and an agent that runs away until its budget stops
    it. It was decided, held and settled as any call is, so that every page and command has something to show.
    The small model stands in for each provider. With --write no model is needed and nothing is started:
    `palyra serve --config FOLDER/palyra.toml` does that; its providers answer nothing until you give them
    an address. --json prints `config`, `database`, `owner_key` and `calls` then, and otherwise where the demo
    is: `url`, `console`, `owner_key`, `keys`, `config` and the `steps` of the scene.
    """
    if write is not None:
        _write(write, port, history=not no_history, as_json=as_json)
        return
    console = Console(quiet=True) if as_json else stdout_console()
    try:
        require_runtime()
        with console.status("Fetching the demo model (93 MB, once)"):
            ensure_weights()
        with ExitStack() as cleanup, interruptible():
            stage = _set_up(port, console, cleanup, history=not no_history)
            _play(stage, console, once=once, as_json=as_json)
    except ModelUnavailable as error:
        raise CommandError(str(error), ExitCode.PRECONDITION) from error
    except (ChildFailed, SceneFailed, httpx2.HTTPError) as error:
        raise CommandError(str(error), ExitCode.INTERNAL) from error
    except KeyboardInterrupt:
        console.print("\nStopped.")


def _write(directory: Path, port: int, *, history: bool, as_json: bool) -> None:
    """Write what a daemon needs to start with, and say how to start it."""
    now = Instant(time.time_ns())
    with new_folder(directory):
        written = prepare(directory, port, NOWHERE, now, history=history, quiet=as_json)
    document = {
        "config": str(written.config),
        "database": str(directory / DATABASE),
        "owner_key": written.owner_key,
        "calls": written.calls,
    }

    def render(console: Console) -> None:
        console.print(f"{written.calls:,} calls are in {directory / DATABASE}.", soft_wrap=True)
        console.print(f"config     {written.config}", markup=False, soft_wrap=True)
        console.print(f"owner key  {written.owner_key or 'given by the first start'}", soft_wrap=True)
        console.print(f"start      palyra serve --config {shlex.quote(str(written.config))}", soft_wrap=True)

    emit(document, as_json=as_json, render=render)


def _play(stage: Stage, console: Console, *, once: bool, as_json: bool) -> None:
    scene = Scene(stage.url, stage.owner_key, stage.keys, console)
    scene.play()
    if as_json:
        typer.echo(json.dumps(_document(stage, scene)))
        sys.stdout.flush()
    if not once:
        _show_address(console, stage)
        watch(stage.children)


def _set_up(port: int, console: Console, cleanup: ExitStack, *, history: bool) -> Stage:
    """Start the model and the daemon in a new temporary directory and make the keys of the scene."""
    directory = Path(cleanup.enter_context(TemporaryDirectory(prefix="palyra-demo-")))
    with console.status("Starting the model"):
        model = start_model(directory, cleanup)
        model_url = url_of_model(model)
    chosen = free_port(port)
    now = Instant(time.time_ns())
    written = prepare(directory, chosen, model_url, now, history=history, quiet=console.quiet)
    with console.status("Starting the daemon"):
        daemon = start_daemon("daemon", written.config, chosen, directory, environment())
        cleanup.callback(daemon.stop)
        announced = daemon.announcement(START_S)
    url, owner_key = str(announced["url"]), written.owner_key or str(announced["owner_key"])
    keys = {name: create_key(url, owner_key, name, fields) for name, fields in PRINCIPALS.items()}
    console.print(
        f"The daemon is at {url}, its config is {written.config}\n", highlight=False, soft_wrap=True
    )
    return Stage(url, owner_key, keys, written.config, (model, daemon))


def environment() -> dict[str, str]:
    """What the children see of the environment: no setting of another Palyra."""
    return {name: text for name, text in os.environ.items() if not name.startswith("PALYRA_")}


def start_model(directory: Path, cleanup: ExitStack) -> Child:
    """Start the model; ``url_of_model`` waits for it."""
    model = start("model", ["palyra.cli.model_server", "--port", "0"], directory, environment())
    cleanup.callback(model.stop)
    return model


def url_of_model(model: Child) -> str:
    """Where the model is, once it answers. Raises ChildFailed."""
    url = str(model.announcement(START_S)["url"])
    model.wait_until(lambda: is_healthy(url), START_S, "become healthy")
    return url


def start_daemon(name: str, config: Path, port: int, directory: Path, given: Mapping[str, str]) -> Child:
    """Start ``palyra serve``; its first line says where it is. It ends when this process is gone."""
    arguments = ["serve", "--config", str(config), "--port", str(port), "--json"]
    return start(name, ["palyra.cli.tether", *arguments], directory, given)


def free_port(wanted: int) -> int:
    """``wanted``, or the next port on the loopback interface that nobody listens on; 0 stays 0."""
    for port in range(wanted, wanted + PORTS_TRIED):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ChildFailed(f"no port from {wanted} to {wanted + PORTS_TRIED - 1} is free; choose one with --port")


def create_key(url: str, owner_key: str, principal: str, fields: Mapping[str, object]) -> str:
    """A new key of a caller, in clear. Raises SceneFailed."""
    answer = httpx2.post(
        f"{url}/api/v1/keys",
        headers={"authorization": f"Bearer {owner_key}"},
        json={"principal": principal, "roles": ["caller"], **fields},
        timeout=30.0,
    )
    if not answer.is_success:
        raise SceneFailed(f"no key for {principal}: {answer.status_code} {answer.text}")
    return cast("str", answer.json()["key"])


def curl_line(url: str, key: str) -> str:
    """A command for a POSIX shell that makes a call when pasted."""
    body = json.dumps(chat_body("Write one sentence about the sea.", 40))
    return (
        f"curl -i {url}/v1/chat/completions -H 'content-type: application/json' "
        f"-H 'authorization: Bearer {key}' -d {shlex.quote(body)}"
    )


def _show_address(console: Console, stage: Stage) -> None:
    def plain(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    console.print("Your turn", style="bold")
    plain(f"console    {stage.console}   (sign in with the owner key)")
    plain(f"base URL   {stage.url}/v1")
    plain(f"key        {stage.keys['alice']}   (alice, agent researcher)")
    plain(f"owner key  {stage.owner_key}   (control plane: {stage.url}/api/v1)")
    plain(f"config     {stage.config}\n")
    plain(curl_line(stage.url, stage.keys["alice"]) + "\n")
    plain("Ctrl-C stops the daemon and the model and removes the directory.")


def _document(stage: Stage, scene: Scene) -> dict[str, object]:
    return {
        "url": stage.url,
        "console": stage.console,
        "owner_key": stage.owner_key,
        "keys": dict(stage.keys),
        "config": str(stage.config),
        "pids": {child.name: child.pid for child in stage.children},
        "curl": curl_line(stage.url, stage.keys["alice"]),
        "steps": [step.document() for step in scene.steps],
    }


@contextmanager
def interruptible() -> Generator[None]:
    """Ctrl-C, a closed terminal and a polite kill end the demo; what is stopped after it is stopped in peace.

    Ctrl-C needs saying: what a script starts in the background begins with it ignored.
    """
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    for number in numbers:
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def watch(children: Iterable[Child]) -> NoReturn:
    """Wait for Ctrl-C; ChildFailed if a child ends by itself."""
    while True:
        check(children)
        time.sleep(0.5)


def check(children: Iterable[Child]) -> None:
    """ChildFailed if one of the children has ended by itself."""
    for child in children:
        if child.process.poll() is not None:
            raise ChildFailed(f"{child.name} ended with {child.process.returncode}:\n{child.log_end()}")
