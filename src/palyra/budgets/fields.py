"""Reading one field of a policy document strictly. Every function raises FieldError naming the field."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import TypeVar, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from palyra.core.errors import FieldError
from palyra.core.fields import as_label, closest, kind_of
from palyra.core.instant import END_OF_TIME, Instant, from_datetime, parse_instant
from palyra.core.money import INT64_MAX, parse_usd

Choice = TypeVar("Choice", bound=StrEnum)

POLICY_ID_CHARS_MAX = 64
FRACTION_DECIMALS_MAX = 18
_ID_PUNCTUATION = frozenset("._-")


def read_text(data: Mapping[str, object], name: str, default: str | None = None) -> str:
    """A label: 1..LABEL_CHARS_MAX printable characters. Required if there is no default."""
    value = data.get(name, default)
    if value is None:
        raise FieldError(name, "is required; write a string.")
    return as_label(value, name)


def read_optional_text(data: Mapping[str, object], name: str) -> str | None:
    """A label, or None where the field is absent."""
    value = data.get(name)
    return None if value is None else as_label(value, name)


def read_id(data: Mapping[str, object], name: str) -> str:
    """A policy id: 1 to 64 of the characters A-Z a-z 0-9 . _ -"""
    text = read_text(data, name)
    allowed = all(char.isascii() and (char.isalnum() or char in _ID_PUNCTUATION) for char in text)
    if not allowed or len(text) > POLICY_ID_CHARS_MAX:
        raise FieldError(
            name, f"{text!r} is not an id; use 1 to {POLICY_ID_CHARS_MAX} of A-Z a-z 0-9 '.' '_' '-'."
        )
    return text


def as_choice(enum: type[Choice], value: object, field: str) -> Choice:
    """The member of ``enum`` that ``value`` writes; the error lists all that there are."""
    if isinstance(value, str):
        try:
            return enum(value)
        except ValueError:
            pass
    valid = [member.value for member in enum]
    hint = closest(value, valid) if isinstance(value, str) else ""
    raise FieldError(field, f"{value!r} is not one of: {', '.join(valid)}.{hint}")


def read_choice(
    data: Mapping[str, object], name: str, enum: type[Choice], default: Choice | None = None
) -> Choice:
    """A member of ``enum``. Required if there is no default."""
    value = data.get(name)
    if value is None:
        if default is None:
            raise FieldError(name, f"is required; write one of: {', '.join(enum)}.")
        return default
    return as_choice(enum, value, name)


def read_optional_choice(data: Mapping[str, object], name: str, enum: type[Choice]) -> Choice | None:
    """A member of ``enum``, or None where the field is absent."""
    value = data.get(name)
    return None if value is None else as_choice(enum, value, name)


def read_flag(data: Mapping[str, object], name: str, *, default: bool) -> bool:
    """true or false, nothing that merely looks like it."""
    value = data.get(name, default)
    if not isinstance(value, bool):
        raise FieldError(name, f"must be true or false, not {value!r}.")
    return value


def read_usd(data: Mapping[str, object], name: str) -> int | None:
    """An amount of money, as nano-USD: a decimal string (``"5.00"``) or a whole number of dollars."""
    value = data.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise FieldError(name, f'must be a decimal string of USD such as "5.00", not {kind_of(value)}.')
    try:
        nano = parse_usd(value)
    except ValueError as error:
        raise FieldError(name, f"{error}.") from None
    return _not_negative(nano, value, name)


def read_count(data: Mapping[str, object], name: str) -> int | None:
    """A number of tokens or requests: a whole number, or one as a string (``"1_000_000"``)."""
    value = data.get(name)
    if value is None:
        return None
    if isinstance(value, str):
        try:
            value = int(value)
        except ValueError:
            raise FieldError(name, f"{value!r} is not a whole number; write one such as 1000000.") from None
    if isinstance(value, bool) or not isinstance(value, int):
        raise FieldError(name, f"must be a whole number such as 1000000, not {kind_of(value)}.")
    if value > INT64_MAX:
        raise FieldError(name, f"must be at most {INT64_MAX}.")
    return _not_negative(value, value, name)


def read_fraction(value: object, field: str, *, most: int) -> Decimal:
    """An exact fraction in (0, ``most``]: a number, or one as a string. 0.8 is four fifths exactly."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise FieldError(field, f"must be a fraction of the limit such as 0.8, not {kind_of(value)}.")
    try:
        # What a float was written as, not the binary number next to it.
        fraction = Decimal(str(value))
    except InvalidOperation:
        raise FieldError(field, f"{value!r} is not a number; write a fraction such as 0.8.") from None
    if not fraction.is_finite() or not 0 < fraction <= most:
        raise FieldError(field, f"{value} is out of range; write more than 0 and at most {most}.")
    exponent = fraction.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -FRACTION_DECIMALS_MAX:
        raise FieldError(field, f"has more than {FRACTION_DECIMALS_MAX} decimals; round it.")
    return fraction.normalize()


def read_instant(data: Mapping[str, object], name: str) -> Instant | None:
    """An instant: RFC 3339 text, or a TOML date-time, with an offset."""
    value = data.get(name)
    if value is None:
        return None
    if not isinstance(value, datetime | str):
        raise FieldError(name, f"must be a time such as 2026-12-31T00:00:00Z, not {kind_of(value)}.")
    try:
        instant = parse_instant(value) if isinstance(value, str) else from_datetime(value)
    except ValueError as error:
        raise FieldError(name, f"{error}.") from None
    if not 0 <= instant < END_OF_TIME:
        raise FieldError(name, "is out of range; write a time from 1970 to 2261, or leave it out.")
    return instant


def read_zone(data: Mapping[str, object], name: str, default: str) -> ZoneInfo:
    """An IANA time zone such as ``Europe/Prague``."""
    value = read_text(data, name, default)
    try:
        return ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        hint = closest(value, available_timezones())
        raise FieldError(
            name, f"{value!r} is not an IANA time zone; write one such as Europe/Prague.{hint}"
        ) from None


def as_table(value: object, field: str) -> Mapping[str, object]:
    """``value`` as a table with text keys."""
    if not isinstance(value, Mapping):
        raise FieldError(field, f"must be a table, not {kind_of(value)}.")
    table = cast("Mapping[object, object]", value)
    for key in table:
        if not isinstance(key, str):
            raise FieldError(field, f"has the key {key!r}; keys must be strings.")
    return cast("Mapping[str, object]", value)


def as_list(value: object, field: str) -> list[object]:
    """``value`` as a list."""
    if not isinstance(value, list | tuple):
        raise FieldError(field, f"must be a list, not {kind_of(value)}.")
    return list(cast("list[object]", value))


def _not_negative(amount: int, written: object, name: str) -> int:
    if amount < 0:
        raise FieldError(name, f"{written} is negative; write 0 or more.")
    return amount
