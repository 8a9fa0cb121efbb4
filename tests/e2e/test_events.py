"""Pages hear of what changed, from the real daemon: each thing that they show, and nothing of what it is."""

import asyncio
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from conftest import DaemonFactory
from harness import raw
from harness.browser import COOKIE, Browser
from harness.daemon import DaemonProcess, budget, config, eventually
from harness.events import EVENTS, listening, topics_of
from harness.fleet import Fleet
from harness.people import allow, asking, stopped
from harness.postgres import new_database
from harness.script import Answer
from harness.stub import Stub
from harness.talk import CHAT, chat
from harness.tenant import SharedDaemons

TOPICS = ["usage", "decisions", "budgets", "approvals", "alerts", "models", "keys"]
QUICKLY_S = 8.0
"""Far below the time that calls in flight are given at the end."""


@pytest.fixture(scope="module")
def daemon(module_daemons: SharedDaemons, module_stub: Stub) -> DaemonProcess:
    routing = {"retries": 0, "breaker_failures": 1, "retry_base_s": 0.01}
    return module_daemons(config(module_stub.url, routing=routing))


async def test_a_page_is_greeted_with_all_topics_and_may_keep_nothing(daemon: DaemonProcess) -> None:
    async with listening(daemon.url, daemon.owner_key) as page:
        hello, *_ = page.events
        assert (hello["event"], hello["retry"], topics_of(hello)) == ("hello", "2000", TOPICS)
        assert hello["id"].isdigit()
        assert page.reply.status == 200
        kind = page.reply.header("content-type") or ""
        assert (kind.partition(";")[0], page.reply.header("cache-control")) == (
            "text/event-stream",
            "no-store",
        )


async def test_a_call_changes_usage_and_decisions_and_nothing_else(daemon: DaemonProcess) -> None:
    key = daemon.create_key("alice")
    async with listening(daemon.url, daemon.owner_key) as page, listening(daemon.url, key) as own:
        # The second before the first change may have seen what was done to prepare for it.
        await raw.call(daemon.url, CHAT, json_body=chat(), key=key)
        for each in (page, own):
            await each.hears("usage", "decisions")
        seen = len(page.changes), len(own.changes)
        await raw.call(daemon.url, CHAT, json_body=chat(), key=key)
        for each, before in zip((page, own), seen, strict=True):
            assert await each.hears("usage", "decisions", since=before) == {"usage", "decisions"}


async def test_rules_change_by_kind(daemon: DaemonProcess) -> None:
    api = daemon.api
    async with listening(daemon.url, daemon.owner_key) as page:
        await asyncio.to_thread(api.post, "/budgets", budget("live", "1000"))
        await page.hears("budgets")
        seen = len(page.changes)
        await asyncio.to_thread(api.request, "PUT", "/budgets/live", budget("live", "999"))
        assert await page.hears("budgets", since=seen) == {"budgets"}
        seen = len(page.changes)
        await asyncio.to_thread(daemon.create_key, "bob")
        assert await page.hears("keys", since=seen) == {"keys"}
        assert [int(each["id"]) for each in page.events] == sorted({int(each["id"]) for each in page.events})


async def test_what_people_decide_and_are_told_changes(daemon: DaemonProcess) -> None:
    key = daemon.create_key("carol")
    policy = asking("carol-asks", scope="principal:carol")
    await asyncio.to_thread(daemon.api.post, "/budgets", policy)
    await raw.call(daemon.url, CHAT, json_body=chat(), key=key)
    async with listening(daemon.url, daemon.owner_key) as page:
        ref = await stopped(daemon.url, key)
        await page.hears("approvals", "alerts", "decisions")
        seen = len(page.changes)
        await asyncio.to_thread(allow, daemon.api, ref)
        await page.hears("approvals", "alerts", since=seen)


async def test_a_provider_that_fails_changes_the_models(daemon: DaemonProcess, module_stub: Stub) -> None:
    key = daemon.create_key("dave")
    async with listening(daemon.url, daemon.owner_key) as page:
        await asyncio.to_thread(daemon.api.post, "/models/test-connection", {"refresh": True})
        await page.hears("models")
        seen = len(page.changes)
        module_stub.script = Answer(status=500)
        await raw.call(daemon.url, CHAT, json_body=chat(), key=key)
        module_stub.script = Answer()
        await page.hears("models", since=seen)


