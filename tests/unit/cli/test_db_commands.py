"""``palyra db`` as a user meets it: upgrade, check, copy, in words and as JSON, with their exit codes."""

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine
from typer.testing import CliRunner

from fakes.till import Till, account, decision, hold, server_balances, stored_balances
from harness.postgres import new_database, rows
from palyra.cli.app import app
from palyra.core.secret import Secret
from palyra.store import copy, migrate
from palyra.store.copy import copy_to_server
from palyra.store.lock import OwnerLock
from palyra.store.migrate import HEAD
from palyra.store.postgres.revision import UNFINISHED
from palyra.store.postgres.verify import verify_shared
from palyra.store.sqlite import verify

PROVIDER = '[[providers]]\nid = "openai"\nkind = "openai"\ncredential = "env:OPENAI_API_KEY"\n'
NOWHERE = "postgresql://palyra@127.0.0.1:1/palyra"
PASSWORD = "canary-password-4f9a"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "PALYRA_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: str, env: dict[str, str] | None = None) -> Any:
    return CliRunner().invoke(app, ["db", *words], env=env)


def told(*words: str, env: dict[str, str] | None = None, exit_code: int = 0) -> Any:
    """The document that a command writes with ``--json``."""
    result = run(*words, "--json", env=env)
    assert result.exit_code == exit_code, result.stderr
    return json.loads(result.stdout)


def error(*words: str, env: dict[str, str] | None = None) -> Any:
    """The error that a command ends with."""
    result = run(*words, "--json", env=env)
    assert result.stdout == ""
    document = json.loads(result.stderr)["error"]
    assert result.exit_code == document["exit_code"]
    plain = run(*words, env=env)
    assert (plain.exit_code, plain.stderr.splitlines()[0]) == (
        result.exit_code,
        f"error: {document['message']}".splitlines()[0],
    )
    return document


def select(url: str, query: str) -> list[tuple[Any, ...]]:
    return asyncio.run(rows(url, query))


