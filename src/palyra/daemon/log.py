"""Where the daemon's log goes."""

import sys
from collections.abc import Generator, MutableMapping
from contextlib import contextmanager
from typing import Any, NoReturn

import structlog

from palyra.core.visible import visible


def log_to_stderr() -> None:
    """One event a line, readable on a terminal and JSON elsewhere; stdout is for what commands print."""
    terminal = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _spell_out,
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


@contextmanager
def unlogged() -> Generator[None]:
    """Nothing is logged meanwhile: what happens is not of now."""
    before = structlog.get_config()
    structlog.configure(processors=[_drop])
    try:
        yield
    finally:
        structlog.configure(**before)


def _drop(_logger: Any, _method: str, _event: MutableMapping[str, Any]) -> NoReturn:
    raise structlog.DropEvent


def _spell_out(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """What providers and clients sent cannot make another line, nor act on the terminal that shows it."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = visible(value)
    return event
