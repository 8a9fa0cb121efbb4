"""What the page of the audit trail is made of, from a real daemon that works on meanwhile."""

import asyncio
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from conftest import DaemonFactory
from harness import command, raw
from harness.daemon import Api, DaemonProcess, budget, config
from harness.raw import Reply
from harness.stub import Stub
from harness.talk import CHAT, chat, request_id


@pytest.fixture
def busy(daemon_factory: DaemonFactory, stub: Stub) -> DaemonProcess:
    """A daemon on which rules were changed between calls."""
    daemon = daemon_factory(config(stub.url, budgets=[budget("wide", "50.00", scope="principal:*")]))
    key = daemon.create_key("alice")
    for limit in ("1.00", "2.00"):
        asyncio.run(calls(daemon, key, 10))
        daemon.api.request("PUT", "/budgets/mine", budget("mine", limit))
    for reply in asyncio.run(calls(daemon, key, 1)):
        daemon.api.settled(request_id(reply))
    return daemon


async def calls(daemon: DaemonProcess, key: str, count: int) -> list[Reply]:
    made = [raw.call(daemon.url, CHAT, json_body=chat(), key=key) for _ in range(count)]
    return list(await asyncio.gather(*made))


def operator(daemon: DaemonProcess) -> Api:
    return Api(daemon.url, daemon.create_key("olga", roles=["operator"]))


def test_changes_are_listed_by_who_made_them(busy: DaemonProcess) -> None:
    mine: Any = busy.api.get("/audit", ref="mine")["items"]
    first: Any = busy.api.get("/audit", limit="2")
    rest: Any = busy.api.get("/audit", limit="200", cursor=first["next_cursor"])
    configured: Any = busy.api.get("/audit", kind="price")["items"]

    assert [each["kind"] for each in mine] == ["policy.updated", "policy.created"]
    assert mine[0]["by_principal"] == "owner"
    assert {"field": "hard_limit", "before": "1.00", "after": "2.00"} in mine[0]["changes"]
    records = [(each["node"], each["record"]) for each in (*first["items"], *rest["items"])]
    assert len(records) == len(set(records))
    assert {each["by"].partition("@")[0] for each in configured} == {"config"}

    assert busy.terminate() == 0
    words = ("audit", "list", "--config", str(busy.config_path), "--json")
    offline = json.loads(command.run(busy, "", *words)[0])["items"]
    told = [(each["at"], each["kind"], each["ref"], each["node"], each["record"]) for each in offline]
    live = [
        (each["at"], each["kind"], each["ref"], each["node"], each["record"])
        for each in (*first["items"], *rest["items"])
    ]
    assert live == told


def test_the_journal_is_checked_while_calls_run(busy: DaemonProcess) -> None:
    key = busy.create_key("bob")

    async def both() -> tuple[Any, list[Reply]]:
        checking = asyncio.to_thread(lambda: operator(busy).post("/audit/verify", None))
        found, replies = await asyncio.gather(checking, calls(busy, key, 40))
        return found, replies

    found, replies = asyncio.run(both())

    assert {reply.status for reply in replies} == {200}
    assert (found["ok"], found["problem"]) == (True, None)
    assert found["records"] > 40
    assert found["accounts"] > 0
    assert [each["head"] for each in found["heads"]] == [
        word.rpartition(":")[2] for word in found["head"].split()
    ]
    assert busy.api.request("POST", "/audit/verify").status_code == 200
    viewer = Api(busy.url, busy.create_key("vera", roles=["viewer"]))
    assert viewer.request("POST", "/audit/verify").status_code == 403


def test_an_export_of_a_running_daemon_can_be_checked_by_anybody(busy: DaemonProcess, tmp_path: Path) -> None:
    api = operator(busy)
    found: Any = api.post("/audit/verify", None)
    answer = api.request("GET", "/audit/export")
    file = tmp_path / "journal.jsonl"
    file.write_bytes(answer.content)

    checked = command.run_json(busy, "", "audit", "verify", "--export", str(file))

    assert answer.headers["content-type"] == "application/x-ndjson"
    assert checked["head"] == found["head"]
    assert checked["records"] == found["records"]
    some = api.request("GET", "/audit/export", until="2026-01-01T00:00:00Z")
    assert json.loads(some.content.splitlines()[0])["records"] == 0


@pytest.mark.sqlite
def test_what_somebody_changed_in_the_file_is_found(busy: DaemonProcess) -> None:
    connection = sqlite3.connect(busy.database)
    (seq,) = connection.execute("SELECT seq FROM journal ORDER BY seq LIMIT 1 OFFSET 3").fetchone()
    with connection:
        connection.execute("UPDATE journal SET at = at - 1 WHERE seq = ?", (seq,))
    connection.close()

    found: Any = busy.api.post("/audit/verify", None)

    assert (found["ok"], found["problem"]["invariant"], found["problem"]["record"]) == (False, "G3", seq)
    refused = busy.api.request("GET", "/audit/export")
    assert (refused.status_code, refused.json()["code"]) == (503, "ledger_unavailable")
