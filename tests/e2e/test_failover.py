"""Two real model servers as two providers of one model: one is killed at work, no call is lost or unpaid."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Semaphore
from typing import cast

import httpx2
import pytest

from harness.daemon import Api, DaemonProcess, budget, config, model, poll
from harness.ledger import rows
from harness.model import ModelProcess
from harness.talk import balance, only_account

THREADS = 8
CALLS_EACH = 3
BEFORE = 4
"""So many calls are over when the first server is killed: all threads have calls running then."""
MAX_TOKENS = 4
DEADLINE_S = 30.0

DaemonFactory = Callable[..., DaemonProcess]
Document = Mapping[str, object]


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[ModelProcess, ModelProcess]]:
    """The one that is killed, and the one that stands in."""
    started: list[ModelProcess] = []
    for name in ("first", "second"):
        directory = tmp_path / name
        directory.mkdir()
        started.append(ModelProcess(directory))
    try:
        first, second = (server.start() for server in started)
        yield first, second
    finally:
        for server in started:
            server.close()


@pytest.fixture
def daemon(servers: tuple[ModelProcess, ModelProcess], daemon_factory: DaemonFactory) -> DaemonProcess:
    first, second = servers
    at = {"kind": "openai_compatible"}
    return daemon_factory(
        config(
            first.url,
            budgets=[budget("all", "100.00")],
            routing={"retries": 1, "retry_base_s": 0.01},
            providers=[
                {"id": "first", "base_url": f"{first.url}/v1", **at},
                {"id": "second", "base_url": f"{second.url}/v1", **at},
            ],
            models=[
                model(first.model, "first"),
                model(first.model, "second", price={"input": "3.00", "output": "6.00"}),
            ],
        )
    )


def settlement(row: Document) -> Document:
    return cast("Document", row["settlement"] or {})


def ended(api: Api) -> list[dict[str, object]]:
    """Every decision, once none of them is pending."""
    listed = poll(
        lambda: rows(api, limit="200"),
        lambda found: all(row["state"] != "pending" for row in found),
        DEADLINE_S,
        "an end of all calls",
    )
    return [api.decision(cast("str", row["request_id"])) for row in listed]


def test_no_call_is_lost_when_a_provider_is_killed_and_every_cent_is_accounted_for(
    servers: tuple[ModelProcess, ModelProcess], daemon: DaemonProcess
) -> None:
    first, second = servers
    key = daemon.create_key()
    over = Semaphore(0)

    def work(number: int) -> list[tuple[bool, int, str, bool]]:
        """Calls one after the other: whether it streams, its status, its route, whether it came whole."""
        stream = number % 4 == 0
        seen: list[tuple[bool, int, str, bool]] = []
        with httpx2.Client(headers={"authorization": f"Bearer {key}"}, timeout=60.0) as client:
            for turn in range(CALLS_EACH):
                body = {
                    "model": first.model,
                    "messages": [{"role": "user", "content": f"Say {number} and {turn}."}],
                    "max_tokens": MAX_TOKENS,
                    "stream": stream,
                }
                with client.stream("POST", f"{daemon.url}/v1/chat/completions", json=body) as answer:
                    try:
                        text = answer.read().decode()
                    except httpx2.HTTPError:
                        text = ""
                whole = "[DONE]" in text if stream else '"usage"' in text
                seen.append((stream, answer.status_code, answer.headers["x-palyra-route"], whole))
                over.release()
        return seen

    with ThreadPoolExecutor(THREADS) as pool:
        running = [pool.submit(work, number) for number in range(THREADS)]
        for _ in range(BEFORE):
            assert over.acquire(timeout=DEADLINE_S)
        first.kill9()
        seen = [each for done in running for each in done.result()]

    assert len(seen) == THREADS * CALLS_EACH
    assert {status for _, status, _, _ in seen} == {200}
    assert all(whole for stream, _, _, whole in seen if not stream)
    routes = [route for _, _, route, _ in seen]
    assert set(routes) == {"proceed", "failover"}
    assert routes.count("failover") >= THREADS * (CALLS_EACH - 1) - BEFORE

    decisions = ended(daemon.api)
    by_id = {cast("str", each["request_id"]): each for each in decisions}
    continued = [each for each in decisions if each["continues"] is not None]
    assert len(by_id) == len(decisions) == len(seen) + len(continued)
    for each in continued:
        before = by_id[cast("str", each["continues"])]
        assert (each["provider"], each["state"], each["route"]) == ("second", "settled", "failover")
        assert before["provider"] == "first"
        assert before["state"] in {"in_doubt", "released"}
    costs = [cast("int", settlement(each).get("cost_nano_usd") or 0) for each in decisions]
    assert balance(only_account(daemon.api, "all")) == (sum(costs), 0)
    served = [each for each in decisions if each["provider"] == "second" and each["state"] == "settled"]
    used = [cast("Mapping[str, int]", settlement(each)["usage"]) for each in served]
    assert sum(usage["output_tokens"] for usage in used) == second.tokens()[1]

    second.kill9()
    posted = sum(costs)
    answer = httpx2.post(
        f"{daemon.url}/v1/chat/completions",
        headers={"authorization": f"Bearer {key}"},
        json={"model": first.model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4},
        timeout=30.0,
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_failed")
    assert balance(only_account(daemon.api, "all")) == (posted, 0)
