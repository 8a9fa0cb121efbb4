"""In which order files of tests run: two workers that begin with the longest end together."""

from collections import Counter
from collections.abc import Sequence

import pytest

LONG = ("e2e/test_fleet.py",)
"""Files that take more than ten seconds, the longest first. What is missing here only costs time."""


def longest_first(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """The same tests: first those of long files, then of files with many tests. A file stays together."""
    counts = Counter(item.path for item in items)
    ranks = {name: rank for rank, name in enumerate(LONG)}

    def place(item: pytest.Item) -> tuple[int, int, str]:
        path = item.path.as_posix()
        rank = ranks.get("/".join(item.path.parts[-2:]), len(LONG))
        return rank, -counts[item.path], path

    return sorted(items, key=place)
