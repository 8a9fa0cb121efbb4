"""The daemon in front of the real model, and official clients that know only a base URL and a key."""

from collections.abc import Callable, Iterator
from pathlib import Path

import anthropic
import openai
import pytest

from harness.daemon import DaemonProcess, config
from harness.model import ModelProcess


@pytest.fixture(scope="module")
def governed(model_server: ModelProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """One daemon per test module, with the real model in both wire formats and no budgets."""
    settings = config(
        model_server.url,
        providers=model_server.providers(),
        models=model_server.models(),
    )
    daemon = DaemonProcess(Path(tmp_path_factory.mktemp("governed")), settings)
    try:
        yield daemon.start()
    finally:
        daemon.close()


@pytest.fixture
def openai_client() -> Iterator[Callable[[DaemonProcess, str], openai.OpenAI]]:
    """``openai_client(daemon, key)``: the official SDK as a user would set it up."""
    made: list[openai.OpenAI] = []

    def connect(daemon: DaemonProcess, key: str) -> openai.OpenAI:
        made.append(openai.OpenAI(base_url=f"{daemon.url}/v1", api_key=key))
        return made[-1]

    yield connect
    for client in made:
        client.close()


@pytest.fixture
def anthropic_client() -> Iterator[Callable[[DaemonProcess, str], anthropic.Anthropic]]:
    """``anthropic_client(daemon, key)``: the official SDK as a user would set it up."""
    made: list[anthropic.Anthropic] = []

    def connect(daemon: DaemonProcess, key: str) -> anthropic.Anthropic:
        made.append(anthropic.Anthropic(base_url=daemon.url, api_key=key))
        return made[-1]

    yield connect
    for client in made:
        client.close()
