"""Palyra as ``palyra serve`` runs it: one process, SQLite with a durable journal."""

import hashlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contenders.base import Launch, Say, Site, free_port
from benchmarks.driving import MODEL, Door
from palyra import __version__

KEY = "sk-palyra-benchmark-0f2b9c"
SCOPES = ("global", "principal:*", f"model:{MODEL}", "provider:stub", "principal:bench")
_CONFIG = """
[server]
host = "127.0.0.1"
port = {port}
database = "sqlite:///palyra.db"

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

    def install(self, into: Path, say: Say) -> None:
        """See ``Contender.install``: it is this checkout."""
        del into, say

    def version(self, installed: Path) -> str:
        """See ``Contender.version``."""
        del installed
        return __version__

    def launch(self, site: Site) -> Launch:
        """See ``Contender.launch``."""
        port = free_port()
        config = _CONFIG.format(
            port=port,
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
        )


VARIANTS = (
    Palyra("palyra-5", "key, 5 budgets, durable reserve and settle, decision stored", 5, tls=True),
    Palyra("palyra-1", "the same with 1 budget", 1),
    Palyra("palyra-off", "no budgets, mode suggest; usage still recorded", 0),
)
