"""L1 among gateways: together they never spend more than a budget, by the provider's own count."""

import asyncio
import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import cast

import httpx2
import pytest

from harness import raw
from harness.daemon import DaemonProcess, budget, config, eventually, poll
from harness.fleet import Fleet
from harness.gate import Gate
from harness.postgres import new_database
from harness.raw import Reply
from harness.script import Answer, held
from harness.stub import Stub
from harness.talk import CHAT, balance, chat, code, held_by, input_bound, spent
from palyra.cli.database_server import PostgresServer
from palyra.core.money import format_usd

GATEWAYS = 4
CALLS_EACH = 150
CALLS_EACH_LONG = 500
WORTH = 137
DEADLINE_S = 60.0

FleetFactory = Callable[..., Fleet]


@pytest.fixture
def fleet_of(tmp_path: Path, stub: Stub) -> Iterator[FleetFactory]:
    """``fleet_of(n, slices=False, …)``: n gateways on a new database.

    A gateway of a busy machine may be silent for seconds: a short lease is for tests in which one dies.
    """
    made: list[Fleet] = []

    def start(count: int, *, database: str | None = None, **scale: object) -> Fleet:
        fleet = Fleet(tmp_path, config(stub.url), database or new_database(), {"lease_s": 10.0, **scale})
        made.append(fleet)
        return fleet.start(count)

    yield start
    for fleet in made:
        fleet.close()


async def probe(fleet: Fleet, stub: Stub) -> tuple[int, int]:
    """What one call holds, in nano-USD and in input tokens; the stub then forgets it."""
    key = fleet.create_key("probe")
    reply = await raw.call(fleet.alive[0].url, CHAT, json_body=chat(), key=key)
    found = held_by(fleet.api, reply), input_bound(fleet.api, reply)
    stub.calls.clear()
    return found


async def fire(
    fleet: Fleet,
    key: str,
    gate: Gate,
    calls: int = CALLS_EACH,
    labels: Mapping[str, str] | None = None,
) -> list[Reply]:
    """So many calls at each gateway, all at once; the stub answers when each is either there or refused."""
    gateways, refused = fleet.alive, 0

    async def one(number: int) -> Reply:
        nonlocal refused
        url = gateways[number % len(gateways)].url
        reply = await raw.call(
            url, CHAT, json_body=chat(), key=key, headers=labels or {}, deadline_s=DEADLINE_S
        )
        refused += reply.status != 200
        return reply

    total = calls * len(gateways)
    burst = asyncio.create_task(raw.burst(total, one))
    await eventually(lambda: refused + gate.arrived >= total, "a decision on every call", DEADLINE_S)
    gate.open()
    return await burst


def accounts_at_rest(fleet: Fleet, policy_id: str) -> list[Mapping[str, object]]:
    """The accounts of a policy once nothing is held and no slice is out (V1)."""
    return cast(
        "list[Mapping[str, object]]",
        poll(
            lambda: fleet.api.accounts(policy_id),
            lambda found: all(balance(each)[1] == 0 and each["sliced_nano_usd"] == 0 for each in found),
            DEADLINE_S,
            f"an end of all holds and slices of {policy_id}",
        ),
    )


@pytest.mark.parametrize("slices", [True, False])
async def test_four_gateways_admit_exactly_what_the_budget_pays_for(
    fleet_of: FleetFactory, stub: Stub, slices: bool
) -> None:
    fleet = fleet_of(GATEWAYS, slices=slices)
    hold, tokens = await probe(fleet, stub)
    fleet.set_budget(budget("each", format_usd(WORTH * hold), scope="principal:*"))
    key = fleet.create_key("alice")
    gate = Gate()
    stub.script = Answer(usage=held(tokens), gate=gate)

    replies = await fire(fleet, key, gate)

    served = [reply for reply in replies if reply.status == 200]
    refused = [reply for reply in replies if reply.status == 402]
    assert (len(served), len(refused)) == (WORTH, len(replies) - WORTH)
    assert {code(reply) for reply in refused} == {"budget_exceeded"}
    assert len(stub.generations) == WORTH
    assert spent(stub) == WORTH * hold
    found = [balance(each) for each in accounts_at_rest(fleet, "each") if each["entity"] == "alice"]
    assert found == [(WORTH * hold, 0)]


