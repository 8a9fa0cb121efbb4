"""Each test of this suite runs on every store."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from fakes.sums import assert_sums_agree
from fakes.till import Till
from harness.postgres import new_database


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def till(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Till]:
    """A till on a new store; what it did must leave books that agree."""
    kind = cast("str", request.param)
    if kind == "memory":
        made = Till.in_memory()
    elif kind == "sqlite":
        made = Till.on_disk(tmp_path / "palyra.db")
    else:
        made = await Till.on_server(new_database())
    yield made
    await made.flush()
    await assert_sums_agree(made.store)
    await made.leave()
