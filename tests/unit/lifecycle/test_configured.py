"""The configuration is journaled: what changed since it was recorded last, once, whoever starts when."""

import json
from collections.abc import Mapping
from dataclasses import replace

import pytest

from fakes.records import FakeRecords
from palyra.budgets.policy import Policy, PolicyDefaults, parse_policy
from palyra.core.errors import LedgerUnavailable, Superseded
from palyra.identity.keys import ApiKey, hash_key, parse_key_entry
from palyra.lifecycle.configured import (
    AT_ONCE,
    ROUNDS_MAX,
    Change,
    Document,
    described,
    difference,
    journal_configuration,
)
from palyra.lifecycle.ports import AuditEntry
from palyra.pricing.entry import PriceEntry, parse_price_entry

CLEAR = "sk-palyra-canary-4f9a1c77"
DAILY: Document = {"id": "daily", "hard_limit": "5.00"}
GOVERNANCE: Document = {"mode": "enforced", "timezone": "UTC"}


def policy(hard_limit: str = "5.00") -> Policy:
    return parse_policy(
        {
            "id": "daily",
            "scope": "global",
            "metric": "cost_usd",
            "interval": "day",
            "hard_limit": hard_limit,
            "thresholds": [{"at": "0.8", "then": "notify"}],
        },
        defaults=PolicyDefaults(),
        version=1,
        actor="config",
        origin="file",
    )


def key(clear: str = CLEAR) -> ApiKey:
    return parse_key_entry({"id": "ci", "sha256": hash_key(clear), "principal": "bot", "tags": {"team": "a"}})


def price(model: str = "gpt-4o", **more: object) -> PriceEntry:
    return parse_price_entry({"provider": "openai", "model": model, "input": "2.50", **more}, "")


class Overtaken(FakeRecords):
    """Somebody else records ``first`` in the moment before each write, as long as there is any."""

    def __init__(self, first: list[tuple[str, Document]]) -> None:
        super().__init__()
        self.first = first

    async def record_configured(
        self, name: str, before: str | None, after: str | None, audit: AuditEntry
    ) -> None:
        if self.first:
            other, document = self.first.pop(0)
            self.kept.configured[other] = text(document)
        await super().record_configured(name, before, after, audit)


class Contested(FakeRecords):
    """Somebody else is always faster."""

    rounds = 0

    async def record_configured(
        self, name: str, before: str | None, after: str | None, audit: AuditEntry
    ) -> None:
        self.rounds += 1
        raise Superseded("Somebody was faster.")


def text(document: Document) -> str:
    return json.dumps(document, sort_keys=True, separators=(",", ":"))


def entries(records: FakeRecords) -> list[tuple[str, str]]:
    return [(each.kind, each.ref) for each in records.audit]


async def start(records: FakeRecords, documents: Mapping[str, Document], actor: str = "config") -> int:
    return len(await journal_configuration(records, documents, actor))


class TestDescribed:
    def test_each_object_has_a_name_and_a_document(self) -> None:
        found = described([policy()], [key()], [price()])
        assert list(found) == ["policy/daily", "key/ci", "price/openai/gpt-4o"]
        assert (found["policy/daily"]["hard_limit"], found["price/openai/gpt-4o"]["input"]) == ("5.00", "2.5")

    def test_of_a_key_there_is_no_more_than_the_beginning_of_its_hash(self) -> None:
        written = json.dumps(described([], [key()], []))
        assert f"sha256:{hash_key(CLEAR)[:8]}" in written
        assert hash_key(CLEAR)[:9] not in written
        assert CLEAR not in written

    def test_another_key_of_the_same_name_is_another_document(self) -> None:
        assert described([], [key()], []) != described([], [key("sk-palyra-other")], [])

    def test_a_policy_is_what_the_file_says_of_it(self) -> None:
        """Neither versions nor amounts in other units: they would change when Palyra does."""
        document = described([policy()], [], [])["policy/daily"]
        assert document["thresholds"] == [{"at": "0.8", "then": "notify"}]
        assert not {"version", "origin", "hard_limit_usd", "soft_limit"} & document.keys()

    def test_two_prices_of_one_name_do_not_hide_each_other_in_whatever_order(self) -> None:
        one, other = price(), price(output="10.00")
        found = described([], [], [one, other])
        assert set(found) == {"price/openai/gpt-4o", "price/openai/gpt-4o#2"}
        assert found == described([], [], [other, one])
        assert len(described([], [], [one, other, replace(one, source="x")])) == 3

    def test_what_cannot_be_seen_in_a_name_is_written_out(self) -> None:
        assert list(described([], [], [price("a\0b\x1b☃")])) == [r"price/openai/a\u0000b\u001b☃"]


