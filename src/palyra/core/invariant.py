"""Invariants that ``python -O`` cannot strip. Ids (L1, D3 ...) are those of DESIGN section 10."""

from typing import NoReturn


class InvariantViolation(AssertionError):
    """A promise of the system does not hold; stopping beats continuing with wrong numbers."""

    def __init__(self, invariant_id: str, message: str) -> None:
        super().__init__(f"{invariant_id}: {message}")
        self.invariant_id = invariant_id
        self.message = message


def invariant(condition: bool, invariant_id: str, message: str) -> None:
    """Raise InvariantViolation naming ``invariant_id`` unless ``condition`` holds."""
    if not condition:
        raise InvariantViolation(invariant_id, message)


def unreachable(invariant_id: str, message: str) -> NoReturn:
    """Mark a branch that no input may reach."""
    raise InvariantViolation(invariant_id, message)
