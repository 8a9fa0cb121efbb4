"""The console's files: what the page may do, how long files are kept, and what is said without any."""

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from fakes.plane import HOSTS, plane_deps, plane_rules
from fakes.records import FakeClock, FakeRecords
from harness.openapi_file import FILE, openapi_text
from palyra.api.access import check_access
from palyra.api.console import Console
from palyra.api.door import Door
from palyra.api.problem import handle_problems
from palyra.api.routes import Routes

SCRIPT = "assets/index-1a2b.js"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text('<meta name="csp-nonce" content="%NONCE%"><div id="root">')
    (tmp_path / SCRIPT).write_text("let a = 1;\n" * 500)
    return tmp_path


@pytest.fixture
def client(folder: Path) -> Iterator[TestClient]:
    records, clock = FakeRecords(), FakeClock()
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    Console(folder).install(Routes(app, plane_deps(plane_rules(records, clock), records, clock)))
    handle_problems(app)
    check_access(app)
    app.add_middleware(Door, hosts=HOSTS)
    with TestClient(app, base_url="http://localhost", follow_redirects=False) as client:
        yield client


def test_every_address_below_console_is_the_page(client: TestClient) -> None:
    for path in ("/console/", "/console/usage", "/console/usage/sessions/a%2Fb", "/console/index.html"):
        answer = client.get(path)
        assert answer.status_code == 200, path
        assert answer.headers["content-type"].startswith("text/html")
        assert '<div id="root">' in answer.text
        assert answer.headers["cache-control"] == "no-store"


def test_the_root_leads_to_the_console(client: TestClient) -> None:
    assert client.get("/").headers["location"] == "/console/"
    assert client.get("/console").headers["location"] == "/console/"


def test_the_page_runs_its_own_scripts_and_nobody_elses(client: TestClient) -> None:
    first, second = client.get("/console/"), client.get("/console/")
    policy = first.headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    nonce = re.search(r"'nonce-([^']+)'", policy)
    assert nonce is not None
    assert f'content="{nonce.group(1)}"' in first.text
    assert "%NONCE%" not in first.text
    assert second.headers["content-security-policy"] != policy


def test_hashed_files_are_kept_for_ever_and_sent_packed(client: TestClient, folder: Path) -> None:
    packed = client.get(f"/console/{SCRIPT}", headers={"accept-encoding": "gzip"})
    plain = client.get(f"/console/{SCRIPT}", headers={"accept-encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.content == plain.content == (folder / SCRIPT).read_bytes()
    assert len(gzip.compress(plain.content)) > int(packed.headers["content-length"]) - 20
    for each in (packed, plain):
        assert "immutable" in each.headers["cache-control"]
        assert each.headers["content-type"] == "text/javascript; charset=utf-8"
        assert each.headers["vary"] == "Accept-Encoding"


@pytest.mark.parametrize("path", ["assets/gone.js", "assets/../../routes.py", "assets/%2e%2e/index.html"])
def test_a_file_that_was_not_built_is_not_there(client: TestClient, path: str) -> None:
    answer = client.get(f"/console/{path}")
    assert answer.status_code == 404 or '<div id="root">' in answer.text


def test_a_checkout_without_a_console_says_how_to_get_one(tmp_path: Path) -> None:
    records, clock = FakeRecords(), FakeClock()
    app = FastAPI()
    Console(tmp_path / "nothing").install(
        Routes(app, plane_deps(plane_rules(records, clock), records, clock))
    )
    with TestClient(app) as client:
        answer = client.get("/console/")
    assert answer.status_code == 503
    assert "make setup" in answer.text


def test_the_file_that_the_client_is_made_from_is_the_document_of_today() -> None:
    assert FILE.read_text() == openapi_text(), "run: make openapi"
