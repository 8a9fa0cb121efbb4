"""The rules in force: one snapshot, durable before it is swapped, nobody gives more than they have."""

import asyncio
from dataclasses import replace
from itertools import count

import pytest

from fakes.records import FakeClock, FakeRecords
from palyra.budgets.policy import Known, Policy, PolicyDefaults, parse_policy
from palyra.core.errors import (
    AlreadyExists,
    FieldError,
    Forbidden,
    IdempotencyMismatch,
    LedgerUnavailable,
    NotFound,
    ReadOnly,
    RulesStale,
    VersionConflict,
)
from palyra.core.secret import Secret
from palyra.identity.keys import ApiKey, Grant, Role, Subject, hash_key, parse_key_entry
from palyra.lifecycle.ports import AuditEntry
from palyra.lifecycle.rules import CONFIGURED_OWNER, Rules

DAILY: dict[str, object] = {
    "id": "daily",
    "scope": "principal:*",
    "metric": "cost_usd",
    "interval": "day",
    "hard_limit": "5.00",
}


def file_policy(policy_id: str = "from-file") -> Policy:
    return parse_policy(
        {**DAILY, "id": policy_id}, defaults=PolicyDefaults(), version=1, actor="config", origin="file"
    )


def make_rules(
    records: FakeRecords,
    *,
    policies: tuple[Policy, ...] = (),
    keys: tuple[ApiKey, ...] = (),
    known: Known | None = None,
) -> Rules:
    numbers = count(len(records.key_rows))
    return Rules(
        records,
        FakeClock(),
        lambda size: next(numbers).to_bytes(size, "big"),
        lambda: f"key-{next(numbers)}",
        policies,
        keys,
        lambda: known or Known(),
        PolicyDefaults(timezone="Europe/Prague"),
    )


async def owner_of(rules: Rules) -> Subject:
    clear = await rules.ensure_owner_key(None)
    assert clear is not None
    subject = rules.snapshot.subject(clear)
    assert subject is not None
    return subject


async def test_a_new_policy_is_in_the_next_snapshot_and_the_old_one_is_untouched() -> None:
    rules = make_rules(FakeRecords())
    before = rules.snapshot
    policy = await rules.set_policy(DAILY, actor="me", expected_version=None)
    assert before.policies == {}
    assert rules.snapshot.policies == {"daily": policy}
    assert rules.snapshot.version > before.version
    assert (policy.version, policy.timezone, policy.created_by) == (1, "Europe/Prague", "me")


async def test_an_edit_is_a_new_version_that_keeps_who_made_the_first() -> None:
    records = FakeRecords()
    rules = make_rules(records)
    await rules.set_policy(DAILY, actor="ann", expected_version=0)
    edited = await rules.set_policy({**DAILY, "hard_limit": "9"}, actor="bob", expected_version=1)
    assert (edited.version, edited.created_by, edited.updated_by) == (2, "ann", "bob")
    entry = records.audit[-1]
    assert (entry.kind, entry.ref, entry.actor) == ("policy.updated", "daily", "bob")
    assert entry.before is not None
    assert entry.after is not None
    assert (entry.before["hard_limit"], entry.after["hard_limit"]) == ("5.00", "9.00")


async def test_a_stale_version_is_refused_and_nothing_changes() -> None:
    records = FakeRecords()
    rules = make_rules(records)
    await rules.set_policy(DAILY, actor="ann", expected_version=0)
    for expected in (0, 2):
        with pytest.raises(VersionConflict):
            await rules.set_policy(DAILY, actor="bob", expected_version=expected)
    with pytest.raises(VersionConflict):
        await rules.delete_policy("daily", actor="bob", expected_version=7)
    assert len(records.audit) == 1


async def test_a_policy_made_again_after_deletion_does_not_reuse_a_version() -> None:
    records = FakeRecords()
    rules = make_rules(records)
    await rules.set_policy(DAILY, actor="ann", expected_version=0)
    await rules.delete_policy("daily", actor="ann")
    restarted = make_rules(records)
    await restarted.load()
    assert restarted.snapshot.policies == {}
    again = await restarted.set_policy(DAILY, actor="ann", expected_version=0)
    assert again.version == 2


async def test_policies_of_the_file_are_read_only() -> None:
    rules = make_rules(FakeRecords(), policies=(file_policy(),))
    with pytest.raises(ReadOnly, match="config file"):
        await rules.set_policy({**DAILY, "id": "from-file"}, actor="me", expected_version=None)
    with pytest.raises(ReadOnly):
        await rules.delete_policy("from-file", actor="me")
    assert "from-file" in rules.snapshot.policies


async def test_a_policy_of_the_file_hides_a_stored_one_of_the_same_id() -> None:
    records = FakeRecords()
    await make_rules(records).set_policy(DAILY, actor="me", expected_version=None)
    rules = make_rules(records, policies=(file_policy("daily"),))
    await rules.load()
    assert rules.snapshot.policies["daily"].origin == "file"


