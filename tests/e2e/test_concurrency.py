"""L1, L5, V1: a thousand calls at once never spend more than the budget, by the provider's own count."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import pytest

from conftest import DaemonFactory
from harness import raw
from harness.daemon import Api, DaemonProcess, budget, config, eventually, poll
from harness.gate import Gate
from harness.ledger import settlement_of
from harness.raw import KeepAlive, Reply
from harness.script import Answer, Call, absent, held, less, more
from harness.stub import Stub
from harness.talk import (
    CHAT,
    balance,
    chat,
    code,
    detail,
    held_by,
    input_bound,
    only_account,
    request_id,
    spent,
)
from palyra.core.money import format_usd

CALLS = 1_000
WORTH = 137
DEADLINE_S = 60.0
LIMIT = 30_000_000
"""Of the runs in which calls keep coming: 0.03 USD, some 15,000 output tokens."""

Watch = Callable[[], None]


def body_of(number: int) -> dict[str, object]:
    """Every second call streams; all bodies have the same length, so all calls hold the same."""
    streams = number % 2 == 1
    return chat(stream=streams, user="x" if streams else "")


async def probe(daemon: DaemonProcess, key: str, stub: Stub) -> tuple[int, int]:
    """What one call holds, in nano-USD and in input tokens; the stub then forgets it."""
    replies = [await raw.call(daemon.url, CHAT, json_body=body_of(number), key=key) for number in (0, 1)]
    holds = {(held_by(daemon.api, reply), input_bound(daemon.api, reply)) for reply in replies}
    assert len(holds) == 1, holds
    stub.calls.clear()
    return holds.pop()


async def fire(
    daemon: DaemonProcess,
    key: str,
    gate: Gate,
    labels: Sequence[Mapping[str, str]] = ({},),
    once_decided: Watch = lambda: None,
) -> list[Reply]:
    """All calls at once. The stub holds its answers until each call is either there or refused."""
    refused = 0

    async def one(number: int) -> Reply:
        nonlocal refused
        reply = await raw.call(
            daemon.url,
            CHAT,
            json_body=body_of(number),
            key=key,
            headers=labels[number % len(labels)],
            deadline_s=DEADLINE_S,
        )
        refused += reply.status == 402
        return reply

    burst = asyncio.create_task(raw.burst(CALLS, one))
    await eventually(lambda: refused + gate.arrived >= CALLS, "a decision on every call", DEADLINE_S)
    await asyncio.to_thread(once_decided)
    gate.open()
    return await burst


def settled(api: Api, policy_id: str) -> list[Mapping[str, object]]:
    """The accounts of a policy once they hold nothing (V1)."""
    return cast(
        "list[Mapping[str, object]]",
        poll(
            lambda: api.accounts(policy_id),
            lambda accounts: all(balance(each)[1] == 0 for each in accounts),
            DEADLINE_S,
            f"an end of all holds on {policy_id}",
        ),
    )


@pytest.fixture
def daemon(daemon_factory: DaemonFactory, stub: Stub) -> DaemonProcess:
    return daemon_factory(config(stub.url))


async def test_a_thousand_calls_at_once_get_exactly_what_the_budget_pays_for(
    daemon: DaemonProcess, stub: Stub
) -> None:
    key = daemon.create_key("alice")
    hold, tokens = await probe(daemon, key, stub)
    daemon.api.post("/budgets", budget("all", format_usd(WORTH * hold)))
    gate = Gate()
    stub.script = Answer(usage=held(tokens), gate=gate)

    def full() -> None:
        assert balance(only_account(daemon.api, "all")) == (0, WORTH * hold)

    replies = await fire(daemon, key, gate, once_decided=full)

    served = [reply for reply in replies if reply.status == 200]
    refused = [reply for reply in replies if reply.status == 402]
    assert (len(served), len(refused)) == (WORTH, CALLS - WORTH)
    assert {code(reply) for reply in refused} == {"budget_exceeded"}
    assert all(reply.complete for reply in replies)
    assert len(stub.generations) == WORTH
    assert spent(stub) == WORTH * hold
    assert {balance(each) for each in settled(daemon.api, "all")} == {(WORTH * hold, 0)}


@pytest.mark.sqlite
async def test_with_five_overlapping_budgets_a_denial_changes_no_counter(
    daemon: DaemonProcess, stub: Stub
) -> None:
    key = daemon.create_key("alice")
    hold, tokens = await probe(daemon, key, stub)
    scopes = {
        "session": ("session:*", "total", 30),
        "agent": ("agent:*", "week", 50),
        "principal-day": ("principal:*", "day", WORTH),
        "principal-month": ("principal:*", "month", 150),
        "everything": ("global", "total", 140),
    }
    for policy_id, (scope, interval, worth) in scopes.items():
        limit = format_usd(worth * hold)
        daemon.api.post("/budgets", budget(policy_id, limit, scope=scope, interval=interval))
    # Half of the calls belong to one session, whose budget is full long before the others deny as well.
    labels = [
        {"x-palyra-session": f"s{number % 10 if number % 2 else 0}", "x-palyra-agent": f"a{number % 3}"}
        for number in range(30)
    ]
    gate = Gate()
    stub.script = Answer(usage=held(tokens), gate=gate)
    while_held: dict[str, list[tuple[int, int]]] = {}

    def look() -> None:
        for policy_id in scopes:
            while_held[policy_id] = [balance(each) for each in daemon.api.accounts(policy_id)]

    replies = await fire(daemon, key, gate, labels, look)

    admitted = [number for number, reply in enumerate(replies) if reply.status == 200]
    assert len(admitted) == WORTH
    assert spent(stub) == WORTH * hold
    for policy_id, (_, _, worth) in scopes.items():
        assert sum(posted for posted, _ in while_held[policy_id]) == 0
        assert sum(on_hold for _, on_hold in while_held[policy_id]) == WORTH * hold
        assert all(on_hold <= worth * hold for _, on_hold in while_held[policy_id])
        assert sum(balance(each)[0] for each in settled(daemon.api, policy_id)) == WORTH * hold
    running = Counter(labels[number % len(labels)]["x-palyra-session"] for number in admitted)
    assert running["s0"] == 30
    by_session = {each["entity"]: balance(each)[0] // hold for each in daemon.api.accounts("session")}
    assert by_session == running
    deciding = {detail(reply)["policy_id"] for reply in replies if reply.status == 402}
    assert {"session", "principal-day"} <= deciding


async def keep_calling(daemon: DaemonProcess, key: str, max_tokens: int, at_once: int) -> list[Reply]:
    """Workers call until they are refused; in the end one alone does, when nothing is held any more."""
    replies: list[Reply] = []
    connections = KeepAlive(daemon.url, key)

    async def worker() -> None:
        while True:
            reply = await connections.call(CHAT, chat(max_tokens, stream=len(replies) % 2 == 0))
            replies.append(reply)
            if reply.status != 200:
                return

    await asyncio.gather(*(worker() for _ in range(at_once)))
    await asyncio.to_thread(settled, daemon.api, "all")
    await worker()
    connections.close()
    return replies


async def test_calls_that_use_less_fill_the_budget_and_never_exceed_it(
    daemon_factory: DaemonFactory, stub: Stub
) -> None:
    daemon = daemon_factory(config(stub.url, budgets=[budget("all", format_usd(LIMIT))]))
    stub.script = Answer(usage=less(by=50))

    replies = await keep_calling(daemon, daemon.create_key(), max_tokens=1_000, at_once=24)

    assert {reply.status for reply in replies} == {200, 402}
    assert any(reply.header("x-palyra-clamped-max-tokens") for reply in replies)
    assert LIMIT * 95 // 100 <= spent(stub) <= LIMIT
    ((posted, on_hold),) = [balance(each) for each in settled(daemon.api, "all")]
    assert (posted, on_hold) == (spent(stub), 0)


async def test_calls_that_report_no_usage_are_estimated_never_zero_and_never_over(
    daemon_factory: DaemonFactory, stub: Stub
) -> None:
    daemon = daemon_factory(config(stub.url, budgets=[budget("all", format_usd(LIMIT))]))
    stub.script = Answer(usage=absent, chunks=40)

    replies = await keep_calling(daemon, daemon.create_key(), max_tokens=1_000, at_once=24)

    served = [reply for reply in replies if reply.status == 200]
    assert replies[-1].status == 402
    endings = [settlement_of(daemon.api, request_id(reply)) for reply in served]
    assert {ending["source"] for ending in endings} == {"estimated"}
    costs = [cast("int", ending["cost_nano_usd"]) for ending in endings]
    assert min(costs) > 0
    ((posted, on_hold),) = [balance(each) for each in settled(daemon.api, "all")]
    assert (posted, on_hold) == (sum(costs), 0)
    assert LIMIT // 2 < posted <= LIMIT


async def test_calls_that_use_more_than_held_at_once_are_posted_in_full(
    daemon: DaemonProcess, stub: Stub
) -> None:
    key = daemon.create_key()
    hold, _ = await probe(daemon, key, stub)
    daemon.api.post("/budgets", budget("all", format_usd(WORTH * hold)))
    gate = Gate()

    def greedy(call: Call) -> Answer:
        return Answer(usage=more(by=100), gate=gate)

    stub.script = greedy

    replies = await fire(daemon, key, gate)

    served = [reply for reply in replies if reply.status == 200]
    assert len(served) == WORTH
    assert spent(stub) > WORTH * hold
    assert {balance(each) for each in settled(daemon.api, "all")} == {(spent(stub), 0)}
    assert settlement_of(daemon.api, request_id(served[0]))["overrun"] is True
    after = await raw.call(daemon.url, CHAT, json_body=body_of(0), key=key)
    assert (after.status, len(stub.generations)) == (402, WORTH)
