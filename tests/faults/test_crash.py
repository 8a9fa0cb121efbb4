"""C1: kill -9 at any moment under load loses nothing that anybody was told, and counts nothing twice."""

import asyncio
import random
import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from conftest import DaemonFactory
from harness.daemon import DaemonProcess, budget, config
from harness.raw import Reply, call
from harness.script import Answer, Call, fixed
from harness.stub import Stub
from palyra.core.money import parse_usd
from palyra.ledger.event import Reserved, Settled
from palyra.lifecycle.decision import CallState, Settlement, read_settlement
from palyra.store.page import line_of, read_record, unpack
from palyra.store.sqlite import verify

CLIENTS = 12
LOAD_S_MAX = 0.35
RESTART_S = 2.0
BUDGETS = (
    budget("global-day", "1000000.00"),
    budget("each-month", 10**12, scope="principal:*", metric="total_tokens", interval="month"),
    budget("agent-hour", 10**9, scope="agent:*", metric="requests", interval="hour"),
    budget("tried-out", "0.50", mode="dry_run"),
)
PATHS = ("/v1/chat/completions", "/v1/responses", "/v1/messages")


@dataclass(slots=True)
class Seen:
    """What the clients know: ids of calls that got a byte, and costs that were acknowledged in full."""

    ids: set[str] = field(default_factory=set[str])
    costs: dict[str, int] = field(default_factory=dict[str, int])

    def note(self, reply: Reply) -> None:
        """One answer, or as much of it as came."""
        if not reply.status:
            return
        assert reply.status == 200, f"{reply.status} {reply.body!r}"
        request_id = reply.header("x-palyra-request-id")
        assert request_id is not None
        self.ids.add(request_id)
        cost = reply.header("x-palyra-cost-usd")
        if cost is not None and reply.complete:
            self.costs[request_id] = parse_usd(cost)


@dataclass(frozen=True, slots=True)
class Books:
    """The database as it lies on the disk."""

    ends: Mapping[str, tuple[CallState, Settlement | None]]
    posted: Mapping[str, int]
    held: int
    rollups: tuple[int, int, int]
    settles: Sequence[str]

    @classmethod
    def read(cls, path: Path) -> "Books":
        """Read everything in one transaction; a daemon may own the file."""
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            connection.execute("BEGIN")
            pages: dict[int, list[bytes]] = {
                page: unpack(body) for page, body in connection.execute("SELECT page, body FROM documents")
            }
            records = [
                read_record(line)
                for (body,) in connection.execute("SELECT body FROM journal ORDER BY seq")
                for line in unpack(body)
            ]
            ends: dict[str, tuple[CallState, Settlement | None]] = {
                record.id: (CallState.PENDING, None) for record in records if isinstance(record, Reserved)
            }
            for request_id, state, page, place in connection.execute(
                "SELECT request_id, state, end_page, end_place FROM decisions"
            ):
                end = None if page is None else read_settlement(line_of(pages, page, place))
                ends[request_id] = CallState(state), end
            posted = dict(
                connection.execute(
                    "SELECT policy_id, sum(posted) FROM accounts GROUP BY policy_id"
                ).fetchall()
            )
            (held,) = connection.execute(
                "SELECT coalesce(sum(held + abs(shadow_held)), 0) FROM accounts"
            ).fetchone()
            rollups = connection.execute(
                "SELECT coalesce(sum(requests), 0), coalesce(sum(cost), 0), "
                "coalesce(sum(input_tokens + output_tokens), 0) FROM rollups"
            ).fetchone()
            settles = [record.id for record in records if isinstance(record, Settled)]
        return cls(ends, posted, held, rollups, settles)


async def client(url: str, key: str, number: int, seen: Seen) -> None:
    """Call after call, streamed and not, until the daemon is gone."""
    chance = random.Random(number)
    while True:
        path = chance.choice(PATHS)
        body: dict[str, object] = {
            "model": "stub-claude" if path.endswith("messages") else "stub-model",
            "stream": chance.random() < 0.5,
        }
        cap = "max_output_tokens" if path.endswith("responses") else "max_tokens"
        body[cap] = chance.randrange(16, 64)
        if path.endswith("responses"):
            body["input"] = "count to ten"
        else:
            body["messages"] = [{"role": "user", "content": "count to ten"}]
        try:
            reply = await call(
                url, path, json_body=body, key=key, headers={"x-palyra-agent": f"agent-{number % 3}"}
            )
        except OSError:
            return
        seen.note(reply)
        if not reply.complete:
            return


