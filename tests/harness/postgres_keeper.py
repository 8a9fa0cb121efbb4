"""Runs a PostgreSQL for tests, and removes it when whoever asked for it is over, also if that was killed.

``python postgres_keeper.py FOLDER`` prints the URL once the server answers. At the end of stdin it ends the
server and deletes the folder. Run by ``harness.postgres``.
"""

import shutil
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from palyra.cli.database_server import PostgresServer

SETTINGS: Mapping[str, str] = {
    "max_connections": "200",
    # Its data need not outlive a crash of the machine, and shall not take much room while it is there.
    "fsync": "off",
    "full_page_writes": "off",
    "max_wal_size": "64MB",
    "min_wal_size": "32MB",
}


def main(folder: Path) -> None:
    """Run it until the end of stdin."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    server = PostgresServer(folder / "data", SETTINGS)
    try:
        print(server.start().url, flush=True)
        sys.stdin.read()
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
