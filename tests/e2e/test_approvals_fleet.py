"""A1, L1: what people grant lets through that much and no more, on one daemon and at two gateways at once.

Judged by the provider's own count: a call that was sent was let through.
"""

import asyncio
import sqlite3
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from itertools import count
from typing import cast

import pytest

from harness import raw
from harness.daemon import Api, DaemonProcess, config, eventually, poll
from harness.fleet import Fleet
from harness.gate import Gate
from harness.people import allow, asked, asking, await_asks, deny, grant_of, showing, shown
from harness.postgres import new_database
from harness.raw import Reply
from harness.script import Answer, Call, held
from harness.stub import Stub
from harness.talk import CHAT, Document, balance, chat, code, held_by, input_bound, spent
from palyra.core.money import format_usd

ALONE, TOGETHER = "alone", "together"
ROUNDS = 10
CALLS = 50
MANY = 500
LIMIT, EXTRA = 60, 77
DEADLINE_S = 60.0
SOON_S = 2.0
"""Within a second or so, on a busy machine."""

Body = dict[str, object]
_numbers = count(1)


@pytest.fixture(scope="module", params=[ALONE, TOGETHER])
def fleet(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, module_stub: Stub
) -> Iterator[Fleet]:
    """One daemon on a SQLite file, or two gateways on one PostgreSQL."""
    is_alone = request.param == ALONE
    database = "sqlite:///palyra.db" if is_alone else new_database()
    scale = {"lease_s": 10.0}  # nobody's death is waited for, and a busy machine must not be taken for one
    fleet = Fleet(tmp_path_factory.mktemp("fleet"), config(module_stub.url), database, scale)
    yield fleet.start(1 if is_alone else 2)
    fleet.close()


together = pytest.mark.parametrize("fleet", [TOGETHER], indirect=True)


