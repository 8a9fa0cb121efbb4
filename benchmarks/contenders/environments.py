"""Peers in environments of their own, from their registries; nothing of them enters the project's."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.contenders.base import Say, UnavailableError

INSTALL_S = 900.0
_DONE = "installed.txt"


def python(into: Path, requirement: str, say: Say) -> None:
    """A virtual environment with ``requirement``; UnavailableError with the installer's last words."""
    if _is_done(into, requirement):
        return
    say(f"installing {requirement} into {into.name}")
    shutil.rmtree(into, ignore_errors=True)
    into.parent.mkdir(parents=True, exist_ok=True)
    uv = shutil.which("uv")
    if uv is not None:
        _run([uv, "venv", "--quiet", "--no-project", "--python", sys.executable, str(into)], into.parent)
        where = ["--python", str(into / "bin" / "python")]
        _run([uv, "pip", "install", "--quiet", *where, requirement], into.parent)
    else:
        _run([sys.executable, "-m", "venv", str(into)], into.parent)
        _run([str(into / "bin" / "python"), "-m", "pip", "install", "--quiet", requirement], into.parent)
    (into / _DONE).write_text(requirement)


def node(into: Path, requirement: str, say: Say) -> None:
    """A folder with ``requirement`` in its node_modules; UnavailableError if Node.js is missing."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise UnavailableError("not installed: needs Node.js and npm (apt-get install nodejs npm)")
    if _is_done(into, requirement):
        return
    say(f"installing {requirement} into {into.name}")
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir(parents=True)
    _run(["npm", "install", "--no-fund", "--no-audit", "--prefix", str(into), requirement], into)
    (into / _DONE).write_text(requirement)


def _is_done(into: Path, requirement: str) -> bool:
    try:
        return (into / _DONE).read_text() == requirement
    except OSError:
        return False


def _run(arguments: Sequence[str], folder: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    try:
        subprocess.run(
            arguments,
            cwd=folder,
            env=environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=INSTALL_S,
        )
    except subprocess.CalledProcessError as problem:
        said = " ".join(f"{problem.stdout} {problem.stderr}".split())
        raise UnavailableError(f"cannot be installed: {said[-400:]}") from problem
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise UnavailableError(f"cannot be installed: {problem}") from problem
