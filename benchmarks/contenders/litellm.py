"""LiteLLM proxy, with its defaults and one worker."""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.contenders import environments
from benchmarks.contenders.base import Launch, Say, Site, free_port
from benchmarks.driving import MODEL, Door

VERSION = "1.106.2"
KEY = "sk-bench-5f0e2c7d41b94a63"
_CONFIG = """
model_list:
  - model_name: {model}
    litellm_params:
      model: openai/{model}
      api_base: {url}/v1
      api_key: none
      input_cost_per_token: 0.000001
      output_cost_per_token: 0.000002
general_settings:
  master_key: {key}
"""
# The budgets that work without its database: those of its router, kept in memory.
_BUDGET = """
router_settings:
  provider_budget_config:
    openai:
      budget_limit: 1000000
      time_period: 1d
"""


@dataclass(frozen=True, slots=True)
class LiteLlm:
    """With or without a budget."""

    name: str
    about: str
    budget: bool
    tls: bool = False

    def install(self, into: Path, say: Say) -> None:
        """See ``Contender.install``."""
        environments.python(_shared(into), f"litellm[proxy]=={VERSION}", say)

    def version(self, installed: Path) -> str:
        """See ``Contender.version``."""
        del installed
        return VERSION

    def launch(self, site: Site) -> Launch:
        """See ``Contender.launch``."""
        port = free_port()
        config = _CONFIG.format(model=MODEL, url=site.upstream.url, key=KEY) + (
            _BUDGET if self.budget else ""
        )
        path = site.write("litellm.yaml", config)
        program = _shared(site.installed) / "bin" / "litellm"
        return Launch(
            [
                str(program),
                "--config",
                str(path),
                "--host",
                "127.0.0.1",
                "--port",
                str(port),
                "--num_workers",
                "1",
            ],
            port,
            Door(headers=(("authorization", f"Bearer {KEY}"),)),
            {"LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        )


def _shared(own: Path) -> Path:
    """Both variants use one environment."""
    return own.with_name("litellm")


VARIANTS = (
    LiteLlm("litellm", "one master key, no database, no budget", budget=False),
    LiteLlm("litellm-budget", "the same with a provider budget in memory; nothing durable", budget=True),
)
