"""What the port ``Records`` promises, on every store."""

import asyncio
from dataclasses import replace
from types import MappingProxyType

import pytest
from msgspec import structs

from fakes.records import NOON
from fakes.till import Till, account, assert_books_agree, decision, hold
from palyra.budgets.policy import Policy, PolicyDefaults, parse_policy
from palyra.core.errors import LedgerUnavailable
from palyra.core.instant import NANOSECONDS, Instant
from palyra.identity.keys import ApiKey, Role
from palyra.ledger.account import Balance
from palyra.lifecycle.decision import CallState, ClampRecord, Counterfactual, Decision, PriceRecord
from palyra.lifecycle.ports import AuditEntry, DecisionFilter
from palyra.lifecycle.usage import UsageTotals

HOUR_NS = 3600 * NANOSECONDS
EVER = Instant(0), Instant(2**62)
AUDIT = AuditEntry("policy.saved", "daily", "key-1", None, {"hard_limit": "5.00"})


def policy(version: int = 1, hard_limit: str = "5.00", policy_id: str = "daily") -> Policy:
    document = {"id": policy_id, "scope": "global", "metric": "cost_usd", "interval": "day"}
    return parse_policy(
        {**document, "hard_limit": hard_limit, "thresholds": [{"at": "0.8", "then": "notify"}]},
        defaults=PolicyDefaults(),
        version=version,
        actor="key-1",
        origin="api",
    )


def key(key_id: str = "key-7", revoked_at: Instant | None = None) -> ApiKey:
    return ApiKey(
        id=key_id,
        sha256=key_id.encode().hex().ljust(64, "0"),
        prefix="sk-palyra-AbCd",
        principal="alice",
        agent="nightly",
        roles=frozenset({Role.CALLER, Role.VIEWER}),
        models=("stub-*",),
        tags=MappingProxyType({"team": "platform"}),
        created_at=NOON,
        created_by="key-1",
        revoked_at=revoked_at,
        origin="api",
    )


def full(request_id: str) -> Decision:
    return structs.replace(
        decision(request_id, tags=MappingProxyType({"team": "platform", "größe": "☃"})),
        price=PriceRecord("stub", "stub-model", "config", "cfg:stub-model", "b1", known=True),
        clamp=ClampRecord(4_096, 256, "daily"),
        counterfactual=Counterfactual(("block",), "deny", 0, clamped_output_tokens=9),
        message='"quoted"\n\\ and ☃',
        idempotency_key=True,
    )


