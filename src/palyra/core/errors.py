"""Errors with a status and a code; one row of DESIGN section 8 each.

PalyraError
 ├─ InvalidRequest        400 invalid_request_error
 ├─ InvalidApiKey         401 invalid_api_key
 ├─ BudgetExceeded        402 budget_exceeded        (x-should-retry: false)
 │   └─ ApprovalRequired  402 approval_required      (x-should-retry: false)
 ├─ PriceUnknown          402 price_unknown          (x-should-retry: false)
 ├─ ModelNotAllowed       403 model_not_allowed
 ├─ Forbidden             403 forbidden
 ├─ CrossSite             403 cross_site
 ├─ WrongCsrfToken        403 csrf_token
 ├─ ModelNotFound         404 model_not_found
 ├─ RouteNotFound         404 not_found_error
 ├─ NotFound              404 not_found
 ├─ MethodNotAllowed      405 method_not_allowed
 ├─ IdempotencyInFlight   409 idempotency_in_flight
 ├─ IdempotencySettled    409 idempotency_in_flight   (x-should-retry: false)
 ├─ ReadOnly              409 read_only
 ├─ AlreadyExists         409 already_exists
 ├─ AlreadySent           409 already_sent
 ├─ ApprovalClosed        409 approval_closed
 ├─ Superseded            409 superseded             (the change is made anew first)
 ├─ VersionConflict       412 version_conflict
 ├─ RequestTooLarge       413 request_too_large
 ├─ WrongHost             421 wrong_host
 ├─ IdempotencyMismatch   422 idempotency_mismatch
 ├─ Overloaded            429 overloaded             (Retry-After)
 ├─ CapacityDeferred      429 capacity_deferred      (Retry-After)
 ├─ TooManyAttempts       429 too_many_attempts      (Retry-After)
 ├─ UpstreamFailed        502 upstream_failed
 ├─ ProviderUnavailable   503 provider_unavailable   (Retry-After)
 ├─ StreamUnavailable     503 stream_unavailable     (Retry-After)
 ├─ LedgerUnavailable     503 ledger_unavailable     (Retry-After)
 │   ├─ RulesStale        503 ledger_unavailable     (Retry-After; the change is tried again first)
 │   └─ Outbid            503 ledger_unavailable     (Retry-After; the call is planned again first)
 └─ UpstreamTimedOut      504 upstream_timeout
FieldError (ValueError): a value of a policy, config or price that cannot be accepted, with its field.
"""

from collections.abc import Mapping
from typing import ClassVar, Self