def at_revision(path: Path, revision: str) -> None:
    """A SQLite file as an earlier version left it."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).parent / "migrations"))
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()


def file_revision(path: Path) -> str:
    connection = sqlite3.connect(path)
    try:
        return connection.execute("SELECT version_num FROM alembic_version").fetchone()[0]
    finally:
        connection.close()


def ledger(path: Path) -> Path:
    """A SQLite file with calls that are over, in doubt, denied, and under way."""

    async def work() -> None:
        till = Till.on_disk(path)
        for number in range(4):
            till.reserve(f"req_{number}", hold(1_000_000_000, None))
            till.settle(f"req_{number}", 250_000_000 + number)
            await till.flush()
        till.store.records.record_denial(decision("req_4", outcome="deny"))
        till.reserve("req_5", hold(100), hold(30, None, account("agents", "nightly", "total_tokens")))
        till.expire("req_5", cost=100)
        till.reserve("req_6", hold(500_000_000))
        await till.flush()
        till.close()

    asyncio.run(work())
    return path


def joined(url: str, name: str, lease: str) -> None:
    """A gateway that is there; its lease runs out at ``lease`` from now."""
    select(
        url,
        "INSERT INTO nodes (name, holder, is_open, term, next_seq, next_page, last_at, lease_until, "
        "joined_at) "
        f"VALUES ('{name}', '{name}-1', true, 1, 1, 1, 0, now() + interval '{lease}', now()) RETURNING id",
    )


class TestUpgrade:
    def test_of_a_file_says_from_where_to_where(self, folder: Path) -> None:
        at_revision(folder / "palyra.db", "0002")
        words = ("upgrade", "--database", "sqlite:///palyra.db")
        assert told(*words) == {
            "database": str(folder / "palyra.db"),
            "from": "0002",
            "to": HEAD,
            "changed": True,
        }
        assert file_revision(folder / "palyra.db") == HEAD
        assert told(*words)["changed"] is False
        assert "there is nothing to do" in run(*words).stdout

    def test_in_words_and_by_the_configuration(self, folder: Path) -> None:
        at_revision(folder / "team.db", "0001")
        (folder / "team.toml").write_text(f'[server]\ndatabase = "sqlite:///team.db"\n{PROVIDER}')
        result = run("upgrade", "--config", "team.toml")
        assert result.exit_code == 0
        assert f"from revision 0001 to revision {HEAD}" in result.stdout

    def test_makes_a_file_that_is_not_there(self, folder: Path) -> None:
        result = run("upgrade", "--database", "sqlite:///new/palyra.db")
        assert (result.exit_code, file_revision(folder / "new" / "palyra.db")) == (0, HEAD)
        assert f"from no schema to revision {HEAD}" in result.stdout

    def test_waits_for_no_daemon(self, folder: Path) -> None:
        at_revision(folder / "palyra.db", "0002")
        owner = OwnerLock(folder / "palyra.db")
        try:
            failed = error("upgrade", "--database", "sqlite:///palyra.db")
        finally:
            owner.release()
        assert (failed["exit_code"], failed["code"]) == (7, "database_locked")
        assert f"pid {os.getpid()}" in failed["message"]
        assert file_revision(folder / "palyra.db") == "0002"

    def test_of_a_server_makes_the_schema_once(self) -> None:
        url = new_database(empty=True)
        document = told("upgrade", "--database", "env:THERE", env={"THERE": url})
        assert (document["from"], document["to"], document["changed"]) == (None, HEAD, True)
        assert select(url, "SELECT version_num FROM alembic_version") == [(HEAD,)]
        joined(url, "alpha", "1 minute")
        again = run("upgrade", "--database", url)
        assert again.exit_code == 0
        assert "nothing to do" in again.stdout

    def test_of_a_server_is_refused_while_gateways_are_alive(self) -> None:
        url = new_database()
        joined(url, "alpha", "1 minute")
        joined(url, "beta", "1 minute")
        joined(url, "dead", "-1 second")
        select(url, "UPDATE alembic_version SET version_num = '0002'")
        failed = error("upgrade", "--database", url)
        assert failed["exit_code"] == 7
        assert "alpha (1), beta (2)" in failed["message"]
        assert "dead" not in failed["message"]
        assert "stop them all" in failed["hint"]
        assert select(url, "SELECT version_num FROM alembic_version") == [("0002",)]

    def test_goes_on_where_they_are_gone(self) -> None:
        """There is one revision of PostgreSQL yet: that it is run shows by its tables being there already."""
        url = new_database()
        joined(url, "dead", "-1 second")
        select(url, "UPDATE alembic_version SET version_num = '0002'")
        failed = error("upgrade", "--database", url)
        assert failed["exit_code"] == 7
        assert '"nodes" already exists' in failed["message"]

    @pytest.mark.parametrize("kind", ["file", "server"])
    def test_of_a_newer_version_is_refused_before_anybody_is_stopped(self, folder: Path, kind: str) -> None:
        if kind == "file":
            database = "sqlite:///palyra.db"
            ledger(folder / "palyra.db")
            connection = sqlite3.connect(folder / "palyra.db")
            with connection:
                connection.execute("UPDATE alembic_version SET version_num = '0999'")
            connection.close()
        else:
            database = new_database()
            joined(database, "alpha", "1 minute")
            select(database, "UPDATE alembic_version SET version_num = '0999'")
        failed = error("upgrade", "--database", database)
        assert failed["exit_code"] == 7
        assert "revision 0999, which this version does not know" in failed["message"]
        assert "another database" in failed["hint"]

    def test_of_an_unfinished_copy_says_how_to_finish_it(self, folder: Path) -> None:
        url = unfinished(folder)
        failed = error("upgrade", "--database", url)
        assert failed["exit_code"] == 7
        assert "an unfinished copy" in failed["message"]
        assert "palyra db copy" in failed["hint"]

    def test_without_a_way_there(self) -> None:
        assert error("upgrade", "--database", NOWHERE)["exit_code"] == 4


class TestCheck:
    def test_of_a_file(self, folder: Path) -> None:
        path = ledger(folder / "palyra.db")
        records = verify(path).records
        for each in (path.with_name(f"{path.name}{kind}") for kind in ("-wal", "-shm")):
            each.unlink()
        before = (path.read_bytes(), sorted(each.name for each in folder.iterdir()))
        document = told("check", "--database", "sqlite:///palyra.db")
        assert document == {
            "database": str(path),
            "usable": True,
            "revision": HEAD,
            "head": HEAD,
            "version": sqlite3.sqlite_version,
            "synchronous_commit": None,
            "gateways": [],
            "records": records,
            "bytes": document["bytes"],
            "partitions": [],
            "problems": [],
        }
        assert document["bytes"] >= path.stat().st_size
        result = run("check", "--database", "sqlite:///palyra.db")
        assert result.exit_code == 0
        assert f"{HEAD}, the newest" in result.stdout
        assert f"{document['records']} records" in result.stdout
        assert path.read_bytes() == before[0]
        assert sorted(each.name for each in folder.iterdir()) == before[1]

    def test_of_a_file_that_a_daemon_has(self, folder: Path) -> None:
        """What is still in the log beside the file counts."""
        path = folder / "palyra.db"

        async def work() -> None:
            till = Till.on_disk(path)
            till.reserve("req_1", hold(1))
            await till.flush()
            document = await asyncio.to_thread(told, "check", "--database", "sqlite:///palyra.db")
            assert (document["usable"], document["records"]) == (True, 1)
            assert document["bytes"] == path.stat().st_size + (folder / "palyra.db-wal").stat().st_size
            till.close()

        asyncio.run(work())

    def test_makes_no_file(self, folder: Path) -> None:
        failed = error("check", "--database", "sqlite:///palyra.db")
        assert failed["exit_code"] == 4
        assert "there is no database" in failed["message"]
        assert "palyra db upgrade" in failed["hint"]
        assert list(folder.iterdir()) == []

    def test_of_an_older_file(self, folder: Path) -> None:
        at_revision(folder / "palyra.db", "0001")
        document = told("check", "--database", "sqlite:///palyra.db", exit_code=7)
        assert (document["usable"], document["revision"], document["records"]) == (False, "0001", None)
        (problem,) = document["problems"]
        assert "palyra db upgrade" in problem["next_step"]
        assert file_revision(folder / "palyra.db") == "0001"

    def test_of_what_is_no_database(self, folder: Path) -> None:
        (folder / "palyra.db").write_text("nonsense " * 100)
        failed = error("check", "--database", "sqlite:///palyra.db")
        assert failed["exit_code"] == 7
        assert "not a database" in failed["message"]

    def test_of_a_server_with_gateways(self, folder: Path) -> None:
        url = new_database()
        copied(folder, url)
        joined(url, "alpha", "1 minute")
        document = told("check", "--database", url)
        assert (document["usable"], document["revision"], document["problems"]) == (True, HEAD, [])
        assert document["synchronous_commit"] == "on"
        assert [(each["name"], each["state"]) for each in document["gateways"]][1:] == [("alpha", "alive")]
        assert document["gateways"][0]["name"].startswith("sqlite copy ")
        assert document["gateways"][0]["state"] == "late"
        assert document["records"] == verify(folder / "palyra.db").records
        assert document["partitions"] == ["2026_11"]
        assert document["bytes"] > 1_000_000
        assert select(url, "SHOW server_version") == [(document["version"],)]
        words = run("check", "--database", url).stdout
        assert "alpha (1, alive)" in words
        assert "2026_11" in words

    def test_of_a_new_server_changes_nothing(self) -> None:
        url = new_database(empty=True)
        document = told("check", "--database", url)
        assert (document["usable"], document["revision"], document["records"]) == (True, None, None)
        assert "the first start makes the schema" in run("check", "--database", url).stdout
        assert select(url, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]

    @pytest.mark.parametrize(
        ("statement", "message", "step"),
        [
            (
                "UPDATE alembic_version SET version_num = '0002'",
                "it is at revision 0002",
                "stop all gateways and run: palyra db upgrade",
            ),
            (
                "UPDATE alembic_version SET version_num = '0999'",
                "which this version does not know",
                "the version of Palyra that made it",
            ),
            (
                "ALTER DATABASE {name} SET synchronous_commit = off",
                "synchronous_commit is off",
                "set it to on",
            ),
        ],
    )
    def test_of_a_server_that_is_not_fit(self, statement: str, message: str, step: str) -> None:
        url = new_database()
        select(url, statement.replace("{name}", url.rpartition("/")[2]))
        (problem,) = told("check", "--database", url, exit_code=7)["problems"]
        assert message in problem["message"]
        assert step in problem["next_step"]
        words = run("check", "--database", url)
        assert words.exit_code == 7
        assert message in words.stdout

    def test_of_an_unfinished_copy(self, folder: Path) -> None:
        (problem,) = told("check", "--database", unfinished(folder), exit_code=7)["problems"]
        assert "an unfinished copy of a SQLite file" in problem["message"]
        assert "palyra db copy" in problem["next_step"]

    @pytest.mark.parametrize("url", [NOWHERE, "nowhere"])
    def test_without_a_way_there(self, url: str) -> None:
        found = url if url == NOWHERE else new_database().rpartition("/")[0] + "/nowhere"
        failed = error("check", "--database", found)
        assert (failed["exit_code"], failed["code"]) == (4, "database_unreachable")


def copied(folder: Path, url: str) -> Any:
    ledger(folder / "palyra.db")
    return told("copy", "sqlite:///palyra.db", url)


def unfinished(folder: Path) -> str:
    """A database with a copy that broke off."""
    url, path = new_database(), ledger(folder / "palyra.db")

    def tell(step: str, _done: int, _total: int) -> None:
        if step == "rollups":
            raise KeyError(step)

    with pytest.raises(KeyError):
        asyncio.run(copy_to_server(path, Secret(url), tell))
    assert select(url, "SELECT version_num FROM alembic_version") == [(UNFINISHED,)]
    return url


class TestCopy:
    def test_sums_up_what_it_copied(self, folder: Path) -> None:
        url, path = new_database(empty=True), ledger(folder / "palyra.db")
        document = told("copy", "sqlite:///palyra.db", "env:THERE", env={"THERE": url})
        audit = verify(path)
        assert document.pop("seconds") > 0
        assert document == {
            "source": str(path),
            "target": f"postgresql://{url.rpartition('@')[2]}",
            "already_done": False,
            "rows": document["rows"],
            "records": audit.records,
            "head": audit.head,
            "pending": 1,
            "requests": 5,
            "cost_usd": "1.000000106",
            "accounts": [
                {
                    "metric": "cost_usd",
                    "accounts": 1,
                    "posted_usd": "1.000000106",
                    "held_usd": "0.50",
                    "shadow_posted_usd": "1.000000106",
                    "shadow_held_usd": "0.50",
                },
                {
                    "metric": "total_tokens",
                    "accounts": 1,
                    "posted": 30,
                    "held": 0,
                    "shadow_posted": 30,
                    "shadow_held": 0,
                },
            ],
        }
        assert (document["rows"]["decisions"], document["rows"]["accounts"]) == (6, 2)
        assert asyncio.run(server_balances(url)) == stored_balances(path)
        assert asyncio.run(verify_shared(Secret(url))).head == f"0:{audit.head}"

    def test_in_words_and_once_more(self, folder: Path) -> None:
        url, path = new_database(), ledger(folder / "palyra.db")
        result = run("copy", "sqlite:///palyra.db", url)
        assert result.exit_code == 0
        for words in (
            "both are equal",
            "1.000000106 USD",
            "1 calls were under way",
            f"Chain head: {verify(path).head}",
        ):
            assert words in result.stdout
        again = run("copy", "sqlite:///palyra.db", url)
        assert again.exit_code == 0
        assert "was copied to" in again.stdout
        assert "nothing to do" in again.stdout
        assert told("copy", "sqlite:///palyra.db", url)["already_done"] is True

    def test_goes_on_after_the_process_was_killed(self, folder: Path) -> None:
        """A real process, killed in the middle of the large tables."""
        url, path = new_database(), ledger(folder / "palyra.db")
        script = (
            "import os, sys\n"
            "from palyra.cli import db, main\n"
            "from palyra.store import copy\n"
            "real = copy.copy_to_server\n"
            "def tell(step, done, total):\n"
            "    if step == 'decisions' and done:\n"
            "        os.kill(os.getpid(), 9)\n"
            "copy.copy_to_server = lambda path, url, _tell: real(path, url, tell, 2)\n"
            "main()\n"
        )
        words = ["db", "copy", "sqlite:///palyra.db", url]
        killed = subprocess.run(
            [sys.executable, "-c", script, *words], capture_output=True, check=False, cwd=folder
        )
        assert killed.returncode == -9, killed.stderr.decode()
        assert select(url, "SELECT version_num FROM alembic_version") == [(UNFINISHED,)]
        assert select(url, "SELECT count(*) FROM decisions") == [(2,)]
        assert told("copy", "sqlite:///palyra.db", url)["head"] == verify(path).head
        assert asyncio.run(server_balances(url)) == stored_balances(path)

    def test_a_running_daemon_keeps_the_source(self, folder: Path) -> None:
        url, path = new_database(empty=True), ledger(folder / "palyra.db")
        owner = OwnerLock(path)
        try:
            failed = error("copy", "sqlite:///palyra.db", url)
        finally:
            owner.release()
        assert (failed["exit_code"], failed["code"]) == (7, "database_locked")
        assert select(url, "SELECT to_regclass('nodes')") == [(None,)]

    def test_a_target_in_use_is_refused_with_the_next_step(self, folder: Path) -> None:
        url = new_database()
        ledger(folder / "palyra.db")
        joined(url, "alpha", "1 minute")
        failed = error("copy", "sqlite:///palyra.db", url)
        assert failed["exit_code"] == 7
        assert "the target is in use" in failed["message"]
        assert "an empty database" in failed["hint"]

    def test_a_copy_that_does_not_replay_is_told(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nothing that is compared shows a body that changed on its way: the replay does."""
        url = new_database()
        ledger(folder / "palyra.db")
        real = copy.verify_shared

        async def damaged(url: Secret, tell: Callable[[int, int], None]) -> object:
            await rows(
                url.reveal(), "UPDATE journal SET body = overlay(body PLACING '\\x00' FROM 2) WHERE seq = 1"
            )
            return await real(url, tell)

        monkeypatch.setattr(copy, "verify_shared", damaged)
        result = run("copy", "sqlite:///palyra.db", url)
        assert result.exit_code == 7
        assert "does not hold: G3" in result.stderr
        assert "drop it" in result.stderr

    @pytest.mark.parametrize(
        ("source", "target", "exit_code", "message"),
        [
            ("sqlite:///gone.db", NOWHERE, 8, "there is no database"),
            ("palyra.db", NOWHERE, 2, "SOURCE: must begin with sqlite:///"),
            (NOWHERE, NOWHERE, 2, "SOURCE: must be a SQLite file"),
            ("sqlite:///palyra.db", "sqlite:///other.db", 2, "TARGET: must be PostgreSQL"),
            ("sqlite:///palyra.db", "env:NOT_SET", 2, "TARGET: env:NOT_SET is not set"),
            ("sqlite:///palyra.db", "env:NOT A NAME", 2, "TARGET: must name a variable"),
            ("sqlite:///palyra.db", "postgresql://127.0.0.1:1/", 2, "TARGET: must name a database"),
            ("sqlite:///palyra.db", NOWHERE, 4, "cannot be reached"),
        ],
    )
    def test_words_that_cannot_be_followed(
        self, folder: Path, source: str, target: str, exit_code: int, message: str
    ) -> None:
        ledger(folder / "palyra.db")
        failed = error("copy", source, target)
        assert failed["exit_code"] == exit_code
        assert message in failed["message"]
        assert not (folder / "gone.db.lock").exists()

    def test_a_password_is_never_shown(self, folder: Path) -> None:
        ledger(folder / "palyra.db")
        url = f"postgresql://palyra:{PASSWORD}@127.0.0.1:1/palyra"
        for words in (("copy", "sqlite:///palyra.db", url), ("check", "--database", url)):
            result = run(*words, "--json")
            assert result.exit_code == 4
            assert PASSWORD not in result.output
        there = new_database()
        with_password = there.replace("postgres@", f"postgres:{PASSWORD}@")
        result = run("copy", "sqlite:///palyra.db", with_password)
        assert result.exit_code == 0
        assert PASSWORD not in result.output


def test_the_group_lists_its_commands() -> None:
    result = CliRunner().invoke(app, ["db", "--help"])
    assert all(name in result.stdout for name in ("upgrade", "check", "copy"))