@pytest.mark.soak
@pytest.mark.parametrize("budgets", [1, 5])
@pytest.mark.parametrize("slices", [True, False])
async def test_fifty_rounds_admit_exactly_what_the_budget_pays_for(
    fleet_of: FleetFactory, stub: Stub, slices: bool, budgets: int
) -> None:
    """Each round is another principal with budgets of its own; two of them have gateways killed and added."""
    fleet = fleet_of(GATEWAYS, slices=slices, lease_s=2.0)
    hold, tokens = await probe(fleet, stub)
    scopes = ("principal:*", "agent:*", "session:*", "principal:*", "agent:*")[:budgets]
    intervals = ("day", "week", "total", "month", "hour")
    for number, scope in enumerate(scopes):
        limit = format_usd((WORTH + number) * hold)
        fleet.set_budget(budget(f"b{number}", limit, scope=scope, interval=intervals[number]))
    for number in range(50):
        name = f"p{number}"
        key = fleet.create_key(name, agent=name)
        gate = Gate()
        stub.calls.clear()
        stub.script = Answer(usage=held(tokens), gate=gate)

        replies = await fire(fleet, key, gate, CALLS_EACH_LONG, {"x-palyra-session": name})

        assert sum(reply.status == 200 for reply in replies) == WORTH
        assert {reply.status for reply in replies} == {200, 402}
        assert spent(stub) == WORTH * hold
        for policy in range(budgets):
            found = [each for each in accounts_at_rest(fleet, f"b{policy}") if each["entity"] == name]
            assert [balance(each) for each in found] == [(WORTH * hold, 0)]
        if number in (15, 30):
            fleet.alive[-1].kill9()
            await asyncio.to_thread(fleet.add)


async def test_with_five_overlapping_budgets_the_tightest_decides(fleet_of: FleetFactory, stub: Stub) -> None:
    fleet = fleet_of(3)
    hold, tokens = await probe(fleet, stub)
    scopes = {
        "session": ("session:*", "total", 150),
        "agent": ("agent:*", "week", 150),
        "principal-day": ("principal:*", "day", WORTH),
        "principal-month": ("principal:*", "month", 150),
        "everything": ("global", "total", 140),
    }
    for policy_id, (scope, interval, worth) in scopes.items():
        fleet.set_budget(budget(policy_id, format_usd(worth * hold), scope=scope, interval=interval))
    key = fleet.create_key("alice", agent="nightly")
    gate = Gate()
    stub.script = Answer(usage=held(tokens), gate=gate)

    replies = await fire(fleet, key, gate)

    served = [reply for reply in replies if reply.status == 200]
    assert len(served) == len(stub.generations) == WORTH
    assert spent(stub) == WORTH * hold
    for policy_id in scopes:
        assert sum(balance(each)[0] for each in accounts_at_rest(fleet, policy_id)) == WORTH * hold


async def test_gateways_that_come_and_die_under_load_never_spend_more(
    fleet_of: FleetFactory, stub: Stub
) -> None:
    """Judged by the provider's own count: a call that was sent is paid for, whoever sent it."""
    fleet = fleet_of(3, lease_s=1.0)
    hold, tokens = await probe(fleet, stub)
    worth = 400
    fleet.set_budget(budget("each", format_usd(worth * hold), scope="principal:*"))
    key = fleet.create_key("alice")
    stub.script = Answer(usage=held(tokens))
    numbers, refused_in_a_row, served = itertools.count(), 0, 0

    async def caller() -> None:
        nonlocal refused_in_a_row, served
        while refused_in_a_row < 200:
            alive = fleet.alive
            gateway = alive[next(numbers) % len(alive)]
            try:
                reply = await raw.call(gateway.url, CHAT, json_body=chat(), key=key, deadline_s=10.0)
            except (OSError, AssertionError, EOFError):
                continue
            served += reply.status == 200
            refused_in_a_row = 0 if reply.status == 200 else refused_in_a_row + (reply.status == 402)

    async def come_and_go() -> None:
        for wanted in (80, 160, 240):
            await eventually(lambda wanted=wanted: served >= wanted, f"{wanted} answers", DEADLINE_S)
            fleet.alive[-1].kill9()
            await asyncio.to_thread(fleet.add)

    await asyncio.gather(come_and_go(), *(caller() for _ in range(16)))
    # What the dead had claimed comes back when their leases end, and can be spent then.
    await asyncio.to_thread(accounts_at_rest, fleet, "each")
    refused_in_a_row = 199
    await caller()

    found = [balance(each) for each in accounts_at_rest(fleet, "each") if each["entity"] == "alice"]
    assert spent(stub) <= worth * hold
    assert served * hold <= spent(stub)
    assert found == [(worth * hold, 0)]


