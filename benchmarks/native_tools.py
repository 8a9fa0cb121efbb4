"""The stub and the load driver, in C so that they cost less than what they measure; built on demand."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path(__file__).parent / "native"
COMPILERS = ("cc", "gcc", "clang")


class NoCompilerError(Exception):
    """The machine cannot build the stub and the load driver."""


@dataclass(frozen=True, slots=True)
class Tools:
    """The two programs."""

    upstream: Path
    load: Path


def build(folder: Path) -> Tools:
    """Compile what is missing or out of date into ``folder``. NoCompilerError says what to install."""
    folder.mkdir(parents=True, exist_ok=True)
    header = SOURCES / "http.h"
    for name in ("upstream", "load"):
        source, program = SOURCES / f"{name}.c", folder / name
        newest = max(source.stat().st_mtime, header.stat().st_mtime)
        if not program.exists() or program.stat().st_mtime < newest:
            _compile(source, program)
    return Tools(folder / "upstream", folder / "load")


def _compile(source: Path, program: Path) -> None:
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        raise NoCompilerError(
            "no C compiler is on PATH: install gcc or clang (Debian: apt-get install gcc libc6-dev)"
        )
    fresh = program.with_suffix(".new")
    done = subprocess.run(
        [compiler, "-O2", "-o", str(fresh), str(source)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise NoCompilerError(f"{compiler} cannot compile {source.name}: {done.stderr.strip()[-500:]}")
    fresh.replace(program)
