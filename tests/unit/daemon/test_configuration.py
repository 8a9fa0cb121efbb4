"""What of a configuration file goes into the journal."""

import json
from collections.abc import Mapping
from pathlib import Path

from palyra.config.load import load_settings
from palyra.config.settings import Settings
from palyra.daemon.configuration import actor_of, documents_of
from palyra.identity.keys import hash_key
from palyra.pricing.catalog import GenaiPrices

CANARY = "canary-4f9a1c77"
SECRETS = {
    "KEY": f"{CANARY}-provider",
    "OWNER": f"{CANARY}-owner",
    "DATABASE": f"postgresql://palyra:{CANARY}@db.example.com/palyra",
}
PROVIDER = '[[providers]]\nid = "openai"\nkind = "openai"\ncredential = "env:KEY"\n'
WHOLE = f"""
[server]
database = "env:DATABASE"
[scale]
name = "gw-1"
[auth]
owner_key = "env:OWNER"
[governance]
mode = "dry_run"
default_model = "gpt-4o"
{PROVIDER}
[[models]]
id = "gpt-4o"
provider = "openai"
price = {{ input = "2.50", output = "10.00" }}
[[prices]]
provider = "openai"
model = "gpt-4o"
valid_from = "2027-01-01T00:00:00Z"
input = "3.00"
[[budgets]]
id = "daily"
scope = "principal:*"
metric = "cost_usd"
interval = "day"
hard_limit = "5.00"
[[keys]]
id = "ci"
sha256 = "{hash_key(CANARY)}"
principal = "bot"
"""


def load(folder: Path, text: str, env: Mapping[str, str] = SECRETS) -> Settings:
    path = folder / "palyra.toml"
    path.write_text(text)
    return load_settings(path, env, folder)


def test_all_that_decides_about_money_and_rights_is_there(tmp_path: Path) -> None:
    found = documents_of(load(tmp_path, WHOLE), GenaiPrices())
    assert list(found) == [
        "policy/daily",
        "key/ci",
        "price/openai/gpt-4o",
        "price/openai/gpt-4o@2027-01-01T00:00:00Z",
        "key/owner-key",
        "governance",
        "pricebook",
    ]
    assert found["price/openai/gpt-4o"]["output"] == "10"
    assert found["governance"] == {
        "mode": "dry_run",
        "timezone": "UTC",
        "unknown_price": "deny",
        "default_model": "gpt-4o",
    }
    assert str(found["pricebook"]["source"]).startswith("genai-prices ")


def test_no_secret_is_there(tmp_path: Path) -> None:
    written = json.dumps(documents_of(load(tmp_path, WHOLE), GenaiPrices()))
    assert CANARY not in written
    assert hash_key(CANARY)[:9] not in written
    assert hash_key(SECRETS["OWNER"])[:6] not in written


def test_the_owner_key_is_there_by_where_it_is_kept(tmp_path: Path) -> None:
    found = documents_of(load(tmp_path, WHOLE), GenaiPrices())["key/owner-key"]
    assert (found["reference"], found["roles"]) == ("env:OWNER", ["owner"])
    without = {name: value for name, value in SECRETS.items() if name != "OWNER"}
    assert "key/owner-key" not in documents_of(load(tmp_path, PROVIDER, without), GenaiPrices())
    given = {**without, "PALYRA_AUTH_OWNER_KEY": SECRETS["OWNER"]}
    overridden = documents_of(load(tmp_path, PROVIDER, given), GenaiPrices())["key/owner-key"]
    assert overridden["reference"] == "env:PALYRA_AUTH_OWNER_KEY"


def test_among_gateways_the_entry_says_which_one(tmp_path: Path) -> None:
    assert actor_of(load(tmp_path, WHOLE)) == "config@gw-1"
    assert actor_of(load(tmp_path, WHOLE.replace('name = "gw-1"', ""))).startswith("config@")
    assert actor_of(load(tmp_path, PROVIDER)) == "config"
