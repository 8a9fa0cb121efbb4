"""Signed webhooks, for both ends: Palyra signs what it sends, and receivers verify it with ``verify``.

The scheme is that of Standard Webhooks: HMAC-SHA256 over id, timestamp and body. Only the standard library is
needed, so a receiver may import this module and nothing else of Palyra.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from enum import StrEnum

ID = "webhook-id"
TIMESTAMP = "webhook-timestamp"
SIGNATURE = "webhook-signature"
TOLERANCE_S = 300
SECRET_BYTES_LEAST = 16

_PREFIX = "whsec_"
_VERSION = "v1,"
_TIMESTAMP_DIGITS_MAX = 12


class Flaw(StrEnum):
    """Why a webhook is not to be trusted."""

    MISSING_HEADER = "missing_header"
    BAD_TIMESTAMP = "bad_timestamp"
    TOO_OLD = "too_old"
    TOO_NEW = "too_new"
    BAD_SIGNATURE = "bad_signature"


class WebhookRefused(ValueError):
    """The request is not from who has the secret, or not from now; answer with status 400 and forget it."""

    def __init__(self, flaw: Flaw, message: str) -> None:
        super().__init__(message)
        self.flaw = flaw


def verify(
    secret: str | Sequence[str],
    headers: Mapping[str, str],
    body: bytes,
    now: float,
    tolerance_s: float = TOLERANCE_S,
) -> str:
    """Check one received webhook and return its id, by which a repeat of it is known.

    ``secret`` as in the configuration of Palyra; any of several may match, while they are being replaced.
    ``headers`` in any case, ``body`` as it was received, ``now`` in seconds since 1970 (``time.time()``). A
    timestamp further than ``tolerance_s`` seconds from ``now`` is refused: an old request may be sent again.
    Raises WebhookRefused, and ValueError for a secret that ``secret_bytes`` does not accept.
    """
    lowered = {name.lower(): value for name, value in headers.items()}
    webhook_id, timestamp, signatures = (_header(lowered, name) for name in (ID, TIMESTAMP, SIGNATURE))
    sent_at = _seconds(timestamp)
    keys = [secret_bytes(each) for each in ((secret,) if isinstance(secret, str) else secret)]
    if not _matches(keys, webhook_id, timestamp, body, signatures):
        raise WebhookRefused(Flaw.BAD_SIGNATURE, f"no signature in {SIGNATURE} is made with this secret")
    if sent_at < now - tolerance_s:
        raise WebhookRefused(Flaw.TOO_OLD, f"{TIMESTAMP} is more than {tolerance_s:g} s ago")
    if sent_at > now + tolerance_s:
        raise WebhookRefused(Flaw.TOO_NEW, f"{TIMESTAMP} is more than {tolerance_s:g} s ahead")
    return webhook_id


def sign(secrets: Sequence[bytes], webhook_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the three headers for ``body``: one signature for each secret, ``timestamp`` in seconds."""
    at = str(timestamp)
    signatures = (_VERSION + _signature(secret, webhook_id, at, body) for secret in secrets)
    return {ID: webhook_id, TIMESTAMP: at, SIGNATURE: " ".join(signatures)}


def secret_bytes(text: str) -> bytes:
    """Return the key that a secret stands for: after ``whsec_`` it is base64, else the text itself.

    Raises ValueError, without the secret in it, for one that is no base64 or shorter than 16 bytes.
    """
    if text.startswith(_PREFIX):
        try:
            key = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
        except binascii.Error:
            raise ValueError(f"is no base64 after {_PREFIX}") from None
    else:
        key = text.encode()
    if len(key) < SECRET_BYTES_LEAST:
        raise ValueError(f"has {len(key)} bytes; a secret needs at least {SECRET_BYTES_LEAST}")
    return key


def _header(lowered: Mapping[str, str], name: str) -> str:
    value = lowered.get(name, "")
    if not value:
        raise WebhookRefused(Flaw.MISSING_HEADER, f"there is no {name}")
    return value


def _seconds(timestamp: str) -> int:
    is_number = timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= _TIMESTAMP_DIGITS_MAX
    if not is_number:
        raise WebhookRefused(Flaw.BAD_TIMESTAMP, f"{TIMESTAMP} is no number of seconds")
    return int(timestamp)


def _matches(keys: Sequence[bytes], webhook_id: str, timestamp: str, body: bytes, signatures: str) -> bool:
    """Whether any signature is right. All are compared, so that the time taken tells nothing."""
    given = [each.removeprefix(_VERSION) for each in signatures.split() if each.startswith(_VERSION)]
    found = False
    for key in keys:
        expected = _signature(key, webhook_id, timestamp, body).encode()
        for each in given:
            found |= hmac.compare_digest(expected, each.encode("utf-8", "surrogatepass"))
    return found


def _signature(secret: bytes, webhook_id: str, timestamp: str, body: bytes) -> str:
    signed = b".".join((webhook_id.encode("utf-8", "surrogatepass"), timestamp.encode(), body))
    return base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()
