"""Stopping the daemon: nothing stays held, and the process ends by itself with success."""

import asyncio

import pytest

from conftest import DaemonFactory
from harness import raw
from harness.daemon import budget, config, eventually
from harness.script import Answer
from harness.stub import Stub
from palyra.store.sqlite import verify


@pytest.mark.sqlite
async def test_a_call_in_flight_is_resolved_before_the_daemon_ends(
    daemon_factory: DaemonFactory, stub: Stub
) -> None:
    stub.script = Answer(chunks=50, stall_after=10)
    daemon = daemon_factory(config(stub.url, budgets=[budget("all", "1.00")]))
    key = daemon.create_key(principal="alice")
    body = {
        "model": "stub-model",
        "stream": True,
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "hi"}],
    }
    reading = asyncio.create_task(
        raw.call(daemon.url, "/v1/chat/completions", json_body=body, key=key, leave_after_chunks=1)
    )
    await eventually(lambda: len(stub.generations) == 1, "the call at the provider")
    await reading
    assert await asyncio.to_thread(daemon.terminate) == 0
    assert verify(daemon.database).accounts == 1
    daemon.start()
    (account,) = daemon.api.accounts("all")
    assert account["held_nano_usd"] == 0
    assert int(str(account["posted_nano_usd"])) > 0