class TestDecisions:
    async def test_a_call_is_read_back_as_it_was_decided_and_as_it_ended(self, till: Till) -> None:
        made = full("req_1")
        till.reserve("req_1", hold(10), told_of=made)
        await till.flush()
        stored = await till.store.records.decision("req_1")
        assert stored is not None
        assert (stored.decision, stored.state, stored.settlement) == (made, CallState.PENDING, None)
        till.settle("req_1", 7, tokens=(3, 4))
        await till.flush()
        stored = await till.store.records.decision("req_1")
        assert stored is not None
        assert stored.decision == made
        assert stored.state is CallState.SETTLED
        assert stored.settlement is not None
        assert stored.settlement.cost == 7
        assert stored.settlement.usage is not None
        assert stored.settlement.usage.output_tokens == 4
        assert isinstance(stored.settlement.state, CallState)

    async def test_a_call_that_runs_is_there_at_once(self, till: Till) -> None:
        till.reserve("req_1", hold(10))
        stored = await till.store.records.decision("req_1")
        assert stored is not None
        assert (stored.state, stored.settlement) == (CallState.PENDING, None)
        (listed,) = await till.store.records.decisions(DecisionFilter())
        assert listed == stored

    async def test_a_call_that_could_not_be_held_is_not_there(self, till: Till) -> None:
        assert till.reserve("req_1", hold(11, 10)) is not None
        assert await till.store.records.decision("req_1") is None
        assert await till.store.records.decisions(DecisionFilter()) == []

    async def test_an_unknown_call_is_none(self, till: Till) -> None:
        assert await till.store.records.decision("req_9") is None

    async def test_a_denial_is_stored_counted_and_holds_nothing(self, till: Till) -> None:
        refused = structs.replace(decision("req_1", outcome="deny"), error_code="budget_exceeded")
        till.store.records.record_denial(refused)
        till.reserve("req_2", hold(1))
        await till.flush()
        stored = await till.store.records.decision("req_1")
        assert stored is not None
        assert (stored.decision, stored.state, stored.settlement) == (refused, CallState.DENIED, None)
        (total,) = await till.store.records.usage(*EVER, ())
        assert (total.requests, total.denied, total.cost) == (0, 1, 0)
        assert [each.id for each in till.store.ledger.pending()] == ["req_2"]
        await assert_books_agree(till)

    @pytest.mark.parametrize("ended", [1, 2, 3, 26])
    async def test_they_are_listed_newest_first_in_pages_without_a_gap(self, till: Till, ended: int) -> None:
        """Those that run and those that ended, mixed: every n-th has ended."""
        for number in range(25):
            till.reserve(f"req_{number:02}", hold(1))
        for number in range(0, 25, ended):
            till.settle(f"req_{number:02}", 1)
        await till.flush()
        seen: list[str] = []
        before: str | None = None
        while page := await till.store.records.decisions(DecisionFilter(before=before, limit=10)):
            seen += [each.decision.request_id for each in page]
            before = seen[-1]
            assert len(page) <= 10
        assert seen == [f"req_{number:02}" for number in reversed(range(25))]

    @pytest.mark.parametrize(
        ("wanted", "found"),
        [
            (DecisionFilter(), ["req_4", "req_3", "req_2", "req_1"]),
            (DecisionFilter(principal="bob"), ["req_2"]),
            (DecisionFilter(agent="helper"), ["req_3"]),
            (DecisionFilter(session="run-8"), ["req_3"]),
            (DecisionFilter(model="other"), ["req_2"]),
            (DecisionFilter(outcome="deny"), ["req_4"]),
            (DecisionFilter(state=CallState.DENIED), ["req_4"]),
            (DecisionFilter(state=CallState.SETTLED), ["req_1"]),
            (DecisionFilter(state=CallState.PENDING), ["req_3", "req_2"]),
            (DecisionFilter(since=Instant(NOON + 2)), ["req_4", "req_3"]),
            (DecisionFilter(until=Instant(NOON + 2)), ["req_2", "req_1"]),
            (DecisionFilter(principal="alice", state=CallState.PENDING), ["req_3"]),
            (DecisionFilter(principal="alice", before="req_3"), ["req_1"]),
            (DecisionFilter(principal="nobody"), []),
            (DecisionFilter(limit=1), ["req_4"]),
        ],
    )
    async def test_they_are_found_by_what_they_are(
        self, till: Till, wanted: DecisionFilter, found: list[str]
    ) -> None:
        # Nobody is told of a denial: it comes first, so that it is stored when the others are.
        till.store.records.record_denial(decision("req_4", Instant(NOON + 3), agent=None, outcome="deny"))
        till.reserve("req_1", hold(1), told_of=decision("req_1", NOON))
        till.settle("req_1", 1)
        till.reserve(
            "req_2", hold(1), told_of=decision("req_2", Instant(NOON + 1), principal="bob", model="other")
        )
        till.reserve(
            "req_3", hold(1), told_of=decision("req_3", Instant(NOON + 2), agent="helper", session="run-8")
        )
        await till.flush()
        listed = await till.store.records.decisions(wanted)
        assert [each.decision.request_id for each in listed] == found


