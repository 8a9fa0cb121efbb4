"""The OpenAPI document as a file, for the console's client: ``python -m harness.openapi_file`` writes it."""

import asyncio
import json
from pathlib import Path

from starlette.testclient import TestClient

from fakes.engines import Bench
from fakes.plane import plane_deps, plane_rules
from fakes.records import FakeClock, FakeRecords
from palyra.api.app import create_api
from palyra.api.routes import PREFIX
from palyra.api.routing import EnginePrices, with_routing_report
from palyra.api.simulate import with_simulation
from palyra.budgets.policy import PolicyDefaults

FILE = Path(__file__).parents[2] / "console" / "openapi.json"


def openapi_text() -> str:
    """The document that every daemon serves, but for its version, ordered and indented."""
    return asyncio.run(_text())


async def _text() -> str:
    records, clock, bench = FakeRecords(), FakeClock(), Bench()
    deps = plane_deps(plane_rules(records, clock), records, clock)
    more = (
        with_routing_report(EnginePrices(bench.engine)),
        with_simulation(bench.store.history, bench.engine, PolicyDefaults()),
    )
    app = create_api(deps, more)
    client = TestClient(app, base_url="http://localhost")
    document = await asyncio.to_thread(lambda: client.get(f"{PREFIX}/openapi.json").json())
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    FILE.write_text(openapi_text())