async def test_a_scope_that_nothing_can_match_is_an_error_on_scope() -> None:
    rules = make_rules(FakeRecords(), known=Known(models=frozenset({"gpt-4o-mini"})))
    with pytest.raises(FieldError) as caught:
        await rules.set_policy({**DAILY, "scope": "model:gpt-4o-mni"}, actor="me", expected_version=None)
    assert caught.value.field == "scope"


async def test_a_change_that_is_not_durable_is_not_in_force() -> None:
    records = FakeRecords()
    rules = make_rules(records)
    owner = await owner_of(rules)
    records.fail = True
    before = rules.snapshot
    with pytest.raises(LedgerUnavailable):
        await rules.set_policy(DAILY, actor="me", expected_version=None)
    with pytest.raises(LedgerUnavailable):
        await rules.create_key(Grant("bob"), issuer=owner)
    assert rules.snapshot is before


async def test_deleting_what_is_not_there_is_not_found() -> None:
    rules = make_rules(FakeRecords())
    with pytest.raises(NotFound):
        await rules.delete_policy("nothing", actor="me")
    with pytest.raises(NotFound):
        await rules.revoke_key("nothing", by=await owner_of(rules))


async def test_the_owner_key_is_given_on_the_first_start_only() -> None:
    records = FakeRecords()
    rules = make_rules(records)
    clear = await rules.ensure_owner_key(None)
    assert clear is not None
    assert await rules.ensure_owner_key(None) is None
    restarted = make_rules(records)
    await restarted.load()
    assert await restarted.ensure_owner_key(None) is None
    subject = restarted.snapshot.subject(clear)
    assert subject is not None
    assert subject.roles == {Role.OWNER}
    assert clear not in repr(records.audit) + repr(records.key_rows)


async def test_a_configured_owner_key_is_accepted_and_neither_returned_nor_stored() -> None:
    records = FakeRecords()
    rules = make_rules(records)
    assert await rules.ensure_owner_key(Secret("my-own-key")) is None
    assert records.key_rows == {}
    subject = rules.snapshot.subject("my-own-key")
    assert subject is not None
    assert subject.may_act_as(Role.OWNER)
    with pytest.raises(ReadOnly):
        await rules.revoke_key(CONFIGURED_OWNER, by=subject)
    assert "my-own" not in repr(rules.all_keys)


async def test_a_new_key_works_at_once_and_a_revoked_one_stops_at_once() -> None:
    records = FakeRecords()
    rules = make_rules(records)
    owner = await owner_of(rules)
    key, clear = await rules.create_key(Grant("bob", agent="ide"), issuer=owner)
    assert rules.snapshot.subject(clear) == key.subject()
    assert (key.created_by, key.prefix) == (owner.key_id, clear[: len(key.prefix)])
    revoked = await rules.revoke_key(key.id, by=owner)
    assert rules.snapshot.subject(clear) is None
    assert await rules.revoke_key(key.id, by=owner) == revoked
    assert [entry.kind for entry in records.audit] == ["key.created", "key.created", "key.revoked"]
    assert clear not in repr(records.audit)
    assert hash_key(clear) not in repr(records.audit)


async def test_one_idempotency_key_makes_one_key_also_after_a_restart() -> None:
    records = FakeRecords()
    rules = make_rules(records)
    owner = await owner_of(rules)
    key, clear = await rules.create_key(Grant("bob", tags={"team": "core"}), issuer=owner, token="t-1")
    again = make_rules(records)
    await again.load()
    for each in (rules, again):
        with pytest.raises(AlreadyExists) as caught:
            await each.create_key(Grant("bob", tags={"team": "core"}), issuer=owner, token="t-1")
        assert caught.value.detail == {"key_id": key.id}
        assert clear not in caught.value.message
        with pytest.raises(IdempotencyMismatch):
            await each.create_key(Grant("bob", tags={"team": "ops"}), issuer=owner, token="t-1")
    assert len(again.all_keys) == 2
    assert (await rules.create_key(Grant("bob"), issuer=owner, token="t-2"))[0].id != key.id


async def test_another_gateway_that_made_the_key_first_is_the_one_that_made_it() -> None:
    records = FakeRecords()
    here, there = make_rules(records), make_rules(records)
    owner = await owner_of(here)
    await there.load()
    key, _ = await there.create_key(Grant("bob"), issuer=owner, token="t-1")
    await here.reload()
    with pytest.raises(AlreadyExists) as caught:
        await here.create_key(Grant("bob"), issuer=owner, token="t-1")
    assert caught.value.detail == {"key_id": key.id}


async def test_a_key_gives_at_most_what_its_issuer_has() -> None:
    rules = make_rules(FakeRecords())
    owner = await owner_of(rules)
    draft = Grant("bob", roles=frozenset({Role.ADMIN}), models=("gpt-*",))
    admin = (await rules.create_key(draft, issuer=owner))[0].subject()
    with pytest.raises(FieldError) as caught:
        await rules.create_key(Grant("bob", roles=frozenset({Role.OWNER}), models=("gpt-4o",)), issuer=admin)
    assert caught.value.field == "roles"
    with pytest.raises(FieldError) as caught:
        await rules.create_key(Grant("bob"), issuer=admin)
    assert caught.value.field == "models"
    with pytest.raises(Forbidden):
        await rules.revoke_key(owner.key_id, by=admin)


