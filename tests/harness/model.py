"""The real model server in a process of its own, and its place in a config."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import httpx2

from harness.daemon import POLL_S, model

START_S = 120.0


@dataclass(slots=True)
class ModelProcess:
    """llama.cpp with SmolLM2, as the demo runs it. ``url`` is its root; the APIs are under ``/v1``."""

    directory: Path
    url: str = ""
    model: str = ""
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it and wait until it answers. AssertionError with its log if it does not."""
        out, log = self.directory / "model.out", self.directory / "model.log"
        with out.open("wb") as out_file, log.open("wb") as log_file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "palyra.cli.model_server", "--port", "0"],
                env=dict(os.environ),
                stdin=subprocess.PIPE,
                stdout=out_file,
                stderr=log_file,
                process_group=0,
            )
        end = time.monotonic() + START_S
        while b"\n" not in (line := out.read_bytes()):
            failed = self.process.poll() is not None or time.monotonic() > end
            assert not failed, f"no model server:\n{log.read_text(errors='replace')[-2000:]}"
            time.sleep(POLL_S)
        announced = json.loads(line)
        self.url, self.model = announced["url"], announced["model"]
        return self

    def close(self) -> None:
        """End it."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)

    def kill9(self) -> None:
        """End it in the middle of its work, and wait until it is gone."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(20)

    def tokens(self) -> tuple[int, int]:
        """Input and output tokens the server has worked on since its start, by its own counters."""
        counters: dict[str, int] = {}
        for line in httpx2.get(f"{self.url}/metrics", timeout=30.0).text.splitlines():
            name, _, value = line.partition(" ")
            if not name.startswith("#"):
                counters[name] = int(float(value or 0))
        return counters["llamacpp:prompt_tokens_total"], counters["llamacpp:tokens_predicted_total"]

    def providers(self) -> list[dict[str, object]]:
        """``[[providers]]`` entries: the same server three times.

        A price belongs to a provider's upstream model, so a second price for it needs a second provider.
        """
        at = {"base_url": f"{self.url}/v1"}
        return [
            {"id": "local-embed", "kind": "openai_compatible", **at},
            {"id": "local", "kind": "openai_compatible", **at},
            {"id": "local-anthropic", "kind": "anthropic", **at},
        ]

    def models(self) -> list[dict[str, object]]:
        """``[[models]]`` entries: ``smollm2`` (chat), ``smollm2-embed``, ``smollm2-messages`` (Anthropic)."""
        name = self.model
        return [
            model(name, "local"),
            model(
                f"{name}-embed",
                "local-embed",
                upstream_name=name,
                role="embeddings",
                output_limit=None,
                price={"input": "0.50"},
            ),
            model(f"{name}-messages", "local-anthropic", upstream_name=name),
        ]
