"""One measured figure with its range."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Result:
    """One row. ``value`` is the median of the repeats in ``unit``; ``least`` and ``most`` are its range."""

    name: str
    value: float
    unit: str
    least: float
    most: float
    about: str = ""
