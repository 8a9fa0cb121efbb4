"""Times in query strings."""

from palyra.core.errors import FieldError
from palyra.core.instant import Instant, parse_instant


def moment(field: str, text: str | None) -> Instant | None:
    """RFC 3339 as an instant, None for none. Raises FieldError(field)."""
    if text is None:
        return None
    try:
        return parse_instant(text)
    except ValueError as error:
        raise FieldError(field, f"{error}.") from None