def answer(asked: Call) -> Answer:
    """Different usage for each call, well within every hold, told slowly enough to be killed in between."""
    return Answer(usage=fixed(7 + asked.number % 11, 1 + asked.number % 13), chunks=3, between_s=0.002)


async def killed_under_load(daemon: DaemonProcess, key: str, number: int, seen: Seen) -> None:
    """Let the clients call for a random while, then end the daemon as a power cut would."""
    clients = [
        asyncio.create_task(client(daemon.url, key, number * CLIENTS + each, seen)) for each in range(CLIENTS)
    ]
    await asyncio.sleep(random.Random(number).uniform(0.0, LOAD_S_MAX))
    await asyncio.to_thread(daemon.kill9)
    await asyncio.gather(*clients)


def assert_nothing_was_lost(daemon: DaemonProcess, stub: Stub, seen: Seen) -> None:
    """What the clients and the provider know is in the books that the dead daemon left."""
    verify(daemon.database)
    books = Books.read(daemon.database)
    assert seen.ids <= books.ends.keys(), "D1: a client got a byte of a call that has no reservation"
    for request_id, cost in seen.costs.items():
        state, end = books.ends[request_id]
        assert state is CallState.SETTLED, "D2: a cost was told, and the call is not settled"
        assert end is not None
        assert end.cost == cost, "D2: another cost was told"
    assert len(stub.generations) <= len(books.ends), "D1: the provider got a call that has no reservation"
    assert len(set(books.settles)) == len(books.settles), "L3: settled twice"


def assert_the_books_are_closed(daemon: DaemonProcess, stub: Stub) -> None:
    """After the restart nothing is held, and every sum of the same calls is the same."""
    books = Books.read(daemon.database)
    assert books.held == 0, "V1: something is held, and nothing runs"
    states = {state for state, _ in books.ends.values()}
    assert states <= {CallState.SETTLED, CallState.IN_DOUBT, CallState.RELEASED}
    ends = [end for _, end in books.ends.values() if end is not None and end.usage is not None]
    cost = sum(end.cost or 0 for end in ends)
    tokens = sum(end.usage.input_tokens + end.usage.output_tokens for end in ends if end.usage)
    assert books.rollups == (len(ends), cost, tokens), "L2: the rollups are not the calls"
    if ends:
        assert books.posted["global-day"] == cost, "L2: the balance is not the calls"
        assert books.posted["each-month"] == tokens
        assert books.posted["agent-hour"] == len(ends)
    assert tokens >= stub.reported_input_tokens + stub.reported_output_tokens, "spent, and not counted"


async def kill_again_and_again(daemon: DaemonProcess, stub: Stub, kills: int) -> list[float]:
    """Kill, look, restart, look; returns how long each restart took, in seconds."""
    stub.script = answer
    key, seen, restarts = daemon.create_key(), Seen(), list[float]()
    for number in range(kills):
        await killed_under_load(daemon, key, number, seen)
        await asyncio.to_thread(assert_nothing_was_lost, daemon, stub, seen)
        began = time.monotonic()
        await asyncio.to_thread(daemon.start)
        restarts.append(time.monotonic() - began)
        await asyncio.to_thread(assert_the_books_are_closed, daemon, stub)
    assert seen.costs, "no call was ever answered"
    assert len(seen.ids) > len(seen.costs), "no stream was ever begun"
    return restarts


@pytest.mark.timeout(900)
async def test_kills_at_random_moments_lose_nothing(daemon_factory: DaemonFactory, stub: Stub) -> None:
    daemon = daemon_factory(config(stub.url, budgets=BUDGETS))
    restarts = await kill_again_and_again(daemon, stub, 25)
    books = Books.read(daemon.database)
    in_doubt = sum(state is CallState.IN_DOUBT for state, _ in books.ends.values())
    print(f"{len(books.ends)} calls, {in_doubt} in doubt; restarts took up to {max(restarts):.2f} s")
    assert in_doubt, "no kill ever hit a call"


@pytest.mark.soak
async def test_hundreds_of_kills_lose_nothing(daemon_factory: DaemonFactory, stub: Stub) -> None:
    daemon = daemon_factory(config(stub.url, budgets=BUDGETS))
    daemon.loads = True
    restarts = sorted(await kill_again_and_again(daemon, stub, 500))
    print(f"restarts took {restarts[len(restarts) // 2]:.2f} s in the middle, at most {restarts[-1]:.2f} s")
    assert restarts[len(restarts) * 95 // 100] <= RESTART_S
