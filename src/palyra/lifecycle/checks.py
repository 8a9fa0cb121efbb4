"""What nobody asks for, looked at every few seconds: providers, doubts, forecasts, the last hour, and whether
the cause of each alert is gone. Calls go on meanwhile; reading a page does none of this.
"""

from collections.abc import Awaitable, Callable, Sequence
from collections.abc import Set as AbstractSet

import structlog

from palyra.alerts import causes, words
from palyra.alerts.alert import Alert, Kind
from palyra.alerts.course import Finding
from palyra.approvals.approval import State
from palyra.core.errors import ModelNotFound, PalyraError
from palyra.core.hours import HOUR_NS
from palyra.core.instant import END_OF_TIME, NANOSECONDS, Instant
from palyra.ledger.account import AccountKey
from palyra.lifecycle.alarms import Alarms
from palyra.lifecycle.decision import CallState
from palyra.lifecycle.endings import (
    BUDGET_KINDS,
    QUIET_NS,
    account_of,
    budget_has_room,
    budget_is_over,
    day_is_over,
)
from palyra.lifecycle.engine import Engine
from palyra.lifecycle.forecasts import Forecasts
from palyra.lifecycle.hours import find_shifts, find_spikes, last_hour
from palyra.lifecycle.outlook import Outlook
from palyra.lifecycle.ports import DecisionFilter, Others
from palyra.lifecycle.route import find_sheet
from palyra.lifecycle.signals import decided_in_words, tell_of_doubt
from palyra.lifecycle.waiting import in_task
from palyra.routing.breaker import BreakerState

LASTS_NS = 300 * NANOSECONDS
"""What lasts is counted again after so long; another gateway may end it after three times that."""
DOUBTS_MAX = 50
DOUBTS_SINCE_NS = HOUR_NS

_log = structlog.get_logger("palyra.alarms")


