"""Palyra as ``palyra serve`` runs it: one process, durable on SQLite or on a PostgreSQL of its own."""

import hashlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contenders.base import Launch, Say, Site, UnavailableError, free_port
from benchmarks.database import Database
from benchmarks.driving import MODEL, Door
from benchmarks.processes import cores
from palyra import __version__
from palyra.cli.database_server import ServerMissing

KEY = "sk-palyra-benchmark-0f2b9c"
SCOPES = ("global", "principal:*", f"model:{MODEL}", "provider:stub", "principal:bench")
_CONFIG = """
[server]
host = "127.0.0.1"
port = {port}
database = "{database}"

[governance]
mode = "{mode}"
timezone = "UTC"

[[providers]]
id = "stub"
kind = "openai_compatible"
base_url = "{url}/v1"
{ca}

[[models]]
id = "{model}"
provider = "stub"
output_limit = 4096
context_window = 2000000
price = {{ input = "1.00", output = "2.00" }}

[[keys]]
id = "bench"
sha256 = "{sha256}"
principal = "bench"
roles = ["caller"]
"""
_BUDGET = """
[[budgets]]
id = "budget-{number}"
scope = "{scope}"
metric = "cost_usd"
interval = "day"
hard_limit = "1000000"
action = "block"
"""


@dataclass(frozen=True, slots=True)
class Palyra:
    """One variant: so many budgets bind each call."""

    name: str
    about: str
    budgets: int
    tls: bool = False
    on_server: bool = False

    def install(self, into: Path, say: Say) -> None:
        """See ``Contender.install``: it is this checkout."""
        del into, say

    def version(self, installed: Path) -> str:
        """See ``Contender.version``."""
        del installed
        return __version__

    def launch(self, site: Site) -> Launch:
        """See ``Contender.launch``. The database server shares the core of the provider."""
        port = free_port()
        try:
            server = Database.start(site.folder, {cores()[1]}) if self.on_server else None
        except ServerMissing as problem:
            raise UnavailableError(str(problem)) from problem
        config = _CONFIG.format(
            port=port,
            database=server.url if server else "sqlite:///palyra.db",
            mode="enforced" if self.budgets else "suggest",
            url=site.upstream.url,
            ca=f'ca_file = "{site.upstream.ca}"' if site.upstream.ca else "",
            model=MODEL,
            sha256=hashlib.sha256(KEY.encode()).hexdigest(),
        )
        for number, scope in enumerate(SCOPES[: self.budgets]):
            config += _BUDGET.format(number=number, scope=scope)
        path = site.write("palyra.toml", config)
        return Launch(
            [sys.executable, "-m", "palyra", "serve", "--config", str(path), "--json"],
            port,
            Door(headers=(("authorization", f"Bearer {KEY}"),)),
            # Lets another checkout be measured with these benchmarks, e.g. the one before a change.
            {"PYTHONPATH": os.environ["PYTHONPATH"]} if "PYTHONPATH" in os.environ else {},
            server,
        )


VARIANTS = (
    Palyra("palyra-5", "key, 5 budgets, durable reserve and settle, decision stored", 5, tls=True),
    Palyra("palyra-postgres", "the same on PostgreSQL with slices; its CPU apart", 5, on_server=True),
    Palyra("palyra-1", "palyra-5 with 1 budget", 1),
    Palyra("palyra-off", "no budgets, mode suggest; usage still recorded", 0),
)