class PalyraError(Exception):
    """Something the caller can be told. ``message`` says what is wrong and what to do next."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    should_retry: ClassVar[bool | None] = None
    retry_after_s: int | None = None

    def __init__(
        self, message: str, *, param: str | None = None, detail: Mapping[str, object] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.detail: dict[str, object] = dict(detail or {})
        self.headers: list[tuple[bytes, bytes]] = []

    @classmethod
    def after(cls, message: str, seconds: int) -> Self:
        """The same error for a caller who shall come again in so many seconds."""
        error = cls(message)
        error.retry_after_s = seconds
        return error


class InvalidRequest(PalyraError):
    """The body, a header or a parameter cannot be accepted; ``param`` names it."""

    status = 400
    code = "invalid_request_error"


class InvalidApiKey(PalyraError):
    """No key, a wrong key, or a revoked key."""

    status = 401
    code = "invalid_api_key"


class BudgetExceeded(PalyraError):
    """A hard limit would be exceeded; ``detail`` carries the numbers of the tightest policy."""

    status = 402
    code = "budget_exceeded"
    should_retry = False


class ApprovalRequired(BudgetExceeded):
    """As BudgetExceeded, and a person may lift it."""

    code = "approval_required"


class PriceUnknown(PalyraError):
    """A money budget applies and the model has no price."""

    status = 402
    code = "price_unknown"
    should_retry = False


class ModelNotAllowed(PalyraError):
    """The key may not use this model or route."""

    status = 403
    code = "model_not_allowed"


class Forbidden(PalyraError):
    """The key is good, and its roles do not reach this far."""

    status = 403
    code = "forbidden"


class CrossSite(PalyraError):
    """A page of another site asks in the name of whoever is signed in, or wants to sign them in."""

    status = 403
    code = "cross_site"


class WrongCsrfToken(PalyraError):
    """A change that is asked for by a cookie does not show the token of its sign-in."""

    status = 403
    code = "csrf_token"


class ModelNotFound(PalyraError):
    """No configured provider serves this model on this endpoint."""

    status = 404
    code = "model_not_found"


class RouteNotFound(PalyraError):
    """There is no such path on the data plane."""

    status = 404
    code = "not_found_error"


class NotFound(PalyraError):
    """No such object, or none that this key may know of."""

    status = 404
    code = "not_found"


class MethodNotAllowed(PalyraError):
    """The path exists, the method does not."""

    status = 405
    code = "method_not_allowed"


class IdempotencyInFlight(PalyraError):
    """The same Idempotency-Key is being served right now."""

    status = 409
    code = "idempotency_in_flight"
    retry_after_s = 1


class IdempotencySettled(PalyraError):
    """The Idempotency-Key was served before and its answer is no longer held."""

    status = 409
    code = "idempotency_in_flight"
    should_retry = False


class ReadOnly(PalyraError):
    """The object is defined in the config file, or must not go away; it cannot be changed here."""

    status = 409
    code = "read_only"


class AlreadyExists(PalyraError):
    """The id is taken."""

    status = 409
    code = "already_exists"


class AlreadySent(PalyraError):
    """The message was delivered; it is not sent again."""

    status = 409
    code = "already_sent"


class ApprovalClosed(PalyraError):
    """The request was decided, has expired, or nothing of it is left to revoke."""

    status = 409
    code = "approval_closed"


class Superseded(PalyraError):
    """Someone else changed an approval, an alert or a notice since it was read."""

    status = 409
    code = "superseded"


class VersionConflict(PalyraError):
    """Someone else changed the object since it was read (``If-Match``)."""

    status = 412
    code = "version_conflict"


class RequestTooLarge(PalyraError):
    """The body is larger than ``server.max_body_bytes``."""

    status = 413
    code = "request_too_large"


class WrongHost(PalyraError):
    """The ``Host`` header names no host that this daemon answers for (DNS rebinding)."""

    status = 421
    code = "wrong_host"


class IdempotencyMismatch(PalyraError):
    """The same Idempotency-Key came with another body."""

    status = 422
    code = "idempotency_mismatch"


class Overloaded(PalyraError):
    """More calls are in flight than the daemon accepts."""

    status = 429
    code = "overloaded"
    retry_after_s = 1


class CapacityDeferred(PalyraError):
    """The provider has no free slot for this call: work that can wait is told to come again."""

    status = 429
    code = "capacity_deferred"
    retry_after_s = 1


class TooManyAttempts(PalyraError):
    """Sign-ins of one address failed again and again."""

    status = 429
    code = "too_many_attempts"


class ProviderUnavailable(PalyraError):
    """The provider failed again and again and is left alone for a while; nothing was sent, nothing held."""

    status = 503
    code = "provider_unavailable"
    retry_after_s = 5


class StreamUnavailable(PalyraError):
    """As many listen to what changes as can, or the daemon stops."""

    status = 503
    code = "stream_unavailable"
    retry_after_s = 5


class UpstreamFailed(PalyraError):
    """The provider could not be reached or broke off before it answered."""

    status = 502
    code = "upstream_failed"


class UpstreamTimedOut(PalyraError):
    """The provider did not answer within its deadline."""

    status = 504
    code = "upstream_timeout"


class LedgerUnavailable(PalyraError):
    """The ledger cannot be written, so no call may start."""

    status = 503
    code = "ledger_unavailable"
    retry_after_s = 5


class RulesStale(LedgerUnavailable):
    """Another gateway changed policies or keys since this one read them."""


class Outbid(LedgerUnavailable):
    """Another gateway took the room that this call was planned into."""


class FieldError(ValueError):
    """A value in a policy, a config file or a price entry is not acceptable.

    ``field`` is a dotted path (``budgets[2].hard_limit``), ``message`` says what to write instead.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message

    def under(self, prefix: str) -> "FieldError":
        """The same error with ``prefix.`` before its field."""
        return FieldError(f"{prefix}.{self.field}" if self.field else prefix, self.message)
