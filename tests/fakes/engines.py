"""The path of a call in one process: real rules, ledger and prices, a clock and a provider moved by hand."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import cast

import msgspec

from fakes.records import NOON, FakeClock
from palyra.budgets.policy import Known, Policy, PolicyDefaults, parse_policy
from palyra.budgets.terms import Mode, UnknownPrice
from palyra.core.instant import Instant
from palyra.gateway.asks import parse
from palyra.gateway.hints import read_header_hints, read_hints
from palyra.identity.keys import ApiKey, Role, hash_key
from palyra.ledger.account import Balance
from palyra.lifecycle.call import Call
from palyra.lifecycle.decision import Settlement
from palyra.lifecycle.engine import Engine, Governance
from palyra.lifecycle.flow import Answered, Repeated, run
from palyra.lifecycle.providers import Providers, ProviderTerms, Resilience
from palyra.lifecycle.rules import Rules
from palyra.lifecycle.waiting import in_task
from palyra.lifecycle.wire import Endpoint, FailureKind, UpstreamFailure, UpstreamRequest, UpstreamSink
from palyra.pricing.book import PriceBook
from palyra.pricing.entry import parse_price_entry
from palyra.registry.models import Kind, ModelEntry, Provider
from palyra.registry.registry import Registry
from palyra.routing.backoff import Retries
from palyra.routing.rules import RoutingRules
from palyra.store.ledger import Journal, JournaledLedger, resolve
from palyra.store.memory import MemoryStore
from palyra.store.write import Write
from palyra.upstream.meters import make_meter

KEYS = {"alice": Role.CALLER, "bob": Role.CALLER, "root": Role.ADMIN, "olga": Role.OPERATOR}
"""Principals, whose key in clear is their own name, and their role."""

PRICES: Mapping[str, Mapping[str, object]] = {
    "small": {"input": "1.00", "output": "2.00", "cache_read": "0.10"},
    "large": {"input": "10.00", "output": "20.00"},
    "tiny": {"input": "0.10", "output": "0.20"},
}
"""USD per million tokens. The model ``unpriced`` has none."""

MODELS = tuple(ModelEntry(name, "stub", name, output_limit=100_000) for name in (*PRICES, "unpriced"))
STUB = Provider("stub", Kind.OPENAI_COMPATIBLE)
AT_ONCE = Resilience(Retries(base_ns=0, cap_ns=0))
"""Two retries without a wait between them."""

Document = Mapping[str, object]
PriceList = Mapping[str, Mapping[str, Mapping[str, object]]]
"""Prices by provider and model."""


@dataclass(slots=True)
class FakeCall:
    """A call at the provider: the test answers it."""

    request: UpstreamRequest
    sink: UpstreamSink
    paused: bool = False
    aborted: bool = False

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def abort(self) -> None:
        self.aborted = True

    @property
    def body(self) -> dict[str, object]:
        return msgspec.json.decode(self.request.body, type=dict[str, object])

    def answer(self, input_tokens: int, output_tokens: int, status: int = 200, **usage: object) -> None:
        """A whole answer with these figures; ``usage`` is added to its usage object."""
        figures = {"prompt_tokens": input_tokens, "completion_tokens": output_tokens, **usage}
        self.sink.head(status, [(b"content-type", b"application/json")])
        self.sink.data(msgspec.json.encode({"choices": [], "usage": figures}))
        self.sink.end()

    def refuse(self, status: int, headers: Mapping[str, str] | None = None, body: bytes = b"{}") -> None:
        """A whole error answer."""
        given = {"content-type": "application/json", **(headers or {})}
        self.sink.head(status, [(name.encode(), value.encode()) for name, value in given.items()])
        self.sink.data(body)
        self.sink.end()

    def fail(self, kind: FailureKind = FailureKind.cut, *, sent: bool = True) -> None:
        """The transport fails."""
        self.sink.failed(UpstreamFailure(kind, f"{kind} in a test", sent=sent))

    def begin_stream(self) -> None:
        """The head of a stream."""
        self.sink.head(200, [(b"content-type", b"text/event-stream")])

    def event(self, document: Document) -> None:
        """One event of a stream."""
        self.sink.data(b"data: " + msgspec.json.encode(document) + b"\n\n")


class FakeUpstream:
    """Keeps every call until the test answers it."""

    def __init__(self) -> None:
        self.calls: list[FakeCall] = []

    def send(self, request: UpstreamRequest, sink: UpstreamSink) -> FakeCall:
        self.calls.append(FakeCall(request, sink))
        return self.calls[-1]

    async def close(self) -> None:
        self.calls.clear()


class NoCatalog:
    """A price list that knows nothing."""

    def knows(self, provider_kind: str, model: str, /) -> bool:
        return False

    def context_window(self, provider_kind: str, model: str, /) -> int | None:
        return None

    def price_tier(self, provider_kind: str, model: str, /) -> None:
        return None

    def models(self, provider_kind: str, /) -> list[str]:
        return []


class Numbers:
    """Request ids in order."""

    def __init__(self) -> None:
        self._numbers = count(1)

    def request_id(self) -> str:
        return f"req_{next(self._numbers):04}"


class Bench:
    """An engine on fakes. Make it in a running loop; ``policies`` are budgets as documents."""

    def __init__(
        self,
        *policies: Document,
        mode: Mode = Mode.ENFORCED,
        providers: Sequence[Provider] = (STUB,),
        models: Sequence[ModelEntry] = MODELS,
        prices: PriceList | None = None,
        default_model: str | None = None,
        routing: RoutingRules | None = None,
        resilience: Resilience = AT_ONCE,
        terms: Mapping[str, ProviderTerms] | None = None,
        allowed: Sequence[str] = (),
    ) -> None:
        """``terms`` as in ``Providers``; ``allowed`` are the models of every key, all where it is empty."""
        self.clock = FakeClock(NOON)
        self.store = MemoryStore(self.clock.now, asyncio.get_running_loop())
        self.upstream = FakeUpstream()
        entries = [
            parse_price_entry({"provider": provider, "model": name, **price}, "prices")
            for provider, priced in (prices or {"stub": PRICES}).items()
            for name, price in priced.items()
        ]
        self.engine = Engine(
            clock=self.clock,
            ids=Numbers(),
            ledger=self.store.ledger,
            records=self.store.records,
            upstream=self.upstream,
            make_meter=make_meter,
            rules=_rules(self.store, self.clock, [_policy(each) for each in policies], tuple(allowed)),
            registry=Registry(providers, models, NoCatalog(), default_model),
            prices=PriceBook(entries, None),
            governance=Governance(mode, UnknownPrice.DENY),
            random=lambda: 0.0,
            routing=routing or RoutingRules(),
            providers=Providers(terms or {}, resilience),
        )

    def call(
        self,
        principal: str = "alice",
        *,
        endpoint: Endpoint = Endpoint.chat_completions,
        headers: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
        fields: Mapping[str, object] | None = None,
        **more: object,
    ) -> Call:
        """A chat completion of ``small`` with 64 output tokens; other fields win, None leaves one out."""
        body = {
            "model": "small",
            "messages": [{"role": "user", "content": "hi"}],
            "max_tokens": 64,
            **(fields or {}),
            **more,
        }
        raw = msgspec.json.encode({name: value for name, value in body.items() if value is not None})
        parsed = parse(endpoint, raw)
        labels = {name.encode(): value.encode() for name, value in (headers or {}).items()}
        return Call(
            request_id=self.engine.ids.request_id(),
            endpoint=endpoint,
            credential=principal,
            hints=read_hints(read_header_hints(labels), parsed.labelled),
            ask=parsed.ask,
            body=parsed.body,
            raw_body=raw,
            headers=(),
            idempotency_key=idempotency_key,
        )

    def start(self, call: Call) -> "asyncio.Task[Answered | Repeated]":
        """Run the path up to wherever it has to wait."""
        return asyncio.create_task(in_task(run(call, self.engine)))

    async def at_provider(self, calls: int = 1) -> FakeCall:
        """Wait until the provider has so many calls; the newest."""
        await turns(lambda: len(self.upstream.calls) >= calls)
        return self.upstream.calls[-1]

    async def answered(self, call: Call, input_tokens: int = 20, output_tokens: int = 40) -> Answered:
        """Run a call to its end, with this usage."""
        number = len(self.upstream.calls) + 1
        running = self.start(call)
        (await self.at_provider(number)).answer(input_tokens, output_tokens)
        return cast("Answered", await running)

    def balance(self, policy_id: str, entity: str = "*") -> Balance:
        """Sum of the accounts of one entity, over all windows."""
        found = [
            account.balance()
            for key, account in self.store.ledger.book.accounts.items()
            if (key.policy_id, key.entity) == (policy_id, entity)
        ]
        return (
            Balance(*(sum(column) for column in zip(*found, strict=True))) if found else Balance(0, 0, 0, 0)
        )

    async def settlement(self, request_id: str) -> Settlement:
        """How a call ended."""
        stored = await self.store.records.decision(request_id)
        assert stored is not None
        assert stored.settlement is not None, stored.state
        return stored.settlement


class SlowJournal:
    """Keeps writes back until the test lets them reach the disk."""

    def __init__(self, behind: Journal) -> None:
        self._behind = behind
        self.waiting: list[Write] = []

    def accepts(self) -> bool:
        return self._behind.accepts()

    def append(self, write: Write) -> None:
        self.waiting.append(write)

    def flush(self, error: Exception | None = None) -> None:
        """Everything that waits is on the disk now, or has failed."""
        waiting, self.waiting = self.waiting, []
        resolve(waiting, error)


def slow(bench: Bench) -> SlowJournal:
    """Give the bench a disk that waits for the test."""
    journal = SlowJournal(bench.store.journal)
    bench.engine.ledger = JournaledLedger(journal, bench.store.ledger.book)
    return journal


async def turns(reached: Callable[[], bool], most: int = 1_000) -> None:
    """Let the loop turn until it is as wanted. AssertionError after ``most`` turns."""
    for _ in range(most):
        if reached():
            return
        await asyncio.sleep(0)
    raise AssertionError(f"not reached in {most} turns of the loop")


def budget(policy_id: str, hard_limit: str | int, **fields: object) -> dict[str, object]:
    """A global budget of money per day that blocks, as a document."""
    document = {"id": policy_id, "scope": "global", "metric": "cost_usd", "interval": "day"}
    return {**document, "hard_limit": hard_limit, **fields}


def _policy(document: Document) -> Policy:
    return parse_policy(document, defaults=PolicyDefaults(), version=1, actor="test", origin="file")


def _rules(store: MemoryStore, clock: FakeClock, policies: list[Policy], allowed: tuple[str, ...]) -> Rules:
    keys = [
        ApiKey(
            id=f"key-{name}",
            sha256=hash_key(name),
            prefix=name,
            principal=name,
            agent=None,
            roles=frozenset({role}),
            models=allowed,
            tags={},
            created_at=Instant(0),
            created_by="config",
            revoked_at=None,
            origin="file",
        )
        for name, role in KEYS.items()
    ]
    return Rules(
        store.records,
        clock,
        lambda size: bytes(size),
        lambda: "key-new",
        policies,
        keys,
        lambda: Known(),
        PolicyDefaults(),
    )
