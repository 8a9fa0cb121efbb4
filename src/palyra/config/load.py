"""Find the configuration, lay environment and options over it, and turn it into settings."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import platformdirs

from palyra.config.entries import read_budgets, read_keys, read_models, read_prices, read_providers
from palyra.config.lines import lines_of
from palyra.config.notify import read_notifications, read_targets
from palyra.config.people import read_alerts, read_approvals, read_console
from palyra.config.problems import ConfigError, Problem, Report
from palyra.config.reader import Section
from palyra.config.references import Surroundings
from palyra.config.routing import read_discovery, read_routing
from palyra.config.sections import read_auth, read_governance, read_retention, read_scale, read_server
from palyra.config.settings import Settings

FILE_NAME = "palyra.toml"
FILE_BYTES_MAX = 4 * 1024 * 1024
ENVIRONMENT = "environment"
"""``Settings.source`` of a start without a file."""

_VARIABLE = re.compile(
    r"PALYRA_(SERVER|AUTH|GOVERNANCE|SCALE|RETENTION|ROUTING|DISCOVERY|APPROVALS|ALERTS|CONSOLE|NOTIFICATIONS)_([A-Z0-9_]+)"
)
_NO_OVERRIDES: Mapping[str, str] = MappingProxyType({})
_KNOWN_PROVIDERS = (("openai", "OPENAI"), ("anthropic", "ANTHROPIC"))
_START_HINT = "run 'palyra init' to write a commented palyra.toml, or set OPENAI_API_KEY or ANTHROPIC_API_KEY"
_DEFAULT_BUDGET: Mapping[str, object] = MappingProxyType(
    {
        "id": "default-principal-daily",
        "scope": "principal:*",
        "metric": "cost_usd",
        "interval": "day",
        "timezone": "UTC",
        "soft_limit": "8.00",
        "hard_limit": "10.00",
        "action": "block",
    }
)


def load_settings(
    path: Path | None,
    env: Mapping[str, str],
    cwd: Path,
    overrides: Mapping[str, str] = _NO_OVERRIDES,
) -> Settings:
    """Read the file at ``path``, or the first of ``find_file``, or start from provider keys in ``env``.

    ``PALYRA_SERVER_PORT`` and its like in ``env`` win over the file; ``overrides`` (``server.port`` to
    text, from the command line) win over both. Relative paths start at ``cwd``.
    Raises ConfigError that lists every mistake.
    """
    chosen = path if path is not None else find_file(env, cwd)
    if chosen is None:
        return _without_file(env, cwd, overrides)
    text = _read(cwd / chosen)
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError([_syntax_problem(error, str(chosen))]) from None
    return _read_settings(data, str(chosen), lines_of(text), Surroundings(env, cwd), overrides)


def find_file(env: Mapping[str, str], cwd: Path) -> Path | None:
    """``$PALYRA_CONFIG``, ``./palyra.toml``, or the user's config folder; None if none is there."""
    named = env.get("PALYRA_CONFIG")
    if named:
        return cwd / named
    candidates = (cwd / FILE_NAME, platformdirs.user_config_path("palyra") / FILE_NAME)
    return next((each for each in candidates if each.is_file()), None)


def default_database() -> Path:
    """The database where none is configured: in the user's data folder."""
    return platformdirs.user_data_path("palyra") / "palyra.db"


def _read_settings(
    data: Mapping[str, object],
    source: str,
    lines: Mapping[str, int],
    around: Surroundings,
    overrides: Mapping[str, str],
) -> Settings:
    merged, origins = _overlaid(data, around.env, overrides)
    report = Report(source, lines, origins)
    root = Section(merged, "", report)
    server = read_server(root.table("server"), around, report, default_database())
    auth = read_auth(root.table("auth"), around, report)
    governance = read_governance(root.table("governance"))
    scale = read_scale(root.table("scale"), around)
    retention = read_retention(root.table("retention"), server)
    routing = read_routing(root.table("routing"))
    discovery = read_discovery(root.table("discovery"))
    providers = read_providers(root.entries("providers"), around)
    ids = [provider.id for provider in providers]
    models, inline_prices = read_models(root.entries("models"), ids, report)
    settings = Settings(
        source=source,
        server=server,
        auth=auth,
        governance=governance,
        scale=scale,
        retention=retention,
        routing=routing,
        discovery=discovery,
        approvals=read_approvals(root.table("approvals")),
        alerts=read_alerts(root.table("alerts")),
        console=read_console(root.table("console")),
        notifications=read_notifications(root.table("notifications")),
        providers=tuple(providers),
        models=tuple(models),
        budgets=tuple(read_budgets(root.entries("budgets"), governance.timezone, ids, report)),
        keys=tuple(read_keys(root.entries("keys"), report)),
        prices=(*inline_prices, *read_prices(root.entries("prices"), report)),
        notify=tuple(read_targets(root.entries("notify"), around)),
    )
    root.finish()
    if merged.get("providers", []) == []:
        root.wrong("providers", "is missing: write at least one [[providers]] with id, kind and credential")
    if report.problems:
        raise ConfigError(report.problems)
    return settings


def _overlaid(
    data: Mapping[str, object], env: Mapping[str, str], overrides: Mapping[str, str]
) -> tuple[dict[str, object], dict[str, str]]:
    """The data with variables and options laid over, and where each overlaid field came from."""
    merged: dict[str, object] = dict(data)
    origins: dict[str, str] = {}
    given: list[tuple[str, str, str]] = []
    for name, text in sorted(env.items()):
        match = _VARIABLE.fullmatch(name)
        if match is not None:
            given.append((f"{match[1].lower()}.{match[2].lower()}", text, name))
    given += [(field, text, f"--{field.rpartition('.')[2]}") for field, text in overrides.items()]
    for field, text, origin in given:
        section, _, key = field.partition(".")
        table = merged.get(section, {})
        if isinstance(table, dict):
            merged[section] = {**table, key: text}
            origins[field] = origin
    return merged, origins


def _without_file(env: Mapping[str, str], cwd: Path, overrides: Mapping[str, str]) -> Settings:
    providers: list[dict[str, object]] = []
    for kind, prefix in _KNOWN_PROVIDERS:
        if env.get(f"{prefix}_API_KEY", "").strip():
            entry: dict[str, object] = {"id": kind, "kind": kind, "credential": f"env:{prefix}_API_KEY"}
            base_url = env.get(f"{prefix}_BASE_URL", "").strip()
            providers.append(entry | ({"base_url": base_url} if base_url else {}))
    if not providers:
        problem = Problem("", "there is no palyra.toml and no provider key in the environment", "")
        raise ConfigError([problem], _START_HINT)
    data: dict[str, object] = {"providers": providers, "budgets": [dict(_DEFAULT_BUDGET)]}
    return _read_settings(data, ENVIRONMENT, {}, Surroundings(env, cwd), overrides)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        problem = Problem("", f"cannot be read: {error.strerror}", str(path))
        raise ConfigError([problem], "run 'palyra init' to write one") from None
    if len(content) > FILE_BYTES_MAX:
        raise ConfigError([Problem("", f"has more than {FILE_BYTES_MAX} bytes", str(path))])
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigError([Problem("", "is not UTF-8", str(path))]) from None


def _syntax_problem(error: Exception, place: str) -> Problem:
    message = str(error) or "is nested too deeply"
    match = re.search(r"\(at line (\d+), column \d+\)", message)
    line = int(match[1]) if match else None
    return Problem("", f"is not TOML: {message.partition(' (at ')[0]}", place, line)
