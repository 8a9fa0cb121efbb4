"""``palyra doctor`` on providers that are switched off, and on routing and failover that lead nowhere."""

from pathlib import Path

import pytest

from palyra.cli.findings import Finding, Patient, Status, examine
from palyra.config.load import load_settings
from palyra.config.settings import ProviderSettings
from palyra.core.instant import parse_instant
from palyra.pricing.book import PriceBook
from palyra.pricing.catalog import GenaiPrices
from palyra.registry.registry import Registry

OPENAI = '[[providers]]\nid = "openai"\nkind = "openai"\ncredential = "env:KEY"\n'
ANTHROPIC = '[[providers]]\nid = "anthropic"\nkind = "anthropic"\ncredential = "env:KEY"\n'
OFF = "enabled = false\n"
PRICE = 'price = { input = "1", output = "2" }\n'


def model(name: str, provider: str = "openai", more: str = "") -> str:
    return f'[[models]]\nid = "{name}"\nprovider = "{provider}"\n{more}'


@pytest.fixture(scope="module")
def catalog() -> GenaiPrices:
    return GenaiPrices()


class Doctor:
    def __init__(self, folder: Path, catalog: GenaiPrices) -> None:
        self.folder = folder
        self.catalog = catalog
        self.asked: list[str] = []

    def examine(self, text: str, **env: str) -> dict[str, Finding]:
        path = self.folder / "some.toml"
        path.write_text(text)
        settings = load_settings(path, {"KEY": "sk-1"} | env, self.folder)
        registry = Registry(
            [each.provider() for each in settings.providers],
            settings.models,
            self.catalog,
            settings.governance.default_model,
        )
        now = parse_instant("2026-06-01T00:00:00Z")
        patient = Patient(settings, registry, PriceBook(settings.prices, self.catalog), now)
        findings = examine(patient, lambda: Finding("database", Status.OK, "free"), self.probe)
        assert all(each.status is Status.OK or each.next_step for each in findings)
        return {each.check: each for each in findings}

    def probe(self, provider: ProviderSettings) -> Finding:
        self.asked.append(provider.id)
        return Finding(f"provider {provider.id}", Status.OK, "answers")


@pytest.fixture
def doctor(tmp_path: Path, catalog: GenaiPrices) -> Doctor:
    return Doctor(tmp_path, catalog)


def test_a_provider_that_is_switched_off_is_left_alone(doctor: Doctor) -> None:
    off = ANTHROPIC.replace("KEY", "UNSET") + OFF
    found = doctor.examine(OPENAI + off)["provider anthropic"]
    assert (found.status, doctor.asked) == (Status.OK, ["openai"])
    assert "disabled" in found.message


def test_a_key_of_a_provider_that_is_off_opens_nothing(doctor: Doctor) -> None:
    found = doctor.examine(OPENAI.replace("KEY", "UNSET") + ANTHROPIC + OFF)
    assert found["provider openai"].status is Status.FAIL


def test_without_any_provider_nothing_works(doctor: Doctor) -> None:
    assert doctor.examine(OPENAI + OFF)["providers"].status is Status.FAIL
    assert "providers" not in doctor.examine(OPENAI)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("nobody", "not known: no model 'nobody'"),
        ("off", "'off' is disabled"),
        ("claude", "speaks no wire format of 'openai'"),
    ],
)
def test_a_fallback_that_is_never_used(doctor: Doctor, name: str, told: str) -> None:
    text = OPENAI + ANTHROPIC + model("off", more=OFF) + model("claude", "anthropic", PRICE)
    found = doctor.examine(text + model("a", more=f'{PRICE}fallbacks = ["{name}"]\n'))["model a"]
    assert (found.status, told in found.message) == (Status.WARN, True)


def test_a_fallback_that_is_used_is_well(doctor: Doctor) -> None:
    text = OPENAI + model("a", more=f'{PRICE}fallbacks = ["gpt-4o"]\n')
    assert doctor.examine(text)["model a"].status is Status.OK
    assert "failover" not in doctor.examine(text)
    assert doctor.examine("[routing]\nfailover = false\n" + text)["failover"].status is Status.WARN


@pytest.mark.parametrize(
    ("text", "status", "told"),
    [
        (OPENAI, Status.OK, "smart = auto: chooses among 0 models"),
        (OPENAI + model("gpt-4o") + model("gpt-4o-mini"), Status.OK, "among 2 models"),
        (OPENAI + model("gpt-4o") + model("own"), Status.WARN, "for the dearest: own"),
        ('[routing]\nsmart = "never"\n' + OPENAI, Status.OK, "the model that it names"),
        ('[routing]\nsmart = "always"\n' + OPENAI + model("gpt-4o"), Status.WARN, "nothing to choose"),
        ('[routing]\nsmart = "always"\ncandidates = "all"\n' + OPENAI, Status.OK, "chooses among all models"),
    ],
)
def test_routing_has_something_to_choose(doctor: Doctor, text: str, status: Status, told: str) -> None:
    found = doctor.examine(text)["routing"]
    assert (found.status, told in found.message) == (status, True), found
