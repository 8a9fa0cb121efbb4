"""Alerts of one process: the desk that writes them, the checks, and the delivery of what they say."""

import asyncio
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from random import SystemRandom

import uuid_utils

from palyra.alerts.alert import NoticeState
from palyra.api.deps import Sample
from palyra.config.settings import AppriseUrl, NotifyTarget, Settings, Webhook
from palyra.core.errors import LedgerUnavailable, PalyraError
from palyra.core.hours import DAY_NS
from palyra.core.instant import Instant
from palyra.daemon.storage import Store
from palyra.lifecycle.alarms import Alarms
from palyra.lifecycle.checks import Checks
from palyra.lifecycle.decision import AnyDecision, Settlement
from palyra.lifecycle.engine import Engine
from palyra.lifecycle.forecasts import Forecasts
from palyra.lifecycle.outbox import Outbox
from palyra.lifecycle.ports import NoticeFilter
from palyra.lifecycle.signals import tell_of_doubt
from palyra.notify.chat import AppriseSender
from palyra.notify.delivery import Delivery, Pace
from palyra.notify.guard import proxy_hosts
from palyra.notify.sender import Sender
from palyra.notify.webhook import WebhookSender

KEPT_NS = 90 * DAY_NS
"""How long alerts that are over, and messages that were sent, can be read."""
NOTICES_COUNTED_MAX = 1_000
STOP_S = 5.0


class Alerting:
    """What the daemon starts, stops and shows of alerts."""

    def __init__(self, settings: Settings, store: Store, engine: Engine) -> None:
        records, clock = store.records, engine.clock
        targets = tuple(each.target() for each in settings.notify)
        self._records = records
        self._clock = clock
        self._notices: Counter[NoticeState] = Counter()
        self.delivery = Delivery(
            records,
            {each.id: _sender(each, settings.notifications.timeout_s) for each in settings.notify},
            clock,
            SystemRandom().random,
            Pace(settings.notifications.timeout_s, settings.notifications.concurrency),
        )
        shared = store.others is not None
        self.alarms = Alarms(records, clock, _new_id, targets, self.delivery.wake, shared=shared)
        self.outbox = Outbox(records, clock, _new_id, targets, self.delivery.wake)
        providers = [each.id for each in settings.providers if each.enabled]
        self.forecasts = Forecasts(records, clock)
        self._checks = Checks(engine, self.alarms, providers, lambda: store.in_doubt, self.forecasts)

    def doubt(self, decision: AnyDecision, settlement: Settlement) -> None:
        """A call of a gateway that died is posted as held."""
        tell_of_doubt(decision, settlement, self.alarms)

    async def check(self) -> None:
        """Look at everything once, and count what waits to be sent."""
        await self._checks.run()
        with suppress(LedgerUnavailable):
            for state in (NoticeState.WAITING, NoticeState.DEAD):
                found = await self._records.notices(NoticeFilter(state=state, limit=NOTICES_COUNTED_MAX))
                self._notices[state] = len(found)

    async def forget(self) -> None:
        """Drop what has been over for too long."""
        await self._records.drop_old(Instant(self._clock.now() - KEPT_NS))

    async def stop(self) -> None:
        """Send nothing more, and store what was counted, if the database takes it."""
        await self.delivery.stop()
        with suppress(PalyraError, TimeoutError):
            async with asyncio.timeout(STOP_S):
                await self.alarms.tend()

    def samples(self) -> Iterator[Sample]:
        """How many alerts are firing, and how many messages wait or are given up."""
        firing = Counter((alert.kind.value, alert.severity.value) for alert in self.alarms.firing)
        for (kind, severity), number in sorted(firing.items()):
            labels = {"kind": kind, "severity": severity}
            yield Sample("palyra_alerts_firing", "gauge", "Alerts that are firing.", labels, float(number))
        waiting, dead = (float(self._notices[each]) for each in (NoticeState.WAITING, NoticeState.DEAD))
        yield Sample("palyra_notices_waiting", "gauge", "Messages that are not sent yet.", {}, waiting)
        yield Sample("palyra_notices_dead", "gauge", "Messages that are given up.", {}, dead)


def _sender(target: NotifyTarget, timeout_s: float) -> Sender:
    match target.way:
        case AppriseUrl(url):
            return AppriseSender(
                url,
                allow_private=target.allow_private,
                timeout_s=timeout_s,
                proxies=proxy_hosts(os.environ),
            )
        case Webhook(url, secrets):
            return WebhookSender(url, secrets, allow_private=target.allow_private, timeout_s=timeout_s)


def _new_id(prefix: str) -> str:
    return f"{prefix}_{uuid_utils.uuid7().hex}"
