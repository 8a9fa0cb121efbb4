"""TensorZero's gateway (Rust), as its Python package carries it, on a port of its own choice."""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.contenders import environments
from benchmarks.contenders.base import Launch, Say, Site
from benchmarks.driving import MODEL, Door

VERSION = "2026.6.0"
PATH = "/openai/v1/chat/completions"
_CONFIG = """
[gateway]
observability.enabled = false

[models.{model}]
routing = ["stub"]

[models.{model}.providers.stub]
type = "openai"
model_name = "{model}"
api_base = "{url}/v1/"
api_key_location = "none"
"""
# The package starts the gateway for its own patching of the OpenAI client; there is no public way to it.
_START = """
import sys, threading
from tensorzero import _start_http_gateway as start
stores = {"clickhouse_url": None, "postgres_url": None, "valkey_url": None}
gateway = start(config_file=sys.argv[1], async_setup=False, **stores)
print("listens on port", gateway.base_url.split("/")[2].rpartition(":")[2], flush=True)
threading.Event().wait()
"""


@dataclass(frozen=True, slots=True)
class TensorZero:
    """Started through a private function of the package, hence the pinned version."""

    name: str = "tensorzero"
    about: str = "forwards; no key check, no budget, records off"
    tls: bool = False

    def install(self, into: Path, say: Say) -> None:
        """See ``Contender.install``."""
        environments.python(into, f"tensorzero=={VERSION}", say)

    def version(self, installed: Path) -> str:
        """See ``Contender.version``."""
        del installed
        return VERSION

    def launch(self, site: Site) -> Launch:
        """See ``Contender.launch``."""
        config = site.write("tensorzero.toml", _CONFIG.format(model=MODEL, url=site.upstream.url))
        starter = site.write("start.py", _START)
        program = site.installed / "bin" / "python"
        door = Door(PATH, PATH, model=f"tensorzero::model_name::{MODEL}")
        # Its log goes to standard output too, and would come before the port.
        return Launch([str(program), str(starter), str(config)], None, door, {"RUST_LOG": "off"})
