"""What is wrong with a configuration: all of it at once, each with its place."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake. ``field`` is a dotted path (empty: the file as a whole), ``place`` the file or variable.

    ``line`` is 1-based, None where it is not known.
    """

    field: str
    message: str
    place: str
    line: int | None = None

    def to_dict(self) -> dict[str, object]:
        """The problem as JSON."""
        return {"field": self.field, "message": self.message, "place": self.place, "line": self.line}

    def __str__(self) -> str:
        place = self.place if self.line is None else f"{self.place}:{self.line}"
        return ": ".join(part for part in (place, self.field, self.message) if part)


class ConfigError(ValueError):
    """The configuration cannot be used; ``problems`` holds every mistake that was found."""

    def __init__(self, problems: Sequence[Problem], hint: str | None = None) -> None:
        self.problems = tuple(problems)
        self.hint = hint
        many = len(self.problems) > 1
        head = f"{len(self.problems)} problems in the configuration\n" if many else ""
        super().__init__(head + "\n".join(f"  {each}" if many else str(each) for each in self.problems))


class Report:
    """Collects problems while a configuration is read.

    ``origins`` says which fields came from elsewhere than the file: field to variable or option.
    """

    def __init__(self, place: str, lines: Mapping[str, int], origins: Mapping[str, str]) -> None:
        self.problems: list[Problem] = []
        self.origins = origins
        self._place = place
        self._lines = lines

    def add(self, field: str, message: str) -> None:
        """Note a mistake at ``field``."""
        origin = self.origins.get(field)
        if origin is not None:
            self.problems.append(Problem(field, message, origin))
        else:
            self.problems.append(Problem(field, message, self._place, self._line(field)))

    def _line(self, field: str) -> int | None:
        while field:
            if field in self._lines:
                return self._lines[field]
            field = field[: max(field.rfind("."), field.rfind("["), 0)]
        return None
