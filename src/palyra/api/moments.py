"""Times in query strings."""

from palyra.core.errors import FieldError
from palyra.core.instant import END_OF_TIME, Instant, parse_instant


def moment(field: str, text: str | None) -> Instant | None:
    """RFC 3339 as an instant, None for none. Raises FieldError(field)."""
    if text is None:
        return None
    try:
        instant = parse_instant(text)
    except ValueError as error:
        raise FieldError(field, f"{error}.") from None
    if not 0 <= instant < END_OF_TIME:
        raise FieldError(field, "is out of range; write a time from 1970 to 2261.")
    return instant