class Spender:
    """Somebody with a budget that asks, whom every gateway knows."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.name = f"s{next(_numbers)}"
        self.key = fleet.create_key(self.name)
        self.policy_id = f"{self.name}-own"

    def budget(self, hard_limit: str | int, **fields: object) -> None:
        """Their only budget; requests a day unless ``fields`` say otherwise."""
        fields = {"scope": f"principal:{self.name}", **fields}
        self.fleet.set_budget(asking(self.policy_id, hard_limit, **fields))

    async def call(self, number: int, body: Body, *ids: str) -> Reply:
        """A call at the gateway whose turn it is."""
        alive = self.fleet.alive
        return await self.call_at(alive[number % len(alive)], body, *ids)

    async def call_at(self, gateway: DaemonProcess, body: Body, *ids: str, wait: bool = False) -> Reply:
        """A call at one gateway, which shows approvals or waits for one."""
        headers = showing(*ids, wait=wait)
        return await raw.call(
            gateway.url, CHAT, json_body=body, key=self.key, headers=headers, deadline_s=DEADLINE_S
        )

    def ask_up_front(self, **amount: object) -> str:
        """Ask for more before a call is stopped; returns the id of the request."""
        api = Api(self.fleet.alive[0].url, self.key)
        path = f"/budgets/{self.policy_id}/override-request"
        return cast("str", api.post(path, {**amount, "reason": "month end"})["id"])

    def await_extra(self, approval_id: str, name: str, extra: int) -> None:
        """Wait until every gateway knows what was granted on top of the limit."""
        for gateway in self.fleet.alive:
            api = self.fleet.api_of(gateway)
            poll(
                lambda api=api: cast("Document", shown(api, approval_id)["budget_now"])[name],
                lambda found: found == extra,
                10.0,
                f"{name} at {gateway.directory.name}",
            )

    def await_use(self, approval_id: str, *, used: bool) -> None:
        """Wait until people see at every gateway whether a grant for one call is used."""
        for gateway in self.fleet.alive:
            api = self.fleet.api_of(gateway)
            poll(
                lambda api=api: grant_of(shown(api, approval_id)),
                lambda found: (found["used"], found["live"]) == (used, not used),
                10.0,
                f"used={used} at {gateway.directory.name}",
            )

    def posted(self, suffix: str = "") -> int:
        """What their account says once nothing is held and no slice is out (V1)."""
        account = poll(
            lambda: self.fleet.api.accounts(self.policy_id)[0],
            lambda found: found[f"held{suffix}"] == found[f"sliced{suffix}"] == 0,
            DEADLINE_S,
            f"an end of all holds and slices of {self.name}",
        )
        return balance(account, suffix)[0]


@pytest.fixture
def spender(fleet: Fleet, shared_stub: Stub) -> Spender:
    """Somebody whose budget is used up: one request a day."""
    spender = Spender(fleet)
    spender.budget(1)
    assert asyncio.run(spender.call(0, chat())).status == 200
    shared_stub.calls.clear()
    return spender


async def at_once(total: int, gate: Gate, make: Callable[[int], Awaitable[Reply]]) -> list[Reply]:
    """So many calls; the stub answers when each is either there or refused."""
    refused = 0

    async def one(number: int) -> Reply:
        nonlocal refused
        reply = await make(number)
        refused += reply.status != 200
        return reply

    burst = asyncio.create_task(raw.burst(total, one))
    await eventually(lambda: refused + gate.arrived >= total, "a decision on every call", DEADLINE_S)
    gate.open()
    return await burst


async def test_grants_for_one_call_let_one_call_each_through_of_fifty_at_once(
    spender: Spender, shared_stub: Stub
) -> None:
    """Half of the calls stream: that is another body, and needs a grant of its own."""
    api, bodies = spender.fleet.api, [chat(stream=streams) for streams in (False, True)]
    ids = [asked(await spender.call(0, body)) for body in bodies]
    for number in range(ROUNDS):
        for approval_id in ids:
            allow(api, approval_id)
        gate = Gate()
        shared_stub.calls.clear()
        shared_stub.script = Answer(gate=gate)

        replies = await at_once(
            CALLS,
            gate,
            lambda call, ids=tuple(ids): spender.call(call // 2, bodies[call % 2], *ids),
        )

        assert sorted(each.stream for each in shared_stub.generations) == [False, True]
        refused = [each for each in replies if each.status != 200]
        assert len(refused) == CALLS - len(ids)
        ids = sorted({asked(each) for each in refused})
        assert len(ids) == 2, "calls with the same body ask for the same"
        assert await asyncio.to_thread(spender.posted) == 1 + 2 * (number + 1)


async def test_a_grant_for_one_call_is_free_again_when_the_provider_refuses_and_never_used_twice_at_once(
    spender: Spender, shared_stub: Stub
) -> None:
    approval_id = asked(await spender.call(0, chat()))
    allow(spender.fleet.api, approval_id)
    refusals = 8
    most_at_once = 0

    def script(call: Call) -> Answer:
        nonlocal most_at_once
        under_way = [each for each in shared_stub.generations if not each.finished]
        most_at_once = max(most_at_once, len(under_way))
        if call.number <= refusals:
            return Answer(status=400, body=b'{"error": {"message": "no"}}', delay_s=0.01)
        return Answer(delay_s=0.01)

    shared_stub.script = script
    first = await spender.call(0, chat(), approval_id)
    await asyncio.to_thread(spender.await_use, approval_id, used=False)

    async def again_and_again(number: int) -> list[int]:
        statuses: list[int] = []
        while len(shared_stub.generations) <= refusals:
            statuses.append((await spender.call(number, chat(), approval_id)).status)
        return statuses

    statuses = sum(await asyncio.gather(*(again_and_again(number) for number in range(16))), list[int]())
    statuses += [(await spender.call(number, chat(), approval_id)).status for number in range(4)]

    statuses.append(first.status)
    assert most_at_once == 1
    assert len(shared_stub.generations) == refusals + 1
    assert (statuses.count(200), statuses.count(400)) == (1, refusals)
    assert set(statuses) == {200, 400, 402}
    assert await asyncio.to_thread(spender.posted) == 2
    await asyncio.to_thread(spender.await_use, approval_id, used=True)


@pytest.mark.parametrize("metric", ["requests", "cost_usd"])
async def test_an_amount_lets_through_the_limit_and_that_amount_of_what_many_want_at_once(
    fleet: Fleet, shared_stub: Stub, metric: str
) -> None:
    spender = Spender(fleet)
    probe = await spender.call(0, chat())
    hold, tokens = held_by(fleet.api, probe), input_bound(fleet.api, probe)
    shared_stub.calls.clear()
    money = metric == "cost_usd"
    limit, extra = (format_usd(each * hold) if money else each for each in (LIMIT, EXTRA))
    await asyncio.to_thread(spender.budget, limit, metric=metric)
    approval_id = spender.ask_up_front(**{"amount_usd" if money else "amount": extra})
    allow(fleet.api, approval_id)
    unit, suffix = (hold, "_nano_usd") if money else (1, "")
    await asyncio.to_thread(spender.await_extra, approval_id, f"extra{suffix}", EXTRA * unit)
    gate = Gate()
    shared_stub.script = Answer(usage=held(tokens), gate=gate)

    replies = await at_once(MANY, gate, lambda number: spender.call(number, chat()))

    assert len(shared_stub.generations) == LIMIT + EXTRA
    assert spent(shared_stub) == (LIMIT + EXTRA) * hold
    refused = [each for each in replies if each.status != 200]
    assert len(refused) == MANY - LIMIT - EXTRA
    assert len({asked(each) for each in refused}) == 1
    assert await asyncio.to_thread(spender.posted, suffix) == (LIMIT + EXTRA) * unit
    document = shown(fleet.api, approval_id)
    assert grant_of(document)[f"extra_used{suffix}"] == EXTRA * unit
    assert cast("Document", document["budget_now"])[f"remaining{suffix}"] == 0
    await asyncio.to_thread(assert_the_journal_is_whole, fleet)


def assert_the_journal_is_whole(fleet: Fleet) -> None:
    """``palyra audit verify`` on the shared database, or on a copy of the file that the daemon has."""
    database = fleet.database
    if database.startswith("sqlite"):
        copy = fleet.directory / "copy.db"
        copy.unlink(missing_ok=True)
        uri = f"{fleet.alive[0].database.as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        database = str(copy)
    arguments = ["-m", "palyra", "audit", "verify", "--database", database, "--json"]
    ran = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@together
class TestTwoGateways:
    async def test_what_is_approved_at_one_can_be_used_at_the_other_at_once(
        self, spender: Spender, shared_stub: Stub
    ) -> None:
        gateways = spender.fleet.alive
        for number in range(ROUNDS):
            here, there = gateways[number % 2], gateways[1 - number % 2]
            body = chat(user=str(number), stream=number % 3 == 0)
            approval_id = asked(await spender.call(number, body))

            allow(spender.fleet.api_of(here), approval_id)
            reply = await spender.call_at(there, body, approval_id)

            assert reply.status == 200, reply.body
            assert (await spender.call_at(here, body, approval_id)).status == 402
        assert len(shared_stub.generations) == ROUNDS

    @pytest.mark.parametrize("streams", [False, True])
    async def test_a_caller_that_waits_at_one_goes_on_when_somebody_approves_at_the_other(
        self, spender: Spender, shared_stub: Stub, streams: bool
    ) -> None:
        here, there = spender.fleet.alive
        body = chat(stream=streams)
        waiting = asyncio.create_task(spender.call_at(here, body, wait=True))
        (approval_id,) = await asyncio.to_thread(await_asks, spender.fleet.api_of(there), [spender.name], 1)

        await asyncio.to_thread(allow, spender.fleet.api_of(there), approval_id)
        approved = time.monotonic()
        reply = await waiting

        assert reply.status == 200, reply.body
        assert reply.complete
        assert time.monotonic() - approved < SOON_S
        assert len(shared_stub.generations) == 1

    async def test_a_caller_that_waits_at_one_is_told_of_a_denial_at_the_other(
        self, spender: Spender, shared_stub: Stub
    ) -> None:
        here, there = spender.fleet.alive
        waiting = asyncio.create_task(spender.call_at(here, chat(), wait=True))
        (approval_id,) = await asyncio.to_thread(await_asks, spender.fleet.api_of(there), [spender.name], 1)

        await asyncio.to_thread(deny, spender.fleet.api_of(there), approval_id, "too dear")
        denied = time.monotonic()
        reply = await waiting

        assert (reply.status, code(reply)) == (402, "budget_exceeded")
        assert "too dear" in cast("str", reply.error()["message"])
        assert time.monotonic() - denied < SOON_S
        assert shared_stub.generations == []

    async def test_what_is_revoked_at_one_is_refused_at_the_other_within_a_second(
        self, spender: Spender, shared_stub: Stub
    ) -> None:
        here, there = spender.fleet.alive
        approval_id = asked(await spender.call_at(here, chat()))
        allow(spender.fleet.api_of(here), approval_id, grant="amount", amount=100_000)
        assert (await spender.call_at(there, chat(), approval_id)).status == 200

        spender.fleet.api_of(here).post(f"/approvals/{approval_id}/revoke", {"reason": "enough"})
        revoked = time.monotonic()
        assert (await spender.call_at(here, chat())).status == 402
        while (await spender.call_at(there, chat())).status != 402:
            assert time.monotonic() - revoked < 1.0
        admitted = len(shared_stub.generations)
        replies = [await spender.call(number, chat(), approval_id) for number in range(4)]
        assert {each.status for each in replies} == {402}
        assert len(shared_stub.generations) == admitted

    async def test_of_two_who_approve_at_both_at_once_one_is_told_that_it_is_decided(
        self, spender: Spender, shared_stub: Stub
    ) -> None:
        fleet = spender.fleet
        for number in range(ROUNDS):
            body = chat(user=str(number))
            approval_id = asked(await spender.call(number, body))

            rulings = await asyncio.gather(
                *(
                    raw.call(
                        gateway.url,
                        f"/api/v1/approvals/{approval_id}/decision",
                        json_body={"decision": "allow", "reason": gateway.directory.name},
                        key=fleet.owner_key,
                    )
                    for gateway in fleet.alive
                )
            )

            assert sorted(each.status for each in rulings) == [200, 409], [each.body for each in rulings]
            (won,) = [each.json() for each in rulings if each.status == 200]
            found = [shown(fleet.api_of(each), approval_id) for each in fleet.alive]
            assert {each["decision_reason"] for each in found} == {won["decision_reason"]}
            replies = [await spender.call(each, body, approval_id) for each in (number, number + 1)]
            assert [each.status for each in replies] == [200, 402]
        assert len(shared_stub.generations) == ROUNDS

    async def test_a_caller_whose_gateway_dies_while_it_waits_goes_on_at_the_other(
        self, spender: Spender, shared_stub: Stub
    ) -> None:
        fleet = spender.fleet
        here, there = fleet.alive
        waiting = asyncio.create_task(spender.call_at(there, chat(), wait=True))
        (approval_id,) = await asyncio.to_thread(await_asks, fleet.api_of(here), [spender.name], 1)

        await asyncio.to_thread(there.kill9)
        try:
            assert not (await waiting).complete
            allow(fleet.api_of(here), approval_id)
            replies = [await spender.call_at(here, chat(), approval_id) for _ in range(2)]
        finally:
            await asyncio.to_thread(there.start)
        replies.append(await spender.call_at(there, chat(), approval_id))

        assert [each.status for each in replies] == [200, 402, 402]
        assert len(shared_stub.generations) == 1
