"""What the end of one attempt at a provider means: who is at fault, and whether another attempt may help.

Only attempts of which no byte has reached the client come here. A provider's words are untrusted: nothing
in them raises, and what they may cause is bounded.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Literal

import msgspec

from palyra.core.instant import NANOSECONDS, Instant, from_datetime

RETRY_AFTER_MAX_NS = 3_600 * NANOSECONDS
"""The longest time that a provider's word keeps calls away from it."""
_MILLISECOND = 1_000_000
_BODY_MAX = 65_536
"""Bytes. Errors of providers are small; a larger body is not searched for words."""

Cools = Literal["credential", "model"]


class Reason(StrEnum):
    """Why an attempt brought no answer that the client wants."""

    UNREACHABLE = "unreachable"
    TLS = "tls"
    TIMEOUT = "timeout"
    CUT = "cut"
    GARBAGE = "garbage"
    TOO_LARGE = "too_large"
    UNSENDABLE = "unsendable"
    AUTH = "auth"
    FORBIDDEN = "forbidden"
    QUOTA = "quota"
    RATE_LIMITED = "rate_limited"
    MODEL_MISSING = "model_missing"
    SERVER_ERROR = "server_error"
    OVERLOADED = "overloaded"


class Fault(msgspec.Struct, frozen=True, gc=False):
    """An attempt that failed.

    ``provider_fault``: counts for the breaker. ``retry_here``: a second try at the same provider makes sense
    and cannot be billed twice. ``elsewhere``: another provider may do better. ``in_doubt``: the request was
    sent and no error status came, so the provider may bill it. ``cools``: what to leave alone for a while,
    the credential or only this model under it. ``retry_after_ns``: nanoseconds that the provider asks for,
    at most an hour.
    """

    reason: Reason
    provider_fault: bool
    retry_here: bool
    elsewhere: bool
    in_doubt: bool = False
    cools: Cools | None = None
    retry_after_ns: int | None = None


FAILURE_REASONS: Mapping[str, Reason] = MappingProxyType(
    {
        "local": Reason.UNSENDABLE,
        "refused": Reason.UNREACHABLE,
        "tls": Reason.TLS,
        "connect_timeout": Reason.UNREACHABLE,
        "first_byte_timeout": Reason.TIMEOUT,
        "idle_timeout": Reason.TIMEOUT,
        "total_timeout": Reason.TIMEOUT,
        "cut": Reason.CUT,
        "protocol": Reason.GARBAGE,
        "too_large": Reason.TOO_LARGE,
    }
)
"""By the value of ``lifecycle.wire.FailureKind``."""

_NOT_THE_PROVIDERS = frozenset({Reason.TOO_LARGE, Reason.UNSENDABLE})

# Cloudflare, in front of many providers: 521 to 523 say that the provider never got the request.
_UNSENT_STATUSES = frozenset({521, 522, 523})
_RETRIED_STATUSES = frozenset({500, 502, 503, 504, 529}) | _UNSENT_STATUSES
_OVERLOADED_STATUSES = frozenset({503, 529})
_UNSUPPORTED_STATUSES = frozenset({501, 505})
_SPOKEN_STATUSES = frozenset({400, 402, 403, 404, 429})
"""Client errors of which the body says whether they are about the request."""
_STATUS_REASONS: Mapping[int, Reason] = MappingProxyType(
    {401: Reason.AUTH, 403: Reason.FORBIDDEN, 408: Reason.TIMEOUT, 429: Reason.RATE_LIMITED}
)
_MISSING_WORDS = frozenset({"model_not_found", "not_found_error"})
_CONTENT_WORDS = ("content", "moderation", "safety", "policy")
# Anthropic says this as a plain invalid_request_error with status 400.
_NO_CREDIT = "Your credit balance is too low"

_DECIMAL = re.compile(rb"[0-9]{1,12}(?:\.[0-9]{1,12})?")
_HTTP_DATE = re.compile(
    rb"[A-Za-z]{3}, ([0-9]{2}) ([A-Za-z]{3}) ([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) GMT"
)
_MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")


class _Words(msgspec.Struct):
    type: object = None
    code: object = None
    message: object = None


class _Envelope(_Words):
    error: _Words | str | None = None


_ENVELOPES = msgspec.json.Decoder(_Envelope)


def fault_of(
    status: int | None,
    failure: str | None,
    *,
    sent: bool,
    headers: Sequence[tuple[bytes, bytes]],
    body: bytes,
    now: Instant,
) -> Fault | None:
    """Classify the end of an attempt; None if the provider's answer stands.

    ``status`` is what the provider answered, None if nothing; ``failure`` the value of a
    ``lifecycle.wire.FailureKind``, None if the answer is whole; ``sent`` whether request bytes may have
    left; ``headers`` of the answer with lower-case names; ``body`` of an error answer as far as it is known.
    Success and the client's own errors stand. An error status decides, also if its body was cut. A failure
    of unknown name counts as a cut. Raises ValueError if there is neither a status nor a failure.
    """
    if status is not None and status >= 400:
        if status >= 500:
            return _server_fault(status, headers, now)
        return _client_fault(status, headers, body, now)
    if failure is not None:
        return _transport_fault(failure, sent)
    if status is None:
        raise ValueError("an attempt ends with a status or a failure")
    return None


