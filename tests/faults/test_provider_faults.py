"""Every way a provider can fail, with the real daemon: the client is told the truth, the hold ends at once.

Each fault has providers of its own, because a failure is remembered and calls go round it afterwards. A model
``safe-…`` is served by such a provider and by a healthy one, so its calls are taken elsewhere; a model
``lone-…`` has nowhere to go.
"""

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Self, cast

import openai
import pytest
import trustme

from harness import raw
from harness.daemon import Api, DaemonProcess, budget, config, model, poll
from harness.raw import Reply
from harness.script import Answer, Call, failing, fixed
from harness.stub import Stub
from harness.talk import CHAT, balance, chat, code, only_account, request_id
from harness.tenant import SharedDaemons

HASTY_S = 0.25
RESOLVED_S = 0.1
USED = 20 * 1_000 + 40 * 2_000
"""Nano-USD of the healthy provider's answers."""
DEARER = {"input": "9.00", "output": "9.00"}
"""Of the healthy provider: a failover has a hold of its own."""


class Listener:
    """A provider that accepts connections and says the same bytes to each, in clear or through TLS."""

    def __init__(self, words: bytes, tls: ssl.SSLContext | None = None) -> None:
        self._words = words
        self._tls = tls
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(10)

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            connection.settimeout(10)
            with contextlib.suppress(OSError), connection:
                if self._tls is None:
                    connection.recv(65_536)
                    connection.sendall(self._words)
                else:
                    self._tls.wrap_socket(connection, server_side=True).close()


@dataclass(frozen=True, slots=True)
class Fault:
    """What a provider does, and what comes of it without another provider.

    ``billed``: the provider may have done the work, so the hold is posted.
    """

    provider: str
    status: int
    code: str | None
    reason: str
    answer: Answer | Callable[[Call], Answer] | None = None
    billed: bool = False
    tries: int = 1
    upstream_status: int | None = None

    @property
    def name(self) -> str:
        """Of its providers and models."""
        return f"{self.provider}-{self.status}-{self.reason}-{self.tries}"


FAULTS = (
    Fault("refused", 502, "upstream_failed", "unreachable", tries=3),
    Fault("tls", 502, "upstream_failed", "tls"),
    Fault("nowhere", 502, "upstream_failed", "unreachable", tries=3),
    Fault("stub", 401, None, "auth", failing(401), upstream_status=401),
    Fault("stub", 402, None, "quota", failing(402), upstream_status=402),
    Fault("stub", 429, None, "rate_limited", failing(429, retry_after="60"), upstream_status=429),
    Fault("stub", 429, None, "rate_limited", failing(429), upstream_status=429, tries=3),
    Fault("stub", 500, None, "server_error", failing(500), upstream_status=500, tries=3),
    Fault("stub", 529, None, "overloaded", failing(529), upstream_status=529, tries=3),
    Fault("hasty", 504, "upstream_timeout", "timeout", Answer(stall_before_head=True), billed=True),
    Fault("stub", 502, "upstream_failed", "cut", Answer(cut_before_head=True), billed=True),
    Fault("garbage", 502, "upstream_failed", "garbage", billed=True),
)
HANG = Fault("idle", 200, None, "timeout", Answer(stall_after=2))
NAMES = [each.name for each in FAULTS]
BY_NAME = {each.name: each for each in FAULTS}
USES = ("lone", "safe-whole", "safe-stream", "safe-sdk")


