"""How the providers do, as the calls of this process see it: breakers, cooldowns, slots and figures.

Planning looks, an attempt begins and ends: only attempts change anything. As long as all is well there is one
thing to look at, ``calm``.
"""

import asyncio
from collections.abc import Mapping
from typing import Literal, NamedTuple, cast

import msgspec
import structlog

from palyra.core.errors import CapacityDeferred
from palyra.core.instant import NANOSECONDS, Instant
from palyra.lifecycle.ports import SharedRouting
from palyra.lifecycle.slots import SlotSharing
from palyra.lifecycle.waiting import Wait
from palyra.registry.models import Model
from palyra.routing.backoff import Retries
from palyra.routing.breaker import Breaker, BreakerSettings, BreakerState
from palyra.routing.capacity import READY, Capacity, Lease, LeaseState, Priority, ScopeLoad
from palyra.routing.choose import Health
from palyra.routing.cooldown import Cooldown, Cooldowns
from palyra.routing.failure import Fault, Reason

BACKGROUND_ASK_S = 0.5
"""How long a call that can wait asks other gateways for a slot before it is told to come again."""
CAPACITY_RETRY_S = 1
"""What a call that can wait is told where nobody knows when a slot is free."""
_log = structlog.get_logger("palyra.providers")
_SMOOTHING = 8
"""A new figure counts for an eighth of the average."""


class ProviderTerms(msgspec.Struct, frozen=True, gc=False):
    """What a provider shares and how much it takes: calls in flight at it, and with its credential."""

    credential: str
    concurrency: int | None = None
    credential_concurrency: int | None = None


class Resilience(msgspec.Struct, frozen=True, gc=False):
    """``capacity_wait_s``: how long a person's call waits for a slot, in seconds."""

    retries: Retries = Retries()
    breaker: BreakerSettings = BreakerSettings()
    capacity_wait_s: float = 30.0


class Later(NamedTuple):
    """A provider is not for this call now: why, and in how many seconds it may be."""

    why: Literal["failing", "cooling", "busy"]
    seconds: int


class Failed(NamedTuple):
    """The last fault of a provider."""

    at: Instant
    reason: Reason
    message: str


class Seen:
    """What calls have seen of one provider since the start. Times in milliseconds."""

    __slots__ = ("attempts", "breaker", "faults", "last_fault", "last_ok", "latency_ms", "scopes", "terms")

    def __init__(self, terms: ProviderTerms, scopes: tuple[str, ...], breaker: Breaker) -> None:
        self.terms = terms
        self.scopes = scopes
        self.breaker = breaker
        self.attempts = 0
        self.faults = 0
        self.last_ok: Instant | None = None
        self.last_fault: Failed | None = None
        self.latency_ms: int | None = None
        """Of the whole answer, or of the head of a stream: a moving average."""


class Attempt(NamedTuple):
    """A try at a provider that has begun."""

    model: Model
    began: Instant
    ticket: int
    seen: Seen