def _transport_fault(failure: str, sent: bool) -> Fault:
    reason = FAILURE_REASONS.get(failure, Reason.CUT)
    if reason in _NOT_THE_PROVIDERS or (reason is Reason.GARBAGE and not sent):
        # The size of an answer and a head that cannot be written are the client's doing: they say nothing
        # about the provider, and any other would end the same way.
        reason = Reason.TOO_LARGE if sent else Reason.UNSENDABLE
        return Fault(reason, provider_fault=False, retry_here=False, elsewhere=False, in_doubt=sent)
    again = not sent and (reason is Reason.UNREACHABLE or reason is Reason.CUT)
    return Fault(reason, provider_fault=True, retry_here=again, elsewhere=True, in_doubt=sent)


def _server_fault(status: int, headers: Sequence[tuple[bytes, bytes]], now: Instant) -> Fault:
    return Fault(
        Reason.OVERLOADED if status in _OVERLOADED_STATUSES else Reason.SERVER_ERROR,
        provider_fault=status not in _UNSUPPORTED_STATUSES,
        retry_here=status in _RETRIED_STATUSES and _may_retry(headers),
        elsewhere=True,
        retry_after_ns=retry_after(headers, now),
    )


def _client_fault(
    status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes, now: Instant
) -> Fault | None:
    reason = _client_reason(status, _words(body) if status in _SPOKEN_STATUSES else _Words())
    if reason is None:
        return None
    cools: Cools | None = None
    if reason is Reason.AUTH or reason is Reason.QUOTA:
        cools = "credential"
    elif reason is Reason.RATE_LIMITED:
        cools = "model"
    again = reason is Reason.RATE_LIMITED or reason is Reason.TIMEOUT
    return Fault(
        reason,
        provider_fault=False,
        retry_here=again and _may_retry(headers),
        elsewhere=True,
        cools=cools,
        retry_after_ns=retry_after(headers, now),
    )


def _client_reason(status: int, words: _Words) -> Reason | None:
    """Return None if the status is about the request itself."""
    if status == 402 or (status in _SPOKEN_STATUSES and _is_quota(words)):
        return Reason.QUOTA
    if status == 404:
        return Reason.MODEL_MISSING if _MISSING_WORDS.intersection(_names(words)) else None
    if status == 403 and _is_about_content(words):
        return None
    return _STATUS_REASONS.get(status)


def _words(body: bytes) -> _Words:
    """Return what an error body says, nothing if it is not in a known format."""
    if len(body) > _BODY_MAX:
        return _Words()
    try:
        envelope = _ENVELOPES.decode(body)
    except (ValueError, RecursionError):
        return _Words()
    return envelope.error if isinstance(envelope.error, _Words) else envelope


def _names(words: _Words) -> list[str]:
    return [word for word in (words.type, words.code) if isinstance(word, str)]


def _is_quota(words: _Words) -> bool:
    if isinstance(words.message, str) and words.message.startswith(_NO_CREDIT):
        return True
    return any(name.startswith(("insufficient_quota", "billing_")) for name in _names(words))


def _is_about_content(words: _Words) -> bool:
    return any(word in name for name in _names(words) for word in _CONTENT_WORDS)


def _may_retry(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    # OpenAI and Anthropic say so where the status alone would mislead.
    return (b"x-should-retry", b"false") not in headers


def retry_after(headers: Sequence[tuple[bytes, bytes]], now: Instant) -> int | None:
    """Read ``retry-after-ms``, else ``retry-after``: nanoseconds from ``now``, at most an hour.

    Takes decimal numbers and HTTP dates (the one format that RFC 9110 lets a server send). None if there is
    neither, or none that makes sense: negative, in the past, not a number, absurdly large.
    """
    coarse: int | None = None
    for name, value in headers:
        if name == b"retry-after-ms":
            fine = _decimal(value.strip(), _MILLISECOND)
            if fine is not None:
                return fine
        elif name == b"retry-after" and coarse is None:
            coarse = _decimal(value.strip(), NANOSECONDS)
            if coarse is None:
                coarse = _until_date(value.strip(), now)
    return coarse


def _decimal(value: bytes, unit_ns: int) -> int | None:
    if _DECIMAL.fullmatch(value) is None:
        return None
    return min(round(float(value) * unit_ns), RETRY_AFTER_MAX_NS)


def _until_date(value: bytes, now: Instant) -> int | None:
    parts = _HTTP_DATE.fullmatch(value)
    if parts is None or parts[2] not in _MONTHS:
        return None
    try:
        date = datetime(
            int(parts[3]),
            _MONTHS.index(parts[2]) + 1,
            *(int(parts[place]) for place in (1, 4, 5, 6)),
            tzinfo=UTC,
        )
    except ValueError:
        return None
    ahead = from_datetime(date) - now
    return min(ahead, RETRY_AFTER_MAX_NS) if ahead >= 0 else None
