"""The past of the demo: a month of five teams, three providers, and one agent that runs away.

Before it is a quieter one, in which the teams grow. All of it is drawn from a seed and happens day by day on
the daemon's own path, so that two pasts with the same end are alike in everything but keys.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from types import MappingProxyType

from palyra.approvals.approval import GrantKind, State
from palyra.approvals.rules import Offer
from palyra.cli.demo_calendar import (
    DAYS,
    MINUTE_NS,
    SECOND_NS,
    begin_of,
    growth,
    midnight,
    new_model_from,
    outage,
    priced_from,
    runaway_from,
    working_day,
)
from palyra.cli.demo_cast import AGENTS, NEW_MODEL, RUNAWAY, Agent
from palyra.cli.demo_draw import (
    ask_of,
    days_between,
    faults_at,
    hints_of,
    lot,
    model_of,
    script_of,
    sessions_of,
    tokens_of,
)
from palyra.cli.demo_script import Fault, make_call
from palyra.cli.demo_stage import MILLISECOND_NS, Over, Stage
from palyra.config.settings import Settings
from palyra.core.errors import ApprovalRequired, BudgetExceeded, PalyraError
from palyra.core.hours import DAY_NS, HOUR_NS
from palyra.core.instant import Instant
from palyra.core.money import NANO_PER_USD
from palyra.daemon.past import MovedClock, Past
from palyra.identity.keys import Grant, Role, Subject

SEED = 7
QUIET_NS = 3 * MINUTE_NS
"""No call begins so shortly before the end: the last one is over by then."""
ANSWERS = 2
"""So many requests of the runaway agent are decided: the first is granted, the second is not."""
LOOK_NS = HOUR_NS
LOOK_CLOSELY_NS = 5 * MINUTE_NS
"""How often the checks of alerts run, and in times of trouble."""

Tell = Callable[[int, int], None]
"""Given how many seconds of the month are written, and of how many."""


@dataclass(frozen=True, slots=True)
class Written:
    """A ledger with a month in it. ``owner_key`` is in clear, and known to nobody else."""

    owner_key: str
    calls: int


def write_month(
    settings: Settings, now: Instant, tell: Tell, *, seed: int = SEED, days: int = DAYS
) -> Written:
    """Write the ``days`` before ``now`` into the database of the settings, which must not be there yet.

    Raises FileExistsError where it is, and ValueError for a database that is no file.
    """
    database = settings.server.database
    if not isinstance(database, Path):
        raise ValueError("a past is written to a SQLite file")
    return asyncio.run(_write(settings, database, (begin_of(now, days), now), tell, seed))


async def _write(
    settings: Settings, database: Path, span: tuple[Instant, Instant], tell: Tell, seed: int
) -> Written:
    start, now = span
    clock = MovedClock(start)
    stage = Stage(clock)
    past, owner_key = await Past.begin(settings, database, clock, stage, lot(seed, "ids"))
    try:
        month = Month(past, stage, now, seed)
        await month.prepare(owner_key)
        await stage.play(now, past, lambda at: tell((at - start) // SECOND_NS, (now - start) // SECOND_NS))
        clock.move(now)
        await past.look()
        await past.settled()
        return Written(owner_key, month.calls)
    finally:
        past.close()


@dataclass(slots=True)
class Month:
    """What happens: the teams' work, what goes wrong, and what people do about it."""

    past: Past
    stage: Stage
    now: Instant
    seed: int
    calls: int = 0
    _keys: dict[str, str] = field(default_factory=dict[str, str])
    """In clear, by agent."""
    _stopped: dict[str, Instant] = field(default_factory=dict[str, Instant])
    """Teams that wait for a decision, and until when."""
    _people: dict[str, Subject] = field(default_factory=dict[str, Subject])
    _decided: int = 0
    _asked: list[str] = field(default_factory=list[str])
    """Approvals that the runaway agent asked for."""
    _lot: Random = field(init=False)
    """Of people and of the runaway agent."""

    def __post_init__(self) -> None:
        self._lot = lot(self.seed, "people")

    async def prepare(self, owner_key: str) -> None:
        """Make keys and budgets, and put everything that will happen into the calendar."""
        owner = self.past.rules.snapshot.subject(owner_key)
        if owner is None:
            raise RuntimeError("the owner key is not in force")
        for name, role in (("dana", Role.ADMIN), ("olga", Role.OPERATOR), ("fred", Role.VIEWER)):
            await self._make_person(name, role, owner)
        for agent in AGENTS:
            tags = MappingProxyType(dict(agent.tags))
            grant = Grant(agent.principal, agent=agent.name, tags=tags)
            _, self._keys[agent.name] = await self.past.rules.create_key(grant, issuer=owner)
        await self._set_sales("0.70", "0.85")
        start = self.stage.clock.at
        for day in days_between(start, self.now):
            share = growth(self.now, day)
            for agent in AGENTS:
                random = lot(self.seed, agent.name, (day - midnight(self.now)) // DAY_NS)
                for number, begins in enumerate(sessions_of(agent, day, share, random)):
                    if start < begins < self.now - QUIET_NS:
                        if agent.name == RUNAWAY and begins >= runaway_from(self.now):
                            continue
                        session = _Session(agent, f"{agent.name}-{day // DAY_NS % 1000}-{number + 1}", random)
                        self.stage.at(begins, partial(self._begin_session, session))
        self._plan_looks(start)
        self._plan_people()
        self.stage.at(runaway_from(self.now), self._run_away)

    async def _make_person(self, name: str, role: Role, owner: Subject) -> None:
        grant = Grant(name, roles=frozenset({role}))
        key, _ = await self.past.rules.create_key(grant, issuer=owner)
        self._people[name] = key.subject()

    async def _set_sales(self, soft: str, hard: str) -> None:
        document = {
            "id": "sales-daily",
            "name": "Sales, each day",
            "scope": "principal:sales",
            "metric": "cost_usd",
            "interval": "day",
            "soft_limit": soft,
            "hard_limit": hard,
            "action": "approval_required",
        }
        actor = self._people["dana"].key_id
        await self.past.rules.set_policy(document, actor=actor, expected_version=None)

    def _plan_looks(self, start: Instant) -> None:
        away = runaway_from(self.now)
        self._glance(Instant(start + LOOK_NS), self.now, LOOK_NS)
        down, up = outage(self.now)
        self._glance(down, Instant(up + 20 * MINUTE_NS), LOOK_CLOSELY_NS)
        self._glance(away, Instant(away + 6 * HOUR_NS), LOOK_CLOSELY_NS)
        for hours in (2, 3, 26):
            self.stage.at(away + hours * HOUR_NS + MINUTE_NS, self.past.look)

    def _glance(self, begins: Instant, ends: Instant, every: int) -> None:
        for at in range(begins, ends, every):
            self.stage.at(at, self.past.glance)

    def _plan_people(self) -> None:
        """Budgets that are changed by hand."""
        self.stage.at(working_day(self.now, 24) + 10 * HOUR_NS, partial(self._set_sales, "0.60", "0.75"))
        self.stage.at(working_day(self.now, 11) + 16 * HOUR_NS, partial(self._set_sales, "0.80", "0.95"))

    # Work.

    async def _begin_session(self, session: "_Session") -> None:
        if self.stage.clock.at < self._stopped.get(session.agent.principal, 0):
            return
        at, random = self.stage.clock.at, session.random
        session.model = model_of(session.agent, random)
        session.turns = random.randint(*session.agent.turns)
        if session.agent.name in ("ci-fixer", "lab") and self._is_trial(at):
            session.model = NEW_MODEL
        await self._call(session)

    def _is_trial(self, at: Instant) -> bool:
        """Whether a new model without a price is being tried."""
        return new_model_from(self.now) <= at < priced_from(self.now)

    async def _call(self, session: "_Session") -> None:
        random, over = session.random, partial(self._is_over, session)
        faults = faults_at(session.model, self.stage.clock.at, self.now, random)
        await self._make(session, faults, f"{session.name} {session.turn}", over)

    async def _make(self, session: "_Session", faults: Sequence[Fault], content: str, over: Over) -> None:
        agent, random, model = session.agent, session.random, session.model
        self.calls += 1
        tokens = tokens_of(agent, model, session.turn, random)
        script = script_of(agent, model, b"%d" % self.calls, tokens, random)
        script.faults = faults
        ask = ask_of(agent, model, tokens, session.turn, random)
        hints = hints_of(agent, session.name)
        request_id = self.past.engine.ids.request_id()
        call = make_call(script, request_id, self._keys[agent.name], ask, hints, content.encode())
        await self.stage.make(call, script, self.past, over)

    def _is_over(self, session: "_Session", error: PalyraError | None) -> None:
        """Go on with the session, or let it end where its call was refused."""
        if isinstance(error, ApprovalRequired):
            self._wait_for_people(session.agent.principal, str(error.detail.get("approval_id", "")))
            return
        if isinstance(error, BudgetExceeded):
            return
        session.turn += 1
        pause = round(session.agent.pause_s * session.random.expovariate(1.0) * SECOND_NS)
        at = self.stage.clock.at + pause + MILLISECOND_NS
        if session.turn < session.turns and at < self.now - QUIET_NS:
            self.stage.at(at, partial(self._call, session))

    # People.

    def _wait_for_people(self, principal: str, approval_id: str) -> None:
        at = self.stage.clock.at + self._lot.randint(6, 50) * MINUTE_NS
        self._stopped[principal] = Instant(at + MINUTE_NS)
        if at < self.now - QUIET_NS:
            self.stage.at(at, partial(self._decide, approval_id))

    async def _decide(self, approval_id: str) -> None:
        olga, desk = self._people["olga"], self.past.approvals
        approval = await desk.find(approval_id)
        if approval.state is not State.PENDING or approval.expires_at <= self.stage.clock.at:
            return
        self._decided += 1
        if self._decided % 4 == 0:
            await desk.deny(approval_id, "Enough for today; it goes on tomorrow.", by=olga)
            return
        offer = Offer(GrantKind.AMOUNT, 2 * NANO_PER_USD // 5)
        await desk.approve(approval_id, offer, "The campaign ends this week.", by=olga)

    # The agent that runs away.

    async def _run_away(self) -> None:
        agent = next(agent for agent in AGENTS if agent.name == RUNAWAY)
        session = _Session(agent, f"{RUNAWAY}-loop", self._lot)
        session.model = model_of(agent, session.random)
        await self._loop(session)

    async def _loop(self, session: "_Session") -> None:
        """The same call again: what it reads does not change, so it never comes to an end."""
        if session.turn < 20:
            session.turn += 1
        await self._make(session, (), f"{RUNAWAY} again", partial(self._again, session))

    def _again(self, session: "_Session", error: PalyraError | None) -> None:
        random = session.random
        seconds = random.uniform(4, 20)
        if isinstance(error, ApprovalRequired):
            seconds = random.uniform(700, 1_500)
            self._wait_for_the_runaway(str(error.detail.get("approval_id", "")))
        elif isinstance(error, BudgetExceeded):
            seconds = random.uniform(240, 420)
        at = self.stage.clock.at + round(seconds * SECOND_NS)
        if at < self.now - QUIET_NS:
            self.stage.at(at, partial(self._loop, session))

    def _wait_for_the_runaway(self, approval_id: str) -> None:
        if approval_id in self._asked:
            return
        self._asked.append(approval_id)
        asked = len(self._asked)
        if asked <= ANSWERS:
            at = self.stage.clock.at + (43 if asked == 1 else 95) * MINUTE_NS
            self.stage.at(at, partial(self._decide_on_runaway, approval_id, asked))

    async def _decide_on_runaway(self, approval_id: str, asked: int) -> None:
        olga, desk = self._people["olga"], self.past.approvals
        if asked == 1:
            offer = Offer(GrantKind.AMOUNT, 20 * NANO_PER_USD)
            await desk.approve(approval_id, offer, "The market scan is due; once more.", by=olga)
        else:
            await desk.deny(approval_id, "It reads the same pages again and again. Fix it first.", by=olga)


@dataclass(slots=True)
class _Session:
    """A run of an agent: its calls one after the other."""

    agent: Agent
    name: str
    random: Random
    model: str = ""
    turn: int = 0
    turns: int = 1
