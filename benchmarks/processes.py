"""Processes that are measured: started on one core, frozen and woken, weighed, ended with their children."""

import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Literal

END_S = 10.0
POLL_S = 0.02
QUIET_WITHIN_S = 1.5
QUIET_STEP_S = 0.1
INHERITED = ("PATH", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "SSL_CERT_DIR")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def cores() -> tuple[int, int]:
    """The core of what is measured and that of the load driver and the stub; the same if there is one."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[min(1, len(usable) - 1)]


@contextmanager
def on_core(core: int) -> Generator[None]:
    """Whatever is started inside runs on that core only."""
    with on_cores({core}):
        yield


@contextmanager
def on_cores(of_cores: Collection[int]) -> Generator[None]:
    """Whatever is started inside runs on those cores only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, of_cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def busy_s(of_cores: Collection[int]) -> float:
    """Seconds that these cores have worked since they started, for whomever, or were taken by the host."""
    wanted = {f"cpu{core}" for core in of_cores}
    ticks = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *counts = line.split()
        if name in wanted:
            user, nice, system, _idle, _waiting, irq, softirq, stolen = map(int, counts[:8])
            ticks += user + nice + system + irq + softirq + stolen
    return ticks / TICKS_PER_S


def finished_children_s() -> float:
    """Seconds of CPU time of all programs that this process has run to their end."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def memory_mb(process: int | str, share: Literal["Pss", "Rss"]) -> float:
    """Megabytes of memory of one process ("self" for this one). OSError if it is gone.

    Pages shared with others count in proportion (Pss), or in full (Rss).
    """
    rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith(f"{share}:")) / 1_000


@contextmanager
def own_folder(build: Path) -> Generator[Path]:
    """On the checkout's disk, not in /tmp, which may be memory: durable writes are measured too."""
    folder = Path(mkdtemp(prefix="run-", dir=build))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Tree:
    """A process and all that it started: one session of the system, found again in /proc."""

    def __init__(
        self, arguments: Sequence[str], core: int, folder: Path, extra: Mapping[str, str] | None = None
    ) -> None:
        """Start it in ``folder``, with an environment that holds no settings of the user's shell.

        Output goes to ``out.log`` and ``errors.log`` there. OSError if the program cannot be run.
        """
        environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
        environment |= {"HOME": str(folder)} | dict(extra or {})
        self.folder = folder
        with on_core(core), self._out.open("wb") as out, self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                list(arguments),
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=errors,
                start_new_session=True,
            )

    @property
    def _out(self) -> Path:
        return self.folder / "out.log"

    @property
    def _errors(self) -> Path:
        return self.folder / "errors.log"

    def ended(self) -> bool:
        """Whether the process that was started is gone."""
        return self._process.poll() is not None

    def first_line(self) -> str | None:
        """What it printed first, once the line is complete."""
        line, newline, _ = self._out.read_bytes().partition(b"\n")
        return line.decode() if newline else None

    def last_words(self, most: int = 400) -> str:
        """The end of what it logged, in one line."""
        text = self._errors.read_text("utf-8", "replace") or self._out.read_text("utf-8", "replace")
        return " ".join(text.split())[-most:]

    def freeze(self) -> None:
        """Let it use no CPU until ``wake``."""
        self._signal(signal.SIGSTOP)

    def wake(self) -> None:
        """Undo ``freeze``."""
        self._signal(signal.SIGCONT)

    def cpu_s(self) -> float:
        """Seconds of CPU time, user and system, used by the whole tree since it was started."""
        ticks = sum(sum(map(int, stat[11:15])) for stat in self._stats().values())
        return ticks / TICKS_PER_S

    def cpu_s_when_quiet(self) -> float:
        """The same once work after the last answer (records, logs) has died down, at most 1.5 s later."""
        deadline = time.monotonic() + QUIET_WITHIN_S
        last = self.cpu_s()
        while time.monotonic() < deadline:
            time.sleep(QUIET_STEP_S)
            now = self.cpu_s()
            if now - last <= QUIET_STEP_S / 20:
                return now
            last = now
        return last

    def memory_mb(self, share: Literal["Pss", "Rss"] = "Pss") -> float:
        """Megabytes of memory of all its processes."""
        megabytes = 0.0
        for pid in self._stats():
            with suppress(OSError):
                megabytes += memory_mb(pid, share)
        return megabytes

    def end(self) -> None:
        """Stop every process of the tree: asked first, forced after 10 s."""
        self._signal(signal.SIGTERM)
        self.wake()
        deadline = time.monotonic() + END_S
        while not self.ended() or self._stats():
            if time.monotonic() > deadline:
                self._signal(signal.SIGKILL)
            time.sleep(POLL_S)

    def _signal(self, which: signal.Signals) -> None:
        for pid in self._stats():
            try:
                os.kill(pid, which)
            except ProcessLookupError:
                continue

    def _stats(self) -> dict[int, list[str]]:
        """By process id: the fields of /proc/<pid>/stat that follow the command, of live processes."""
        found: dict[int, list[str]] = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal():
                continue
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] != "Z" and int(fields[3]) == self._process.pid:
                found[int(entry.name)] = fields
        return found
