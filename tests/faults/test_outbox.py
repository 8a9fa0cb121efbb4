"""Messages about alerts survive kill -9: each arrives, none is made up, and what repeats has the same id."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from conftest import DaemonFactory
from harness import raw
from harness.daemon import Api, DaemonProcess, budget, config, eventually, poll
from harness.fleet import Fleet
from harness.inbox import Inbox
from harness.postgres import new_database
from harness.stub import Stub
from harness.talk import CHAT, Document, chat

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
ALERTS = 20
KILLS = 3
TIMEOUT_S = 2
PATIENCE_S = 30
"""For messages that shall go out once, however long a busy machine takes to answer them."""
CONCURRENCY = 2
CLAIMED_S = 60.0
"""Longer than what a dead process had begun to send is left alone."""
PAUSE_S = 0.05


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    """A receiver that takes its time."""
    with Inbox(pause_s=PAUSE_S) as receiver:
        yield receiver
        receiver.open()


def settings(stub: Stub, inbox: Inbox, directory: Path, timeout_s: int = TIMEOUT_S) -> dict[str, object]:
    """Each agent has one request a day; whoever wants more is told of in the inbox."""
    secret = directory / "secret"
    secret.write_text(SECRET)
    return config(
        stub.url,
        budgets=[budget("each", 1, scope="agent:*", metric="requests")],
        notify=[{"id": "ops", "webhook": inbox.url, "secret": f"file:{secret}", "allow_private": True}],
        notifications={"timeout_s": timeout_s, "concurrency": CONCURRENCY},
    )


async def run_out(urls: list[str], key: str, first: int, last: int) -> None:
    """Use up the budgets of some agents, and call once more: so many alerts."""
    for number in range(first, last):
        headers, url = {"x-palyra-agent": f"agent-{number}"}, urls[number % len(urls)]
        replies = [await raw.call(url, CHAT, json_body=chat(), key=key, headers=headers) for _ in range(2)]
        assert [each.status for each in replies] == [200, 402]


def notices(api: Api, **wanted: str) -> dict[str, Document]:
    """The messages by id."""
    items = cast("list[Document]", api.get("/alerts/notices", limit="200", **wanted)["items"])
    return {cast("str", each["id"]): each for each in items}


def all_sent(api: Api, deadline_s: float) -> dict[str, Document]:
    """Every message, once all of them are sent."""
    return poll(
        lambda: notices(api),
        lambda found: len(found) >= ALERTS and {each["state"] for each in found.values()} == {"sent"},
        deadline_s,
        "the end of the outbox",
    )


async def await_alerts(api: Api, count: int) -> None:
    """Wait until so many alerts are stored, each with its message."""
    await eventually(lambda: len(notices(api)) == count, f"{count} messages")


async def killed_while_sending(daemon: DaemonProcess, inbox: Inbox, number: int) -> None:
    """End the daemon some messages later, as a power cut would, and start it again."""
    chance = random.Random(number)
    wanted = len(inbox.arrived) + chance.randrange(1, 4)
    await eventually(lambda: len(inbox.arrived) >= wanted, f"{wanted} arrivals", CLAIMED_S)
    await asyncio.sleep(chance.uniform(0.0, PAUSE_S))
    await asyncio.to_thread(daemon.kill9)
    await asyncio.to_thread(daemon.start)


async def test_what_was_half_sent_at_a_kill_comes_again_and_nothing_is_lost(
    daemon_factory: DaemonFactory, stub: Stub, inbox: Inbox, tmp_path: Path
) -> None:
    daemon = await asyncio.to_thread(daemon_factory, settings(stub, inbox, tmp_path))
    key = await asyncio.to_thread(daemon.create_key)
    inbox.close()
    await run_out([daemon.url], key, 0, CONCURRENCY)
    await eventually(lambda: len(inbox.arrived) == CONCURRENCY, "messages that are not answered")
    half_sent = set(inbox.arrived)
    await asyncio.to_thread(daemon.kill9)
    inbox.open()
    await asyncio.to_thread(daemon.start)

    found = notices(daemon.api)
    assert found.keys() == half_sent
    assert {each["state"] for each in found.values()} == {"waiting"}
    inbox.close()
    await run_out([daemon.url], key, CONCURRENCY, ALERTS)
    await await_alerts(daemon.api, ALERTS)
    inbox.open()
    for number in range(KILLS):
        await killed_while_sending(daemon, inbox, number)
    await eventually(
        lambda: (
            len(set(inbox.arrived)) == ALERTS and all(inbox.arrived.count(each) > 1 for each in half_sent)
        ),
        "every message, and those that were half sent once more",
        CLAIMED_S,
    )
    found = await asyncio.to_thread(all_sent, daemon.api, CLAIMED_S)

    arrived = Counter(inbox.arrived)
    assert arrived.keys() == found.keys(), "a message was lost, or made up"
    assert len(found) == ALERTS
    assert len({each["alert_id"] for each in found.values()}) == ALERTS
    assert all(arrived[each] <= cast("int", notice["attempts"]) for each, notice in found.items())
    assert arrived.total() - ALERTS <= (1 + KILLS) * CONCURRENCY, "what was answered came once more"
    assert not inbox.doubled


async def test_two_gateways_share_the_sending_and_no_message_goes_out_twice(
    stub: Stub, inbox: Inbox, tmp_path: Path
) -> None:
    fleet = Fleet(tmp_path / "fleet", settings(stub, inbox, tmp_path, PATIENCE_S), new_database())
    try:
        await asyncio.to_thread(fleet.start, 2)
        key = await asyncio.to_thread(fleet.create_key)
        inbox.close()
        await run_out([each.url for each in fleet.alive], key, 0, ALERTS)
        await await_alerts(fleet.api, ALERTS)
        await eventually(lambda: len(inbox.arrived) == 2 * CONCURRENCY, "messages of both gateways")
        inbox.open()
        found = await asyncio.to_thread(all_sent, fleet.api, CLAIMED_S)

        assert Counter(inbox.arrived) == dict.fromkeys(found, 1)
        assert inbox.most_at_once == 2 * CONCURRENCY
        assert not inbox.doubled
    finally:
        await asyncio.to_thread(fleet.close)
