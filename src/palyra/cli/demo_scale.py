"""``palyra demo-scale``: three gateways, one budget on one PostgreSQL, and a gateway that is killed."""

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import httpx2
import typer
from rich.console import Console

from palyra.cli.child import Child, ChildFailed, start
from palyra.cli.database_server import STOP_S, ServerMissing, require_server
from palyra.cli.demo import (
    START_S,
    create_key,
    curl_line,
    environment,
    interruptible,
    start_daemon,
    start_model,
    url_of_model,
    watch,
)
from palyra.cli.demo_scale_load import BUDGET, Gateway, Keys, Load, Proof, Standing, prove, until_all_know
from palyra.cli.demo_scale_view import View, draw_proof, state_of
from palyra.cli.demo_scene import SceneFailed
from palyra.cli.model_server import MODEL, ModelUnavailable, ensure_weights, require_runtime
from palyra.cli.output import CommandError, ExitCode, JsonOption, stdout_console
from palyra.core.secret import Secret

GATEWAYS = 3
LEASE_S = 3.0
PRINCIPAL = "team"
DATABASE_VARIABLE = "DEMO_DATABASE_URL"

CONFIG = """\
# Written by `palyra demo-scale`, for each of its gateways.

[server]
host = "127.0.0.1"
database = "env:{variable}"

[scale]
lease_s = {lease_s}   # short: nobody shall wait long for what a dead gateway had

[governance]
mode = "enforced"
timezone = "UTC"

[[providers]]
id = "local"
kind = "openai_compatible"
base_url = "{model_url}/v1"

[[models]]
id = "{model}"
provider = "local"
context_window = 4096
output_limit = 2048
price = {{ input = "20.00", output = "80.00" }}   # made up; USD per million tokens
"""


@dataclass(frozen=True, slots=True)
class Fleet:
    """What runs, and where. ``keeper`` is the process that ends PostgreSQL when it is told to, or alone."""

    model: Child
    model_url: str
    keeper: Child
    database_pid: int
    database_url: str
    gateways: Sequence[Gateway]
    keys: Keys
    config: Path

    @property
    def left(self) -> list[Gateway]:
        """The gateways that run."""
        return [each for each in self.gateways if each.runs]

    @property
    def pids(self) -> dict[str, int]:
        """Every process that was started."""
        gateways = {each.name: each.child.pid for each in self.gateways}
        return {
            "model": self.model.pid,
            "database": self.database_pid,
            "database-keeper": self.keeper.pid,
            **gateways,
        }


