"""What changes in the configuration file between two starts is in the journal, once, before and after."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from conftest import DaemonFactory
from harness.command import finish
from harness.daemon import Config, DaemonProcess, budget, config, model, unaware
from harness.fleet import Fleet
from harness.postgres import new_database
from harness.stub import Stub
from palyra.identity.keys import hash_key

CANARY = "sk-palyra-canary-4f9a1c77"


@pytest.fixture
def fleet(tmp_path: Path, stub: Stub) -> Iterator[Fleet]:
    made = Fleet(tmp_path, file(stub), new_database())
    yield made
    made.close()


def file(stub: Stub, hard_limit: str = "5.00", output: str = "2.00", **tables: Any) -> dict[str, object]:
    """One budget, one key and one price."""
    price = {"input": "1.00", "output": output}
    keys = [{"id": "ci", "sha256": hash_key(CANARY), "principal": "bot"}]
    return config(
        stub.url,
        budgets=[budget("daily", hard_limit)],
        models=[model("stub-model", price=price)],
        **{"keys": keys, **tables},
    )


def audit(command: str, database: str, *words: str) -> Any:
    """The document of a command about the journal."""
    ended = finish(["audit", command, "--database", database, "--json", *words], Path.cwd(), unaware())
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def stopped(daemon: DaemonProcess, *words: str) -> Any:
    """What the journal lists once the daemon has ended."""
    assert daemon.terminate() == 0
    return audit("list", str(daemon.database), *words)


def started_with(daemon: DaemonProcess, settings: Config) -> DaemonProcess:
    """Start it again on an edited file."""
    daemon.settings = settings
    return daemon.start()


def names(document: Mapping[str, Any]) -> list[str]:
    return sorted(f"{each['kind']} {each['ref']}" for each in document["items"])


@pytest.mark.sqlite
def test_an_edit_of_the_file_is_journaled_at_the_next_start(
    daemon_factory: DaemonFactory, stub: Stub
) -> None:
    daemon = daemon_factory(file(stub))
    first = stopped(daemon)
    made = [each for each in first["items"] if each["actor"] == "config"]
    assert sorted(f"{each['kind']} {each['ref']}" for each in made) == [
        "governance.updated governance",
        "key.created ci",
        "policy.created daily",
        "price.created stub/stub-model",
        "pricebook.updated pricebook",
    ]
    assert {each["before"] is None for each in made} == {True}
    assert CANARY not in json.dumps(first)
    assert hash_key(CANARY)[:9] not in json.dumps(first)

    started_with(daemon, file(stub, hard_limit="6.00", output="3.00"))
    second = stopped(daemon)
    assert second["matching"] == first["matching"] + 2
    price, policy = sorted(second["items"][:2], key=lambda each: each["kind"], reverse=True)
    assert second["items"][2:] == first["items"]
    assert (policy["kind"], policy["ref"], policy["actor"]) == ("policy.updated", "daily", "config")
    assert policy["changes"] == [{"field": "hard_limit", "before": "5.00", "after": "6.00"}]
    assert (price["kind"], price["ref"], price["actor"]) == ("price.updated", "stub/stub-model", "config")
    assert price["changes"] == [{"field": "output", "before": "2", "after": "3"}]
    assert (policy["before"]["scope"], policy["after"]["scope"]) == ("global", "global")
    assert audit("verify", str(daemon.database))["records"] == second["matching"]

    daemon.start()
    assert stopped(daemon) == second, "a start with the same file adds nothing"


@pytest.mark.sqlite
def test_what_is_taken_out_of_the_file_is_journaled_too(daemon_factory: DaemonFactory, stub: Stub) -> None:
    daemon = daemon_factory(file(stub))
    before = stopped(daemon)["matching"]
    emptied = file(stub, keys=[], governance={"mode": "dry_run"})
    emptied["budgets"] = list[object]()
    started_with(daemon, emptied)
    document = stopped(daemon)
    new = {**document, "items": document["items"][: document["matching"] - before]}
    assert names(new) == ["governance.updated governance", "key.revoked ci", "policy.deleted daily"]
    assert {each["after"] is None for each in new["items"] if each["ref"] != "governance"} == {True}


@pytest.mark.sqlite
def test_it_is_on_disk_before_a_call_is_decided_by_it(daemon_factory: DaemonFactory, stub: Stub) -> None:
    """A daemon that is killed as soon as it listens has recorded what it goes by."""
    daemon = daemon_factory(file(stub))
    daemon.kill9()
    listed = audit("list", str(daemon.database), "--kind", "policy")
    assert names(listed) == ["policy.created daily"]


def test_gateways_with_one_file_record_it_once(fleet: Fleet) -> None:
    fleet.start(2)
    listed = audit("list", fleet.database)
    assert [each for each in names(listed) if not each.startswith("key.created key_")] == [
        "governance.updated governance",
        "key.created ci",
        "policy.created daily",
        "price.created stub/stub-model",
        "pricebook.updated pricebook",
    ]
    audit("verify", fleet.database)


def test_gateways_with_different_files_each_record_their_own_and_say_which_one_it_was(
    fleet: Fleet, stub: Stub
) -> None:
    fleet.start(1)
    fleet.settings = file(stub, hard_limit="9.00")
    fleet.scale = {**fleet.scale, "name": "gw-b"}
    fleet.start(1)
    (edited,) = audit("list", fleet.database, "--kind", "policy.updated")["items"]
    assert edited["actor"] == "config@gw-b"
    assert edited["changes"] == [{"field": "hard_limit", "before": "5.00", "after": "9.00"}]
    audit("verify", fleet.database)
