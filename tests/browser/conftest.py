"""A real Chromium in front of the real daemon. What goes wrong on a page fails the test that met it."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from harness.chromium import open_chromium


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser for the tests of a file: its loop holds the thread, so other files get a free one."""
    with open_chromium() as browser:
        yield browser