def demo_scale(
    callers: Annotated[int, typer.Option(min=2, max=512, help="Callers at the same time.")] = 24,
    calls_worth: Annotated[
        int, typer.Option(min=6, max=100_000, help="The budget that all share, in calls.")
    ] = 60,
    leave: Annotated[bool, typer.Option("--exit", help="End everything after the check.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Use up one budget at three gateways, kill one of them, and check that the budget was kept exactly.

    Starts a small real model, PostgreSQL and the gateways; exits with 1 if the budget was not kept. The
    gateways that are left stay up, unless --exit is given or stdin is not a terminal.
    """
    console = Console(quiet=True) if as_json else stdout_console()
    try:
        require_runtime()
        require_server()
        with console.status("Fetching the demo model (93 MB, once)"):
            ensure_weights()
        with ExitStack() as cleanup, interruptible():
            fleet = _set_up(console, cleanup, calls_worth)
            load, proof = asyncio.run(_play(fleet, console, callers, calls_worth))
            _tell(fleet, load, proof, console, as_json=as_json)
            if not leave and sys.stdin.isatty():
                _stay(fleet, load.standing.limit, console)
    except (ModelUnavailable, ServerMissing) as error:
        raise CommandError(str(error), ExitCode.PRECONDITION) from error
    except (ChildFailed, SceneFailed, httpx2.HTTPError) as error:
        raise CommandError(str(error), ExitCode.INTERNAL) from error
    except KeyboardInterrupt:
        console.print("\nStopped before the end.")
        raise typer.Exit(ExitCode.INTERNAL) from None


def _set_up(console: Console, cleanup: ExitStack, calls_worth: int) -> Fleet:
    """Start everything in a new temporary directory; make the callers' key and the budget."""
    folder = Path(cleanup.enter_context(TemporaryDirectory(prefix="palyra-demo-scale-")))
    # What the children write holds keys. The folder above has to let PostgreSQL's own user pass.
    kept = folder / "run"
    kept.mkdir(mode=0o700)
    with console.status("Starting the model and PostgreSQL"):
        model = start_model(kept, cleanup)
        data = folder / "database" / "data"
        keeper = start("database", ["palyra.cli.database_server", str(data)], kept, environment())
        cleanup.callback(keeper.stop, STOP_S + 10)
        told = keeper.announcement(START_S)
        model_url = url_of_model(model)
    database_url = str(told["url"])
    config = kept / "palyra.toml"
    config.write_text(
        CONFIG.format(variable=DATABASE_VARIABLE, lease_s=LEASE_S, model_url=model_url, model=MODEL)
    )
    with console.status(f"Starting {GATEWAYS} gateways"):
        gateways, owner_key = _start_gateways(config, {DATABASE_VARIABLE: database_url}, cleanup)
    url = gateways[0].url
    keys = Keys(create_key(url, owner_key, PRINCIPAL, {}), owner_key)
    _create_budget(url, owner_key, calls_worth)
    asyncio.run(until_all_know(gateways, "/v1/models", keys.caller))
    asyncio.run(until_all_know(gateways, f"/api/v1/budgets/{BUDGET}", keys.owner))
    fleet = Fleet(model, model_url, keeper, int(str(told["pid"])), database_url, gateways, keys, config)
    _show_fleet(fleet, console)
    return fleet


def _start_gateways(config: Path, given: Mapping[str, str], cleanup: ExitStack) -> tuple[list[Gateway], str]:
    """The gateways and the owner key. The first one makes the schema and the key, before the others start."""
    children: list[Child] = []
    cleanup.callback(_stop_together, children)
    announced: list[Mapping[str, object]] = []
    for number in range(1, GATEWAYS + 1):
        name = f"gateway-{number}"
        children.append(start_daemon(name, config, 0, config.parent, {**environment(), **given}))
        if number == 1:
            announced.append(children[0].announcement(START_S))
    announced += [each.announcement(START_S) for each in children[1:]]
    gateways = [Gateway(each, str(told["url"])) for each, told in zip(children, announced, strict=True)]
    return gateways, str(announced[0]["owner_key"])


def _stop_together(children: Sequence[Child]) -> None:
    """Ask all to end before waiting for one."""
    for child in children:
        child.process.terminate()
    for child in children:
        child.stop()


def _create_budget(url: str, owner_key: str, calls_worth: int) -> None:
    budget = {"id": BUDGET, "scope": "global", "metric": "requests", "interval": "total"}
    answer = httpx2.post(
        f"{url}/api/v1/budgets",
        headers={"authorization": f"Bearer {owner_key}"},
        json={**budget, "hard_limit": calls_worth, "action": "block"},
        timeout=30.0,
    )
    if not answer.is_success:
        raise SceneFailed(f"no budget: {answer.status_code} {answer.text}")


async def _play(fleet: Fleet, console: Console, callers: int, calls_worth: int) -> tuple[Load, Proof]:
    with View(console) as view:
        load = Load(fleet.gateways, fleet.model_url, fleet.keys, Standing(calls_worth), view.show)
        await load.run(callers)
    return load, await prove(load, Secret(fleet.database_url))


def _show_fleet(fleet: Fleet, console: Console) -> None:
    def line(name: str, place: str, pid: int, kept: str = "") -> None:
        console.print(f"{name:<10} {place}   pid {pid}{kept}", markup=False, highlight=False, soft_wrap=True)

    line("model", fleet.model_url, fleet.model.pid)
    line("database", fleet.database_url, fleet.database_pid, f", kept by {fleet.keeper.pid}")
    for each in fleet.gateways:
        line(each.name, each.url, each.child.pid)
    console.print()


def _tell(fleet: Fleet, load: Load, proof: Proof, console: Console, *, as_json: bool) -> None:
    """Print what came of it. CommandError if the budget was not kept."""
    if as_json:
        typer.echo(json.dumps(_document(fleet, load, proof)))
        sys.stdout.flush()
    draw_proof(console, load, proof)
    if not proof.holds:
        broken = "; ".join(f"{each.what}: {each.found}" for each in proof.checks if not each.holds)
        hint = f"the last error of a caller: {load.last_error}" if load.last_error else None
        raise CommandError(f"the budget was not kept: {broken}", ExitCode.INTERNAL, hint=hint)


def _document(fleet: Fleet, load: Load, proof: Proof) -> dict[str, object]:
    standing, killing = load.standing, load.killing
    return {
        "kept": proof.holds,
        "budget": {
            "id": BUDGET,
            "limit": standing.limit,
            "posted": standing.posted,
            "held": standing.held,
            "sliced": standing.sliced,
            "most_claimed": load.most_claimed,
        },
        "calls": {
            "answered": proof.answered,
            "in_doubt": proof.in_doubt,
            "settled": proof.settled,
            "refused": sum(each.refused for each in load.gateways),
            "errors": sum(each.errors for each in load.gateways),
            "prompts_read_by_model": load.model_count,
        },
        "checks": [{"what": each.what, "holds": each.holds, "found": each.found} for each in proof.checks],
        "killed": None
        if killing is None
        else {
            "gateway": killing.gateway,
            "pid": killing.pid,
            "posted": killing.posted,
            "under_way": killing.under_way,
        },
        "gateways": [
            {
                "name": each.name,
                "url": each.url,
                "pid": each.child.pid,
                "state": state_of(each, load),
                "admitted": each.admitted,
                "refused": each.refused,
                "errors": each.errors,
            }
            for each in load.gateways
        ],
        "pids": fleet.pids,
        "model": fleet.model_url,
        "database": fleet.database_url,
        "config": str(fleet.config),
        "owner_key": fleet.keys.owner,
        "key": fleet.keys.caller,
        "curl": [curl_line(each.url, fleet.keys.caller) for each in fleet.left],
    }


def _stay(fleet: Fleet, limit: int, console: Console) -> None:
    """Say what can be tried, and wait for Ctrl-C."""

    def plain(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    url = fleet.left[0].url
    console.print("\nYour turn", style="bold")
    plain(f"owner key  {fleet.keys.owner}   (control plane: {url}/api/v1)\n")
    for each in fleet.left:
        plain(f"{curl_line(each.url, fleet.keys.caller)}\n")
    plain(
        "Both refuse, because the budget is used up. Raise it at one gateway, and the other knows it, too:\n"
    )
    plain(
        f"PALYRA_KEY={fleet.keys.owner} palyra budgets set --url {url} --id {BUDGET} --scope global "
        f"--metric requests --interval total --hard {limit + 10}\n"
    )
    plain("Ctrl-C stops the gateways, PostgreSQL and the model, and removes the directory.")
    try:
        watch([fleet.model, fleet.keeper, *(each.child for each in fleet.left)])
    except KeyboardInterrupt:
        console.print("\nStopped.")
