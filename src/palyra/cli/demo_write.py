"""The ledger of the demo, with its month, and the configuration that belongs to it."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from palyra.cli.audit_source import progress
from palyra.cli.demo_config import CONFIG_FILE, DATABASE, KEY_FILE, write_config
from palyra.cli.output import CommandError, ExitCode
from palyra.config.load import load_settings
from palyra.core.instant import Instant

NOWHERE = "http://127.0.0.1:9"
"""The address of providers where no model runs: the port that throws everything away."""


_ENDINGS = ("", "-wal", "-shm", ".lock")
"""What SQLite and its owner put beside a database."""


class Prepared(NamedTuple):
    """A folder that a daemon can start in. ``owner_key`` is in clear; None where the daemon will give one."""

    config: Path
    owner_key: str | None
    calls: int


def prepare(
    directory: Path, port: int, model_url: str, now: Instant, *, history: bool, quiet: bool
) -> Prepared:
    """Write configuration and, with ``history``, the ledger of the month before ``now`` into a folder."""
    config = write_config(directory, port, model_url, now)
    if not history:
        return Prepared(config, None, 0)
    # The daemon's parts take a second to load, which other commands need not wait for.
    from palyra.cli.demo_month import write_month
    from palyra.daemon.log import unlogged

    settings = load_settings(config, {}, directory)
    with progress("Writing a month of history", quiet=quiet) as show, unlogged():
        written = write_month(settings, now, show)
    return Prepared(config, written.owner_key, written.calls)


@contextmanager
def new_folder(directory: Path) -> Generator[None]:
    """A folder for a demo's files; what was begun and did not come to its end is removed again.

    Raises CommandError where there are such files already, or there can be no folder.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"{directory}: {error.strerror}", ExitCode.PRECONDITION) from None
    for name in (CONFIG_FILE, DATABASE, KEY_FILE):
        if os.path.lexists(directory / name):
            raise CommandError(
                f"{directory / name} is there already", ExitCode.PRECONDITION, hint="name an empty folder"
            )
    try:
        yield
    except BaseException:
        for name in (CONFIG_FILE, KEY_FILE, *(f"{DATABASE}{end}" for end in _ENDINGS)):
            (directory / name).unlink(missing_ok=True)
        raise
