"""What is drawn by lot in the month of the demo: when an agent works, and what each of its calls needs."""

from collections.abc import Iterator, Sequence
from math import exp
from random import Random

from palyra.cli.demo_calendar import outage, weekday
from palyra.cli.demo_cast import HAIKU, LOCAL, PACES, SMALL, SONNET, Agent
from palyra.cli.demo_script import CACHE_BLOCK, Break, Fault, Refusal, Script, Tokens
from palyra.core.hours import DAY_NS, HOUR_NS
from palyra.core.instant import Instant
from palyra.lifecycle.call import Ask, Hints
from palyra.lifecycle.wire import Endpoint, FailureKind
from palyra.registry.registry import AUTO

BYTES_PER_TOKEN = 4
WINDOW_TOKENS = {LOCAL: 3_000}
"""Where a session is cut off before the model's context is full."""
CONTEXT_TOKENS_MAX = 60_000
_ALL_TRIES = 3
_CLOCK_HOURS = 24


def lot(seed: int, *names: object) -> Random:
    """A source of numbers that are the same for the same names."""
    return Random(" ".join(map(str, (seed, *names))))  # noqa: S311 (nothing here is secret)


def sessions_of(agent: Agent, day: Instant, share: float, random: Random) -> list[Instant]:
    """When the sessions of an agent begin on a day that starts at ``day``, with a ``share`` of its work."""
    number = weekday(day)
    busy = [agent.rhythm(number, hour) for hour in range(_CLOCK_HOURS)]
    usual = sum(agent.rhythm(2, hour) for hour in range(_CLOCK_HOURS))
    expected = agent.sessions * share * sum(busy) / usual * exp(random.gauss(0, 0.18))
    sessions = int(expected) + (random.random() < expected % 1)
    hours = random.choices(range(_CLOCK_HOURS), weights=busy, k=sessions) if any(busy) else []
    return sorted(Instant(day + hour * HOUR_NS + random.randrange(HOUR_NS)) for hour in hours)


def days_between(start: int, end: int) -> Iterator[Instant]:
    """The starts of all days that overlap [start, end)."""
    day = start // DAY_NS * DAY_NS
    while day < end:
        yield Instant(day)
        day += DAY_NS


def model_of(agent: Agent, random: Random) -> str:
    """The model that a session of an agent runs on."""
    return random.choices(list(agent.models), weights=list(agent.models.values()))[0]


def tokens_of(agent: Agent, model: str, turn: int, random: Random) -> Tokens:
    """What call number ``turn`` of a session uses, counted from 0."""
    limit = WINDOW_TOKENS.get(model, CONTEXT_TOKENS_MAX)
    total = min(limit, round((agent.tokens + turn * agent.growth) * exp(random.gauss(0, 0.22))))
    before = min(total, agent.tokens + (turn - 1) * agent.growth) if turn else agent.tokens // 2
    cached = int(before * agent.cached) // CACHE_BLOCK * CACHE_BLOCK
    writes = agent.endpoint is Endpoint.messages and agent.cached > 0
    written = (total - cached) * 3 // 4 if writes else 0
    output = round(agent.output * exp(random.gauss(0, 0.45)))
    if agent.cap is not None:
        output = min(output, agent.cap)
    return Tokens(total - cached - written, cached, written, output, int(output * agent.thinking))


def script_of(agent: Agent, model: str, name: bytes, tokens: Tokens, random: Random) -> Script:
    """How a call will go; its faults are drawn by ``faults_at``."""
    pace = PACES[SMALL if model == AUTO else model]
    first = pace.first_ms * exp(random.gauss(0, 0.3)) + sum(tokens[:2]) / 60
    speed = max(5, round(pace.tokens_per_s * exp(random.gauss(0, 0.2))))
    cap = agent.cap
    return Script(name, tokens, round(first), speed, agent.stream, agent.endpoint, cap=cap)


def ask_of(agent: Agent, model: str, tokens: Tokens, turn: int, random: Random) -> Ask:
    """What the body of such a call asks for."""
    total = tokens.fresh + tokens.cached + tokens.written
    return Ask(
        model=model,
        stream=agent.stream,
        output_cap=agent.cap,
        choices=1,
        include_usage=True,
        text_bytes=round(total * random.uniform(BYTES_PER_TOKEN - 0.5, BYTES_PER_TOKEN + 0.4)),
        images=0,
        audio=False,
        cache_writes=tokens.written > 0,
        web_searches=0,
        service_tier=None,
        plain=not tokens.written,
        turns=1 + 2 * turn,
        tools=agent.tools,
        wants_json=agent.wants_json,
    )


def hints_of(agent: Agent, session: str) -> Hints:
    """The labels that the agent's client sends; its key says the rest."""
    return Hints(None, session, None, agent.task_class.value, {}, None)


def faults_at(model: str, at: Instant, now: Instant, random: Random) -> Sequence[Fault]:
    """What goes wrong with a call at ``at`` in a month that ends at ``now``. Mostly nothing."""
    start, end = outage(now)
    if model in (SONNET, HAIKU) and start <= at < end:
        return [Refusal(529, "overloaded_error")] * _ALL_TRIES
    lot = random.random()
    if lot < 0.006:
        return [Refusal(500)]
    if lot < 0.0085:
        return [Refusal(400, "invalid_request_error")]
    if lot < 0.0105:
        return [Break(FailureKind.cut, after_head=True)]
    if lot < 0.0108 and now - at > 3 * DAY_NS:
        return [Break(FailureKind.first_byte_timeout)] * _ALL_TRIES
    return ()
