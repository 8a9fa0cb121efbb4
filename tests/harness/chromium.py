"""A Chromium for browser tests: the one that is there, else ``python -m harness.chromium`` installs one."""

import gc
import os
import shutil
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
)
"""A test's browser talks to nobody but the daemon."""


def find_chromium() -> str | None:
    """The program on the PATH, or the one that Playwright installed."""
    for name in NAMES:
        found = shutil.which(name)
        if found:
            return found
    with sync_playwright() as kit:
        own = kit.chromium.executable_path
    return own if Path(own).exists() else None


def launch_arguments() -> list[str]:
    """How to start it. As root it cannot have a sandbox."""
    return [*ARGUMENTS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]


@contextmanager
def open_chromium() -> Generator[Browser]:
    """A browser until the end of the block. Its loop holds the thread: other files need that free."""
    program = find_chromium()
    assert program is not None, "run: make chromium"
    with sync_playwright() as kit:
        browser = kit.chromium.launch(executable_path=program, args=launch_arguments())
        yield browser
        browser.close()
    # Its greenlets would end in the midst of something else.
    gc.collect()


def install_chromium() -> bool:
    """Have the system's package manager install one, else Playwright; whether one is there."""
    ways: list[Sequence[Sequence[str]]] = [[[sys.executable, "-m", "playwright", "install", "chromium"]]]
    if shutil.which("apt-get") and os.geteuid() == 0:
        apt = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120"]
        ways.insert(0, [[*apt, "update"], [*apt, "install", "-y", "--no-install-recommends", "chromium"]])
    for commands in ways:
        for command in commands:
            subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
        if find_chromium():
            return True
    return False


if __name__ == "__main__":
    if not (find_chromium() or install_chromium()):
        sys.exit("Install Chromium yourself, then run make again.")