async def test_a_key_that_was_revoked_meanwhile_issues_nothing() -> None:
    rules = make_rules(FakeRecords())
    owner = await owner_of(rules)
    admin = (await rules.create_key(Grant("a", roles=frozenset({Role.ADMIN})), issuer=owner))[0]
    await rules.revoke_key(admin.id, by=owner)
    with pytest.raises(Forbidden):
        await rules.create_key(Grant("a"), issuer=admin.subject())


async def test_the_last_owner_key_cannot_be_revoked() -> None:
    rules = make_rules(FakeRecords())
    owner = await owner_of(rules)
    with pytest.raises(ReadOnly, match="last owner"):
        await rules.revoke_key(owner.key_id, by=owner)
    await rules.create_key(Grant("second", roles=frozenset({Role.OWNER})), issuer=owner)
    await rules.revoke_key(owner.key_id, by=owner)
    assert all(key.principal == "second" for key in rules.snapshot.keys.values())


async def test_a_key_stops_when_its_issuer_in_the_file_has_less_than_it() -> None:
    records = FakeRecords()
    entry: dict[str, object] = {"id": "ci", "sha256": hash_key("ci"), "principal": "ci", "roles": ["admin"]}
    rules = make_rules(records, keys=(parse_key_entry(entry),))
    issuer = rules.snapshot.subject("ci")
    assert issuer is not None
    _, clear = await rules.create_key(Grant("ci", roles=frozenset({Role.VIEWER})), issuer=issuer)
    assert rules.snapshot.subject(clear) is not None
    restarted = make_rules(records, keys=(parse_key_entry({**entry, "roles": ["caller"]}),))
    await restarted.load()
    assert restarted.snapshot.subject(clear) is None


class SlowRecords(FakeRecords):
    """Its writes take until ``release`` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.writing, self.release = asyncio.Event(), asyncio.Event()

    async def save_policy(self, policy: Policy, audit: AuditEntry) -> None:
        self.writing.set()
        await self.release.wait()
        await super().save_policy(policy, audit)


async def test_a_change_is_in_force_only_when_durable_and_even_if_its_client_went_away() -> None:
    records = SlowRecords()
    rules = make_rules(records)
    asked = asyncio.create_task(rules.set_policy(DAILY, actor="me", expected_version=0))
    await records.writing.wait()
    assert rules.snapshot.policies == {}
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    records.release.set()
    with pytest.raises(VersionConflict):
        await rules.set_policy(DAILY, actor="other", expected_version=0)
    assert rules.snapshot.policies["daily"].created_by == "me"


async def test_of_two_writers_who_saw_the_same_version_one_wins() -> None:
    rules = make_rules(FakeRecords())
    writes = [rules.set_policy(DAILY, actor=actor, expected_version=0) for actor in ("ann", "bob")]
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["Policy", "VersionConflict"]


class TestOtherGateways:
    async def test_a_reload_waits_for_the_change_that_is_being_made(self) -> None:
        """The notice of a change may come back before the change itself is over here."""

        class Slow(FakeRecords):
            async def delete_policy(self, policy_id: str, audit: AuditEntry) -> None:
                await super().delete_policy(policy_id, audit)
                reloading.append(asyncio.create_task(rules.reload()))
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                waits.append(not reloading[0].done())

        waits: list[bool] = []
        reloading: list[asyncio.Task[None]] = []
        rules = make_rules(Slow())
        await rules.set_policy(DAILY, actor="me", expected_version=None)
        await rules.delete_policy("daily", actor="me")
        await reloading[0]
        assert waits == [True]
        assert rules.snapshot.policies == {}

    async def test_a_reload_brings_what_another_gateway_changed(self) -> None:
        records = FakeRecords()
        here, elsewhere = make_rules(records), make_rules(records)
        await elsewhere.set_policy(DAILY, actor="me", expected_version=None)
        assert here.snapshot.policies == {}
        await here.reload()
        assert set(here.snapshot.policies) == {"daily"}

    async def test_a_change_made_on_old_rules_is_made_anew(self) -> None:
        class Stale(FakeRecords):
            async def save_policy(self, policy: Policy, audit: AuditEntry) -> None:
                if not tries:
                    tries.append(policy.version)
                    await super().save_policy(replace(policy, created_by="other"), audit)
                    raise RulesStale("changed elsewhere")
                await super().save_policy(policy, audit)

        tries: list[int] = []
        rules = make_rules(Stale())
        policy = await rules.set_policy(DAILY, actor="me", expected_version=None)
        assert (tries, policy.version, policy.created_by) == ([1], 2, "other")
