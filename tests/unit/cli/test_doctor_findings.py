"""``palyra doctor`` names everything that would be silently unenforced."""

import asyncio
from pathlib import Path

import pytest

from harness.postgres import new_database, rows
from palyra.cli.doctor import check_database, check_shared_database, probe_provider
from palyra.cli.findings import Finding, Patient, Status, examine, sqlite_version
from palyra.config.load import load_settings
from palyra.config.settings import ProviderSettings, SharedDatabase
from palyra.core.instant import parse_instant
from palyra.core.secret import Secret
from palyra.pricing.book import PriceBook
from palyra.pricing.catalog import GenaiPrices
from palyra.registry.models import Kind
from palyra.registry.registry import Registry
from palyra.store.lock import OwnerLock
from palyra.store.migrate import HEAD

NOW = parse_instant("2026-06-01T00:00:00Z")
PROVIDER = '[[providers]]\nid = "openai"\nkind = "openai"\ncredential = "env:KEY"\n'
LOCAL = '[[providers]]\nid = "local"\nkind = "openai_compatible"\nbase_url = "http://127.0.0.1:1/v1"\n'
UNPRICED = '[[models]]\nid = "house"\nprovider = "local"\n'
BUDGET = (
    '[[budgets]]\nid = "b"\nscope = "principal:*"\nmetric = "cost_usd"\ninterval = "day"\nhard_limit = "5"\n'
)
KEY = f'[[keys]]\nid = "k"\nprincipal = "ann"\nsha256 = "{"ab" * 32}"\n'


@pytest.fixture(scope="module")
def catalog() -> GenaiPrices:
    return GenaiPrices()


def good(provider: ProviderSettings) -> Finding:
    return Finding(f"provider {provider.id}", Status.OK, "answers")


class Doctor:
    def __init__(self, folder: Path, catalog: GenaiPrices) -> None:
        self.folder = folder
        self.catalog = catalog
        self.asked: list[str] = []

    def examine(self, text: str, **env: str) -> dict[str, list[Finding]]:
        path = self.folder / "some.toml"
        path.write_text(text)
        settings = load_settings(path, {"KEY": "sk-1"} | env, self.folder)
        providers = [provider.provider() for provider in settings.providers]
        default = settings.governance.default_model
        patient = Patient(
            settings,
            Registry(providers, settings.models, self.catalog, default),
            PriceBook(settings.prices, self.catalog),
            NOW,
        )
        findings = examine(patient, lambda: Finding("database", Status.OK, "free"), self.probe)
        grouped: dict[str, list[Finding]] = {}
        for finding in findings:
            grouped.setdefault(finding.check, []).append(finding)
            assert finding.status is Status.OK or finding.next_step, finding
        return grouped

    def probe(self, provider: ProviderSettings) -> Finding:
        self.asked.append(provider.id)
        return good(provider)


@pytest.fixture
def doctor(tmp_path: Path, catalog: GenaiPrices) -> Doctor:
    return Doctor(tmp_path, catalog)


def test_a_sound_configuration_has_nothing_to_look_at(doctor: Doctor) -> None:
    text = f'[governance]\ndefault_model = "gpt-4o-mini"\n{PROVIDER}{BUDGET}{KEY}'
    found = doctor.examine(text)
    assert {finding.status for group in found.values() for finding in group} == {Status.OK}
    assert doctor.asked == ["openai"]


@pytest.mark.parametrize(
    ("rule", "status", "told"),
    [
        ("allow", Status.FAIL, "do not count"),
        ("deny", Status.WARN, "refuse"),
        ("ceiling", Status.WARN, "dearest"),
    ],
)
def test_a_model_without_a_price(doctor: Doctor, rule: str, status: Status, told: str) -> None:
    found = doctor.examine(f'{LOCAL}{UNPRICED}{BUDGET}unknown_price = "{rule}"\n')
    (finding,) = found["model house"]
    assert finding.status is status
    assert told in finding.message


def test_an_overlay_price_is_a_price(doctor: Doctor) -> None:
    found = doctor.examine(f"{LOCAL}{UNPRICED}price = {{ input = '1', output = '2' }}\n{BUDGET}")
    assert found["model house"][0].status is Status.OK


@pytest.mark.parametrize(
    ("text", "status", "told"),
    [
        (f'[governance]\ndefault_model = "nope"\n{PROVIDER}', Status.WARN, "no model"),
        (
            f'[governance]\ndefault_model = "house"\n{LOCAL}{UNPRICED}enabled = false\n',
            Status.FAIL,
            "disabled",
        ),
        (PROVIDER, Status.OK, "'auto' is refused"),
    ],
)
def test_the_default_model(doctor: Doctor, text: str, status: Status, told: str) -> None:
    (finding,) = doctor.examine(text)["default model"]
    assert finding.status is status
    assert told in finding.message


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("principal:*", "principal:bob"), "no principal 'bob'"),
        (("principal:*", "tag:team=a"), "no tag 'team'"),
        (("principal:*", "model:gpt-5000"), "no model 'gpt-5000'"),
        (("principal:*", "model:openai/gpt-4o"), "counted on the model 'gpt-4o'"),
        (('"5"\n', '"5"\nenabled = false\n'), "disabled"),
        (('"5"\n', '"5"\nvalid_until = "2026-05-01T00:00:00Z"\n'), "ended"),
        (('"5"\n', '"5"\nvalid_from = "2026-07-01T00:00:00Z"\n'), "begins only"),
        (('"5"\n', '"5"\nunknown_price = "allow"\n'), "does not count"),
        (('"5"\n', '"5"\nmode = "dry_run"\n'), "only tells"),
    ],
)
def test_a_budget_that_binds_nothing(doctor: Doctor, change: tuple[str, str], told: str) -> None:
    found = doctor.examine(PROVIDER + BUDGET.replace(*change) + KEY)
    (finding,) = found["budget b"]
    assert finding.status is Status.WARN
    assert told in finding.message


