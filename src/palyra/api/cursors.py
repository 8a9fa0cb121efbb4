"""Cursors that are places: where a page of changes ended."""

import re

from palyra.core.errors import FieldError
from palyra.lifecycle.changes import ChangePlace

_PLACE = re.compile(r"(\d{1,19})\.(\d{1,18})\.(\d{1,18})", re.ASCII)


def read_place(cursor: str | None) -> ChangePlace | None:
    """The place that a cursor says, None for none. Raises FieldError."""
    if cursor is None:
        return None
    written = _PLACE.fullmatch(cursor)
    if written is None or int(written[1]) >= 2**63:
        raise FieldError("cursor", "is none that a page ended with; leave it out for the first page.")
    return ChangePlace(*map(int, written.groups()))


def write_place(place: ChangePlace) -> str:
    """The reverse of ``read_place``."""
    return f"{place.at}.{place.node}.{place.record}"
