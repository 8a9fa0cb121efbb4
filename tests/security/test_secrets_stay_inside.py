"""Canaries: credentials, keys and texts that were used appear in no log, no answer, no metric and no file."""

import asyncio
from dataclasses import dataclass, field
from typing import cast

import httpx2
import pytest

from harness import raw
from harness.daemon import STUB_CREDENTIAL, DaemonProcess, budget, config, eventually, model
from harness.events import EVENTS
from harness.raw import Reply, Wire, request
from harness.script import Answer, failing
from harness.stub import Stub
from harness.talk import CHAT, MESSAGES, chat, message, request_id
from harness.tenant import SharedDaemons

PROMPT = "canary-prompt-5f1c0d3e"
COMPLETION = "canary-completion-77aa91"
WRONG_KEY = "sk-palyra-canary-wrong-key-0b9d"
IDEMPOTENCY_BODY = "canary-idempotent-83e1"
NOT_STORED = (PROMPT, COMPLETION, WRONG_KEY, IDEMPOTENCY_BODY, STUB_CREDENTIAL)


@dataclass(slots=True)
class Traffic:
    """A daemon that has seen every canary, and what it said to whom."""

    door: DaemonProcess
    key: str
    request_ids: list[str] = field(default_factory=list[str])
    told: list[bytes] = field(default_factory=list[bytes])

    @property
    def secrets(self) -> tuple[str, ...]:
        return (*NOT_STORED, self.key, self.door.owner_key)

    def note(self, reply: Reply) -> None:
        """Keep the headers of every answer, and its body where it is Palyra's own."""
        self.told.append(repr(reply.headers).encode())
        if reply.status not in (200, 500):
            self.told.append(reply.body)
        if reply.header("x-palyra-request-id") is not None:
            self.request_ids.append(request_id(reply))


@pytest.fixture(scope="module")
def traffic(module_daemons: SharedDaemons, module_stub: Stub) -> Traffic:
    at = {"base_url": f"{module_stub.url}/v1", "credential": "env:STUB_CREDENTIAL"}
    door = module_daemons(
        config(
            module_stub.url,
            budgets=[budget("tight", "0.02", scope="principal:poor")],
            providers=[
                {"id": "stub", "kind": "openai_compatible", **at},
                {"id": "stub-anthropic", "kind": "anthropic", **at},
                {"id": "gone", "kind": "openai", **at, "base_url": "http://127.0.0.1:1/v1"},
            ],
            models=[model("stub-model"), model("stub-claude", "stub-anthropic"), model("gone-model", "gone")],
        )
    )
    seen = Traffic(door, door.create_key("alice"))
    asyncio.run(_make(seen, module_stub))
    return seen


async def _make(seen: Traffic, stub: Stub) -> None:
    door, key = seen.door, seen.key
    poor = await asyncio.to_thread(door.create_key, "poor")
    said = [{"role": "user", "content": PROMPT}]
    stub.script = Answer(word=COMPLETION + " ")
    for body, path in ((chat(messages=said), CHAT), (message(messages=said), MESSAGES)):
        for stream in (True, False):
            seen.note(await raw.call(door.url, path, json_body={**body, "stream": stream}, key=key))
    body = chat(messages=[{"role": "user", "content": IDEMPOTENCY_BODY}])
    for _ in range(2):
        headers = {"idempotency-key": "repeat-1"}
        seen.note(await raw.call(door.url, CHAT, json_body=body, key=key, headers=headers))
    seen.note(await raw.call(door.url, CHAT, json_body=chat(30_000, messages=said), key=poor))
    seen.note(await raw.call(door.url, CHAT, json_body=chat(messages=said, n=PROMPT), key=key))
    seen.note(await raw.call(door.url, CHAT, json_body=chat(messages=said, api_key=STUB_CREDENTIAL), key=key))
    seen.note(await raw.call(door.url, CHAT, json_body=chat(messages=said), key=WRONG_KEY))
    seen.note(await raw.call(door.url, CHAT, body=f'{{"model":"{PROMPT}'.encode(), key=key))
    seen.note(await raw.call(door.url, CHAT, json_body=chat(messages=said, model="gone-model"), key=key))
    for broken in (
        Answer(word=COMPLETION, cut_after_pieces=3),
        Answer(word=COMPLETION, cut_before_head=True),
        Answer(raw=[b"data: " + COMPLETION.encode() + b"\n\n"], content_type="text/event-stream"),
        failing(500, body=COMPLETION.encode()),
    ):
        stub.script = broken
        seen.note(await raw.call(door.url, CHAT, json_body=chat(messages=said, stream=True), key=key))
    stub.script = Answer(word=COMPLETION, between_s=0.01)
    async with Wire(door.url) as wire:
        wire.send(request(door.url, CHAT, json_body=chat(messages=said, stream=True), key=key))
        await wire.chunk(1)
        wire.reset()
    async with Wire(door.url) as wire:
        wire.send(b"POST / HTTP/1.1\r\nauthorization: Bearer " + key.encode() + b"\r\n" + b"x" * 70_000)
        await wire.reply()
    await eventually(lambda: _held(door) == 0, "silence", 30.0)


def _held(door: DaemonProcess) -> float:
    lines = _get(door, "/metrics").text.splitlines()
    return sum(float(line.split()[1]) for line in lines if line.startswith("palyra_reservations_pending "))


def _get(door: DaemonProcess, path: str) -> httpx2.Response:
    return httpx2.get(door.url + path, headers={"authorization": f"Bearer {door.owner_key}"}, timeout=30.0)


def clean(data: bytes, seen: Traffic, where: str) -> None:
    """No secret of ``seen`` is in ``data``."""
    for secret in seen.secrets:
        assert secret.encode() not in data, f"{secret[:16]}… is in {where}"


def test_answers_tell_no_secret(traffic: Traffic) -> None:
    for answer in traffic.told:
        clean(answer, traffic, "an answer")


def test_decisions_tell_no_secret(traffic: Traffic) -> None:
    assert len(traffic.request_ids) > 10
    for each in traffic.request_ids:
        clean(_get(traffic.door, f"/api/v1/decisions/{each}").content, traffic, f"decision {each}")


def test_no_page_of_the_control_plane_tells_a_secret(traffic: Traffic) -> None:
    document = _get(traffic.door, "/api/v1/openapi.json").json()
    paths = [
        path
        for path, methods in cast("dict[str, dict[str, object]]", document["paths"]).items()
        if "get" in methods and "{" not in path and path != EVENTS
    ]
    # It does not end by itself; all that it may hold is the names of topics.
    assert EVENTS in document["paths"]
    assert len(paths) > 5
    for path in [*paths, "/metrics", "/healthz", "/readyz", "/nowhere"]:
        clean(_get(traffic.door, path).content, traffic, path)


def test_the_log_tells_no_secret(traffic: Traffic) -> None:
    clean(traffic.door.log.encode(), traffic, "the log")


@pytest.mark.sqlite
def test_the_database_has_no_text_and_no_key_in_clear(traffic: Traffic) -> None:
    files = [path for path in traffic.door.directory.iterdir() if path.name.startswith("palyra.db")]
    assert files
    data = b"".join(path.read_bytes() for path in files)
    assert traffic.request_ids[0].encode() in data
    clean(data, traffic, "the database")


def test_the_credential_reaches_the_provider_and_the_callers_key_does_not(
    traffic: Traffic, module_stub: Stub
) -> None:
    assert module_stub.generations
    for received in module_stub.generations:
        sent = repr(received.headers) + received.body.decode()
        assert STUB_CREDENTIAL in sent
        assert traffic.key not in sent
        assert traffic.door.owner_key not in sent
