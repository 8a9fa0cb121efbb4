"""What a daemon compares to tell pages what changed."""

from collections.abc import Mapping

from palyra.daemon.models import ModelDesk
from palyra.lifecycle.approvals import Approvals
from palyra.lifecycle.listening import Changes, Figures
from palyra.lifecycle.ports import Records
from palyra.lifecycle.rules import Rules
from palyra.lifecycle.topics import Topic


def make_changes(records: Records, rules: Rules, approvals: Approvals, desk: ModelDesk) -> Changes:
    """The hub of what pages show. Budgets and keys are told of once they hold here."""
    engine = desk.engine

    async def look() -> Figures:
        now = engine.clock.now()
        stored, snapshot = await records.figures(now), rules.snapshot
        return {
            Topic.USAGE: stored.calls,
            Topic.DECISIONS: stored.calls,
            Topic.BUDGETS: snapshot.policies,
            Topic.APPROVALS: (stored.approvals, approvals.changes),
            Topic.ALERTS: stored.alerts,
            Topic.MODELS: _health(desk),
            Topic.KEYS: snapshot.keys,
        }

    return Changes(look)


def _health(desk: ModelDesk) -> Mapping[str, object]:
    """What is listed, what was tested, and what failed: not what each call moves, such as latencies."""
    engine, now = desk.engine, desk.engine.clock.now()
    providers = engine.providers
    return {
        "models": engine.registry,
        "tested": {name: check.at for name, check in desk.checks.items()},
        "cooldowns": providers.cooldowns(now),
        "faults": {
            each.id: (providers.breaker_state(each.id, now), providers.seen(each.id).last_fault)
            for each in desk.settings.providers
        },
    }