def closed_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="module")
def untrusted() -> Iterator[Listener]:
    """A provider whose certificate nobody vouches for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with trustme.CA().issue_cert("localhost").private_key_and_cert_chain_pem.tempfile() as path:
        context.load_cert_chain(path)
    with Listener(b"", context) as listener:
        yield listener


@pytest.fixture(scope="module")
def garbage() -> Iterator[Listener]:
    """A provider that speaks no HTTP."""
    with Listener(b"220 mail.example ESMTP ready\r\n") as listener:
        yield listener


@pytest.fixture(scope="module")
def healthy() -> Iterator[Stub]:
    """The provider that stands in."""
    with Stub(Answer(usage=fixed(20, 40))) as running:
        yield running


@pytest.fixture(scope="module")
def door(
    module_daemons: SharedDaemons, module_stub: Stub, healthy: Stub, untrusted: Listener, garbage: Listener
) -> DaemonProcess:
    urls = {
        "stub": module_stub.url,
        "hasty": module_stub.url,
        "idle": module_stub.url,
        "refused": f"http://127.0.0.1:{closed_port()}",
        "tls": f"https://localhost:{untrusted.port}",
        "nowhere": "https://nosuch.invalid",
        "garbage": f"http://127.0.0.1:{garbage.port}",
        "healthy": healthy.url,
    }
    patience = {"hasty": {"first_byte_timeout_s": HASTY_S}, "idle": {"idle_timeout_s": HASTY_S}}
    broken = {f"{use}-{each.name}": each.provider for use in USES for each in (*FAULTS, HANG)}
    return module_daemons(
        config(
            module_stub.url,
            budgets=[budget("each", "1000.00", scope="principal:*")],
            routing={"retries": 2, "retry_base_s": 0.001, "retry_cap_s": 0.002, "breaker_failures": 1_000},
            providers=[
                {
                    "id": name,
                    "kind": "openai_compatible",
                    "base_url": f"{urls[kind]}/v1",
                    "discover": False,
                    **patience.get(kind, {}),
                }
                for name, kind in {**broken, "healthy": "healthy"}.items()
            ],
            models=[
                *(model(name, name) for name in broken),
                *(model(name, "healthy", price=DEARER) for name in broken if name.startswith("safe")),
            ],
        )
    )


@pytest.fixture
def key(door: DaemonProcess, request: pytest.FixtureRequest) -> str:
    return door.create_key(principal_of(request))


@pytest.fixture
def own(door: DaemonProcess, request: pytest.FixtureRequest) -> "Own":
    return Own(door.api, principal_of(request))


def principal_of(request: pytest.FixtureRequest) -> str:
    return f"p{abs(hash(request.node.nodeid))}"


@dataclass(frozen=True, slots=True)
class Own:
    """The account of the test's own principal."""

    api: Api
    principal: str

    def balance(self) -> tuple[int, int]:
        """Posted and held."""
        (account,) = [each for each in self.api.accounts("each") if each["entity"] == self.principal]
        return balance(account)


@pytest.fixture(autouse=True)
def _fresh(shared_stub: Stub, healthy: Stub) -> None:
    """The stubs forget what they were asked."""
    healthy.calls.clear()


def instant(text: object) -> float:
    return datetime.fromisoformat(str(text)).timestamp()


def settlement(decision: Mapping[str, object]) -> Mapping[str, object]:
    assert decision["settlement"] is not None, decision["state"]
    return cast("Mapping[str, object]", decision["settlement"])


def attempts(decision: Mapping[str, object]) -> list[tuple[object, ...]]:
    found = cast("list[Mapping[str, object]]", settlement(decision)["attempts"])
    return [(each["provider"], each["status"], each["outcome"], each["then"]) for each in found]


def hold_of(decision: Mapping[str, object]) -> int:
    return cast("int", cast("Mapping[str, object]", decision["estimate"])["cost_bound_nano_usd"])


def assert_resolved_at_the_verdict(decision: Mapping[str, object]) -> None:
    """The hold ended within 100 ms of the moment at which the last try was over."""
    ended = settlement(decision)
    tries = cast("list[Mapping[str, float]]", ended["attempts"])
    verdict = instant(decision["at"]) + tries[-1]["ended_ms"] / 1_000
    assert -0.002 < instant(ended["at"]) - verdict < RESOLVED_S


async def ask(door: DaemonProcess, key: str, model_id: str, *, stream: bool = False) -> Reply:
    return await raw.call(door.url, CHAT, json_body=chat(model=model_id, stream=stream), key=key)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("fault", FAULTS, ids=NAMES)
