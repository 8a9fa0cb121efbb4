"""The OpenAPI document as a file, for the console's client: ``python -m harness.openapi_file`` writes it."""

import json
from pathlib import Path

from starlette.testclient import TestClient

from fakes.plane import plane_deps, plane_rules
from fakes.records import FakeClock, FakeRecords
from palyra.api.app import create_api
from palyra.api.routes import PREFIX

FILE = Path(__file__).parents[2] / "console" / "openapi.json"


def openapi_text() -> str:
    """The document that every daemon serves, but for its version, ordered and indented."""
    records, clock = FakeRecords(), FakeClock()
    app = create_api(plane_deps(plane_rules(records, clock), records, clock))
    with TestClient(app, base_url="http://localhost") as client:
        document = client.get(f"{PREFIX}/openapi.json").json()
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    FILE.write_text(openapi_text())
