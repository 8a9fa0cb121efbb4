"""A ledger in a file with the newest schema and nothing in it: made once in a process, then copied.

To make the schema takes half as long as all else that a daemon does when it starts.
"""

import tempfile
from functools import cache
from pathlib import Path

from palyra.store.migrate import migrate


def give_file(path: Path) -> None:
    """Put a new ledger there, unless there is a file."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_new_file())


@cache
def _new_file() -> bytes:
    with tempfile.TemporaryDirectory(prefix="palyra-new-file-") as folder:
        path = Path(folder) / "palyra.db"
        migrate(path)
        return path.read_bytes()
