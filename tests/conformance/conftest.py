"""Each test of this suite runs on every store."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from fakes.till import Till


@pytest.fixture(params=["memory", "sqlite"])
async def till(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Till]:
    """A till on a new store; what it did must leave books that agree."""
    kind = cast("str", request.param)
    made = Till.in_memory() if kind == "memory" else Till.on_disk(tmp_path / "palyra.db")
    yield made
    await made.flush()
    made.close()
