"""``palyra audit list`` as a user meets it: who changed what, when, from what to what."""

import asyncio
import base64
import hashlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fakes.till import Till, hold
from harness.postgres import new_database
from palyra.cli.app import app
from palyra.lifecycle.configured import journal_configuration
from palyra.lifecycle.ports import AuditEntry
from palyra.store.lock import OwnerLock
from palyra.store.page import Packer, link

POLICY = {"id": "daily", "hard_limit": "5.00", "hard_limit_usd": "5.00", "tags": {"team": "a"}}
EDITED = {**POLICY, "hard_limit": "6.00", "hard_limit_usd": "6.00"}
DAY_S = 24 * 3600


async def work(till: Till) -> None:
    """A budget is made, edited a day later and deleted; the file has a price from the first day on."""
    records = till.store.records
    await journal_configuration(records, {"price/openai/gpt-4o": {"input": "2.50"}}, "config")
    await records.delete_policy("none", AuditEntry("policy.created", "daily", "key-1", None, POLICY))
    till.reserve("req_1", hold(100))
    await till.flush()
    till.clock.advance(DAY_S)
    await records.delete_policy("none", AuditEntry("policy.updated", "daily", "key-2", POLICY, EDITED))
    await records.delete_policy("none", AuditEntry("policy.deleted", "daily", "key-1", EDITED, None))
    await till.leave()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "PALYRA_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)

    async def fill() -> None:
        await work(Till.on_disk(tmp_path / "palyra.db"))

    asyncio.run(fill())
    return tmp_path


def run(*words: str) -> Any:
    return CliRunner().invoke(app, ["audit", *words])


def listed(*words: str, database: str = "palyra.db") -> Any:
    result = run("list", *words, "--database", database, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    return json.loads(result.stdout)


def kinds(document: Any) -> list[str]:
    return [each["kind"] for each in document["items"]]


def error(*words: str) -> Any:
    result = run("list", *words, "--json")
    assert result.stdout == ""
    document = json.loads(result.stderr)["error"]
    assert result.exit_code == document["exit_code"]
    return document


def test_as_json_each_change_has_its_fields_and_its_place() -> None:
    document = listed()
    assert (document["source"], document["matching"]) == ("palyra.db", 4)
    assert kinds(document) == ["policy.deleted", "policy.updated", "policy.created", "price.created"]
    assert document["items"][1] == {
        "at": "2026-11-24T12:00:00Z",
        "kind": "policy.updated",
        "ref": "daily",
        "actor": "key-2",
        "node": 0,
        "record": 4,
        "changes": [
            {"field": "hard_limit", "before": "5.00", "after": "6.00"},
            {"field": "hard_limit_usd", "before": "5.00", "after": "6.00"},
        ],
        "before": POLICY,
        "after": EDITED,
    }


def test_in_words_there_is_what_changed_and_nothing_else() -> None:
    result = run("list", "--database", "palyra.db")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "2026-11-24T12:00:00Z  policy.deleted  daily  by key-1",
        "    hard_limit=6.00 id=daily tags.team=a",
        "2026-11-24T12:00:00Z  policy.updated  daily  by key-2",
        "    hard_limit: 5.00 -> 6.00",
        "2026-11-23T12:00:00Z  policy.created  daily  by key-1",
        "    hard_limit=5.00 id=daily tags.team=a",
        "2026-11-23T12:00:00Z  price.created  openai/gpt-4o  by config",
        "    input=2.50",
    ]


def test_of_a_kind_of_an_object_and_since_a_time() -> None:
    assert kinds(listed("--kind", "price")) == ["price.created"]
    assert kinds(listed("--kind", "policy.updated")) == ["policy.updated"]
    assert kinds(listed("--ref", "openai/gpt-4o")) == ["price.created"]
    assert kinds(listed("--since", "2026-11-24T00:00:00Z")) == ["policy.deleted", "policy.updated"]
    nothing = run("list", "--database", "palyra.db", "--ref", "nobody")
    assert nothing.stdout == "No change matches.\n"


