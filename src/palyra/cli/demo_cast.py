"""Who is in the month of the demo: five teams and their agents, what they ask for, and when."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from palyra.lifecycle.wire import Endpoint
from palyra.registry.registry import AUTO
from palyra.routing.task import TaskClass

Rhythm = Callable[[int, int], float]
"""Of a weekday (0 is Monday) and an hour of the day in UTC: how busy it is, 1 at most."""

RUNAWAY = "crawler"
NEW_MODEL = "gpt-next-preview"
SMALL, LARGE, THINKS = "gpt-4.1-mini", "gpt-4.1", "o4-mini"
SONNET, HAIKU = "claude-sonnet-4-5", "claude-haiku-4-5"
EMBEDDINGS = "text-embedding-3-small"
LOCAL = "smollm2"


@dataclass(frozen=True, slots=True)
class Agent:
    """One program of a team. ``sessions`` are those of a usual weekday, ``turns`` the calls of a session.

    Tokens are those of the first call; each later one brings ``growth`` more, ``cached`` of what was there
    before comes from the provider's cache, and ``thinking`` of the output is reasoning. ``pause_s`` are the
    seconds between an answer and the next call.
    """

    principal: str
    name: str
    rhythm: Rhythm
    sessions: float
    turns: tuple[int, int]
    models: Mapping[str, float]
    tokens: int
    growth: int
    output: int
    cap: int | None
    pause_s: float
    cached: float = 0.0
    thinking: float = 0.0
    endpoint: Endpoint = Endpoint.chat_completions
    stream: bool = False
    tools: int = 0
    wants_json: bool = False
    task_class: TaskClass = TaskClass.PRIMARY_INTERACTIVE
    tags: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Pace:
    """How a model answers: milliseconds to its first byte, and tokens in a second from then on."""

    first_ms: int
    tokens_per_s: int


PACES: Mapping[str, Pace] = MappingProxyType(
    {
        SMALL: Pace(380, 120),
        LARGE: Pace(620, 75),
        THINKS: Pace(2_600, 95),
        SONNET: Pace(1_100, 62),
        HAIKU: Pace(520, 130),
        EMBEDDINGS: Pace(140, 1_000),
        LOCAL: Pace(160, 45),
        NEW_MODEL: Pace(900, 60),
    }
)


def office(weekday: int, hour: int) -> float:
    """People at work."""
    if weekday > 4:
        return 0.03
    if not 7 <= hour < 19:
        return 0.02
    return 0.55 if hour in (7, 12, 18) else 1.0


def round_the_clock(weekday: int, hour: int) -> float:
    """Customers: at night and at weekends, too, but fewer."""
    return (1.0 if weekday < 5 else 0.32) * (1.0 if 7 <= hour < 21 else 0.3)


def nightly(weekday: int, hour: int) -> float:
    """Jobs that start after midnight; at weekends a short run."""
    return (1.0 if weekday < 5 else 0.2) * (1.0 if hour in (1, 2, 3) else 0.0)


def _tags(feature: str, env: str = "prod") -> Mapping[str, str]:
    return MappingProxyType({"env": env, "feature": feature})


AGENTS = (
    Agent(
        "support",
        "faq-bot",
        round_the_clock,
        21,
        (1, 5),
        {AUTO: 1.0},
        tokens=1_900,
        growth=420,
        output=260,
        cap=1_024,
        pause_s=45,
        cached=0.5,
        stream=True,
        tags=_tags("help-center"),
    ),
    Agent(
        "support",
        "triage",
        round_the_clock,
        42,
        (1, 1),
        {AUTO: 1.0},
        tokens=900,
        growth=0,
        output=40,
        cap=128,
        pause_s=1,
        wants_json=True,
        task_class=TaskClass.AUXILIARY_CLASSIFICATION,
        tags=_tags("tickets"),
    ),
    Agent(
        "support",
        "escalation",
        round_the_clock,
        6,
        (3, 8),
        {SONNET: 0.8, HAIKU: 0.2},
        tokens=7_500,
        growth=1_300,
        output=520,
        cap=4_096,
        pause_s=70,
        cached=0.85,
        endpoint=Endpoint.messages,
        stream=True,
        tools=6,
        tags=_tags("tickets"),
    ),
    Agent(
        "platform",
        "code-review",
        office,
        11,
        (3, 9),
        {SONNET: 1.0},
        tokens=17_000,
        growth=2_400,
        output=900,
        cap=8_192,
        pause_s=12,
        cached=0.9,
        endpoint=Endpoint.messages,
        tools=9,
        tags=_tags("pull-requests"),
    ),
    Agent(
        "platform",
        "ci-fixer",
        office,
        7,
        (4, 14),
        {SMALL: 0.7, LARGE: 0.3},
        tokens=9_000,
        growth=1_100,
        output=450,
        cap=64_000,
        pause_s=6,
        cached=0.8,
        tools=12,
        task_class=TaskClass.BACKGROUND_AUTOMATION,
        tags=_tags("pipelines", "ci"),
    ),
    Agent(
        "platform",
        "commit-lint",
        office,
        20,
        (1, 1),
        {LOCAL: 1.0},
        tokens=620,
        growth=0,
        output=60,
        cap=256,
        pause_s=1,
        task_class=TaskClass.AUXILIARY_SUMMARY,
        tags=_tags("pull-requests", "ci"),
    ),
    Agent(
        "sales",
        "outreach",
        office,
        12,
        (2, 6),
        {LARGE: 0.75, SMALL: 0.25},
        tokens=3_200,
        growth=700,
        output=620,
        cap=2_048,
        pause_s=90,
        cached=0.4,
        stream=True,
        tags=_tags("campaigns"),
    ),
    Agent(
        "sales",
        "crm-notes",
        office,
        20,
        (1, 2),
        {HAIKU: 1.0},
        tokens=4_800,
        growth=900,
        output=330,
        cap=1_500,
        pause_s=20,
        endpoint=Endpoint.messages,
        task_class=TaskClass.AUXILIARY_SUMMARY,
        tags=_tags("crm"),
    ),
    Agent(
        "research",
        RUNAWAY,
        office,
        5,
        (5, 16),
        {SONNET: 1.0},
        tokens=6_000,
        growth=1_600,
        output=700,
        cap=4_096,
        pause_s=4,
        cached=0.85,
        endpoint=Endpoint.messages,
        tools=4,
        task_class=TaskClass.BACKGROUND_AUTOMATION,
        tags=_tags("market-scan", "lab"),
    ),
    Agent(
        "research",
        "lab",
        office,
        5,
        (2, 8),
        {THINKS: 0.7, LARGE: 0.3},
        tokens=5_200,
        growth=1_500,
        output=2_600,
        cap=16_000,
        pause_s=120,
        cached=0.5,
        thinking=0.7,
        tags=_tags("notebooks", "lab"),
    ),
    Agent(
        "research",
        "indexer",
        office,
        4,
        (4, 16),
        {EMBEDDINGS: 1.0},
        tokens=5_500,
        growth=0,
        output=0,
        cap=None,
        pause_s=1,
        endpoint=Endpoint.embeddings,
        task_class=TaskClass.BACKGROUND_AUTOMATION,
        tags=_tags("library", "lab"),
    ),
    Agent(
        "evaluations",
        "nightly-suite",
        nightly,
        5,
        (9, 20),
        {SMALL: 0.6, LOCAL: 0.4},
        tokens=1_100,
        growth=0,
        output=350,
        cap=800,
        pause_s=2,
        task_class=TaskClass.BACKGROUND_AUTOMATION,
        tags=_tags("regression", "ci"),
    ),
    Agent(
        "evaluations",
        "judge",
        nightly,
        6,
        (6, 12),
        {LARGE: 1.0},
        tokens=3_800,
        growth=150,
        output=180,
        cap=512,
        pause_s=3,
        cached=0.6,
        wants_json=True,
        task_class=TaskClass.BACKGROUND_AUTOMATION,
        tags=_tags("regression", "ci"),
    ),
)
