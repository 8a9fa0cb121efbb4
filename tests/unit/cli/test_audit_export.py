"""``palyra audit export`` and ``verify --export`` as a user meets them, with their exit codes."""

import asyncio
import json
import os
import sqlite3
import stat
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fakes.till import Till, hold
from harness.postgres import new_database
from palyra.cli.app import app
from palyra.store.lock import OwnerLock
from palyra.store.postgres.store import PostgresStore

PASSWORD = "canary-password-4f9a"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "PALYRA_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    ledger(tmp_path / "palyra.db")
    return tmp_path


def ledger(path: Path, calls: int = 3) -> None:
    async def work() -> None:
        till = Till.on_disk(path)
        await call(till, calls)
        till.close()

    asyncio.run(work())


async def call(till: Till, calls: int) -> None:
    for number in range(calls):
        till.reserve(f"req_{number}", hold(100))
        till.settle(f"req_{number}", 60)
        await till.flush()


def run(*words: str, env: dict[str, str] | None = None) -> Any:
    return CliRunner().invoke(app, ["audit", *words], env=env)


def told(*words: str, env: dict[str, str] | None = None) -> Any:
    """The document that a command writes with ``--json``."""
    result = run(*words, "--json", env=env)
    assert (result.exit_code, result.stderr) == (0, "")
    return json.loads(result.stdout)


def error(*words: str) -> Any:
    """The error that a command ends with."""
    result = run(*words, "--json")
    assert result.stdout == ""
    document = json.loads(result.stderr)["error"]
    assert result.exit_code == document["exit_code"]
    plain = run(*words)
    assert plain.exit_code == result.exit_code
    assert plain.stderr.startswith(f"error: {document['message']}")
    return document


def export(name: str = "journal.jsonl", *words: str) -> Any:
    return told("export", name, "--database", "palyra.db", *words)


def leftovers(folder: Path) -> list[str]:
    return [each.name for each in folder.iterdir() if "palyra-export" in each.name]