async def test_a_fault_is_told_and_its_hold_ends_with_it(
    fault: Fault, stream: bool, door: DaemonProcess, key: str, own: Own, shared_stub: Stub
) -> None:
    if fault.answer is not None:
        shared_stub.script = fault.answer

    reply = await ask(door, key, f"lone-{fault.name}", stream=stream)

    # The answer is out: the hold is resolved on disk already (D2).
    decision = door.api.decision(request_id(reply))
    assert (reply.status, reply.header("x-palyra-route")) == (fault.status, "proceed")
    if fault.code is not None:
        assert code(reply) == fault.code
    else:
        assert reply.error()["message"] == f"stub says {fault.status}", "the provider's own words"
    assert decision["state"] == ("in_doubt" if fault.billed else "released")
    assert_resolved_at_the_verdict(decision)
    failed = (f"lone-{fault.name}", fault.upstream_status, fault.reason)
    assert attempts(decision) == [(*failed, "retry")] * (fault.tries - 1) + [(*failed, "")]
    assert own.balance() == (hold_of(decision) if fault.billed else 0, 0)
    if fault.answer is not None:
        assert len(shared_stub.generations) == fault.tries


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("fault", FAULTS, ids=NAMES)
async def test_with_a_second_provider_the_client_gets_its_answer(
    fault: Fault, stream: bool, door: DaemonProcess, key: str, own: Own, shared_stub: Stub, healthy: Stub
) -> None:
    if fault.answer is not None:
        shared_stub.script = fault.answer

    model_id = f"safe-{'stream' if stream else 'whole'}-{fault.name}"

    reply = await ask(door, key, model_id, stream=stream)

    assert (reply.status, reply.complete) == (200, True)
    assert reply.body.count(b"word ") == 3
    assert reply.header("x-palyra-route") == "failover"
    failed = door.api.decision(request_id(reply))
    served = door.api.settled(f"{request_id(reply)}.2")
    assert failed["state"] == ("in_doubt" if fault.billed else "released")
    assert_resolved_at_the_verdict(failed)
    tried = attempts(failed)
    assert tried[-1] == (model_id, fault.upstream_status, fault.reason, "failover")
    assert {each[-1] for each in tried[:-1]} <= {"retry"}
    assert (served["continues"], served["provider"], served["route"]) == (
        request_id(reply),
        "healthy",
        "failover",
    )
    cost = (20 + 40) * 9_000
    assert settlement(served)["cost_nano_usd"] == cost
    assert own.balance() == (cost + (hold_of(failed) if fault.billed else 0), 0)
    assert len(healthy.generations) == 1


async def test_a_stream_that_hangs_breaks_for_the_client_and_is_taken_nowhere(
    door: DaemonProcess, key: str, own: Own, shared_stub: Stub, healthy: Stub
) -> None:
    assert isinstance(HANG.answer, Answer)
    shared_stub.script = HANG.answer

    reply = await ask(door, key, f"safe-stream-{HANG.name}", stream=True)

    assert (reply.status, reply.complete) == (200, False)
    decision = door.api.settled(request_id(reply))
    assert (decision["state"], settlement(decision)["source"]) == ("settled", "estimated")
    assert attempts(decision) == [(f"safe-stream-{HANG.name}", 200, "timeout", "")]
    assert_resolved_at_the_verdict(decision)
    assert own.balance() == (settlement(decision)["cost_nano_usd"], 0)
    assert healthy.generations == []


