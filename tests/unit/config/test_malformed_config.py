"""Every mistake in a file is an error that names its field."""

from pathlib import Path

import pytest

from palyra.config.load import load_settings
from palyra.config.problems import ConfigError

PROVIDER = '[[providers]]\nid = "p"\nkind = "openai"\n'
MODEL = '[[models]]\nid = "m"\nprovider = "p"\n'
BUDGET = (
    '[[budgets]]\nid = "b"\nscope = "global"\nmetric = "cost_usd"\ninterval = "day"\nhard_limit = "5.00"\n'
)
KEY = f'[[keys]]\nid = "k"\nprincipal = "x"\nsha256 = "{"ab" * 32}"\n'
PRICE = '[[prices]]\nprovider = "p"\nmodel = "m"\ninput = "1.00"\n'

CASES = [
    ("[server]\nprot = 1\n", "server.prot"),
    ("[sever]\nport = 1\n", "sever"),
    ('server = "x"\n', "server"),
    ('[server]\nport = "8484"\n', "server.port"),
    ("[server]\nport = 65536\n", "server.port"),
    ("[server]\nport = true\n", "server.port"),
    ("[server]\nhost = 7\n", "server.host"),
    ('[server]\nhost = "0.0.0.0"\n', "server.host"),
    ('[server]\nhost = "example.com"\n', "server.host"),
    ('[server]\nhost = "0.0.0.0"\nallow_remote = true\n', "server.allow_remote"),
    ('[server]\nallow_remote = "yes"\n', "server.allow_remote"),
    ('[server]\ntls_key = "gone.pem"\ntls_cert = "some.toml"\n', "server.tls_key"),
    ('[server]\ntls_cert = "some.toml"\n', "server.tls_key"),
    ('[server]\ndatabase = "postgresql://localhost"\n', "server.database"),
    ('[server]\ndatabase = "postgresql://me:secret@localhost/palyra"\n', "server.database"),
    ('[server]\ndatabase = "postgresql://me@localhost/palyra?password=secret"\n', "server.database"),
    ('[server]\ndatabase = "env:NOT_SET"\n', "server.database"),
    ("[server]\nworkers = 2\n", "server.workers"),
    ("[server]\nworkers = 0\n", "server.workers"),
    ("[scale]\nlease_s = 0.1\n", "scale.lease_s"),
    ("[scale]\nslice_share = 1.5\n", "scale.slice_share"),
    ('[scale]\nslices = "maybe"\n', "scale.slices"),
    ("[scale]\nslice_s = 0\n", "scale.slice_s"),
    ('[server]\ndatabase = "palyra.db"\n', "server.database"),
    ('[server]\ndatabase = "sqlite:///"\n', "server.database"),
    ('[server]\ndatabase = "sqlite:///:memory:"\n', "server.database"),
    ("[server]\nmax_body_bytes = 1\n", "server.max_body_bytes"),
    ('[server]\nallowed_hosts = "a.example"\n', "server.allowed_hosts"),
    ("[server]\nallowed_hosts = [1]\n", "server.allowed_hosts[0]"),
    ('[auth]\nowner_key = "sk-palyra-clear"\n', "auth.owner_key"),
    ('[auth]\nowner_key = "file:gone"\n', "auth.owner_key"),
    ('[auth]\nowner_key = "env:NOT A NAME"\n', "auth.owner_key"),
    ('[auth]\npassword = "x"\n', "auth.password"),
    ('[governance]\nmode = "enforce"\n', "governance.mode"),
    ('[governance]\ntimezone = "Europe/Pragu"\n', "governance.timezone"),
    ('[governance]\nunknown_price = "free"\n', "governance.unknown_price"),
    ('[governance]\ndefault_model = "auto"\n', "governance.default_model"),
    ('[governance]\ndefault_model = ""\n', "governance.default_model"),
    ('[[providers]]\nkind = "openai"\n', "providers[1].id"),
    ('[[providers]]\nid = "a/b"\nkind = "openai"\n', "providers[1].id"),
    (PROVIDER, "providers[1].id"),
    ('[[providers]]\nid = "q"\n', "providers[1].kind"),
    ('[[providers]]\nid = "q"\nkind = "gemini"\n', "providers[1].kind"),
    ('[[providers]]\nid = "q"\nkind = "openai_compatible"\n', "providers[1].base_url"),
    ('[[providers]]\nid = "q"\nkind = "openai"\nbase_url = 7\n', "providers[1].base_url"),
    ('[[providers]]\nid = "q"\nkind = "openai"\ncredential = "sk-1"\n', "providers[1].credential"),
    ('[[providers]]\nid = "q"\nkind = "openai"\napi_key = "sk-1"\n', "providers[1].api_key"),
    ('[[providers]]\nid = "q"\nkind = "openai"\nidle_timeout_s = 0\n', "providers[1].idle_timeout_s"),
    ('[[providers]]\nid = "q"\nkind = "openai"\ntotal_timeout_s = 1e9\n', "providers[1].total_timeout_s"),
    ('[[providers]]\nid = "q"\nkind = "openai"\nca_file = "gone.pem"\n', "providers[1].ca_file"),
    ('[[models]]\nprovider = "p"\n', "models[0].id"),
    ('[[models]]\nid = "m"\nprovider = "o"\n', "models[0].provider"),
    ('[[models]]\nid = "auto"\nprovider = "p"\n', "models[0].id"),
    (MODEL + MODEL, "models[1].id"),
    (f'{MODEL}role = "chatty"\n', "models[0].role"),
    (f'{MODEL}cost_tier = "cheap"\n', "models[0].cost_tier"),
    (f"{MODEL}context_window = 0\n", "models[0].context_window"),
    (f"{MODEL}output_limit = 1.5\n", "models[0].output_limit"),
    (f'{MODEL}capabilities = ["tool"]\n', "models[0].capabilities[0]"),
    (f"{MODEL}enabled = 1\n", "models[0].enabled"),
    (f"{MODEL}price = 3\n", "models[0].price"),
    (f"{MODEL}price = {{ input = 0.15 }}\n", "models[0].price.input"),
    (f"{MODEL}price = {{ inptu = '0.15', output = '1' }}\n", "models[0].price.inptu"),
    (f"{MODEL}price = {{ input = '1', provider = 'q' }}\n", "models[0].price.provider"),
    (f"{MODEL}price = {{}}\n", "models[0].price"),
    (BUDGET + BUDGET, "budgets[1].id"),
    (f"{BUDGET}soft_limit = '6.00'\n", "budgets[0].soft_limit"),
    (BUDGET.replace('"5.00"', '"-1"'), "budgets[0].hard_limit"),
    (BUDGET.replace('"5.00"', "nan"), "budgets[0].hard_limit"),
    (BUDGET.replace("global", "team:a"), "budgets[0].scope"),
    (BUDGET.replace("global", "provider:q"), "budgets[0].scope"),
    (BUDGET.replace("day", "fortnight"), "budgets[0].interval"),
    (f'{BUDGET}timezone = "Mars/Base"\n', "budgets[0].timezone"),
    (f'{BUDGET}hard_limits = "1"\n', "budgets[0].hard_limits"),
    (f'{BUDGET}thresholds = [{{ at = 0, then = "notify" }}]\n', "budgets[0].thresholds[0].at"),
    ('budgets = "none"\n', "budgets"),
    ('budgets = ["none"]\n', "budgets[0]"),
    (KEY + KEY.replace('"k"', '"l"'), "keys[1].sha256"),
    (KEY + KEY.replace("ab" * 32, "cd" * 32), "keys[1].id"),
    (KEY.replace("ab" * 32, "short"), "keys[0].sha256"),
    (f'{KEY}roles = ["king"]\n', "keys[0].roles[0]"),
    (f'{KEY}role = "caller"\n', "keys[0].role"),
    (PRICE.replace('"1.00"', "1.0"), "prices[0].input"),
    (f'{PRICE}valid_from = "soon"\n', "prices[0].valid_from"),
    (PRICE.replace("model", "modell"), "prices[0].modell"),
]


