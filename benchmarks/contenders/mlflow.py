"""MLflow's AI gateway, one worker."""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.contenders import environments
from benchmarks.contenders.base import Launch, Say, Site, free_port
from benchmarks.driving import MODEL, Door

VERSION = "3.17.2"
PATH = "/gateway/bench/invocations"
_CONFIG = """
endpoints:
  - name: bench
    endpoint_type: llm/v1/chat
    model:
      provider: openai
      name: {model}
      config:
        openai_api_key: none
        openai_api_base: {url}/v1
"""


@dataclass(frozen=True, slots=True)
class Mlflow:
    """The path names the endpoint; it refuses a model in the body."""

    name: str = "mlflow"
    about: str = "forwards; no key check, no budget, no records"
    tls: bool = False

    def install(self, into: Path, say: Say) -> None:
        """See ``Contender.install``."""
        environments.python(into, f"mlflow[gateway]=={VERSION}", say)

    def version(self, installed: Path) -> str:
        """See ``Contender.version``."""
        del installed
        return VERSION

    def launch(self, site: Site) -> Launch:
        """See ``Contender.launch``."""
        port = free_port()
        path = site.write("mlflow.yaml", _CONFIG.format(model=MODEL, url=site.upstream.url))
        program = site.installed / "bin" / "mlflow"
        words = [
            "gateway",
            "start",
            "--config-path",
            path,
            "--host",
            "127.0.0.1",
            "--port",
            port,
            "--workers",
            1,
        ]
        return Launch([str(program), *map(str, words)], port, Door(PATH, PATH, model=None))
