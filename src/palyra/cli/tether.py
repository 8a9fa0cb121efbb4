"""Programs that end with whoever started them: their stdin is a pipe from there, and it ends.

``python -m palyra.cli.tether serve …`` is ``palyra serve …`` that also ends when its stdin does.
"""

import os
import signal
import threading
from collections.abc import Callable

_STDIN = 0


def at_end_of_stdin(act: Callable[[], None]) -> None:
    """Call ``act``, on a thread, when stdin ends."""
    threading.Thread(target=_wait, args=(act,), daemon=True).start()


def _wait(act: Callable[[], None]) -> None:
    # Not sys.stdin: a thread that waits in its buffer would hold a lock that the end of the process needs.
    while os.read(_STDIN, 4_096):
        pass
    act()


def main() -> None:
    """The ``palyra`` command, asked to end with SIGTERM when stdin ends."""
    from palyra.cli import main as palyra

    at_end_of_stdin(lambda: os.kill(os.getpid(), signal.SIGTERM))
    palyra()


if __name__ == "__main__":
    main()