async def test_the_message_of_an_unreachable_provider_names_it(door: DaemonProcess, key: str) -> None:
    for fault in FAULTS:
        if fault.provider not in {"refused", "tls", "nowhere"}:
            continue
        reply = await ask(door, key, f"lone-{fault.name}")
        assert f"lone-{fault.name}" in str(reply.error()["message"])
        assert reply.header("x-palyra-request-id")


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("refused-502-unreachable-3", openai.InternalServerError),
        ("hasty-504-timeout-1", openai.InternalServerError),
        ("stub-401-auth-1", openai.AuthenticationError),
        ("stub-429-rate_limited-1", openai.RateLimitError),
        ("stub-529-overloaded-3", openai.InternalServerError),
    ],
)
def test_the_openai_sdk_raises_its_own_error(
    name: str,
    error: type[openai.APIStatusError],
    door: DaemonProcess,
    key: str,
    own: Own,
    shared_stub: Stub,
) -> None:
    shared_stub.script = BY_NAME[name].answer or Answer()
    with openai.OpenAI(base_url=f"{door.url}/v1", api_key=key, max_retries=0) as client:
        with pytest.raises(error) as caught:
            client.chat.completions.create(
                model=f"lone-{name}", messages=[{"role": "user", "content": "hi"}], max_tokens=64
            )
        safe = client.chat.completions.with_raw_response.create(
            model=f"safe-sdk-{name}", messages=[{"role": "user", "content": "hi"}], max_tokens=64
        )

    assert caught.value.status_code == BY_NAME[name].status
    assert caught.value.response.headers["x-palyra-request-id"]
    assert safe.headers["x-palyra-route"] == "failover"
    assert safe.parse().choices[0].message.content == "word " * 3
    assert own.balance()[1] == 0


def test_an_sdk_that_retries_gets_through_once_the_provider_is_back(
    door: DaemonProcess, key: str, own: Own, shared_stub: Stub
) -> None:
    """Palyra's three tries fail; the SDK's next call is a new one."""
    left = [failing(503)] * 3

    def script(call: Call) -> Answer:
        return left.pop()(call) if left else Answer(usage=fixed(20, 40))

    shared_stub.script = script
    with openai.OpenAI(base_url=f"{door.url}/v1", api_key=key, max_retries=1) as client:
        done = client.chat.completions.create(
            model=f"lone-{HANG.name}", messages=[{"role": "user", "content": "hi"}], max_tokens=64
        )

    assert done.choices[0].message.content == "word " * 3
    assert len(shared_stub.generations) == 4
    assert own.balance() == (USED, 0)


async def test_the_breaker_spares_a_dead_provider_and_lets_it_come_back(
    module_daemons: SharedDaemons, shared_stub: Stub
) -> None:
    daemon = module_daemons(
        config(
            shared_stub.url,
            budgets=[budget("all", "1000.00")],
            routing={"retries": 0, "breaker_failures": 3, "breaker_open_s": 0.3},
        )
    )
    key = daemon.create_key()
    shared_stub.script = failing(500)
    replies = [await ask(daemon, key, "stub-model") for _ in range(4)]

    assert [reply.status for reply in replies] == [500, 500, 500, 503]
    assert code(replies[-1]) == "provider_unavailable"
    assert replies[-1].header("retry-after") == "1"
    assert len(shared_stub.generations) == 3
    assert balance(only_account(daemon.api, "all")) == (0, 0)

    shared_stub.script = Answer(usage=fixed(20, 40))
    back = await asyncio.to_thread(
        poll,
        lambda: asyncio.run(ask(daemon, key, "stub-model")),
        lambda reply: reply.status == 200,
        10.0,
        "the provider's return",
    )
    assert back.header("x-palyra-route") == "proceed"
    assert balance(only_account(daemon.api, "all")) == (USED, 0)


async def test_a_wait_that_the_provider_asks_for_is_kept(
    door: DaemonProcess, key: str, shared_stub: Stub
) -> None:
    left = [Answer(status=429, body=b"{}", headers=[("retry-after-ms", "80")])]

    def script(_: Call) -> Answer:
        return left.pop() if left else Answer()

    shared_stub.script = script

    reply = await ask(door, key, f"lone-{HANG.name}")

    assert reply.status == 200
    decision = door.api.decision(request_id(reply))
    assert attempts(decision) == [
        (f"lone-{HANG.name}", 429, "rate_limited", "retry"),
        (f"lone-{HANG.name}", 200, "ok", ""),
    ]
    first, second = cast("list[Mapping[str, int]]", settlement(decision)["attempts"])
    assert second["began_ms"] - first["ended_ms"] >= 79, "80 ms, each end cut to whole milliseconds"
