"""The days that the demo writes: the same for the same seed, and whole wherever they end."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from palyra.cli.demo_config import write_config
from palyra.cli.demo_month import Written, write_month
from palyra.config.load import load_settings
from palyra.core.instant import Instant, parse_instant
from palyra.daemon.log import unlogged

DAYS = 5
"""The last ones of a month, with the agent that runs away."""
MONDAY = parse_instant("2026-11-23T09:20:00Z")
FIRST_OF_MONTH = parse_instant("2026-12-01T00:10:00Z")


def written(folder: Path, now: Instant, seed: int = 7) -> tuple[Written, sqlite3.Connection]:
    """The days before ``now``, and their ledger for reading."""
    folder.mkdir()
    settings = load_settings(write_config(folder, 1, "http://127.0.0.1:9", now), {}, folder)
    with unlogged():
        month = write_month(settings, now, lambda _done, _total: None, seed=seed, days=DAYS)
    return month, sqlite3.connect(f"file:{folder / 'palyra.db'}?mode=ro", uri=True)


def rows(ledger: sqlite3.Connection, table: str) -> list[Any]:
    """All that a table has."""
    return sorted(ledger.execute(f"SELECT * FROM {table}"))


def one(ledger: sqlite3.Connection, statement: str) -> int:
    """The only figure that a statement gives."""
    return ledger.execute(statement).fetchone()[0]


@pytest.fixture(scope="module")
def of_monday(tmp_path_factory: pytest.TempPathFactory) -> tuple[Written, sqlite3.Connection]:
    """Days that end on a Monday, written once."""
    return written(tmp_path_factory.mktemp("days") / "first", MONDAY)


@pytest.mark.timeout(240)
def test_a_seed_gives_the_same_days_again_and_another_one_gives_others(
    tmp_path: Path, of_monday: tuple[Written, sqlite3.Connection]
) -> None:
    first, ledger = of_monday
    second, again = written(tmp_path / "second", MONDAY)
    _, other = written(tmp_path / "other", MONDAY, seed=8)

    assert first.calls == second.calls
    for table in ("rollups", "accounts", "sessions", "tag_rollups", "latencies"):
        assert rows(ledger, table) == rows(again, table), table
        assert rows(ledger, table) != rows(other, table), table
    assert first.owner_key != second.owner_key


@pytest.mark.timeout(240)
@pytest.mark.parametrize("on", ["a monday", "the first of a month"])
def test_wherever_the_days_end_nothing_is_held_and_somebody_is_asked(
    tmp_path: Path, of_monday: tuple[Written, sqlite3.Connection], on: str
) -> None:
    month, ledger = of_monday if on == "a monday" else written(tmp_path / "days", FIRST_OF_MONTH)

    # What fails over goes on under a further id of the same call.
    assert month.calls == one(ledger, "SELECT count(*) FROM decisions WHERE request_id NOT LIKE '%.%'")
    assert one(ledger, "SELECT sum(held) FROM accounts") == 0
    assert one(ledger, "SELECT count(*) FROM approvals WHERE state = 'pending'") == 1
    assert one(ledger, "SELECT count(*) FROM alerts WHERE state = 'firing'") > 0


def test_a_ledger_that_is_there_is_left_alone(tmp_path: Path) -> None:
    settings = load_settings(write_config(tmp_path, 1, "http://127.0.0.1:9", MONDAY), {}, tmp_path)
    (tmp_path / "palyra.db").write_bytes(b"mine")

    with pytest.raises(FileExistsError):
        write_month(settings, MONDAY, lambda _done, _total: None)

    assert (tmp_path / "palyra.db").read_bytes() == b"mine"
