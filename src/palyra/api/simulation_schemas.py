"""The shapes of a simulation, for the OpenAPI document."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from palyra.api.bodies import Body, PolicyBody, Time
from palyra.api.schemas_budgets import PolicyShown
from palyra.budgets.terms import Mode
from palyra.reports.candidates import CANDIDATES_MAX


class SimulationBody(Body):
    """Budgets to be tried on the calls of [since, until); ``mode`` in the place of the configured one."""

    policies: Annotated[list[PolicyBody], Field(max_length=CANDIDATES_MAX)]
    since: Time | None = None
    until: Time | None = None
    only: bool = False
    mode: Mode | None = None


class SimulationHalf(BaseModel):
    """Calls by what became of them, and their cost."""

    ran: int
    blocked: int
    asked: int
    other: int
    clamped: int
    degraded: int
    cost_nano_usd: int
    cost_usd: str


class SimulationSums(BaseModel):
    """What happened to a group of calls, and what would have."""

    model_config = ConfigDict(extra="allow")

    calls: int
    stopped: int
    let_in: int
    estimated: int
    unpriced: int
    really: SimulationHalf
    simulated: SimulationHalf
    saved_nano_usd: int
    saved_usd: str


class SimulatedPolicy(BaseModel):
    """What one budget would have done, and when it would have been reached first."""

    model_config = ConfigDict(extra="allow")

    policy_id: str
    candidate: bool
    replaces_version: int | None
    policy: PolicyShown
    binds: bool
    saved_nano_usd: int
    saved_usd: str
    first_soft: dict[str, Any] | None
    first_hard: dict[str, Any] | None
    examples: dict[str, list[str]]


class SimulationShown(BaseModel):
    """A simulation; ``read_since`` is where reading began, so that every window is counted from its start."""

    since: str
    until: str
    read_since: str
    mode: str | None
    only: bool
    read: int
    first_call: str | None
    last_call: str | None
    totals: SimulationSums
    policies: list[SimulatedPolicy]
    principals: list[SimulationSums]
    principals_left_out: int
    agents: list[SimulationSums]
    agents_left_out: int
    examples: dict[str, list[str]]
    notes: list[str]