class TestExport:
    def test_in_words_and_checked_alone(self, folder: Path) -> None:
        head = told("verify", "--database", "palyra.db")["head"]
        result = run("export", "journal.jsonl", "--database", "palyra.db")
        assert (result.exit_code, result.stderr) == (0, "")
        assert "journal.jsonl has 6 journal records in 3 pages" in result.stdout
        assert f"Chain head, to be kept elsewhere: {head}" in result.stdout
        (folder / "palyra.db").unlink()
        checked = run("verify", "--export", "journal.jsonl", "--head", head)
        assert (checked.exit_code, checked.stderr) == (0, "")
        for words in (
            "6 journal records in 3 pages hold",
            "Of palyra.db",
            "Node 0: records 1 to 6",
            f"head: {head}",
        ):
            assert words in checked.stdout
        assert "Compare it with one" not in checked.stdout
        assert "Compare it with one" in run("verify", "--export", "journal.jsonl").stdout

    def test_as_json(self, folder: Path) -> None:
        head = told("verify", "--database", "palyra.db")["head"]
        document = export()
        made_at = document.pop("made_at")
        assert document == {
            "file": "journal.jsonl",
            "database": "palyra.db",
            "since": None,
            "pages": 3,
            "records": 6,
            "head": head,
            "journals": [{"node": 0, "first": 1, "last": 6, "head": head}],
        }
        assert told("verify", "--export", "journal.jsonl", "--head", head.upper()) == {
            "export": "journal.jsonl",
            "made_at": made_at,
            **{name: value for name, value in document.items() if name != "file"},
        }

    def test_only_its_owner_may_read_it(self, folder: Path) -> None:
        export()
        assert stat.S_IMODE((folder / "journal.jsonl").stat().st_mode) == 0o600
        assert leftovers(folder) == []

    def test_by_the_configuration(self, folder: Path) -> None:
        (folder / "team.toml").write_text(
            '[server]\ndatabase = "sqlite:///palyra.db"\n'
            '[[providers]]\nid = "openai"\nkind = "openai"\ncredential = "env:OPENAI_API_KEY"\n'
        )
        env = {"OPENAI_API_KEY": "x"}
        assert told("export", "journal.jsonl", "--config", "team.toml", env=env)["records"] == 6
        assert told("verify", "--config", "team.toml", env=env)["records"] == 6
        for name in ("sqlite:///palyra.db", "env:LEDGER"):
            words = ("export", "journal.jsonl", "--force", "--database", name)
            assert told(*words, env={"LEDGER": "sqlite:///palyra.db"})["records"] == 6

    def test_to_stdout_there_is_nothing_but_the_export(self, folder: Path) -> None:
        export()
        result = run("export", "-", "--database", "palyra.db")
        assert result.exit_code == 0
        lines = result.stdout.splitlines()
        assert lines[1:] == (folder / "journal.jsonl").read_text().splitlines()[1:]
        assert "6 journal records" in result.stderr
        quiet = run("export", "-", "--database", "palyra.db", "--json")
        assert (quiet.stderr, quiet.stdout.splitlines()[1:]) == ("", lines[1:])
        (folder / "piped").write_bytes(result.stdout_bytes)
        assert told("verify", "--export", "piped")["records"] == 6
        assert not (folder / "-").exists()

    def test_a_file_that_is_there_stays(self, folder: Path) -> None:
        (folder / "journal.jsonl").write_text("mine")
        found = error("export", "journal.jsonl", "--database", "palyra.db")
        assert (found["exit_code"], found["code"]) == (7, "precondition")
        assert "--force" in found["hint"]
        assert (folder / "journal.jsonl").read_text() == "mine"
        assert export("journal.jsonl", "--force")["records"] == 6
        assert told("verify", "--export", "journal.jsonl")["records"] == 6

    def test_a_file_that_came_meanwhile_stays(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        fsync = os.fsync

        def late(descriptor: int) -> None:
            (folder / "journal.jsonl").write_text("mine")
            fsync(descriptor)

        monkeypatch.setattr(os, "fsync", late)
        result = run("export", "journal.jsonl", "--database", "palyra.db")
        assert (result.exit_code, (folder / "journal.jsonl").read_text()) == (7, "mine")
        assert leftovers(folder) == []

    @pytest.mark.parametrize("name", ["palyra.db", "palyra.db-wal", "palyra.db.lock", "sub/../palyra.db"])
    def test_the_ledger_is_never_replaced(self, folder: Path, name: str) -> None:
        (folder / "sub").mkdir()
        before = (folder / "palyra.db").read_bytes()
        assert "the ledger itself" in error("export", name, "--database", "palyra.db", "--force")["message"]
        assert (folder / "palyra.db").read_bytes() == before

    def test_what_is_no_file_is_not_replaced(self, folder: Path) -> None:
        (folder / "sub").mkdir()
        for name in ("sub", "/dev/null"):
            assert error("export", name, "--database", "palyra.db", "--force")["exit_code"] == 7
        assert error("export", "no/where", "--database", "palyra.db")["exit_code"] == 7

    def test_nothing_is_left_of_one_that_fails(self, folder: Path) -> None:
        connection = sqlite3.connect("palyra.db")
        with connection:
            connection.execute("UPDATE journal SET at = at + 1 WHERE seq = 3")
        connection.close()
        found = error("export", "journal.jsonl", "--database", "palyra.db")
        assert found["exit_code"] == 7
        assert "G3: journal records 3 to 4 were changed" in found["message"]
        assert not (folder / "journal.jsonl").exists()
        assert leftovers(folder) == []

    def test_of_a_file_that_is_owned_or_is_none(self, folder: Path) -> None:
        owner = OwnerLock(folder / "palyra.db")
        found = error("export", "journal.jsonl", "--database", "palyra.db")
        assert (found["exit_code"], found["code"]) == (7, "database_locked")
        owner.release()
        assert error("export", "journal.jsonl", "--database", "no.db")["exit_code"] == 8
        (folder / "diary.db").write_bytes(b"dear diary " * 1_000)
        for command in (("export", "journal.jsonl"), ("verify",)):
            assert error(*command, "--database", "diary.db")["exit_code"] == 7

    @pytest.mark.parametrize(
        ("since", "records"), [("99999w", 6), ("2026-11-23T12:00:00Z", 6), ("2200-01-01T00:00:00Z", 0)]
    )
    def test_since(self, folder: Path, since: str, records: int) -> None:
        document = export("journal.jsonl", "--since", since)
        assert document["records"] == records
        checked = told("verify", "--export", "journal.jsonl", "--head", document["head"])
        assert (checked["records"], checked["since"]) == (records, document["since"])

    @pytest.mark.parametrize("since", ["yesterday", "", "7", "2026-11-23T12:00:00", "2026-13-01T00:00:00Z"])
    def test_a_since_that_is_no_time(self, since: str) -> None:
        found = error("export", "journal.jsonl", "--database", "palyra.db", "--since", since)
        assert (found["exit_code"], found["problems"][0]["field"]) == (2, "--since")

    def test_of_a_shared_ledger(self, folder: Path) -> None:
        url = new_database()

        async def work() -> int:
            till = await Till.on_server(url)
            await call(till, 2)
            assert isinstance(till.store, PostgresStore)
            node = till.store.node
            await till.leave()
            return node

        node = asyncio.run(work())
        env = {"PALYRA_DATABASE_URL": url}
        document = told("export", "journal.jsonl", "--database", "env:PALYRA_DATABASE_URL", env=env)
        head = told("verify", "--database", url)["head"]
        assert (document["head"], document["records"]) == (head, 4)
        assert document["journals"][0]["node"] == node
        assert told("verify", "--export", "journal.jsonl", "--head", head)["head"] == head
        assert told("verify", "--database", url, "--head", head)["records"] == 4

    def test_a_server_that_is_not_there_and_a_password_that_is_not_shown(self, folder: Path) -> None:
        url = f"postgresql://palyra:{PASSWORD}@127.0.0.1:1/palyra"
        result = run("export", "journal.jsonl", "--database", url)
        assert result.exit_code == 4
        assert PASSWORD not in result.stderr
        assert not (folder / "journal.jsonl").exists()
        assert leftovers(folder) == []


class TestVerify:
    def test_a_change_is_told_with_its_place(self, folder: Path) -> None:
        export()
        text = (folder / "journal.jsonl").read_text()
        (folder / "journal.jsonl").write_text(text.replace('"req_1"', '"req_7"', 1))
        found = error("verify", "--export", "journal.jsonl")
        assert found["exit_code"] == 7
        assert "line 3, node 0, record 3: the entries are not what the body says" in found["message"]

    def test_a_head_that_is_not_the_end(self, folder: Path) -> None:
        before = export()["head"]
        ledger_goes_on(folder / "palyra.db")
        export("journal.jsonl", "--force")
        found = error("verify", "--export", "journal.jsonl", "--head", before)
        assert found["exit_code"] == 7
        assert "the recorded head is that of record 6" in found["message"]
        assert error("verify", "--database", "palyra.db", "--head", before)["exit_code"] == 7
        assert error("verify", "--export", "journal.jsonl", "--head", "ab" * 32)["exit_code"] == 7

    def test_wrong_words(self, folder: Path) -> None:
        export()
        found = error("verify", "--export", "journal.jsonl", "--head", "abc")
        assert (found["exit_code"], found["problems"][0]["field"]) == (2, "--head")
        found = error("verify", "--export", "journal.jsonl", "--database", "palyra.db")
        assert (found["exit_code"], found["problems"][0]["field"]) == (2, "--export")
        assert error("verify", "--export", "none.jsonl")["exit_code"] == 8
        assert error("verify", "--export", ".")["exit_code"] == 7
        (folder / "diary").write_text("dear diary")
        assert "diary does not hold: line 1" in error("verify", "--export", "diary")["message"]

    def test_of_an_empty_journal(self, folder: Path) -> None:
        ledger(folder / "new.db", calls=0)
        assert told("export", "new.jsonl", "--database", "new.db")["head"] == ""
        assert "head: none yet" in run("verify", "--export", "new.jsonl", "--head", "none yet").stdout


def ledger_goes_on(path: Path) -> None:
    async def work() -> None:
        till = Till.on_disk(path)
        till.reserve("req_9", hold(100))
        await till.flush()
        till.close()

    asyncio.run(work())


@pytest.mark.parametrize("command", ["export", "verify"])
def test_the_help_has_examples(command: str) -> None:
    result = CliRunner().invoke(app, ["audit", command, "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    assert "Examples: palyra audit" in result.stdout
