"""The control plane as one ASGI application."""

from collections.abc import Callable, Sequence

from fastapi import FastAPI
from starlette.responses import JSONResponse, Response

from palyra.api.access import PUBLIC, check_access
from palyra.api.alerts import Alerts
from palyra.api.approvals import Approvals
from palyra.api.audit import Audit
from palyra.api.budget_history import BudgetHistory
from palyra.api.budgets import Budgets
from palyra.api.console import Console
from palyra.api.decisions import Decisions
from palyra.api.deps import ApiDeps
from palyra.api.door import Door
from palyra.api.events import Events
from palyra.api.gauges import Gauges
from palyra.api.keys import Keys
from palyra.api.models import Models
from palyra.api.prices import Prices
from palyra.api.probes import Probes
from palyra.api.problem import handle_problems
from palyra.api.routes import Routes
from palyra.api.session import Session
from palyra.api.usage import Usage

Install = Callable[[FastAPI, Routes], None]
"""Adds routes of its own; through ``Routes``, or start-up fails."""


def create_api(deps: ApiDeps, more: Sequence[Install] = ()) -> FastAPI:
    """Build the application: ``/api/v1/*``, ``/console``, ``/healthz``, ``/readyz``, ``/metrics``.

    Raises ValueError if a route declares no role.
    """
    app = FastAPI(title="Palyra", version=deps.version, openapi_url=None, docs_url=None, redoc_url=None)
    routes = Routes(app, deps)
    for section in (
        Session,
        Gauges,
        Budgets,
        BudgetHistory,
        Events,
        Approvals,
        Alerts,
        Decisions,
        Keys,
        Audit,
        Usage,
        Models,
        Prices,
        Probes,
    ):
        section(deps).install(routes)
    for install in more:
        install(app, routes)

    async def openapi() -> Response:
        """This document."""
        return JSONResponse(routes.document())

    routes.add("GET", "/openapi.json", openapi, PUBLIC)
    Console().install(routes)
    handle_problems(app)
    check_access(app)
    app.add_middleware(Door, hosts=deps.hosts)
    return app
