"""One attempt to send one notice: in a thread, under guard, and ended when its time is over."""

import asyncio
import threading
from contextlib import suppress

import structlog

from palyra.alerts.alert import Notice
from palyra.core.instant import Instant
from palyra.notify.guard import Guard, Refused
from palyra.notify.sender import Sender, Undelivered

_log = structlog.get_logger("palyra.notify")


class Attempt:
    """Starts at once. ``ended`` is done when the thread is: with None if it was sent, else with why not.

    The thread is a daemon: one that hangs in a look-up does not keep the process from ending.
    """

    def __init__(self, sender: Sender, notice: Notice, now: Instant) -> None:
        self.ended: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._guard = Guard(sender.reaches, sender.proxies)
        self._sender = sender
        self._notice = notice
        self._now = now
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._run, args=(loop,), name=f"notify {notice.target}", daemon=True).start()

    def cut(self) -> None:
        """Break its connections; it ends soon, with an error."""
        self._guard.cut()

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        error = self._send()
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(self._end, error)

    def _send(self) -> str | None:
        try:
            with self._guard.active():
                self._sender.send(self._notice, self._now)
        except Undelivered as error:
            return self._refused() or error.reason
        except Refused:
            return self._refused() or "its time is over"
        except Exception as error:  # noqa: BLE001 (whatever a service's code raises, the notice is tried again)
            _log.warning("sender failed", target=self._notice.target, error=type(error).__name__)
            return self._refused() or f"the sender failed ({type(error).__name__})"
        return None

    def _refused(self) -> str | None:
        """What the guard did not allow: it says more than the failed connection that came of it."""
        return f"not allowed: {self._guard.refused[-1]}" if self._guard.refused else None

    def _end(self, error: str | None) -> None:
        if not self.ended.done():
            self.ended.set_result(error)