class TestDifference:
    def test_nothing_where_both_say_the_same(self) -> None:
        assert difference({"policy/a": "1"}, {"policy/a": "1"}) == []

    def test_made_changed_and_gone_by_name(self) -> None:
        changes = difference(
            {"policy/b": "1", "policy/c": "1", "key/x": "1", "governance": "1"},
            {"policy/a": "2", "policy/b": "2", "governance": "2", "pricebook": "2", "price/p/m": "2"},
        )
        assert changes == [
            Change("governance", "1", "2"),
            Change("key/x", "1", None),
            Change("policy/a", None, "2"),
            Change("policy/b", "1", "2"),
            Change("policy/c", "1", None),
            Change("price/p/m", None, "2"),
            Change("pricebook", None, "2"),
        ]
        assert [(each.kind, each.ref) for each in changes] == [
            ("governance.updated", "governance"),
            ("key.revoked", "x"),
            ("policy.created", "a"),
            ("policy.updated", "b"),
            ("policy.deleted", "c"),
            ("price.created", "p/m"),
            ("pricebook.updated", "pricebook"),
        ]


class TestJournal:
    async def test_a_first_start_records_everything_once(self) -> None:
        records = FakeRecords()
        documents = {"policy/daily": DAILY, "governance": GOVERNANCE}
        assert await start(records, documents) == 2
        assert records.audit == [
            AuditEntry("governance.updated", "governance", "config", None, GOVERNANCE),
            AuditEntry("policy.created", "daily", "config", None, DAILY),
        ]
        assert await start(records, documents) == 0
        assert len(records.audit) == 2

    async def test_a_change_says_how_it_was_before(self) -> None:
        records = FakeRecords()
        await start(records, {"policy/daily": DAILY, "key/ci": {"id": "ci"}})
        changed = {**DAILY, "hard_limit": "6.00"}
        assert await start(records, {"policy/daily": changed}, "config@gw-2") == 2
        assert records.audit[2:] == [
            AuditEntry("key.revoked", "ci", "config@gw-2", {"id": "ci"}, None),
            AuditEntry("policy.updated", "daily", "config@gw-2", DAILY, changed),
        ]

    async def test_the_order_of_fields_is_no_change(self) -> None:
        records = FakeRecords()
        await start(records, {"governance": GOVERNANCE})
        assert (
            await start(
                records, {"governance": {name: GOVERNANCE[name] for name in reversed(list(GOVERNANCE))}}
            )
            == 0
        )

    async def test_what_another_gateway_recorded_meanwhile_is_not_recorded_again(self) -> None:
        documents = {f"policy/{number}": DAILY for number in range(3)}
        records = Overtaken([("policy/0", DAILY), ("policy/2", DAILY)])
        assert await start(records, documents) == 1
        assert entries(records) == [("policy.created", "1")]

    async def test_over_another_file_there_is_one_entry_each_and_no_dispute(self) -> None:
        """The other gateway comes between, and again behind the entry of this one: that one stays."""
        other = {**DAILY, "hard_limit": "9.00"}
        records = Overtaken([("policy/b", other), ("policy/a", other)])
        assert await start(records, {"policy/a": DAILY, "policy/b": DAILY, "policy/c": DAILY}) == 3
        assert records.audit == [
            AuditEntry("policy.created", "a", "config", None, DAILY),
            AuditEntry("policy.created", "c", "config", None, DAILY),
            AuditEntry("policy.updated", "b", "config", other, DAILY),
        ]

    async def test_a_start_gives_up_where_others_are_always_faster(self) -> None:
        records = Contested()
        with pytest.raises(Superseded):
            await start(records, {"policy/a": DAILY})
        assert records.rounds == ROUNDS_MAX

    async def test_what_cannot_be_recorded_ends_the_start(self) -> None:
        records = FakeRecords()
        records.fail = True
        with pytest.raises(LedgerUnavailable):
            await start(records, {"policy/a": DAILY})
        records.fail = False
        assert await start(records, {"policy/a": DAILY}) == 1

    async def test_a_long_file_is_recorded_in_parts_and_in_order(self) -> None:
        records, names = FakeRecords(), [f"policy/{number:04}" for number in range(2 * AT_ONCE + 1)]
        assert await start(records, dict.fromkeys(reversed(names), DAILY)) == len(names)
        assert [f"policy/{ref}" for _, ref in entries(records)] == names
