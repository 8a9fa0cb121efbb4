"""What a caller says of approvals: which ones it shows, and how long it waits for one."""

from collections.abc import Mapping

from palyra.core.errors import InvalidRequest
from palyra.lifecycle.asking import APPROVALS_SHOWN_MAX

APPROVAL = b"x-palyra-approval"
PREFER = b"prefer"
_ID_CHARS_MAX = 64
_DIGITS_MAX = 9


def read_approvals(headers: Mapping[bytes, bytes]) -> tuple[str, ...]:
    """The ids in ``x-palyra-approval``, separated by commas. Raises InvalidRequest for what is none."""
    value = headers.get(APPROVAL)
    if value is None:
        return ()
    found = tuple(part.strip() for part in value.decode("latin-1").split(",") if part.strip())
    if len(found) > APPROVALS_SHOWN_MAX:
        raise InvalidRequest(
            f"x-palyra-approval names more than {APPROVALS_SHOWN_MAX} approvals", param="x-palyra-approval"
        )
    for each in found:
        if len(each) > _ID_CHARS_MAX or not (each.isascii() and each.replace("_", "").isalnum()):
            raise InvalidRequest(
                "x-palyra-approval must hold ids such as apr_0193…, separated by commas",
                param="x-palyra-approval",
            )
    return found


def read_wait(headers: Mapping[bytes, bytes]) -> int:
    """The seconds of ``Prefer: wait=60`` (RFC 7240), 0 without; a preference that is none is ignored."""
    value = headers.get(PREFER)
    if value is None:
        return 0
    for preference in value.decode("latin-1").split(","):
        name, _, seconds = preference.partition(";")[0].partition("=")
        digits = seconds.strip().strip('"')
        if name.strip().lower() == "wait" and digits.isdecimal() and digits.isascii():
            return int(digits) if len(digits) <= _DIGITS_MAX else 10**_DIGITS_MAX
    return 0
