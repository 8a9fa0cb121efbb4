"""Whatever a user can meet is written down: keys, commands, codes, headers, routes, metrics, limits."""

import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import palyra
from harness.cli_page import MARKER, PAGE, commands, render, root
from harness.pages import REFERENCE, SOURCE, reference, source_text
from palyra.budgets.evaluation import Outcome, Status
from palyra.budgets.policy import WRITABLE_FIELDS
from palyra.budgets.terms import Action, Metric, Mode, ScopeKind, Then, UnknownPrice
from palyra.budgets.windows import Interval
from palyra.cli.output import ExitCode
from palyra.config.load import load_settings
from palyra.config.problems import ConfigError
from palyra.core.errors import PalyraError
from palyra.gateway.body import FORBIDDEN
from palyra.gateway.door import ENDPOINTS
from palyra.identity.keys import Role
from palyra.lifecycle.decision import CallState
from palyra.pricing.rates import UNITS
from palyra.routing.task import TaskClass

TABLES = {
    "server": "[server]",
    "auth": "[auth]",
    "governance": "[governance]",
    "scale": "[scale]",
    "retention": "[retention]",
    "routing": "[routing]",
    "discovery": "[discovery]",
    "approvals": "[approvals]",
    "alerts": "[alerts]",
    "console": "[console]",
    "notifications": "[notifications]",
    "providers": "[[providers]]",
    "models": "[[models]]",
    "prices": "[[prices]]",
    "budgets": "[[budgets]]",
    "keys": "[[keys]]",
    "notify": "[[notify]]",
}
UNKNOWN_KEY = "surely_not_a_key"


def page(name: str) -> str:
    return (REFERENCE / name).read_text("utf-8")


def section(name: str) -> str:
    """The part of the configuration page about one table."""
    return page("config.md").partition(f"## `{TABLES[name]}`")[2].partition("\n## ")[0]


def known_keys(table: str, tmp_path: Path) -> list[str]:
    """The keys of a table, as the error about an unknown one lists them."""
    path = tmp_path / "palyra.toml"
    path.write_text(f"{TABLES[table]}\n{UNKNOWN_KEY} = 1\n")
    with pytest.raises(ConfigError) as caught:
        load_settings(path, {}, tmp_path)
    (told,) = [each.message for each in caught.value.problems if each.field.endswith(f".{UNKNOWN_KEY}")]
    listed = re.search(r"(?:known are|It has:) ([\w, ]+)", told)
    assert listed is not None, told
    return listed[1].split(", ")


def error_codes() -> set[str]:
    """The codes of all errors that the package defines, wherever they are defined."""
    for module in pkgutil.walk_packages(palyra.__path__, "palyra."):
        if not module.name.endswith("__main__") and ".migrations" not in module.name:
            importlib.import_module(module.name)
    found: set[str] = set()
    waiting: list[type[PalyraError]] = [PalyraError]
    while waiting:
        error = waiting.pop()
        found.add(error.code)
        waiting += error.__subclasses__()
    text = source_text()
    found |= set(re.findall(r'problem\(\d+, "(\w+)"', text))
    return found | set(re.findall(r'_refusal\([^)]*"(\w+)",?\s*\)', text))


@pytest.mark.parametrize("table", TABLES)
def test_every_key_of_the_configuration_is_explained(table: str, tmp_path: Path) -> None:
    first_cells = " ".join(re.findall(r"^\| (.+?) \|", section(table), re.MULTILINE))
    keys = known_keys(table, tmp_path)
    assert len(keys) >= 1
    assert [key for key in keys if f"`{key}`" not in first_cells] == []


def test_every_table_of_the_configuration_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "palyra.toml"
    path.write_text(f"{UNKNOWN_KEY} = 1\n")
    with pytest.raises(ConfigError) as caught:
        load_settings(path, {}, tmp_path)
    (told,) = [each.message for each in caught.value.problems if each.field == UNKNOWN_KEY]
    assert set(told.partition("known are ")[2].partition(";")[0].split(", ")) == set(TABLES)


