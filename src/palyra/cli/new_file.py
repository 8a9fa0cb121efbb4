"""Files that commands write for people: there when whole and on the disk, and in nobody else's place."""

import os
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from palyra.cli.output import CommandError, ExitCode

Write = Callable[[bytes], object]


def refuse_target(file: Path, *, force: bool, hint: str | None = None) -> None:
    """Raise CommandError for a file that must stay, before anything is read or asked for.

    ``hint`` is the next step where something stands there that is no file.
    """
    if not file.parent.is_dir():
        raise CommandError(f"there is no folder {file.parent}", ExitCode.PRECONDITION, hint="make it first")
    if not os.path.lexists(file):
        return
    if not force:
        raise _there(file)
    if not file.is_file():
        raise CommandError(f"{file} is no file that could be replaced", ExitCode.PRECONDITION, hint=hint)


@contextmanager
def written_whole(file: Path, *, force: bool) -> Generator[Write]:
    """What is written becomes the file when all of it is on the disk, and nothing before.

    It is readable for its owner only. Raises CommandError if the name was taken meanwhile.
    """
    descriptor, name = tempfile.mkstemp(prefix=".palyra-export-", dir=file.parent)  # with mode 0600
    written = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as out:
            yield out.write
            out.flush()
            os.fsync(descriptor)
        if not force:
            _take_name(file)
        written.replace(file)
        sync_folder(file.parent)
    finally:
        written.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk, too. Raises OSError where the system cannot."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _take_name(file: Path) -> None:
    """Make the file, empty, so that no other one of that name is replaced. Raises CommandError."""
    try:
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        raise _there(file) from None


def _there(file: Path) -> CommandError:
    return CommandError(
        f"{file} is there already", ExitCode.PRECONDITION, hint="name another one, or add --force"
    )
