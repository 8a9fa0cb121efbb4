"""``palyra db rebuild-rollups`` as a user meets it."""

from pathlib import Path

import pytest

from fakes.sums import stored_sums
from harness.postgres import new_database
from palyra.store.lock import OwnerLock
from unit.cli.test_db_commands import at_revision, error, folder, joined, ledger, run, select, told

__all__ = ["folder"]
FILE = "sqlite:///palyra.db"


@pytest.mark.usefixtures("folder")
class TestRebuild:
    def test_of_a_file_says_of_how_many_calls(self, tmp_path: Path) -> None:
        path = ledger(tmp_path / "palyra.db")
        before = stored_sums(path)
        document = told("rebuild-rollups", "--database", FILE)
        assert document == {"database": str(path), "calls": 6, "since": "2026-11-23T12:00:00Z"}
        assert stored_sums(path) == before
        words = run("rebuild-rollups", "--database", FILE).stdout
        assert "the sums of 6 calls since 2026-11-23T12:00:00Z are made anew" in " ".join(words.split())

    def test_of_a_server_says_it_too(self, tmp_path: Path) -> None:
        ledger(tmp_path / "palyra.db")
        url = new_database(empty=True)
        told("copy", FILE, url)
        select(url, "DELETE FROM sessions")
        assert told("rebuild-rollups", "--database", url)["calls"] == 6
        assert select(url, "SELECT principal, session, requests, denied FROM sessions") == [
            ("alice", "run-7", 5, 1)
        ]

    def test_a_file_of_an_older_version_is_upgraded_first(self, tmp_path: Path) -> None:
        at_revision(tmp_path / "palyra.db", "0005")
        document = told("rebuild-rollups", "--database", FILE)
        assert (document["calls"], document["since"]) == (0, None)
        assert "no calls" in run("rebuild-rollups", "--database", FILE).stdout

    def test_is_refused_where_there_is_no_file(self) -> None:
        failed = error("rebuild-rollups", "--database", FILE)
        assert failed["exit_code"] == 8
        assert "there is no database" in failed["message"]

    def test_is_refused_while_a_daemon_has_the_file(self, tmp_path: Path) -> None:
        path = ledger(tmp_path / "palyra.db")
        owner = OwnerLock(path)
        try:
            assert error("rebuild-rollups", "--database", FILE)["exit_code"] == 7
        finally:
            owner.release()

    def test_is_refused_while_gateways_are_alive(self) -> None:
        url = new_database()
        joined(url, "alpha", "1 minute")
        failed = error("rebuild-rollups", "--database", url)
        assert failed["exit_code"] == 7
        assert "alpha (1)" in failed["message"]
