"""One event is one line, whatever is in it, also on a terminal."""

import io
import sys
from collections.abc import Iterator

import pytest
import structlog

from palyra.daemon.log import log_to_stderr


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.mark.parametrize("kind", [io.StringIO, Terminal])
def test_what_was_sent_makes_no_line_of_its_own(
    kind: type[io.StringIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    written = kind()
    monkeypatch.setattr(sys, "stderr", written)
    log_to_stderr()
    structlog.get_logger("palyra.test").warning(
        "provider failed", reason="gone\n2026-01-01 [info] all is well\x1b[2J", code="\x9b31m\x1b[2J"
    )
    (line,) = written.getvalue().splitlines()
    assert "\x1b[2J" not in line
    assert "\x9b" not in line
    assert "all is well" in line
