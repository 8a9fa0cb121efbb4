"""The configuration of the demo: providers, models and budgets that fit its past and its scene."""

import json
from collections.abc import Iterator
from pathlib import Path

from palyra.cli.demo_calendar import priced_from
from palyra.cli.demo_cast import EMBEDDINGS, HAIKU, LARGE, LOCAL, NEW_MODEL, RUNAWAY, SMALL, SONNET, THINKS
from palyra.core.instant import Instant, isoformat

CONFIG_FILE, DATABASE, KEY_FILE = "palyra.toml", "palyra.db", "provider.key"
_NO_KEY = "this-is-not-a-key"

_TOP = """\
# Written by `palyra demo`: there the small model on this machine stands in for every provider, so that
# each model below answers. Prices are the published ones, and made up for what runs here.

[server]
host = "127.0.0.1"
port = {port}
database = {database}

[governance]
mode = "enforced"
timezone = "UTC"
unknown_price = "allow"      # the default is "deny"; here a new model may be tried before it has a price
default_model = "{LARGE}"
"""

_PROVIDERS = """
[[providers]]
id = "openai"
kind = "openai"
base_url = "{model_url}/v1"
credential = {credential}
discover = false

[[providers]]
id = "anthropic"
kind = "anthropic"
base_url = "{model_url}/v1"
credential = {credential}
discover = false

[[providers]]
id = "local"
kind = "openai_compatible"
base_url = "{model_url}/v1"
discover = false
"""

_LOCAL = """
[[models]]
id = "{LOCAL}"
provider = "local"
context_window = 4096
output_limit = 2048
price = {{ input = "20.00", output = "80.00" }}   # USD per million tokens
"""

_NEW = """
[[models]]
id = "{NEW_MODEL}"
provider = "openai"
context_window = 400000
output_limit = 32768

[[prices]]
provider = "openai"
model = "{NEW_MODEL}"
input = "1.75"
output = "14.00"
cache_read = "0.175"
valid_from = "{priced_from}"
"""

_BUDGETS = """
[[budgets]]
id = "all-monthly"
scope = "global"
metric = "cost_usd"
interval = "month"
soft_limit = "400.00"
action = "alert"

[[budgets]]
id = "prod-monthly"
scope = "tag:env=prod"
metric = "cost_usd"
interval = "month"
soft_limit = "130.00"
hard_limit = "150.00"
action = "block"
thresholds = [{{ at = 0.5, then = "notify" }}, {{ at = 0.8, then = "notify" }}]

[[budgets]]
id = "each-principal-daily"
scope = "principal:*"
metric = "cost_usd"
interval = "day"
soft_limit = "28.00"
hard_limit = "35.00"
action = "block"
thresholds = [{{ at = 0.9, then = "degrade", to = "low" }}]

[[budgets]]
id = "each-agent-hourly"
scope = "agent:*"
metric = "total_tokens"
interval = "hour"
hard_limit = 4_000_000
action = "block"

[[budgets]]
id = "{RUNAWAY}-project"
scope = "agent:{RUNAWAY}"
metric = "cost_usd"
interval = "total"
soft_limit = "60.00"
hard_limit = "75.00"
action = "approval_required"

[[budgets]]
id = "support-trial"
scope = "principal:support"
metric = "cost_usd"
interval = "day"
hard_limit = "0.60"
action = "block"
mode = "dry_run"

[[budgets]]
id = "alice-daily"
scope = "principal:alice"
metric = "cost_usd"
interval = "day"
soft_limit = "0.08"
hard_limit = "0.10"
action = "block"

[[budgets]]
id = "bob-tokens-daily"
scope = "principal:bob"
metric = "total_tokens"
interval = "day"
hard_limit = 500
action = "block"
"""


def write_config(directory: Path, port: int, model_url: str, now: Instant) -> Path:
    """Write the configuration of a demo that starts at ``now``, and what it refers to, into ``directory``."""
    key = directory / KEY_FILE
    key.write_text(f"{_NO_KEY}\n")
    config = directory / CONFIG_FILE
    config.write_text(config_text(directory, port, model_url, now))
    return config


def config_text(directory: Path, port: int, model_url: str, now: Instant) -> str:
    """The configuration as TOML. Paths in it are absolute: it may be used from any folder."""
    given = {
        "port": port,
        "database": json.dumps(f"sqlite:///{directory.absolute() / DATABASE}"),
        "credential": json.dumps(f"file:{directory.absolute() / KEY_FILE}"),
        "model_url": model_url,
        "priced_from": isoformat(priced_from(now)),
    }
    names = {"LARGE": LARGE, "LOCAL": LOCAL, "NEW_MODEL": NEW_MODEL, "RUNAWAY": RUNAWAY}
    return "".join(
        [part.format(**given, **names) for part in (_TOP, _PROVIDERS)]
        + list(_models())
        + [part.format(**given, **names) for part in (_LOCAL, _NEW, _BUDGETS)]
    )


def _models() -> Iterator[str]:
    for provider, name in (
        ("openai", LARGE),
        ("openai", SMALL),
        ("openai", THINKS),
        ("openai", EMBEDDINGS),
        ("anthropic", SONNET),
        ("anthropic", HAIKU),
    ):
        yield f'\n[[models]]\nid = "{name}"\nprovider = "{provider}"\n'