async def test_the_stream_ends_with_the_key(daemon: DaemonProcess) -> None:
    made = daemon.api.post("/keys", {"principal": "eve", "roles": ["viewer"]})
    async with listening(daemon.url, str(made["key"])) as page:
        await asyncio.to_thread(daemon.api.request, "DELETE", f"/keys/{made['id']}")
        reply = await page.ends()
        assert reply.status == 200
    async with listening(daemon.url, str(made["key"])) as page:
        assert page.reply.status == 401


async def test_the_stream_of_a_browser_ends_with_its_sign_in(daemon: DaemonProcess) -> None:
    one, other = (Browser.signed_in(daemon.url, daemon.owner_key) for _ in range(2))
    cookies = [f"{COOKIE}={each.cookie}" for each in (one, other)]
    async with (
        listening(daemon.url, cookie=cookies[0]) as leaving,
        listening(daemon.url, cookie=cookies[1]) as staying,
    ):
        await asyncio.to_thread(one.ask, "DELETE", "/session")
        await leaving.ends()
        await asyncio.to_thread(daemon.create_key, "frank")
        await staying.hears("keys")


async def test_two_hundred_listen_and_one_more_is_sent_away(daemon: DaemonProcess) -> None:
    async with AsyncExitStack() as stack:
        pages = [await stack.enter_async_context(listening(daemon.url, daemon.owner_key)) for _ in range(200)]
        refused = await raw.call(daemon.url, EVENTS, method="GET", key=daemon.owner_key)
        assert (refused.status, refused.json()["code"]) == (503, "stream_unavailable")
        assert refused.header("retry-after") == "5"
        await asyncio.to_thread(daemon.create_key, "grace")
        await asyncio.gather(*(page.hears("keys") for page in pages))
    await eventually(lambda: asyncio.run(status_of_a_new_page(daemon)) == 200, "room for another page")


async def status_of_a_new_page(daemon: DaemonProcess) -> int:
    async with listening(daemon.url, daemon.owner_key) as page:
        return page.reply.status


async def test_a_daemon_that_stops_waits_for_no_page(daemon_factory: DaemonFactory, stub: Stub) -> None:
    daemon = daemon_factory(config(stub.url))
    async with AsyncExitStack() as stack:
        pages = [await stack.enter_async_context(listening(daemon.url, daemon.owner_key)) for _ in range(5)]
        pages[0].wire.pause()
        daemon.signal(signal.SIGTERM)
        for page in pages[1:]:
            await page.ends(QUICKLY_S)
        process = daemon.process
        assert process is not None
        assert await asyncio.to_thread(process.wait, QUICKLY_S) == 0
    assert "Traceback" not in daemon.log


async def test_what_another_gateway_did_is_heard_here(tmp_path: Path, stub: Stub) -> None:
    fleet = Fleet(tmp_path, config(stub.url), new_database())
    try:
        one, other = fleet.start(2).gateways
        key = fleet.create_key("alice")
        async with listening(one.url, fleet.owner_key) as page:
            await raw.call(other.url, CHAT, json_body=chat(), key=key)
            await page.hears("usage", "decisions")
            seen = len(page.changes)
            await asyncio.to_thread(fleet.api_of(other).post, "/budgets", asking("asks", scope="principal:*"))
            await page.hears("budgets", since=seen)
            await raw.call(other.url, CHAT, json_body=chat(), key=key)
            ref = await stopped(other.url, key)
            await page.hears("approvals", "alerts", since=seen)
            seen = len(page.changes)
            await asyncio.to_thread(allow, fleet.api_of(other), ref)
            await page.hears("approvals", since=seen)
            made = await asyncio.to_thread(fleet.api_of(other).post, "/keys", {"principal": "eve"})
            await page.hears("keys", since=seen)
            async with listening(one.url, str(made["key"])) as own:
                await asyncio.to_thread(fleet.api_of(other).request, "DELETE", f"/keys/{made['id']}")
                await own.ends()
    finally:
        fleet.close()
