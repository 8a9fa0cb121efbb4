"""Which models a key may use: exact ids, or patterns in which ``*`` stands for any characters."""

from collections.abc import Iterable
from typing import final

ANY = "*"


def matches(pattern: str, text: str) -> bool:
    """True if ``text`` fits ``pattern``, whose only special character is ``*``."""
    first, *rest = pattern.split(ANY)
    if not rest:
        return pattern == text
    if not text.startswith(first):
        return False
    *inner, last = rest
    place = len(first)
    for part in inner:
        found = text.find(part, place)
        if found < 0:
            return False
        place = found + len(part)
    return len(text) - len(last) >= place and text.endswith(last)


@final
class AllowedModels:
    """A compiled list of patterns; an empty list allows every model."""

    __slots__ = ("_exact", "_patterns", "everything")

    def __init__(self, patterns: Iterable[str]) -> None:
        listed = tuple(patterns)
        self.everything = not listed or ANY in listed
        """True if no model is excluded."""
        self._exact = frozenset(each for each in listed if ANY not in each)
        self._patterns = tuple(each for each in listed if ANY in each)

    def __contains__(self, model: str) -> bool:
        return self.everything or model in self._exact or any(matches(each, model) for each in self._patterns)

    def covers(self, pattern: str) -> bool:
        """True if everything that ``pattern`` fits is allowed.

        A ``*`` of ``pattern`` can only be fitted by a ``*`` here, so reading ``pattern`` as plain text
        is safe: what then fits, fits whatever its stars stand for.
        """
        return pattern in self