class Checks:
    """``providers`` are the ids of those that are configured, ``in_doubt`` counts calls posted as held.

    ``forecasts`` are those that pages show, where there are pages.
    """

    def __init__(
        self,
        engine: Engine,
        alarms: Alarms,
        providers: Sequence[str],
        in_doubt: Callable[[], int],
        forecasts: Forecasts | None = None,
    ) -> None:
        self._engine = engine
        self._alarms = alarms
        self._providers = tuple(providers)
        self._in_doubt = in_doubt
        self._outlook = Outlook(engine, forecasts or Forecasts(engine.records, engine.clock))
        self._mine: set[str] = set()
        """Causes that this process found to last when it looked last."""
        self._failing_since: dict[str, Instant] = {}
        self._doubts = 0
        self._hour = Instant(0)

    async def run(self) -> None:
        """Look at everything once. One look that fails does not keep the others from being made."""
        await self._make(
            self._alarms.tend,
            self._look_at_providers,
            self._look_for_doubts,
            self._look_ahead,
            self._look_at_last_hour,
            self._end_what_is_gone,
            self._alarms.settled,
        )

    async def glance(self) -> None:
        """As ``run``, without what has to be learned from the use of weeks."""
        await self._make(
            self._alarms.tend,
            self._look_at_providers,
            self._look_for_doubts,
            self._end_what_is_gone,
            self._alarms.settled,
        )

    async def _make(self, *looks: Callable[[], Awaitable[None]]) -> None:
        for look in looks:
            try:
                await look()
            except PalyraError as error:
                _log.warning("a check of alerts failed", check=look.__name__, reason=error.message)
            except Exception:  # noqa: BLE001 (the next look may be the one that matters)
                _log.exception("a check of alerts failed", check=look.__name__)

    # What lasts.

    def _lasts(self, cause: str, describe: Callable[[], Finding], now: Instant) -> None:
        """It is so now: raised, and counted again after a while."""
        self._mine.add(cause)
        alert = self._alarms.of(cause)
        if alert is None:
            self._alarms.ensure(cause, describe)
        elif now - self._alarms.last_seen(alert) >= LASTS_NS:
            self._alarms.note(cause, describe)

    def _is_over(self, cause: str, why: str, now: Instant) -> None:
        """It is not so here. Another gateway may still see it, and says so every now and then."""
        alert = self._alarms.of(cause)
        seen_here = cause in self._mine
        self._mine.discard(cause)
        if alert is None:
            return
        if seen_here or not self._alarms.shared or now - alert.last_at >= 3 * LASTS_NS:
            self._alarms.end(cause, why)

    async def _look_at_providers(self) -> None:
        providers, now = self._engine.providers, self._engine.clock.now()
        for provider in self._providers:
            cause = causes.provider_health(provider)
            if providers.breaker_state(provider, now) is BreakerState.CLOSED:
                self._failing_since.pop(provider, None)
                self._is_over(cause, "A call to it succeeded.", now)
                continue
            fault = providers.seen(provider).last_fault
            reason = "it does not answer" if fault is None else f"{fault.reason.value}: {fault.message}"
            since = self._failing_since.setdefault(provider, now if fault is None else fault.at)
            finding = words.provider_health(provider, reason, since, is_open=True)
            self._lasts(cause, lambda finding=finding: finding, now)

    async def _look_ahead(self) -> None:
        now = self._engine.clock.now()
        for outcome in await self._outlook.look(now, lambda cause: self._alarms.of(cause) is not None):
            if outcome.describe is not None:
                self._lasts(outcome.cause, outcome.describe, now)
            else:
                self._is_over(outcome.cause, outcome.why, now)

    # What happened.

    async def _look_for_doubts(self) -> None:
        """What nobody lived to say: calls that were posted as held by a gateway that died right then."""
        count, now = self._in_doubt(), self._engine.clock.now()
        if count > self._doubts:
            since = Instant(now - 2 * DOUBTS_SINCE_NS)
            wanted = DecisionFilter(state=CallState.IN_DOUBT, since=since, limit=DOUBTS_MAX)
            for stored in await self._engine.records.decisions(wanted):
                end = stored.settlement
                if end is not None and end.at >= now - DOUBTS_SINCE_NS:
                    tell_of_doubt(stored.decision, end, self._alarms, again=False)
        self._doubts = count

    async def _look_at_last_hour(self) -> None:
        """Once for each hour."""
        hour, records = last_hour(self._engine.clock.now()), self._engine.records
        if hour == self._hour:
            return
        spikes = await find_spikes(records, hour)
        self._tell_of_hour(Kind.COST_SPIKE, spikes, "The hour after it cost no more than usual.")
        shifts = await find_shifts(records, Instant(hour + HOUR_NS))
        self._tell_of_hour(Kind.UNUSUAL_MODEL_MIX, shifts, "The models are those of the week before again.")
        self._hour = hour

    def _tell_of_hour(self, kind: Kind, found: Sequence[Finding], why: str) -> None:
        for finding in found:
            alert = self._alarms.of(finding.cause)
            if alert is None:
                self._alarms.ensure(finding.cause, lambda finding=finding: finding)
            elif alert.facts.get("hour") != finding.facts.get("hour"):
                self._alarms.note(finding.cause, lambda finding=finding: finding)
        there = {finding.cause for finding in found}
        for alert in self._alarms.firing:
            if alert.kind is kind and alert.cause not in there:
                self._alarms.end(alert.cause, why)

    # Whether it is gone.

    async def _end_what_is_gone(self) -> None:
        now = self._engine.clock.now()
        firing = self._alarms.firing
        await self._read_balances([each for each in firing if each.kind in BUDGET_KINDS], now)
        people = self._engine.approvals
        asked = () if people is None else people.open
        pending = {each.id for each in asked if each.state is State.PENDING}
        for alert in firing:
            why = await self._gone(alert, pending, now)
            if why is not None:
                self._alarms.end(alert.cause, why)

    async def _gone(self, alert: Alert, pending: AbstractSet[str], now: Instant) -> str | None:
        """Why it is gone; None if it is not. ``pending`` are the approvals that are known to be."""
        quiet_ns, why = now - self._alarms.last_seen(alert), None
        match alert.kind:
            case Kind.BUDGET_THRESHOLD | Kind.BUDGET_EXHAUSTED | Kind.FORECAST_EXHAUSTION:
                why = self._budget_gone(alert, now, quiet_ns)
            case Kind.UNPRICED_MODEL:
                is_priced = self._is_priced(str(alert.facts["provider"]), str(alert.facts["model"]), now)
                why = "Its price is known now." if is_priced else day_is_over(quiet_ns)
            case Kind.APPROVAL_PENDING if alert.facts["approval_id"] not in pending:
                why = await self._decided(str(alert.facts["approval_id"]))
            case Kind.UNSETTLED_RESERVATION if self._in_doubt() == 0 and quiet_ns >= QUIET_NS:
                why = "No call is in doubt any more."
            case Kind.OVERRUN | Kind.UNSETTLED_RESERVATION:
                why = day_is_over(quiet_ns)
            case Kind.PROVIDER_HEALTH if alert.facts["provider"] not in self._providers:
                why = "It is not configured any more." if quiet_ns >= 3 * LASTS_NS else None
            case _:
                pass
        return why

    def _budget_gone(self, alert: Alert, now: Instant, quiet_ns: int) -> str | None:
        policy = self._engine.rules.snapshot.policies.get(alert.policy_id or "")
        why = budget_is_over(alert, policy, now)
        if why is not None or policy is None or alert.kind is Kind.FORECAST_EXHAUSTION:
            return why
        balance = self._engine.ledger.balance(account_of(alert)[0])
        return budget_has_room(alert, policy, balance.posted + balance.held, quiet_ns)

    async def _read_balances(self, alerts: Sequence[Alert], now: Instant) -> None:
        """Learn from other gateways where the accounts stand."""
        others = self._engine.others
        accounts = [account_of(alert) for alert in alerts]
        live = [(key, end or END_OF_TIME) for key, end in accounts if end is None or end > now]
        if others is not None and live:
            await in_task(_read(others, live))

    def _is_priced(self, provider: str, name: str, now: Instant) -> bool:
        registry = self._engine.registry
        try:
            model = registry.find(f"{provider}/{name}")
            kind = registry.kind_of(model.provider)
        except (ModelNotFound, KeyError):
            return False
        return find_sheet(model, kind, self._engine.prices, now) is not None

    async def _decided(self, approval_id: str) -> str | None:
        approval = await self._engine.records.approval(approval_id)
        if approval is None:
            return "The request is not there any more."
        return None if approval.state is State.PENDING else decided_in_words(approval)


async def _read(others: Others, accounts: Sequence[tuple[AccountKey, Instant]]) -> None:
    await others.read(accounts)