class Providers:
    """All providers of the process. ``terms`` by provider id; one that is not in it has no limits."""

    def __init__(self, terms: Mapping[str, ProviderTerms], resilience: Resilience) -> None:
        self.resilience = resilience
        self._cooldowns = Cooldowns()
        self._capacity: Capacity[Wait] = Capacity(_limits(terms))
        self._granted: dict[Wait, Lease] = {}
        self._sharing: SlotSharing | None = None
        self._seen: dict[str, Seen] = {}
        self._not_closed: set[str] = set()
        self._pressed: frozenset[str] = frozenset()
        for provider_id, each in terms.items():
            scopes = tuple(
                scope
                for scope, limit in (
                    (_provider_scope(provider_id), each.concurrency),
                    (_credential_scope(each.credential), each.credential_concurrency),
                )
                if limit is not None
            )
            self._seen[provider_id] = Seen(each, scopes, Breaker(resilience.breaker))

    def share(self, shared: SharedRouting) -> SlotSharing:
        """Keep the limits together with other gateways; the sharing is to be run."""
        most = {load.scope: load.limit for load in self._capacity.snapshot() if load.limit is not None}
        capacity = cast("Capacity[object]", self._capacity)
        self._sharing = SlotSharing(shared, capacity, most, self._wake)
        return self._sharing

    # To look at, for planning. Nothing changes.

    @property
    def calm(self) -> bool:
        """Whether no provider is in trouble or short of slots: there is nothing to look at then."""
        return not (self._not_closed or self._cooldowns.entries or self._pressed)

    def health(self, model: Model, now: Instant) -> Health:
        """Whether a call may go to this model now."""
        if not self._not_closed and not self._cooldowns.entries:
            return Health.OK
        seen = self.seen(model.provider)
        if not seen.breaker.allows(now):
            return Health.OPEN
        if self._cooldowns.standing(seen.terms.credential, model.upstream_name, now) is not None:
            return Health.COOLING
        return Health.OK

    def cooldown(self, model: Model, now: Instant) -> Cooldown | None:
        """What keeps this model from being called for a while, None if nothing does."""
        if not self._cooldowns.entries:
            return None
        terms = self.seen(model.provider).terms
        return self._cooldowns.standing(terms.credential, model.upstream_name, now)

    def room(self, provider_id: str, priority: Priority) -> str:
        """What a call would find: ``ready``, ``waiting`` or ``deferred``."""
        if not self._pressed:
            return LeaseState.READY.value
        return self._capacity.preview(self.seen(provider_id).scopes, priority).state.value

    def later(self, model: Model, priority: Priority, now: Instant) -> Later | None:
        """Why a call shall come again, and when; None if it may run now.

        A provider whose breaker is open is for nobody; one that is busy, or has just turned us away, is not
        for work that can wait.
        """
        if self.calm:
            return None
        seen = self.seen(model.provider)
        if not seen.breaker.allows(now):
            # While a probe is under way the next call may be let through in a moment.
            probing = seen.breaker.state(now) is BreakerState.HALF_OPEN
            return Later("failing", 1 if probing else _seconds(seen.breaker.retry_at or now, now))
        if priority is Priority.FOREGROUND:
            return None
        cooldown = self._cooldowns.standing(seen.terms.credential, model.upstream_name, now)
        if cooldown is not None:
            return Later("cooling", _seconds(cooldown.until, now))
        ready = self.room(model.provider, priority) == LeaseState.READY.value
        return None if ready else Later("busy", CAPACITY_RETRY_S)

    # Attempts.

    def begin(self, model: Model, now: Instant) -> Attempt | None:
        """Begin a try; None where the breaker lets none through. To be ended, or abandoned."""
        seen = self.seen(model.provider)
        ticket = seen.breaker.begin(now)
        if not ticket:
            return None
        seen.attempts += 1
        return Attempt(model, now, ticket, seen)

    def succeeded(self, attempt: Attempt, now: Instant) -> None:
        """The provider answered, with whatever it is to blame for nothing of."""
        model, seen = attempt.model, attempt.seen
        seen.last_ok = now
        took = (now - attempt.began) // 1_000_000
        known = seen.latency_ms
        seen.latency_ms = took if known is None else known + (took - known) // _SMOOTHING
        if seen.breaker.faults:
            seen.breaker.succeeded(attempt.ticket)
            self._look_at(model.provider, seen, now)
        if self._cooldowns.entries:
            self._cooldowns.succeeded(seen.terms.credential, model.upstream_name, attempt.began)

    def failed(self, attempt: Attempt, fault: Fault, message: str, now: Instant) -> None:
        """The try failed."""
        model, seen = attempt.model, attempt.seen
        seen.faults += 1
        seen.last_fault = Failed(now, fault.reason, message)
        self._cooldowns.cool(seen.terms.credential, model.upstream_name, fault, now)
        if fault.provider_fault:
            seen.breaker.failed(attempt.ticket, now)
        elif fault.reason is Reason.UNSENDABLE:
            seen.breaker.abandoned(attempt.ticket)
        else:
            # It answered: whatever it says, it is there.
            seen.breaker.succeeded(attempt.ticket)
        self._look_at(model.provider, seen, now)

    def abandoned(self, attempt: Attempt) -> None:
        """The try ended without a verdict: the client left."""
        attempt.seen.breaker.abandoned(attempt.ticket)

    # Slots.

    def is_limited(self, provider_id: str) -> bool:
        """Whether calls to the provider need slots."""
        return bool(self.seen(provider_id).scopes)

    async def lease(self, provider_id: str, priority: Priority) -> Lease:
        """Take the slots of one call, or wait for them. Raises CapacityDeferred."""
        seen = self.seen(provider_id)
        lease = self._capacity.take(seen.scopes, priority)
        if lease is None:
            if priority is Priority.FOREGROUND:
                lease = await self._wait_for(provider_id, seen, priority, self.resilience.capacity_wait_s)
            elif self._sharing is not None:
                # Other gateways may have slots to spare.
                lease = await self._wait_for(provider_id, seen, priority, BACKGROUND_ASK_S)
            else:
                raise CapacityDeferred.after(_busy(provider_id), CAPACITY_RETRY_S)
        self._press(provider_id)
        return lease

    def give_back(self, provider_id: str, lease: Lease) -> None:
        """Free the slots of a call that is over, and wake whoever may have them."""
        if self._capacity.give_back(lease):
            self._wake()
        self._press(provider_id)

    # For people.

    def seen(self, provider_id: str) -> Seen:
        """What is known of a provider."""
        found = self._seen.get(provider_id)
        if found is None:
            terms = ProviderTerms(f"provider:{provider_id}")
            found = self._seen[provider_id] = Seen(terms, (), Breaker(self.resilience.breaker))
        return found

    def breaker_state(self, provider_id: str, now: Instant) -> BreakerState:
        """The state of a provider's breaker."""
        return self.seen(provider_id).breaker.state(now)

    def cooldowns(self, now: Instant) -> list[tuple[str, str | None, Cooldown]]:
        """Credential, model (None for all) and cooldown of all that stand."""
        return self._cooldowns.snapshot(now)

    def loads(self) -> tuple[ScopeLoad, ...]:
        """How busy every scope with a limit is."""
        return self._capacity.snapshot()

    def _look_at(self, provider_id: str, seen: Seen, now: Instant) -> None:
        if seen.breaker.state(now) is BreakerState.CLOSED:
            if provider_id in self._not_closed:
                self._not_closed.discard(provider_id)
                _log.info("provider is well again", provider=provider_id)
        elif provider_id not in self._not_closed:
            self._not_closed.add(provider_id)
            fault = seen.last_fault
            reason = None if fault is None else f"{fault.reason}: {fault.message}"
            _log.warning("provider fails and is left alone", provider=provider_id, reason=reason)

    def _press(self, provider_id: str) -> None:
        """Note whether the provider is short of slots, and those that were: they may share a credential."""
        for each in (provider_id, *self._pressed):
            if self._capacity.preview(self.seen(each).scopes, Priority.BACKGROUND) is not READY:
                self._pressed = self._pressed | {each}
            elif each in self._pressed:
                self._pressed = self._pressed - {each}

    async def _wait_for(self, provider_id: str, seen: Seen, priority: Priority, seconds: float) -> Lease:
        slot = Wait()
        if not self._capacity.wait(seen.scopes, priority, slot):
            raise CapacityDeferred.after(_busy(provider_id), CAPACITY_RETRY_S)
        if self._sharing is not None:
            self._sharing.ask()
        error = CapacityDeferred.after(_busy(provider_id), CAPACITY_RETRY_S)
        loop = asyncio.get_running_loop()
        timer = loop.call_later(seconds, self._time_out, slot, error)
        try:
            await slot
        except asyncio.CancelledError:
            if not self._capacity.leave(slot):
                self.give_back(provider_id, self._granted.pop(slot))
            self._wake()
            raise
        finally:
            timer.cancel()
        return self._granted.pop(slot)

    def _time_out(self, slot: Wait, error: CapacityDeferred) -> None:
        if self._capacity.leave(slot, timed_out=True):
            slot.tell(error)
            self._wake()

    def _wake(self) -> None:
        while (ready := self._capacity.next_ready()) is not None:
            slot, lease = ready
            self._granted[slot] = lease
            slot.tell()


def _seconds(until: Instant, now: Instant) -> int:
    return max(1, -(-(until - now) // NANOSECONDS))


def _limits(terms: Mapping[str, ProviderTerms]) -> dict[str, int | None]:
    """The limit of every scope; providers that share a credential share the least that any of them names."""
    limits: dict[str, int | None] = {}
    for provider_id, each in terms.items():
        if each.concurrency is not None:
            limits[_provider_scope(provider_id)] = each.concurrency
        if each.credential_concurrency is not None:
            scope = _credential_scope(each.credential)
            known = limits.get(scope)
            least = each.credential_concurrency
            limits[scope] = least if known is None else min(known, least)
    return limits


def _provider_scope(provider_id: str) -> str:
    return f"provider {provider_id}"


def _credential_scope(credential: str) -> str:
    return f"credential {credential}"


def _busy(provider_id: str) -> str:
    return f"provider {provider_id!r} has no free slot for this call; retry in a moment"