def test_without_declared_keys_any_principal_may_come(doctor: Doctor) -> None:
    found = doctor.examine(PROVIDER + BUDGET.replace("principal:*", "principal:bob"))
    assert found["budget b"][0].status is Status.OK


def test_a_lenient_mode_with_hard_limits_and_no_budget_at_all(doctor: Doctor) -> None:
    found = doctor.examine(f'[governance]\nmode = "suggest"\n{PROVIDER}{BUDGET}')
    assert found["mode"][0].status is Status.WARN
    assert doctor.examine(PROVIDER)["budgets"][0].status is Status.WARN


def test_a_missing_credential_is_told_and_the_provider_is_not_asked(doctor: Doctor) -> None:
    (finding,) = doctor.examine(PROVIDER, KEY="")["provider openai"]
    assert (finding.status, doctor.asked) == (Status.FAIL, [])
    assert "KEY" in finding.next_step
    found = doctor.examine(PROVIDER + LOCAL, KEY="")["provider openai"]
    assert [each.status for each in found] == [Status.WARN]
    found = doctor.examine(PROVIDER.replace('credential = "env:KEY"', ""))["provider openai"]
    assert [each.status for each in found] == [Status.WARN, Status.OK]


def test_a_url_that_may_not_be_called_fails_before_it_is(doctor: Doctor) -> None:
    (finding,) = doctor.examine(LOCAL.replace("127.0.0.1", "example.com"))["provider local"]
    assert (finding.status, doctor.asked) == (Status.FAIL, [])
    assert "clear text" in finding.message


def test_a_daemon_for_other_machines_needs_a_name(doctor: Doctor) -> None:
    wide = '[server]\nhost = "0.0.0.0"\nallow_remote = true\nbehind_proxy = true\n'
    assert doctor.examine(wide + PROVIDER)["binding"][0].status is Status.WARN
    named = f'{wide}allowed_hosts = ["llm.example.com"]\n{PROVIDER}'
    assert doctor.examine(named)["binding"][0].status is Status.OK


def test_prices_that_match_nothing_fail(doctor: Doctor) -> None:
    price = '[[prices]]\nprovider = "opnai"\nmodel = "gpt-4o"\ninput = "1"\n'
    assert doctor.examine(PROVIDER + price)["price opnai/gpt-4o"][0].status is Status.FAIL


def test_the_owner_key(doctor: Doctor) -> None:
    text = f'[auth]\nowner_key = "env:OWNER"\n{PROVIDER}'
    assert doctor.examine(text)["owner key"][0].status is Status.WARN
    assert doctor.examine(text, OWNER="sk-palyra-x")["owner key"][0].message == "comes from env:OWNER"


def test_an_old_sqlite_is_noted() -> None:
    assert "two processes" in sqlite_version((3, 40, 1), "3.40.1").message
    assert sqlite_version((3, 51, 3), "3.51.3").message == "SQLite 3.51.3"


def test_a_provider_that_is_not_there_cannot_be_reached() -> None:
    finding = probe_provider(ProviderSettings("local", Kind.OPENAI_COMPATIBLE, "http://127.0.0.1:1/v1"))
    assert finding.status is Status.FAIL
    assert "cannot be reached" in finding.message


def test_the_database_is_checked_without_being_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "palyra.db"
    assert check_database(path).status is Status.OK
    assert list(tmp_path.iterdir()) == []
    assert check_database(tmp_path).status is Status.FAIL
    (tmp_path / "file").write_text("")
    assert check_database(tmp_path / "file" / "palyra.db").status is Status.FAIL


def test_a_database_in_use_is_told(tmp_path: Path) -> None:
    path = tmp_path / "palyra.db"
    lock = OwnerLock(path)
    try:
        assert check_database(path).status is Status.WARN
    finally:
        lock.release()
    assert check_database(path).status is Status.OK


class TestSharedDatabase:
    def finding(self, url: str) -> Finding:
        return check_shared_database(SharedDatabase(Secret(url), "postgresql://shown"))

    def test_one_that_a_gateway_can_join_is_well(self) -> None:
        found = self.finding(new_database())
        assert (found.status, found.message) == (
            Status.OK,
            f"postgresql://shown is there, at revision {HEAD}",
        )

    def test_an_empty_one_is_well_too(self) -> None:
        found = self.finding(new_database(empty=True))
        assert (found.status, "first start makes its schema" in found.message) == (Status.OK, True)

    def test_one_of_another_revision_is_not(self) -> None:
        url = new_database()
        asyncio.run(rows(url, "UPDATE alembic_version SET version_num = '0002'"))
        found = self.finding(url)
        assert (found.status, "palyra db upgrade" in found.next_step) == (Status.FAIL, True)

    def test_one_out_of_reach_is_told_without_its_password(self) -> None:
        found = self.finding("postgresql://me:hidden@127.0.0.1:1/palyra")
        assert found.status is Status.FAIL
        assert "hidden" not in found.message + found.next_step

    def test_nothing_is_said_of_sqlite_then(self, doctor: Doctor) -> None:
        text = '[server]\ndatabase = "postgresql://127.0.0.1:1/palyra"\n' + LOCAL
        assert "sqlite" not in doctor.examine(text)
        assert "sqlite" in doctor.examine(LOCAL)
