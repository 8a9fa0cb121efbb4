"""Calls as programs make them: bodies, one call at a time, and what a budget's accounts say.

Amounts are integers in the metric's unit: nano-USD for money. The models of ``harness.daemon.config`` cost
``INPUT_NANO`` per input token and ``OUTPUT_NANO`` per output token.
"""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import httpx2

from harness import raw
from harness.daemon import Api, DaemonProcess
from harness.raw import Reply
from harness.stub import Stub

CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"
INPUT_NANO = 1_000
OUTPUT_NANO = 2_000

Document = Mapping[str, object]


def chat(max_tokens: int | None = 64, **fields: object) -> dict[str, object]:
    """A chat completion of ``stub-model``; ``fields`` are added or win."""
    body: dict[str, object] = {"model": "stub-model", "messages": [{"role": "user", "content": "hi"}]}
    if max_tokens is not None:
        body["max_tokens"] = max_tokens
    return body | fields


def message(max_tokens: int = 64, **fields: object) -> dict[str, object]:
    """An Anthropic message of ``stub-claude``; ``fields`` are added or win."""
    return chat(max_tokens, model="stub-claude") | fields


def ask(
    daemon: DaemonProcess,
    key: str,
    body: object = None,
    path: str = CHAT,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """One call, from a test that is no coroutine: in a loop of its own, as a browser's thread has one."""
    given = chat() if body is None else body
    call = raw.call(daemon.url, path, json_body=given, key=key, headers=headers or {})
    with ThreadPoolExecutor(1) as aside:
        return aside.submit(asyncio.run, call).result()


def request_id(reply: Reply) -> str:
    """The id that Palyra gave the call."""
    found = reply.header("x-palyra-request-id")
    assert found is not None, f"{reply.status} {reply.body!r}"
    return found


def code(reply: Reply) -> object:
    """The error code of a refusal, in the OpenAI format."""
    return reply.error().get("code")


def detail(reply: Reply) -> Document:
    """``error.palyra`` of a refusal."""
    return cast("Document", reply.error()["palyra"])


def held_by(api: Api, reply: Reply) -> int:
    """What the call held, in nano-USD, as its decision says."""
    estimate = cast("Document", api.decision(request_id(reply))["estimate"])
    return cast("int", estimate["cost_bound_nano_usd"])


def input_bound(api: Api, reply: Reply) -> int:
    """The input tokens the call held."""
    estimate = cast("Document", api.decision(request_id(reply))["estimate"])
    return cast("int", estimate["input_tokens_bound"])


def balance(account: Document, suffix: str = "_nano_usd") -> tuple[int, int]:
    """Posted and held of an account; ``suffix`` is empty for tokens and requests."""
    return cast("int", account[f"posted{suffix}"]), cast("int", account[f"held{suffix}"])


def only_account(api: Api, policy_id: str) -> Document:
    """The account of a policy that has one."""
    (account,) = api.accounts(policy_id)
    return account


def spent(stub: Stub) -> int:
    """What the stub's own count of tokens costs, in nano-USD: the oracle."""
    return stub.reported_input_tokens * INPUT_NANO + stub.reported_output_tokens * OUTPUT_NANO


def gauges(door: DaemonProcess) -> dict[str, float]:
    """The daemon's gauges by name."""
    answer = httpx2.get(f"{door.url}/metrics", headers={"authorization": f"Bearer {door.owner_key}"})
    assert answer.status_code == 200
    lines = [line.rsplit(" ", 1) for line in answer.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in lines}