async def test_a_gateway_stopped_past_its_lease_refuses_when_it_wakes(
    fleet_of: FleetFactory, stub: Stub
) -> None:
    fleet = fleet_of(2, lease_s=1.0)
    hold, tokens = await probe(fleet, stub)
    worth = 60
    fleet.set_budget(budget("each", format_usd(worth * hold), scope="principal:*"))
    key = fleet.create_key("alice")
    stub.script = Answer(usage=held(tokens))
    stopped, other = fleet.gateways
    for _ in range(30):  # so that it has a slice of what is left
        await raw.call(stopped.url, CHAT, json_body=chat(), key=key)
    stopped.signal(signal.SIGSTOP)
    try:
        statuses: list[int] = []
        while len(stub.generations) < worth:
            reply = await raw.call(other.url, CHAT, json_body=chat(), key=key)
            statuses.append(reply.status)
        assert set(statuses) <= {200, 402}
    finally:
        stopped.signal(signal.SIGCONT)
    replies = [await raw.call(stopped.url, CHAT, json_body=chat(), key=key) for _ in range(5)]
    assert {reply.status for reply in replies} <= {402, 503}
    assert len(stub.generations) == worth
    await eventually(
        lambda: httpx2.get(f"{stopped.url}/readyz").status_code == 200, "the woken gateway to start anew"
    )
    reply = await raw.call(stopped.url, CHAT, json_body=chat(), key=key)
    assert (reply.status, code(reply)) == (402, "budget_exceeded")
    assert spent(stub) == worth * hold


async def test_a_database_that_restarts_stops_calls_for_a_moment_and_loses_none(
    fleet_of: FleetFactory, stub: Stub, tmp_path: Path
) -> None:
    server = PostgresServer(tmp_path / "own" / "data").start()
    try:
        fleet = fleet_of(2, database=server.url, lease_s=10.0)
        hold, tokens = await probe(fleet, stub)
        fleet.set_budget(budget("each", format_usd(1_000 * hold), scope="principal:*"))
        key = fleet.create_key("alice")
        gate = Gate()
        stub.script = Answer(usage=held(tokens), gate=gate)
        under_way = [
            asyncio.create_task(raw.call(each.url, CHAT, json_body=chat(), key=key, deadline_s=DEADLINE_S))
            for each in fleet.gateways * 5
        ]
        await eventually(lambda: gate.arrived == 10, "the calls at the provider")
        server.kill()
        reply = await raw.call(fleet.gateways[0].url, CHAT, json_body=chat(), key=key, deadline_s=20.0)
        assert (reply.status, code(reply), reply.header("retry-after")) == (503, "ledger_unavailable", "5")
        gate.open()
        await asyncio.to_thread(server.start)
        replies = await asyncio.gather(*under_way)
        assert {each.status for each in replies} == {200}
        stub.script = Answer(usage=held(tokens))
        for gateway in fleet.gateways:
            await eventually(
                lambda gateway=gateway: httpx2.get(f"{gateway.url}/readyz").status_code == 200, "readiness"
            )
            assert (await raw.call(gateway.url, CHAT, json_body=chat(), key=key)).status == 200
        found = [balance(each) for each in accounts_at_rest(fleet, "each") if each["entity"] == "alice"]
        assert found == [(12 * hold, 0)]
    finally:
        server.remove()


