"""One process owns a database file: an advisory lock on a file beside it, released by the kernel on death."""

import fcntl
import os
from pathlib import Path

from palyra.core.errors import PalyraError


class DatabaseLocked(PalyraError):
    """Another process owns the database."""

    code = "database_locked"


class OwnerLock:
    """Holds ``<database>.lock`` exclusively from construction to ``release``. Raises DatabaseLocked."""

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(database.name + ".lock")
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.read(self._descriptor, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(self._descriptor)
            raise DatabaseLocked(
                f"{database} is owned by another palyra process (pid {owner}); "
                "stop that one, or give this one a database of its own"
            ) from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode("ascii"), 0)

    def release(self) -> None:
        """Give the database up."""
        os.close(self._descriptor)
