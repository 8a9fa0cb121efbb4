"""Pages about rules find their rows by a key or an index, however long the journal and the accounts are."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, event

from palyra.core.instant import Instant
from palyra.lifecycle.changes import ChangeFilter, ChangePlace
from palyra.lifecycle.standing import OpenWindow
from palyra.store import change_reads, reads, sql
from palyra.store.migrate import migrate

PLACE = ChangePlace(5, 0, 7)
QUESTIONS: dict[str, tuple[Callable[[Connection], object], list[str]]] = {
    "all changes": (
        lambda at: change_reads.list_places(at, ChangeFilter(before=PLACE)),
        ["SEARCH changes USING PRIMARY KEY (at<?)"],
    ),
    "changes of a kind": (
        lambda at: change_reads.list_places(at, ChangeFilter(kind="policy.updated", before=PLACE)),
        ["SEARCH changes USING INDEX changes_by_what (what=? AND at<?)"],
    ),
    "changes of an object": (
        lambda at: change_reads.list_places(at, ChangeFilter(ref="daily", since=Instant(1), before=PLACE)),
        ["SEARCH changes USING INDEX changes_by_ref (ref=? AND at>? AND at<?)"],
    ),
    "changes by somebody": (
        lambda at: change_reads.list_places(at, ChangeFilter(actor="config")),
        ["SEARCH changes USING INDEX changes_by_actor (actor=?)"],
    ),
    "where budgets stand": (
        lambda at: reads.list_standing(at, [OpenWindow("p", "requests", Instant(0))] * 2, 20),
        ["SEARCH accounts USING PRIMARY KEY (policy_id=? AND metric=?)"] * 2,
    ),
}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("plans") / "palyra.db"
    migrate(made)
    return made


@pytest.mark.parametrize("name", QUESTIONS)
def test_rows_are_found_by_a_key(path: Path, name: str) -> None:
    question, reads_of = QUESTIONS[name]
    asked: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        asked.append((statement, parameters))

    engine = create_engine(f"sqlite:///{path}")
    event.listen(engine, "before_cursor_execute", note)
    with engine.connect() as connection:
        question(connection)
    engine.dispose()
    ((statement, parameters),) = asked

    found = plan_of(path, statement, parameters)

    assert [each for each in found if "accounts" in each or "changes" in each] == reads_of
    if "changes" in name:
        assert not [each for each in found if "B-TREE" in each], "they are in order already"


def test_the_pages_of_changes_are_found_by_their_numbers(path: Path) -> None:
    plan = plan_of(path, sql.READ["journal_pages"], ("[[0, 1]]",))
    assert "SEARCH journal USING INTEGER PRIMARY KEY (rowid=?)" in plan


def plan_of(path: Path, statement: str, parameters: Any) -> list[str]:
    raw = sqlite3.connect(path)
    found = [row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]
    raw.close()
    return found