@pytest.mark.parametrize("name", WRITABLE_FIELDS)
def test_every_field_of_a_budget_is_explained(name: str) -> None:
    assert f"`{name}`" in page("budget-policies.md")


@pytest.mark.parametrize(
    "words", [ScopeKind, Metric, Interval, Action, Mode, Then, UnknownPrice, Status, Outcome]
)
def test_every_word_of_a_budget_is_explained(words: type[ScopeKind]) -> None:
    text = page("budget-policies.md")
    assert [word.value for word in words if word.value not in text] == []


def test_the_command_reference_is_what_the_commands_say() -> None:
    written = PAGE.read_text("utf-8").partition(MARKER)[2]
    assert written.strip() == render().strip(), "run: PYTHONPATH=tests python -m harness.cli_page"


def test_every_command_is_in_the_reference() -> None:
    names = [name for name, _ in commands(root())]
    assert len(names) > 10
    assert [name for name in names if f"## {name}\n" not in page("cli.md")] == []


def test_every_exit_code_is_in_the_reference() -> None:
    rows = re.findall(r"^\| (\d) \|", page("cli.md"), re.MULTILINE)
    assert [int(row) for row in rows] == [int(code) for code in ExitCode]


def test_every_error_code_is_explained() -> None:
    codes = error_codes()
    assert {"budget_exceeded", "invalid_field", "database_locked", "request_head_too_large"} <= codes
    assert sorted(code for code in codes if f"`{code}`" not in page("http-headers-and-errors.md")) == []


def test_every_error_stands_with_its_status() -> None:
    text = page("http-headers-and-errors.md")
    rows = set(re.findall(r"^\| (\d{3}) \| `(\w+)`", text, re.MULTILINE))
    waiting, found = list(PalyraError.__subclasses__()), set[tuple[str, str]]()
    while waiting:
        error = waiting.pop()
        waiting += error.__subclasses__()
        if error.__module__ == "palyra.core.errors":
            found.add((str(error.status), error.code))
    assert found - rows == set()


def test_every_header_of_palyra_is_explained() -> None:
    named = set(re.findall(r"x-palyra-[a-z]+(?:-[a-z]+)*", source_text()))
    assert len(named) > 15
    text = page("http-headers-and-errors.md")
    assert sorted(name for name in named if f"`{name}`" not in text) == []


def test_every_metric_is_explained() -> None:
    named = set(re.findall(r'"(palyra_[a-z_]+)"', (SOURCE / "daemon" / "service.py").read_text("utf-8")))
    assert len(named) >= 5
    assert sorted(name for name in named if f"`{name}`" not in page("http-api.md")) == []


def test_no_metric_is_explained_that_does_not_exist() -> None:
    written = set(re.findall(r"`(palyra_[a-z_]+)`", reference()))
    assert sorted(name for name in written if f'"{name}"' not in source_text()) == []


def test_every_route_of_the_control_plane_is_explained() -> None:
    added = re.findall(r'routes\.add\(\s*"([A-Z]+)", "([^"]+)"', source_text())
    assert len(added) > 15
    text = page("http-api.md")
    # A parameter that may have slashes in it is written like any other.
    routes = [f"{method} {path.replace(':path}', '}')}" for method, path in added]
    assert [each for each in routes if f"`{each}`" not in text] == []


@pytest.mark.parametrize("path", sorted(ENDPOINTS))
def test_every_endpoint_of_the_data_plane_is_explained(path: str) -> None:
    assert f"`POST {path}`" in page("http-api.md")


@pytest.mark.parametrize("field", sorted(FORBIDDEN))
def test_every_refused_field_of_a_body_is_named(field: str) -> None:
    assert f"`{field}`" in page("http-headers-and-errors.md")


def test_task_classes_roles_states_and_price_units_are_named() -> None:
    text = reference()
    words = [*TaskClass, *UNITS, *(role.value for role in Role), *(state.value for state in CallState)]
    assert sorted(word for word in words if f"`{word}`" not in text) == []
