"""A real Chromium in front of the real daemon. What goes wrong on a page fails the test that met it."""

import gc
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from harness.chromium import find_chromium, launch_arguments


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser for the tests of a file: its loop holds the thread, so other files get a free one."""
    program = find_chromium()
    assert program is not None, "run: make chromium"
    with sync_playwright() as kit:
        browser = kit.chromium.launch(executable_path=program, args=launch_arguments())
        yield browser
        browser.close()
    # Its greenlets would end in the midst of something else.
    gc.collect()