@pytest.mark.parametrize(("text", "field"), CASES)
def test_the_field_is_named(tmp_path: Path, text: str, field: str) -> None:
    # A table at the top must come before the arrays that the provider begins.
    top = text if not text.startswith("[[") else ""
    path = tmp_path / "some.toml"
    path.write_text(f"{top}{PROVIDER}{text.removeprefix(top)}")
    with pytest.raises(ConfigError) as caught:
        load_settings(path, {}, tmp_path)
    found = [problem.field for problem in caught.value.problems]
    assert field in found
    assert all(problem.message for problem in caught.value.problems)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "providers: is missing"),
        (b"[server\n", "some.toml:1: is not TOML"),
        (b"a = 1\na = 2\n", "some.toml:2: is not TOML"),
        (b"\xff\xfe", "is not UTF-8"),
        (b"a = " + b"[" * 5_000, "is not TOML"),
        (b"#" * (4 * 1024 * 1024 + 1), "has more than"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "some.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_settings(path, {}, tmp_path)
    assert told in str(caught.value)


def test_a_single_mistake_is_told_once(tmp_path: Path) -> None:
    path = tmp_path / "some.toml"
    path.write_text(PROVIDER + BUDGET.replace('"5.00"', '"-1"'))
    with pytest.raises(ConfigError) as caught:
        load_settings(path, {}, tmp_path)
    assert [problem.field for problem in caught.value.problems] == ["budgets[0].hard_limit"]


@pytest.mark.parametrize("content", [b"", b"\xff", b"x" * 70_000])
def test_a_secret_file_that_holds_no_secret_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    path = tmp_path / "some.toml"
    path.write_text(f'{PROVIDER}credential = "file:key"\n')
    with pytest.raises(ConfigError) as caught:
        load_settings(path, {}, tmp_path)
    assert caught.value.problems[0].field == "providers[0].credential"
