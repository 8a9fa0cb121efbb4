"""An engine without sockets: 10,000 budgets of which 5 bind the call, one priced model, a 1 KB call."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from decimal import Decimal

from palyra.budgets.policy import Known, Policy, PolicyDefaults, parse_policy
from palyra.budgets.terms import Mode, UnknownPrice
from palyra.daemon.system import SystemClock, TimeSortedIds
from palyra.gateway.asks import parse
from palyra.gateway.hints import read_header_hints, read_hints
from palyra.identity.keys import ApiKey, Subject, hash_key, parse_key_entry
from palyra.lifecycle.call import Call
from palyra.lifecycle.engine import Engine, Governance
from palyra.lifecycle.ports import Ledger, Records
from palyra.lifecycle.rules import Rules
from palyra.lifecycle.wire import Endpoint, UpstreamRequest, UpstreamSink
from palyra.pricing.book import PriceBook
from palyra.pricing.entry import PriceEntry
from palyra.pricing.rates import Rates
from palyra.registry.models import Kind, ModelEntry, Provider
from palyra.registry.registry import Registry
from palyra.store.ledger import resolve
from palyra.store.write import Write
from palyra.upstream.meters import make_meter

POLICIES = 10_000
KEY = "sk-palyra-benchmark"
MODEL = "bench-model"
PRINCIPAL = "p7"
SESSION = "run-1"
SCOPES = ("global", f"principal:{PRINCIPAL}", "principal:*", f"model:{MODEL}", "provider:bench")
BODY_BYTES = 1_024
ANSWER = json.dumps(
    {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1_795_430_412,
        "model": MODEL,
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "word " * 120}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 250, "completion_tokens": 120, "total_tokens": 370},
    }
).encode()


class InstantUpstream:
    """Answers every call on the loop's next turn."""

    def send(self, request: UpstreamRequest, sink: UpstreamSink) -> "InstantUpstream":
        """See ``Upstream.send``."""
        del request
        asyncio.get_running_loop().call_soon(_answer, sink)
        return self

    def pause(self) -> None:
        """See ``UpstreamCall.pause``."""

    def resume(self) -> None:
        """See ``UpstreamCall.resume``."""

    def abort(self) -> None:
        """See ``UpstreamCall.abort``."""

    async def close(self) -> None:
        """See ``Upstream.close``."""


def _answer(sink: UpstreamSink) -> None:
    sink.head(200, [(b"content-type", b"application/json")])
    sink.data(ANSWER)
    sink.end()


class Forgetful:
    """A journal that calls every write durable on the loop's next turn, and keeps none."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def accepts(self) -> bool:
        """Always."""
        return True

    def append(self, write: Write) -> None:
        """See ``Journal.append``."""
        self._loop.call_soon(resolve, [write], None)


class NoCatalog:
    """A price list that is empty."""

    def knows(self, provider_kind: str, model: str, /) -> bool:
        """See ``Catalog.knows``."""
        del provider_kind, model
        return False

    def context_window(self, provider_kind: str, model: str, /) -> int | None:
        """See ``Catalog.context_window``."""
        del provider_kind, model
        return None

    def price_tier(self, _provider_kind: str, _model: str, /) -> None:
        return None

    def models(self, provider_kind: str, /) -> list[str]:
        """See ``Catalog.models``."""
        del provider_kind
        return []


def documents(count: int = POLICIES, binding: Sequence[str] = SCOPES) -> Iterator[dict[str, object]]:
    """Budgets: those of the scopes ``binding`` bind principal p7 on the model, the rest bind others."""
    others = [f"principal:q{number}" for number in range(count - len(binding))]
    for number, scope in enumerate([*binding, *others]):
        yield {
            "id": f"budget-{number}",
            "scope": scope,
            "metric": "cost_usd",
            "interval": "day",
            "hard_limit": "1000000",
            "action": "block",
        }


def policies(count: int = POLICIES, binding: Sequence[str] = SCOPES) -> list[Policy]:
    """The budgets, read."""
    return [
        parse_policy(each, defaults=PolicyDefaults(), version=1, actor="config", origin="file")
        for each in documents(count, binding)
    ]


def key() -> ApiKey:
    """The caller's key."""
    return parse_key_entry({"id": "bench", "sha256": hash_key(KEY), "principal": PRINCIPAL})


def subject() -> Subject:
    """Who the key stands for."""
    return key().subject()


def engine(
    clock: SystemClock, ledger: Ledger, records: Records, in_force: Sequence[Policy] | None = None
) -> Engine:
    """The path of a call, whole, on the given store; without ``in_force`` under 10,000 budgets."""
    return Engine(
        clock=clock,
        ids=TimeSortedIds(),
        ledger=ledger,
        records=records,
        upstream=InstantUpstream(),
        make_meter=make_meter,
        rules=Rules(
            records,
            clock,
            random_bytes=lambda count: b"\0" * count,
            new_id=lambda: "key",
            file_policies=policies() if in_force is None else in_force,
            file_keys=[key()],
            known=Known,
            defaults=PolicyDefaults(),
        ),
        registry=Registry(
            [Provider("bench", Kind.OPENAI_COMPATIBLE)],
            [ModelEntry(MODEL, "bench", MODEL, output_limit=4_096)],
            NoCatalog(),
            None,
        ),
        prices=PriceBook([PriceEntry("bench", MODEL, Rates(Decimal("1.00"), Decimal("2.00")))], None),
        governance=Governance(Mode.ENFORCED, UnknownPrice.DENY),
    )


def body(stream: bool = False) -> bytes:
    """A request of 1 KB."""
    document: dict[str, object] = {"model": MODEL, "max_tokens": 256, "stream": stream}
    document["messages"] = [{"role": "user", "content": ""}]
    room = BODY_BYTES - len(json.dumps(document))
    document["messages"] = [{"role": "user", "content": ("Tell me more about ledgers. " * 64)[:room]}]
    return json.dumps(document).encode()


def call(serving: Engine) -> Call:
    """A received call, parsed as the gateway does."""
    raw = body()
    parsed = parse(Endpoint.chat_completions, raw)
    headers: dict[bytes, bytes] = {b"x-palyra-agent": b"bench", b"x-palyra-session": SESSION.encode()}
    return Call(
        request_id=serving.ids.request_id(),
        endpoint=Endpoint.chat_completions,
        credential=KEY,
        hints=read_hints(read_header_hints(headers), parsed.labelled),
        ask=parsed.ask,
        body=parsed.body,
        raw_body=raw,
        headers=((b"content-type", b"application/json"),),
        idempotency_key=None,
    )