class TestRules:
    async def test_a_revoked_key_stops_everywhere_within_a_second(
        self, fleet_of: FleetFactory, stub: Stub
    ) -> None:
        fleet = fleet_of(2)
        key = fleet.create_key("alice")
        key_id = next(each["id"] for each in listed(fleet, "keys") if each["principal"] == "alice")
        first, second = fleet.gateways
        revoked = time.monotonic()
        assert fleet.api_of(first).request("DELETE", f"/keys/{key_id}").is_success
        assert (await raw.call(first.url, CHAT, json_body=chat(), key=key)).status == 401
        while (await raw.call(second.url, CHAT, json_body=chat(), key=key)).status != 401:
            assert time.monotonic() - revoked < 1.0

    async def test_an_edit_made_at_one_gateway_conflicts_with_an_older_one_at_another(
        self, fleet_of: FleetFactory
    ) -> None:
        fleet = fleet_of(2)
        fleet.set_budget(budget("all", "5.00"))
        first, second = (fleet.api_of(each) for each in fleet.gateways)
        versions: list[int] = []
        for api, limit in ((first, "6.00"), (second, "7.00"), (first, "8.00")):
            versions.append(
                cast("int", api.request("PUT", "/budgets/all", budget("all", limit)).json()["version"])
            )
        assert versions == [2, 3, 4]
        stale = httpx2.put(
            f"{second.url}/api/v1/budgets/all",
            json=budget("all", "9.00"),
            headers={"authorization": f"Bearer {second.key}", "if-match": '"3"'},
        )
        assert stale.status_code == 412

    async def test_gateways_that_start_at_once_make_one_owner(self, tmp_path: Path, stub: Stub) -> None:
        database = new_database(empty=True)
        fleets = [Fleet(tmp_path / str(number), config(stub.url), database) for number in range(3)]
        try:
            await asyncio.gather(*(asyncio.to_thread(fleet.start, 1) for fleet in fleets))
            owners = [fleet.owner_key for fleet in fleets if fleet.owner_key]
            assert len(owners) == 1
            for fleet in fleets:
                fleet.owner_key = owners[0]
                poll(
                    lambda fleet=fleet: fleet.api.request("GET", "/keys").status_code,
                    lambda s: s == 200,
                    2,
                    "it",
                )
        finally:
            for fleet in fleets:
                fleet.close()


class TestIdempotency:
    async def test_one_key_has_one_effect_over_all_gateways(self, fleet_of: FleetFactory, stub: Stub) -> None:
        """K1. The answer itself is with the gateway that gave it."""
        fleet = fleet_of(3)
        key = fleet.create_key("alice")
        gate = Gate()
        stub.script = Answer(gate=gate)

        async def repeat(number: int) -> Reply:
            url = fleet.gateways[number % 3].url
            return await raw.call(
                url, CHAT, json_body=chat(), key=key, headers={"idempotency-key": "one"}, deadline_s=20.0
            )

        burst = asyncio.create_task(raw.burst(30, repeat))
        await eventually(lambda: gate.arrived == 1, "the first of them")
        await asyncio.sleep(0)
        gate.open()
        replies = await burst
        assert len(stub.generations) == 1
        assert {reply.status for reply in replies} <= {200, 409}
        for number in range(3):
            later = await repeat(number)
            assert later.status in (200, 409)
        assert len(stub.generations) == 1
        other = await raw.call(
            fleet.gateways[1].url,
            CHAT,
            json_body=chat(8),
            key=key,
            headers={"idempotency-key": "one"},
        )
        assert (other.status, code(other)) == (422, "idempotency_mismatch")


async def test_workers_share_one_port_and_a_dead_one_is_replaced(tmp_path: Path, stub: Stub) -> None:
    settings = config(stub.url, server={"database": new_database(), "workers": 3}, scale={"lease_s": 1.0})
    daemon = DaemonProcess(tmp_path, settings).start()
    try:
        pids = poll(lambda: children_of(daemon), lambda found: len(found) == 3, 30.0, "three workers")
        key = daemon.create_key("alice")
        await eventually(lambda: statuses(daemon, key) == {200}, "a key that all workers know")
        os.kill(pids[-1], signal.SIGKILL)
        poll(
            lambda: children_of(daemon),
            lambda found: len(found) == 3 and pids[-1] not in found,
            30.0,
            "another worker",
        )
        replies = await raw.burst(60, lambda _: raw.call(daemon.url, CHAT, json_body=chat(), key=key))
        assert {reply.status for reply in replies} == {200}
        assert daemon.terminate() == 0
        assert children_of(daemon) == []
    finally:
        daemon.close()


def children_of(daemon: DaemonProcess) -> list[int]:
    """The processes of its workers."""
    assert daemon.process is not None
    try:
        text = Path(f"/proc/{daemon.process.pid}/task/{daemon.process.pid}/children").read_text()
    except FileNotFoundError:
        return []
    return [int(pid) for pid in text.split()]


def statuses(daemon: DaemonProcess, key: str) -> set[int]:
    """What ten new connections get."""
    headers = {"authorization": f"Bearer {key}"}
    return {httpx2.get(f"{daemon.url}/v1/models", headers=headers).status_code for _ in range(10)}


def listed(fleet: Fleet, kind: str) -> list[Mapping[str, object]]:
    """What the control plane lists."""
    return cast("list[Mapping[str, object]]", fleet.api.get(f"/{kind}")["items"])