def test_the_limit_leaves_out_the_oldest_and_says_so() -> None:
    document = listed("--limit", "1")
    assert (kinds(document), document["matching"]) == (["policy.deleted"], 4)
    shown = run("list", "--limit", "1", "--database", "palyra.db").stdout
    assert shown.splitlines()[-1] == "The newest 1 of 4; see more with --limit."


def test_an_export_is_read_alone(folder: Path) -> None:
    items = listed()["items"]
    assert run("export", "journal.jsonl", "--database", "palyra.db").exit_code == 0
    (folder / "palyra.db").unlink()
    result = run("list", "--export", "journal.jsonl", "--json")
    document = json.loads(result.stdout)
    assert (document["source"], document["items"]) == ("journal.jsonl", items)


def test_of_an_export_that_was_changed_nothing_is_shown(folder: Path) -> None:
    run("export", "journal.jsonl", "--database", "palyra.db")
    text = (folder / "journal.jsonl").read_text()
    (folder / "journal.jsonl").write_text(text.replace('"6.00"', '"9.00"'))
    told = error("--export", "journal.jsonl")
    assert (told["exit_code"], "does not hold" in told["message"]) == (7, True)


def test_a_journal_that_does_not_hold_is_not_shown(folder: Path) -> None:
    connection = sqlite3.connect(folder / "palyra.db")
    with connection:
        connection.execute("UPDATE journal SET at = at + 1 WHERE seq = 1")
    connection.close()
    assert error("--database", "palyra.db")["exit_code"] == 7


def test_what_it_cannot_do_it_says(folder: Path) -> None:
    told = error("--kind", "polcy", "--database", "palyra.db")
    assert (told["exit_code"], "Did you mean 'policy'?" in told["message"]) == (2, True)
    assert error("--since", "yesterday", "--database", "palyra.db")["exit_code"] == 2
    assert error("--export", "x", "--database", "palyra.db")["exit_code"] == 2
    assert error("--export", "absent.jsonl")["exit_code"] == 8
    assert error("--database", "absent.db")["exit_code"] == 8
    owner = OwnerLock(folder / "palyra.db")
    try:
        assert error("--database", "palyra.db")["exit_code"] == 7
    finally:
        owner.release()


def test_on_postgresql_the_journals_of_all_gateways_are_one_list() -> None:
    url = new_database()

    async def two() -> None:
        for _ in range(2):
            await work(await Till.on_server(url))

    asyncio.run(two())
    document = listed(database=url)
    assert document["matching"] == 7, "the second one finds the price recorded"
    assert len({each["node"] for each in document["items"]}) == 2
    assert [each["at"] for each in document["items"]] == sorted(
        (each["at"] for each in document["items"]), reverse=True
    )
    assert "secret" not in document["source"]


def test_a_file_whose_times_are_made_up_is_refused(folder: Path) -> None:
    """Whoever writes a whole export can say anything in it."""
    run("export", "journal.jsonl", "--database", "palyra.db")
    forged = _forged(folder / "journal.jsonl")
    (folder / "forged.jsonl").write_bytes(forged)
    told = error("--export", "forged.jsonl")
    assert (told["exit_code"], "cannot be shown" in told["message"]) == (7, True)


def _forged(path: Path) -> bytes:
    """The first page alone, its record made at a time that there will never be."""
    header, page, *_ = (json.loads(line) for line in path.read_bytes().splitlines())
    records = [
        json.dumps([*page["entries"][0][:3], 2**68, *page["entries"][0][4:]], separators=(",", ":")).encode()
    ]
    body = Packer().pack(records)
    chain = link(b"", 1, 1, page["at_ns"], page["open_from"], page["documents"], body).hex()
    journal = {"node": 0, "first": 1, "last": 1, "after": "", "head": chain}
    page |= {"records": 1, "chain": chain, "body": base64.b64encode(body).decode(), "entries": []}
    header |= {"records": 1, "journals": [journal], "sha256": ""}
    header["sha256"] = hashlib.sha256(_line(header)).hexdigest()
    end = {"pages": 1, "records": 1, "heads": {"0": chain}}
    written = _line(page).replace(b'"entries":[]', b'"entries":[' + records[0] + b"]")
    return _line(header) + written + _line(end)


def _line(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
