"""Reading one table strictly: every value has a type, every key is known, every mistake is reported."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import TypeVar, cast

from palyra.config.problems import Report
from palyra.core.limits import LABEL_CHARS_MAX

Choice = TypeVar("Choice", bound=StrEnum)

TEXT_CHARS_MAX = 4_096
"""The longest URL, path or reference."""

_YES = frozenset({"true", "1", "yes", "on"})
_NO = frozenset({"false", "0", "no", "off"})


class Section:
    """One table of the configuration.

    Each method reads one key. A mistake is reported and the default returned, so that reading goes on;
    nothing read from a table with mistakes is ever used.
    """

    def __init__(self, data: Mapping[str, object], path: str, report: Report) -> None:
        self.data = data
        self.path = path
        self._report = report
        self._asked: list[str] = []

    def field(self, name: str) -> str:
        """The full path of a key."""
        return f"{self.path}.{name}" if self.path else name

    def wrong(self, name: str, message: str) -> None:
        """Report a mistake at a key."""
        self._report.add(self.field(name), message)

    def raw(self, name: str) -> object:
        """The value as written, None if absent; marks the key as known."""
        self._asked.append(name)
        return self.data.get(name)

    def text(self, name: str, default: str = "", *, required: bool = False) -> str:
        """A string of 1 to LABEL_CHARS_MAX visible characters."""
        return self.optional_text(name, required=required) or default

    def optional_text(self, name: str, *, required: bool = False, most: int = LABEL_CHARS_MAX) -> str | None:
        """As ``text``; None where the key is absent."""
        value = self.raw(name)
        if value is None:
            if required:
                self.wrong(name, "is required; write a string")
        elif not isinstance(value, str):
            self.wrong(name, f"must be a string, not {kind_of(value)}")
        elif not value or value != value.strip() or not value.isprintable():
            self.wrong(name, "must be visible characters without blanks around them")
        elif len(value) > most:
            self.wrong(name, f"has {len(value)} characters; write at most {most}")
        else:
            return value
        return None

    def integer(self, name: str, default: int, *, least: int, most: int) -> int:
        """A whole number from ``least`` to ``most``."""
        found = self.optional_integer(name, least=least, most=most)
        return default if found is None else found

    def optional_integer(self, name: str, *, least: int, most: int) -> int | None:
        """As ``integer``; None where the key is absent."""
        value = self._from_outside(name, self.raw(name))
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            self.wrong(name, f"must be a whole number, not {kind_of(value)}")
        elif not least <= value <= most:
            self.wrong(name, f"is {value}; write a number from {least} to {most}")
        else:
            return value
        return None

    def optional_seconds(self, name: str, *, most: float) -> float | None:
        """A number of seconds above 0 and up to ``most``; None where the key is absent."""
        value = self._from_outside(name, self.raw(name), float)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.wrong(name, f"must be a number of seconds, not {kind_of(value)}")
        elif not 0 < value <= most:
            self.wrong(name, f"is {value}; write more than 0 and at most {most:g} seconds")
        else:
            return float(value)
        return None

    def fraction(self, name: str, default: float) -> float:
        """A number above 0 and up to 1."""
        value = self._from_outside(name, self.raw(name), float)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.wrong(name, f"must be a number, not {kind_of(value)}")
        elif not 0 < value <= 1:
            self.wrong(name, f"is {value}; write more than 0 and at most 1, such as 0.05")
        else:
            return float(value)
        return default

    def flag(self, name: str, *, default: bool) -> bool:
        """true or false."""
        value = self.raw(name)
        if isinstance(value, str) and self.field(name) in self._report.origins:
            word = value.lower()
            value = True if word in _YES else False if word in _NO else value
        if value is None or isinstance(value, bool):
            return default if value is None else value
        self.wrong(name, f"must be true or false, not {kind_of(value)}")
        return default

    def choice(self, name: str, enum: type[Choice], default: Choice, *, required: bool = False) -> Choice:
        """A member of ``enum``, as its value writes it."""
        value = self.raw(name)
        valid = [member.value for member in enum]
        if value is None:
            if required:
                self.wrong(name, f"is required; write one of: {', '.join(valid)}")
            return default
        if isinstance(value, str) and value in valid:
            return enum(value)
        self.wrong(name, f"{value!r} is not one of: {', '.join(valid)}{suggestion(value, valid)}")
        return default

    def strings(self, name: str) -> tuple[str, ...]:
        """A list of strings; from the environment, separated by commas. Empty where the key is absent."""
        value = self.raw(name)
        if isinstance(value, str) and self.field(name) in self._report.origins:
            value = [part.strip() for part in value.split(",") if part.strip()]
        if value is None:
            return ()
        if not isinstance(value, list):
            self.wrong(name, f"must be a list of strings, not {kind_of(value)}")
            return ()
        found: list[str] = []
        for place, item in enumerate(cast("list[object]", value)):
            if isinstance(item, str) and item and item == item.strip():
                found.append(item)
            else:
                self.wrong(f"{name}[{place}]", "must be a string without blanks around it")
        return tuple(found)

    def choices(self, name: str, enum: type[Choice]) -> frozenset[Choice]:
        """A list of members of ``enum``; empty where the key is absent."""
        valid = [member.value for member in enum]
        found: set[Choice] = set()
        for place, word in enumerate(self.strings(name)):
            if word in valid:
                found.add(enum(word))
            else:
                problem = f"{word!r} is not one of: {', '.join(valid)}{suggestion(word, valid)}"
                self.wrong(f"{name}[{place}]", problem)
        return frozenset(found)

    def table(self, name: str) -> "Section":
        """A table within this one; empty where the key is absent."""
        value = self.raw(name)
        if value is not None and not isinstance(value, dict):
            self.wrong(name, f"must be a table, not {kind_of(value)}; write [{name}]")
            value = None
        return Section(cast("Mapping[str, object]", value or {}), self.field(name), self._report)

    def entries(self, name: str) -> "list[Section]":
        """An array of tables; empty where the key is absent."""
        value = self.raw(name)
        if value is None:
            return []
        if not isinstance(value, list):
            self.wrong(name, f"must be an array of tables, not {kind_of(value)}; write [[{name}]]")
            return []
        found: list[Section] = []
        for place, item in enumerate(cast("list[object]", value)):
            if isinstance(item, dict):
                entry = cast("Mapping[str, object]", item)
                found.append(Section(entry, f"{self.field(name)}[{place}]", self._report))
            else:
                self.wrong(f"{name}[{place}]", f"must be a table, not {kind_of(item)}")
        return found

    def finish(self) -> None:
        """Report every key that nobody asked for. Call it after all reads."""
        known = list(dict.fromkeys(self._asked))
        for name in self.data:
            if name not in known:
                listed = ", ".join(sorted(known))
                self.wrong(name, f"is not a known key; known are {listed}{suggestion(name, known)}")

    def _from_outside(self, name: str, value: object, number: Callable[[str], int | float] = int) -> object:
        """Variables and options are always text: read a number out of it."""
        if isinstance(value, str) and self.field(name) in self._report.origins:
            try:
                return number(value)
            except ValueError:
                return value
        return value


def suggestion(word: object, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` for the known word nearest to ``word``, or nothing."""
    near = difflib.get_close_matches(word, list(known), n=1) if isinstance(word, str) else []
    return f"; did you mean {near[0]!r}?" if near else ""


def kind_of(value: object) -> str:
    """The type of a TOML value in words."""
    words: dict[type, str] = {
        bool: "a boolean",
        int: "a whole number",
        float: "a floating-point number",
        str: "a string",
        dict: "a table",
        list: "a list",
    }
    return words.get(type(value), type(value).__name__)
