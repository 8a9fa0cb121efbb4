"""The load of ``palyra demo-scale``: callers use up one budget at several gateways, and one is killed."""

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, cast

import httpx2

from palyra.cli.child import Child
from palyra.cli.demo import check
from palyra.cli.demo_scene import CALL_S, SceneFailed, chat_body
from palyra.core.invariant import InvariantViolation
from palyra.core.secret import Secret

BUDGET = "shared"
OUTPUT_TOKENS = 2
LOOK_S = 0.1
PAUSE_S = 0.1
PAUSE_MOST_S = 1.0
STALLED_S = 45.0
"""So long without any change of the budget, and the load gives up: the lease has ended long before."""
PAGE = 200
METRIC_OF_PROMPTS = "llamacpp:prompt_tokens_total"


@dataclass(slots=True)
class Gateway:
    """One gateway, and what it answered to the callers."""

    child: Child
    url: str
    is_out: bool = False
    """Callers have seen that it is gone."""
    under_way: int = 0
    admitted: int = 0
    refused: int = 0
    errors: int = 0

    @property
    def name(self) -> str:
        """How it is called."""
        return self.child.name

    @property
    def runs(self) -> bool:
        """Whether its process is there."""
        return self.child.process.poll() is None


@dataclass(frozen=True, slots=True)
class Standing:
    """The budget as the ledger has it at one instant, in calls. ``sliced`` is claimed for calls to come."""

    limit: int
    posted: int = 0
    held: int = 0
    sliced: int = 0

    @property
    def claimed(self) -> int:
        """What may never be above the limit."""
        return self.posted + self.held + self.sliced

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing is under way that could still change it."""
        return not (self.held or self.sliced)


@dataclass(frozen=True, slots=True)
class Killing:
    """Which gateway was killed, and in the middle of how many calls."""

    gateway: str
    pid: int
    posted: int
    under_way: int


@dataclass(frozen=True, slots=True)
class Keys:
    """The key of the callers, and the one that may see everything."""

    caller: str
    owner: str


@dataclass(slots=True)
class Load:
    """``run`` it: it makes calls until the budget is used up, and kills a gateway at a third of it.

    ``show`` is called with it whenever something may have changed.
    """

    gateways: Sequence[Gateway]
    model_url: str
    keys: Keys
    standing: Standing
    show: Callable[["Load"], None]
    most_claimed: int = 0
    in_doubt: int = 0
    model_count: int | None = None
    """How many prompts the model has read, by its own count."""
    killing: Killing | None = None
    prompt_tokens: int = 0
    last_error: str = ""
    events: list[str] = field(default_factory=list[str])
    refused_before: Mapping[str, int] = field(default_factory=dict[str, int])
    """Refusals by gateway when the budget was used up."""

    @property
    def still_admitting(self) -> list[str]:
        """Gateways that have not refused a call since the budget was used up."""
        before = self.refused_before
        left = [each for each in self.gateways if not self._is_killed(each)]
        return [each.name for each in left if each.refused <= before.get(each.name, each.refused)]

    async def run(self, callers: int) -> None:
        """Raises ChildFailed if a gateway ends that was not killed, SceneFailed if one answers nonsense."""
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
        async with httpx2.AsyncClient(timeout=CALL_S, limits=limits, trust_env=False) as client:
            over = asyncio.Event()
            turns = itertools.cycle(self.gateways)
            tasks = [asyncio.create_task(self._call_on(client, turns, over)) for _ in range(callers)]
            self._say(f"{callers} callers share a budget of {self.standing.limit} calls.")
            try:
                await self._watch(client, tasks)
                over.set()
                await asyncio.gather(*tasks)
                await self._look(client)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        self.show(self)

    async def calls_in(self, state: str) -> int:
        """How many calls have ended so, as the ledger has them."""
        count, cursor = 0, None
        async with httpx2.AsyncClient(timeout=CALL_S, trust_env=False) as client:
            while True:
                page = {} if cursor is None else {"cursor": cursor}
                found = await self._get(client, "/decisions", {"state": state, "limit": str(PAGE), **page})
                count += len(found["items"])
                cursor = cast("str | None", found["next_cursor"])
                if cursor is None:
                    return count

    async def _call_on(
        self, client: httpx2.AsyncClient, turns: "itertools.cycle[Gateway]", over: asyncio.Event
    ) -> None:
        """One caller: a call after the other, each at the next gateway; refused, it tries again soon."""
        pause = PAUSE_S
        while not over.is_set():
            if await self._call(client, self._next(turns)):
                pause = PAUSE_S
                continue
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), pause)
            pause = min(2 * pause, PAUSE_MOST_S)

    def _next(self, turns: "itertools.cycle[Gateway]") -> Gateway:
        for gateway in itertools.islice(turns, len(self.gateways)):
            if not gateway.is_out:
                return gateway
        raise SceneFailed(f"no gateway answers any more: {self.last_error}")

    async def _call(self, client: httpx2.AsyncClient, gateway: Gateway) -> bool:
        """Whether it was admitted and answered."""
        gateway.under_way += 1
        try:
            answer = await client.post(
                f"{gateway.url}/v1/chat/completions",
                headers=_bearer(self.keys.caller),
                json=small_chat(),
            )
        except httpx2.TransportError as error:
            gateway.errors += 1
            self.last_error = f"{gateway.name}: {str(error) or type(error).__name__}"
            gateway.is_out = not gateway.runs
            return False
        finally:
            gateway.under_way -= 1
        if answer.status_code == 200:
            gateway.admitted += 1
            self.prompt_tokens = answer.json()["usage"]["prompt_tokens"]
            return True
        if answer.status_code == 402:
            gateway.refused += 1
        else:
            gateway.errors += 1
            self.last_error = f"{gateway.name}: {answer.status_code} {answer.text}"
        return False

    async def _watch(self, client: httpx2.AsyncClient, tasks: Sequence["asyncio.Task[None]"]) -> None:
        changed_at = monotonic()
        while not self._is_done():
            before = self.standing
            check(each.child for each in self.gateways if not self._is_killed(each))
            await self._look(client)
            now = monotonic()
            if self.standing != before:
                changed_at = now
            elif now - changed_at > STALLED_S:
                self._say(f"The budget has not changed for {STALLED_S:g} s; the load ends.")
                return
            if self.killing is None and 3 * self.standing.posted >= self.standing.limit:
                self._kill_one()
            self.show(self)
            for task in tasks:
                if task.done():
                    task.result()
            await asyncio.sleep(LOOK_S)
        self._say("The budget is used up, and every gateway that is left refuses calls.")

    def _is_done(self) -> bool:
        """Every call of the budget is posted, nothing is held or sliced, and everybody refuses since."""
        standing = self.standing
        if self.killing is None or standing.posted < standing.limit or not standing.is_at_rest:
            return False
        if not self.refused_before:
            self.refused_before = {each.name: each.refused for each in self.gateways}
        return not self.still_admitting

    def _is_killed(self, gateway: Gateway) -> bool:
        return self.killing is not None and gateway.name == self.killing.gateway

    def _kill_one(self) -> None:
        """Kill the gateway with the most calls under way, unless all are idle just now."""
        victim = max(self.gateways, key=lambda each: each.under_way)
        if not victim.under_way:
            return
        victim.child.process.kill()
        victim.child.process.wait()
        self.killing = Killing(victim.name, victim.child.pid, self.standing.posted, victim.under_way)
        self._say(f"{victim.name} was killed (SIGKILL); calls under way there: {victim.under_way}.")

    async def _look(self, client: httpx2.AsyncClient) -> None:
        """See how the budget stands, and what the model has counted."""
        found = await self._get(client, f"/budgets/{BUDGET}/status", {})
        account: Mapping[str, int] = found["accounts"][0] if found["accounts"] else {}
        self.standing = Standing(
            self.standing.limit, *(account.get(name, 0) for name in ("posted", "held", "sliced"))
        )
        self.most_claimed = max(self.most_claimed, self.standing.claimed)
        self.model_count = await self._count_of_model(client)
        if self.killing is not None:
            await self._look_for_doubt(client, self.killing.gateway)

    async def _look_for_doubt(self, client: httpx2.AsyncClient, killed: str) -> None:
        before = self.in_doubt
        found = await self._get(client, "/decisions", {"state": "in_doubt", "limit": str(PAGE)})
        self.in_doubt = len(found["items"])
        if self.in_doubt and not before:
            self._say(f"The lease of {killed} ended: its calls under way are in doubt and posted as held.")

    async def _count_of_model(self, client: httpx2.AsyncClient) -> int | None:
        """Prompts the model has read, from its count of tokens: all prompts of the load are the same."""
        if not self.prompt_tokens:
            return None
        try:
            answer = await client.get(f"{self.model_url}/metrics", timeout=5.0)
        except httpx2.TransportError:
            return self.model_count
        for line in answer.text.splitlines():
            if line.startswith(f"{METRIC_OF_PROMPTS} "):
                count, rest = divmod(int(float(line.split()[1])), self.prompt_tokens)
                return None if rest else count
        return None

    async def _get(
        self, client: httpx2.AsyncClient, path: str, parameters: Mapping[str, str]
    ) -> Mapping[str, Any]:
        gateway = next(each for each in self.gateways if not self._is_killed(each))
        answer = await client.get(
            f"{gateway.url}/api/v1{path}", params=dict(parameters), headers=_bearer(self.keys.owner)
        )
        if answer.status_code != 200:
            raise SceneFailed(f"GET {path}: {answer.status_code}: {answer.text}")
        return cast("Mapping[str, Any]", answer.json())

    def _say(self, text: str) -> None:
        self.events.append(text)
        self.show(self)


@dataclass(frozen=True, slots=True)
class Check:
    """Something that must hold in the end, and what was found."""

    what: str
    holds: bool
    found: str


@dataclass(frozen=True, slots=True)
class Proof:
    """What the ledger says of the calls, and whether all of it fits together."""

    answered: int
    settled: int
    in_doubt: int
    checks: Sequence[Check]

    @property
    def holds(self) -> bool:
        """Whether the budget was kept exactly."""
        return all(each.holds for each in self.checks)


async def prove(load: Load, database: Secret) -> Proof:
    """Compare the budget, the calls by state, the callers' and the model's counts; verify every journal."""
    standing, count = load.standing, load.model_count
    settled, in_doubt = await load.calls_in("settled"), await load.calls_in("in_doubt")
    answered = sum(each.admitted for each in load.gateways)
    checks = [
        Check(
            "posted is the limit",
            standing.posted == standing.limit,
            f"{standing.posted} of {standing.limit}",
        ),
        Check(
            "posted, held and sliced were never above it",
            load.most_claimed <= standing.limit,
            f"{load.most_claimed} at most",
        ),
        Check(
            "nothing is held or sliced any more",
            standing.is_at_rest,
            f"held {standing.held}, sliced {standing.sliced}",
        ),
        Check(
            "every call that is posted is known",
            settled + in_doubt == standing.posted,
            f"{settled} settled, {in_doubt} in doubt",
        ),
        Check("every answer is posted", answered <= settled, f"{answered} answers, {settled} settled"),
        Check(
            "the model worked for these calls only",
            count is None or answered <= count <= standing.posted + standing.held,
            "it does not say" if count is None else f"it read {count} prompts",
        ),
        Check(
            "every gateway that is left refuses calls",
            not load.still_admitting,
            ", ".join(load.still_admitting) or "yes",
        ),
        Check(
            "a gateway was killed",
            load.killing is not None,
            "none" if load.killing is None else f"{load.killing.gateway}",
        ),
        await _verify(database),
    ]
    return Proof(answered, settled, in_doubt, checks)


async def _verify(database: Secret) -> Check:
    """What ``palyra audit verify`` does."""
    # The store brings SQLAlchemy: a second that the other commands need not wait.
    from palyra.store.postgres.verify import verify_shared

    what = "the journal of every gateway is whole, and they add up to the balances"
    try:
        audit = await verify_shared(database)
    except InvariantViolation as broken:
        return Check(what, False, str(broken))
    return Check(what, True, f"{audit.records} records in {len(audit.head.split())} journals")


async def until_all_know(gateways: Sequence[Gateway], path: str, key: str, patience_s: float = 10.0) -> None:
    """Wait until every gateway answers a GET with 200: a new key or budget is known there. Or SceneFailed."""
    end = monotonic() + patience_s
    async with httpx2.AsyncClient(timeout=CALL_S, trust_env=False) as client:
        for gateway in gateways:
            while (await client.get(f"{gateway.url}{path}", headers=_bearer(key))).status_code != 200:
                if monotonic() > end:
                    raise SceneFailed(f"{gateway.name} does not know what {path} needs, made elsewhere")
                await asyncio.sleep(LOOK_S)


def small_chat() -> dict[str, object]:
    """A call that a small model answers fast: short in, a few tokens out."""
    body = chat_body("Hi", OUTPUT_TOKENS)
    return {**body, "messages": [{"role": "system", "content": "."}, {"role": "user", "content": "Hi"}]}


def _bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}
