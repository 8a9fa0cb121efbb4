"""The service form of Palyra: one process, or several workers on one port."""

import asyncio
from collections.abc import Callable

from palyra.config.settings import Settings
from palyra.daemon.log import log_to_stderr
from palyra.daemon.service import Announcement, Daemon
from palyra.daemon.storage import close_store, open_store
from palyra.daemon.system import SystemClock
from palyra.daemon.workers import run_workers

__all__ = ["Announcement", "serve"]


def serve(settings: Settings, announce: Callable[[Announcement], None]) -> None:
    """Run the daemon until SIGTERM or SIGINT. Raises PalyraError or FieldError if it cannot start."""
    log_to_stderr()
    if settings.server.workers > 1:
        run_workers(settings, announce, _run)
    else:
        _run(settings, announce)


def _run(settings: Settings, announce: Callable[[Announcement], None]) -> None:
    try:
        import uvloop
    except ImportError:  # Windows has none
        asyncio.run(_serve(settings, announce))
    else:
        uvloop.run(_serve(settings, announce))


async def _serve(settings: Settings, announce: Callable[[Announcement], None]) -> None:
    clock = SystemClock()
    store = await open_store(settings, clock)
    try:
        daemon = Daemon(settings, store, clock)
    except BaseException:
        await close_store(store)
        raise
    try:
        await daemon.start()
        await daemon.run(announce)
    finally:
        await daemon.stop()
