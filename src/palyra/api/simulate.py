"""Budgets tried on the calls of the past, before anybody is bound by them."""

import asyncio
from collections.abc import Callable, Mapping

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from palyra.api.access import READ
from palyra.api.deps import ApiDeps
from palyra.api.document import read_document
from palyra.api.routes import Routes
from palyra.api.schemas.simulation import SimulationBody, SimulationShown
from palyra.budgets.fields import read_flag, read_optional_choice, read_optional_text
from palyra.budgets.policy import PolicyDefaults
from palyra.budgets.terms import Mode
from palyra.core.errors import FieldError, Overloaded
from palyra.core.fields import refuse_unknown
from palyra.core.instant import NANOSECONDS, Instant
from palyra.lifecycle.engine import Engine
from palyra.lifecycle.history import History
from palyra.lifecycle.replay import Tell, begin_of, replay
from palyra.lifecycle.simulate import Simulation, Terms
from palyra.reports.candidates import read_candidates
from palyra.reports.simulation import Tally
from palyra.reports.simulation_document import Question, simulation_document
from palyra.reports.stretch import read_stretch

CALLS_MAX = 200_000
"""So many calls are gone through for one request (V2)."""
READ_NS = 25 * NANOSECONDS
"""And so long: clients wait for 30 seconds."""
AT_ONCE = 20
"""Records between two turns of the loop, on which calls wait: about a millisecond."""
_FIELDS = ("policies", "since", "until", "only", "mode")


class Simulate:
    """Handler of ``/budgets/simulate``."""

    def __init__(self, deps: ApiDeps, history: History, engine: Engine, defaults: PolicyDefaults) -> None:
        self._deps = deps
        self._history = history
        self._engine = engine
        self._defaults = defaults
        self._running = False

    def install(self, routes: Routes) -> None:
        """Add the route."""
        routes.add(
            "POST",
            "/budgets/simulate",
            self.simulate_budgets,
            READ,
            body=SimulationBody,
            answer=SimulationShown,
            also=(429, 503),
        )

    async def simulate_budgets(self, request: Request) -> Response:
        """What these budgets would have made of the calls of [since, until), the last 30 days by default.

        They are tried together with those in force, of which they replace those of the same id; with
        ``only``, alone. Nothing is changed and nothing is held. At most 200,000 calls are gone through, for
        25 seconds, with those that are needed to fill the windows that hold at ``since``. One at a time.
        """
        document = await read_document(request, self._deps.body_bytes_max)
        refuse_unknown(document, _FIELDS, "a simulation")
        if self._running:
            raise Overloaded("another simulation runs; try again when it is over")
        self._running = True
        try:
            return JSONResponse(await self._simulate(document))
        finally:
            self._running = False

    async def _simulate(self, document: Mapping[str, object]) -> Mapping[str, object]:
        only = read_flag(document, "only", default=False)
        mode = read_optional_choice(document, "mode", Mode)
        now = self._deps.clock.now()
        since, until = read_stretch(
            read_optional_text(document, "since"), read_optional_text(document, "until"), now, days_max=None
        )
        in_force = self._deps.rules.snapshot.policies
        tried = read_candidates(document.get("policies"), "policies", in_force, self._defaults, only=only)
        question = Question(since, until, begin_of(tried.policies, since), mode, only)
        tally = Tally(tried.policies, since, until)
        simulation = Simulation(Terms(tried.policies, mode), self._engine)
        await replay(self._history, question.begin, simulation, tally, self._bounded(tally, now), AT_ONCE)
        return simulation_document(question, tried, tally)

    def _bounded(self, tally: Tally, began: Instant) -> Tell:
        async def tell(_done: int, _total: int) -> None:
            if tally.read > CALLS_MAX or self._deps.clock.now() - began > READ_NS:
                raise FieldError(
                    "since",
                    f"is too long ago: one request goes through at most {CALLS_MAX:,} calls, for at most "
                    f"{READ_NS // NANOSECONDS} seconds, from the beginning of the windows that hold then; "
                    "write a later time, or run 'palyra budgets simulate' on the database: it has no limit.",
                )
            await asyncio.sleep(0)

        return tell


def with_simulation(
    history: History, engine: Engine, defaults: PolicyDefaults
) -> Callable[[FastAPI, Routes], None]:
    """What adds simulations to ``create_api(deps, more)``."""

    def install(_app: FastAPI, routes: Routes) -> None:
        Simulate(routes.deps, history, engine, defaults).install(routes)

    return install