class TestUsage:
    async def fill(self, till: Till) -> None:
        calls = (
            ("req_1", "alice", "nightly", "stub-model", 0, 5),
            ("req_2", "alice", None, "stub-model", 0, 7),
            ("req_3", "bob", "nightly", "other", 1, 30),
            ("req_4", "bob", "nightly", "stub-model", 2, 2),
        )
        for request_id, principal, agent, model, hours, cost in calls:
            made = decision(
                request_id,
                Instant(NOON + hours * HOUR_NS + 1),
                principal=principal,
                agent=agent,
                model=model,
            )
            till.reserve(request_id, hold(cost), told_of=made)
            till.settle(request_id, cost, tokens=(cost, 1))
        await till.flush()

    async def test_without_a_group_there_is_one_sum_even_of_nothing(self, till: Till) -> None:
        assert await till.store.records.usage(*EVER, ()) == [UsageTotals({}, *[0] * 10)]
        await self.fill(till)
        (total,) = await till.store.records.usage(*EVER, ())
        assert (total.requests, total.cost, total.input_tokens, total.output_tokens) == (4, 44, 44, 4)
        await assert_books_agree(till)

    @pytest.mark.parametrize(
        ("group", "sums"),
        [
            (("principal",), [(("bob",), 32), (("alice",), 12)]),
            (("agent",), [(("nightly",), 37), (("",), 7)]),
            (("model",), [(("other",), 30), (("stub-model",), 14)]),
            (("provider",), [(("stub",), 44)]),
            (
                ("hour",),
                [((str(NOON + HOUR_NS),), 30), ((str(NOON),), 12), ((str(NOON + 2 * HOUR_NS),), 2)],
            ),
            (
                ("principal", "model"),
                [(("bob", "other"), 30), (("alice", "stub-model"), 12), (("bob", "stub-model"), 2)],
            ),
        ],
    )
    async def test_groups_are_summed_the_dearest_first(
        self, till: Till, group: tuple[str, ...], sums: list[tuple[tuple[str, ...], int]]
    ) -> None:
        await self.fill(till)
        found = await till.store.records.usage(*EVER, group)
        assert [(tuple(each.group.values()), each.cost) for each in found] == sums
        assert all(tuple(each.group) == group for each in found)

    async def test_groups_of_the_same_cost_are_in_the_order_of_their_names(self, till: Till) -> None:
        for name in ("carol", "alice", "bob"):
            till.reserve(f"req_{name}", hold(5), told_of=decision(f"req_{name}", principal=name))
            till.settle(f"req_{name}", 5)
        await till.flush()
        found = await till.store.records.usage(*EVER, ("principal",))
        assert [each.group["principal"] for each in found] == ["alice", "bob", "carol"]

    async def test_hours_are_counted_from_the_first_up_to_the_last(self, till: Till) -> None:
        await self.fill(till)
        (total,) = await till.store.records.usage(NOON, Instant(NOON + HOUR_NS), ())
        assert total.cost == 12
        (total,) = await till.store.records.usage(Instant(NOON + HOUR_NS), Instant(NOON + 2 * HOUR_NS), ())
        assert total.cost == 30
        assert await till.store.records.usage(Instant(0), NOON, ("principal",)) == []

    async def test_a_call_belongs_to_the_hour_it_was_reserved_in(self, till: Till) -> None:
        """P2."""
        till.reserve("req_1", hold(5))
        till.clock.advance(2 * 3600)
        till.settle("req_1", 5)
        await till.flush()
        (row,) = await till.store.records.usage(*EVER, ("hour",))
        assert row.group["hour"] == str(NOON)

    async def test_an_unknown_group_is_refused(self, till: Till) -> None:
        with pytest.raises(ValueError, match=r"session.*hour, principal, agent, model, provider"):
            await till.store.records.usage(*EVER, ("session",))


