"""The shapes of a simulation, for the OpenAPI document."""

from typing import Annotated

from pydantic import BaseModel, Field

from palyra.api.bodies import Body, PolicyBody
from palyra.api.schemas.budgets import PolicyShown
from palyra.budgets.terms import Mode
from palyra.reports.candidates import CANDIDATES_MAX


class SimulationBody(Body):
    """Budgets to be tried on the calls of [since, until); ``mode`` in the place of the configured one.

    ``since`` and ``until`` are times, or spans such as ``7d``.
    """

    policies: Annotated[list[PolicyBody], Field(max_length=CANDIDATES_MAX)]
    since: str | None = None
    until: str | None = None
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
    """What happened to a group of calls, and what would have.

    ``let_in_cost`` is a part of the simulated cost, of calls that never ran; ``would_save`` what dry-run
    budgets would have saved, were they enforced.
    """

    calls: int
    stopped: int
    let_in: int
    estimated: int
    unpriced: int
    really: SimulationHalf
    simulated: SimulationHalf
    saved_nano_usd: int
    saved_usd: str
    let_in_cost_nano_usd: int
    let_in_cost_usd: str
    would_save_nano_usd: int
    would_save_usd: str


class SimulatedPrincipal(SimulationSums):
    """The calls of one principal."""

    principal: str


class SimulatedAgent(SimulationSums):
    """The calls of one agent; empty for those without one."""

    agent: str


class SimulatedMoment(BaseModel):
    """When a limit was reached, by which call, on whose account."""

    at: str
    request_id: str
    entity: str


class SimulatedPolicy(BaseModel):
    """What one budget would have done, and when it would have been reached first.

    ``binds``: any call at all. ``examples`` are ids of calls, by what would have become of them.
    """

    policy_id: str
    candidate: bool
    replaces_version: int | None
    policy: PolicyShown
    binds: bool
    blocked: int
    asked: int
    clamped: int
    degraded: int
    over_soft: int
    alerted: int
    would_block: int
    would_ask: int
    would_clamp: int
    really_stopped: int
    saved_nano_usd: int
    saved_usd: str
    first_soft: SimulatedMoment | None
    first_hard: SimulatedMoment | None
    examples: dict[str, list[str]]


class SimulationShown(BaseModel):
    """A simulation; ``read_since`` is where reading began, so that every window is counted from its start."""

    since: str
    until: str
    read_since: str
    mode: Mode | None
    only: bool
    read: int
    first_call: str | None
    last_call: str | None
    totals: SimulationSums
    policies: list[SimulatedPolicy]
    principals: list[SimulatedPrincipal]
    principals_left_out: int
    agents: list[SimulatedAgent]
    agents_left_out: int
    examples: dict[str, list[str]]
    notes: list[str]
