"""Fixtures that every suite may use: the stub provider, the real daemon, the real model."""

import signal
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from harness.daemon import Api, Config, DaemonProcess, choose_database, config
from harness.model import ModelProcess
from harness.order import longest_first
from harness.postgres import drop_databases
from harness.script import Answer
from harness.stub import Stub
from harness.tenant import SharedDaemons, Tenant

# A slow or busy machine is no reason to fail.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

DaemonFactory = Callable[..., DaemonProcess]


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--postgres`` runs the daemons of all tests on a shared PostgreSQL instead of a SQLite file."""
    parser.addoption("--postgres", action="store_true", help="run daemons on PostgreSQL")


def pytest_configure(config: pytest.Config) -> None:
    """Tell the harness, and let programs be interrupted."""
    choose_database(postgres=bool(config.getoption("--postgres")))
    # Whoever starts the tests in the background has Ctrl+C ignored, by all that tests start as well.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What is about the SQLite file is not run on PostgreSQL. Workers begin with what takes longest."""
    if config.getoption("--postgres"):
        items[:] = [item for item in items if item.get_closest_marker("sqlite") is None]
    items[:] = longest_first(items)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Databases of a module go with it, but for the last: all at once they would take gigabytes."""
    if nextitem is not None and nextitem.path != item.path:
        drop_databases()


@pytest.fixture
def stub() -> Iterator[Stub]:
    """A scriptable provider on a free port."""
    with Stub() as running:
        yield running


@pytest.fixture
def daemon_factory(tmp_path: Path) -> Iterator[DaemonFactory]:
    """``daemon_factory(settings, name="daemon", **environment)`` starts a daemon; all end with the test."""
    started: list[DaemonProcess] = []

    def start(settings: Config | str | None, name: str = "daemon", **environment: str) -> DaemonProcess:
        daemon = DaemonProcess(tmp_path / name, settings, environment)
        started.append(daemon)
        return daemon.start()

    yield start
    for daemon in started:
        daemon.close()


@pytest.fixture
def daemon(daemon_factory: DaemonFactory, stub: Stub) -> DaemonProcess:
    """A daemon in front of the stub, without budgets."""
    return daemon_factory(config(stub.url))


@pytest.fixture
def owner(daemon: DaemonProcess) -> Api:
    """The control plane of ``daemon`` with the owner key."""
    return daemon.api


@pytest.fixture(scope="session")
def model_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelProcess]:
    """A real model with real usage, one per test process."""
    server = ModelProcess(tmp_path_factory.mktemp("model"))
    try:
        yield server.start()
    finally:
        server.close()


@pytest.fixture(scope="module")
def module_stub() -> Iterator[Stub]:
    """A provider that the tests of one module share; ``shared_stub`` is its form for one test."""
    with Stub() as running:
        yield running


@pytest.fixture
def shared_stub(module_stub: Stub) -> Stub:
    """The module's provider with its default answer and no memory of calls."""
    module_stub.script = Answer()
    module_stub.calls.clear()
    return module_stub


@pytest.fixture(scope="module")
def module_daemons(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedDaemons]:
    """``module_daemons(settings)`` starts a daemon that ends with the module."""
    started: list[DaemonProcess] = []

    def start(settings: Config) -> DaemonProcess:
        started.append(DaemonProcess(tmp_path_factory.mktemp("shared"), settings))
        return started[-1].start()

    yield start
    for daemon in started:
        daemon.close()


@pytest.fixture(scope="session")
def tenant_of() -> Callable[..., Tenant]:
    """``tenant_of(daemon, **key_fields)``: a principal that no other test has."""
    numbers = count(1)

    def make(daemon: DaemonProcess, **fields: object) -> Tenant:
        principal = f"p{next(numbers)}"
        return Tenant(daemon, principal, daemon.create_key(principal, **fields))

    return make
