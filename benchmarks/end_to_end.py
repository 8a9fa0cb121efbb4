"""The daemon as people run it, in front of a provider that answers at once: three processes, real sockets."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from benchmarks import scene
from benchmarks.load import drive, request
from benchmarks.measure import Effort, Result, result
from benchmarks.provider import CHUNKS

CONNECTIONS = 32
STREAMS = 64
START_S = 60.0
STOP_S = 30.0
POLL_S = 0.02

_CONFIG = """
[server]
port = 0
database = "sqlite:///bench.db"

[governance]
mode = "enforced"
timezone = "UTC"

[[providers]]
id = "bench"
kind = "openai_compatible"
base_url = "http://127.0.0.1:{port}/v1"

[[models]]
id = "{model}"
provider = "bench"
output_limit = 4096
price = {{ input = "1.00", output = "2.00" }}
"""
_BUDGET = """
[[budgets]]
id = "{id}"
scope = "{scope}"
metric = "cost_usd"
interval = "day"
hard_limit = "1000000"
action = "block"
"""


@dataclass(frozen=True, slots=True)
class Target:
    """Something to call: a port, a key, and the process whose CPU time is counted."""

    port: int
    key: str
    pid: int


async def run(effort: Effort) -> list[Result]:
    """Whole answers and streams, through the daemon and straight to the provider for comparison."""
    root = Path(__file__).parent.parent
    with tempfile.TemporaryDirectory(prefix="palyra-bench-") as directory:
        folder = Path(directory)
        with _process([sys.executable, "-m", "benchmarks.provider"], root, folder / "provider") as provider:
            port = int(provider.line)
            with _daemon(port, folder) as daemon:
                direct = Target(port, "none", provider.pid)
                rows = await _whole("provider alone", direct, effort)
                rows += await _whole("through Palyra", daemon, effort)
                rows += await _streams(daemon, effort)
    return rows


async def _whole(name: str, target: Target, effort: Effort) -> list[Result]:
    wanted = request(target.port, target.key, scene.body())
    await drive(target.port, wanted, CONNECTIONS, effort.run_s / 4)
    rates: list[float] = []
    costs: list[float] = []
    for _ in range(min(3, effort.repeats)):
        before, start = _cpu_s(target.pid), time.perf_counter()
        answered = await drive(target.port, wanted, CONNECTIONS, effort.run_s)
        rates.append(answered / (time.perf_counter() - start))
        costs.append((_cpu_s(target.pid) - before) * 1_000_000 / answered)
    about = f"{CONNECTIONS} connections, 1 KB body" + (", 3 budgets" if target.key != "none" else "")
    return [
        result(name, rates, "calls/s", about),
        result(f"{name}, CPU per call", costs, "us", "of that process, user and system"),
    ]


async def _streams(target: Target, effort: Effort) -> list[Result]:
    wanted = request(target.port, target.key, scene.body(stream=True))
    costs: list[float] = []
    for _ in range(min(3, effort.repeats)):
        before = _cpu_s(target.pid)
        answered = await drive(target.port, wanted, STREAMS, effort.run_s)
        costs.append((_cpu_s(target.pid) - before) * 1_000_000 / (answered * CHUNKS))
    about = f"{STREAMS} streams of {CHUNKS} chunks; the call's own cost is in it"
    return [result("through Palyra, CPU per streamed chunk", costs, "us", about)]


@dataclass(frozen=True, slots=True)
class _Running:
    pid: int
    line: str


@contextmanager
def _process(arguments: list[str], folder: Path, log: Path) -> Generator[_Running]:
    """Start a process, wait for its first line, end it at the end."""
    out, errors = log.with_suffix(".out"), log.with_suffix(".err")
    with out.open("wb") as out_file, errors.open("wb") as error_file:
        process = subprocess.Popen(
            arguments, cwd=folder, stdin=subprocess.DEVNULL, stdout=out_file, stderr=error_file
        )
    try:
        deadline = time.monotonic() + START_S
        while b"\n" not in (line := out.read_bytes()):
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{arguments} did not start:\n{errors.read_text()[-2_000:]}")
            time.sleep(POLL_S)
        yield _Running(process.pid, line.decode().partition("\n")[0])
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def _daemon(provider_port: int, folder: Path) -> Generator[Target]:
    config = folder / "palyra.toml"
    scopes = ("global", "principal:*", f"model:{scene.MODEL}")
    budgets = "".join(_BUDGET.format(id=f"b{n}", scope=scope) for n, scope in enumerate(scopes))
    config.write_text(_CONFIG.format(port=provider_port, model=scene.MODEL) + budgets)
    arguments = [sys.executable, "-m", "palyra", "serve", "--config", str(config), "--port", "0", "--json"]
    with _process(arguments, folder, folder / "daemon") as started:
        announced = json.loads(started.line)
        created = httpx2.post(
            f"{announced['url']}/api/v1/keys",
            json={"principal": scene.PRINCIPAL, "roles": ["caller"]},
            headers={"authorization": f"Bearer {announced['owner_key']}"},
            timeout=30.0,
        )
        created.raise_for_status()
        port = int(announced["url"].rpartition(":")[2])
        yield Target(port, created.json()["key"], started.pid)


def _cpu_s(pid: int) -> float:
    """Seconds of CPU time that a process has used; AssertionError where the system does not tell."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        raise AssertionError(
            "CPU time of a process is read from /proc: run the benchmarks on Linux"
        ) from None
    user, system = stat.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