class TestAccounts:
    async def test_the_accounts_of_a_policy_are_listed_the_newest_window_first(self, till: Till) -> None:
        tomorrow = account(entity="bob")._replace(window_start=account().window_start + 24 * HOUR_NS)
        till.reserve("req_1", hold(5, None, account(entity="carol")), hold(9, None, account("other")))
        till.reserve("req_2", hold(7), hold(3, None, tomorrow, window_end=tomorrow.window_start + 1))
        till.settle("req_1", 4)
        await till.flush()
        found = await till.store.records.accounts("daily")
        assert [(each.key, each.balance) for each in found] == [
            (tomorrow, Balance(0, 3, 0, 3)),
            (account(), Balance(0, 7, 0, 7)),
            (account(entity="carol"), Balance(4, 0, 4, 0)),
        ]
        assert found[0].window_end == tomorrow.window_start + 1
        assert await till.store.records.accounts("none") == []


class TestPolicies:
    async def test_a_policy_is_read_back_as_it_was_saved(self, till: Till) -> None:
        saved = replace(policy(3), created_by="key-0")
        await till.store.records.save_policy(saved, AUDIT)
        assert await till.store.records.policies() == [saved]

    async def test_the_newest_version_is_the_policy(self, till: Till) -> None:
        records = till.store.records
        assert await records.policy_version("daily") == 0
        for version, limit in ((1, "5.00"), (2, "6.00")):
            await records.save_policy(policy(version, limit), AUDIT)
            assert await records.policy_version("daily") == version
        await records.save_policy(policy(policy_id="another"), AUDIT)
        assert await records.policies() == [policy(policy_id="another"), policy(2, "6.00")]

    async def test_a_deleted_policy_is_gone_and_its_versions_are_not_used_again(self, till: Till) -> None:
        records = till.store.records
        await records.save_policy(policy(1), AUDIT)
        await records.save_policy(policy(2), AUDIT)
        await records.delete_policy("daily", AUDIT)
        assert await records.policies() == []
        assert await records.policy_version("daily") == 2
        await records.save_policy(policy(3, "7.00"), AUDIT)
        assert await records.policies() == [policy(3, "7.00")]

    async def test_who_gives_up_waiting_does_not_undo_a_change(self, till: Till) -> None:
        saving = asyncio.create_task(till.store.records.save_key(key(), AUDIT))
        await asyncio.sleep(0)
        saving.cancel()
        till.reserve("req_1", hold(1))
        await till.flush()
        assert till.errors() == []
        await till.store.records.save_key(key("key-8"), AUDIT)
        assert key("key-8") in await till.store.records.keys()

    async def test_deleting_what_is_not_there_changes_nothing(self, till: Till) -> None:
        await till.store.records.save_policy(policy(), AUDIT)
        await till.store.records.delete_policy("other", AUDIT)
        assert await till.store.records.policies() == [policy()]

    async def test_a_version_cannot_be_written_twice_and_calls_go_on(self, till: Till) -> None:
        records = till.store.records
        await records.save_policy(policy(1), AUDIT)
        till.reserve("req_1", hold(1))
        till.settle("req_1", 1)
        with pytest.raises(LedgerUnavailable):
            await records.save_policy(policy(1, "9.00"), AUDIT)
        till.reserve("req_2", hold(1))
        await till.flush()
        assert till.errors() == []
        assert await records.policies() == [policy(1)]
        await assert_books_agree(till)


class TestKeys:
    async def test_a_key_is_read_back_as_it_was_saved(self, till: Till) -> None:
        await till.store.records.save_key(key("key-8"), AUDIT)
        await till.store.records.save_key(key("key-7"), AUDIT)
        assert await till.store.records.keys() == [key("key-7"), key("key-8")]

    async def test_a_revocation_replaces_the_key(self, till: Till) -> None:
        await till.store.records.save_key(key(), AUDIT)
        await till.store.records.save_key(key(revoked_at=NOON), AUDIT)
        assert await till.store.records.keys() == [key(revoked_at=NOON)]
