"""Who is at fault when an attempt fails, and what may be done about it."""

import json

import pytest

from palyra.core.instant import NANOSECONDS, Instant, parse_instant
from palyra.lifecycle.wire import FailureKind
from palyra.routing.failure import FAILURE_REASONS, RETRY_AFTER_MAX_NS, Fault, Reason, fault_of, retry_after

NOW = parse_instant("2026-11-23T15:00:00Z")
Headers = list[tuple[bytes, bytes]]


def answered(
    status: int, body: object = b"", headers: Headers | None = None, failure: str | None = None
) -> Fault | None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return fault_of(status, failure, sent=True, headers=headers or [], body=raw, now=NOW)


def failed(failure: str, *, sent: bool, status: int | None = None) -> Fault | None:
    return fault_of(status, failure, sent=sent, headers=[], body=b"", now=NOW)


def error(**words: object) -> dict[str, object]:
    return {"error": words}


def test_every_kind_of_failure_has_a_reason() -> None:
    assert set(FAILURE_REASONS) == {kind.value for kind in FailureKind}


@pytest.mark.parametrize("status", [200, 201, 204, 302, 400, 405, 409, 413, 422])
def test_success_and_errors_of_the_client_stand(status: int) -> None:
    assert answered(status, error(type="invalid_request_error", code=None)) is None


@pytest.mark.parametrize("kind", ["refused", "connect_timeout"])
def test_a_provider_that_was_not_reached_is_tried_again(kind: str) -> None:
    assert failed(kind, sent=False) == Fault(
        Reason.UNREACHABLE, provider_fault=True, retry_here=True, elsewhere=True
    )


def test_a_request_that_never_left_is_tried_again_but_not_after_a_failed_handshake() -> None:
    assert failed("cut", sent=False) == Fault(
        Reason.CUT, provider_fault=True, retry_here=True, elsewhere=True
    )
    assert failed("tls", sent=False) == Fault(
        Reason.TLS, provider_fault=True, retry_here=False, elsewhere=True
    )


@pytest.mark.parametrize("status", [None, 200])
@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("first_byte_timeout", Reason.TIMEOUT),
        ("idle_timeout", Reason.TIMEOUT),
        ("total_timeout", Reason.TIMEOUT),
        ("cut", Reason.CUT),
        ("refused", Reason.UNREACHABLE),
        ("protocol", Reason.GARBAGE),
        ("of a later version", Reason.CUT),
    ],
)
def test_what_was_sent_and_not_answered_is_in_doubt_and_never_sent_again_to_the_same_provider(
    kind: str, reason: Reason, status: int | None
) -> None:
    assert failed(kind, sent=True, status=status) == Fault(
        reason, provider_fault=True, retry_here=False, elsewhere=True, in_doubt=True
    )


def test_a_deadline_that_passed_before_sending_is_not_tried_again_here() -> None:
    assert failed("total_timeout", sent=False) == Fault(
        Reason.TIMEOUT, provider_fault=True, retry_here=False, elsewhere=True
    )


@pytest.mark.parametrize("kind", ["protocol", "too_large"])
def test_a_request_that_cannot_be_written_is_not_the_providers_fault(kind: str) -> None:
    assert failed(kind, sent=False) == Fault(
        Reason.UNSENDABLE, provider_fault=False, retry_here=False, elsewhere=False
    )


def test_the_size_of_an_answer_is_not_the_providers_fault() -> None:
    assert failed("too_large", sent=True, status=200) == Fault(
        Reason.TOO_LARGE, provider_fault=False, retry_here=False, elsewhere=False, in_doubt=True
    )


@pytest.mark.parametrize(
    ("status", "reason", "counts", "again"),
    [
        (500, Reason.SERVER_ERROR, True, True),
        (501, Reason.SERVER_ERROR, False, False),
        (502, Reason.SERVER_ERROR, True, True),
        (503, Reason.OVERLOADED, True, True),
        (504, Reason.SERVER_ERROR, True, True),
        (505, Reason.SERVER_ERROR, False, False),
        (520, Reason.SERVER_ERROR, True, False),
        (522, Reason.SERVER_ERROR, True, True),
        (524, Reason.SERVER_ERROR, True, False),
        (529, Reason.OVERLOADED, True, True),
    ],
)
def test_errors_of_the_server(status: int, reason: Reason, counts: bool, again: bool) -> None:
    assert answered(status, b"<html>") == Fault(
        reason, provider_fault=counts, retry_here=again, elsewhere=True, in_doubt=False
    )


def test_an_error_status_decides_also_if_its_body_was_cut() -> None:
    assert answered(500, failure="cut") == answered(500)
    assert answered(400, failure="too_large") is None


def test_a_refused_credential_cools_and_is_not_tried_again_here() -> None:
    assert answered(401) == Fault(
        Reason.AUTH, provider_fault=False, retry_here=False, elsewhere=True, cools="credential"
    )


def test_a_forbidden_call_goes_elsewhere_unless_its_content_is_the_cause() -> None:
    assert answered(403, error(type="permission_error")) == Fault(
        Reason.FORBIDDEN, provider_fault=False, retry_here=False, elsewhere=True
    )
    assert answered(403, error(code="content_policy_violation")) is None
    assert answered(403, error(type="moderation_blocked", code=403)) is None


def test_a_rate_limit_cools_the_model_and_is_tried_again() -> None:
    assert answered(429, error(type="rate_limit_error"), [(b"retry-after", b"2")]) == Fault(
        Reason.RATE_LIMITED,
        provider_fault=False,
        retry_here=True,
        elsewhere=True,
        cools="model",
        retry_after_ns=2 * NANOSECONDS,
    )


def test_a_request_that_was_too_slow_for_the_provider_is_tried_again() -> None:
    assert answered(408) == Fault(Reason.TIMEOUT, provider_fault=False, retry_here=True, elsewhere=True)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (429, error(type="insufficient_quota", code="insufficient_quota")),
        (429, error(type="x", code="insufficient_quota")),
        (429, {"object": "error", "type": "insufficient_quota", "code": 429}),
        (400, error(type="invalid_request_error", code="billing_hard_limit_reached")),
        (403, error(type="billing_error", message="no")),
        (400, error(type="invalid_request_error", message="Your credit balance is too low to access it.")),
        (402, "no JSON object"),
    ],
)
def test_an_exhausted_quota_is_no_rate_limit(status: int, body: object) -> None:
    assert answered(status, body) == Fault(
        Reason.QUOTA, provider_fault=False, retry_here=False, elsewhere=True, cools="credential"
    )


def test_a_model_that_the_provider_does_not_know_goes_elsewhere() -> None:
    fault = Fault(Reason.MODEL_MISSING, provider_fault=False, retry_here=False, elsewhere=True)
    assert answered(404, error(code="model_not_found", type="invalid_request_error")) == fault
    assert answered(404, error(type="not_found_error", message="model: x")) == fault
    assert answered(404, {"error": "no such file"}) is None
    assert answered(404) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b'{"error": {"type": "\xff"}}',
        b"[]",
        b'{"error": ' + b"[" * 60_000,
        b'{"error": {"type": ' + b"[" * 60_000,
        b'{"error": {"type": 1e999}}',
        b'{"error": {"type": ["insufficient_quota"], "code": {}, "message": 4}}',
        b'{"error": null}',
        b'{"error": {"type": "insufficient_quota"}}' + b" " * 70_000,
    ],
)
def test_no_body_breaks_the_reading(body: bytes) -> None:
    fault = answered(429, body)
    assert fault is not None
    assert fault.reason is Reason.RATE_LIMITED


@pytest.mark.parametrize("status", [429, 500])
def test_a_provider_that_says_not_to_retry_is_heard(status: int) -> None:
    fault = answered(status, headers=[(b"x-should-retry", b"false")])
    assert fault is not None
    assert not fault.retry_here


def test_an_attempt_without_an_end_is_an_error() -> None:
    with pytest.raises(ValueError, match="a status or a failure"):
        fault_of(None, None, sent=True, headers=[], body=b"", now=NOW)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"2", 2 * NANOSECONDS),
        (b" 0.25 ", NANOSECONDS // 4),
        (b"0", 0),
        (b"7200", RETRY_AFTER_MAX_NS),
        (b"Mon, 23 Nov 2026 15:00:07 GMT", 7 * NANOSECONDS),
        (b"Mon, 23 Nov 2026 15:00:00 GMT", 0),
        (b"Tue, 24 Nov 2026 15:00:07 GMT", RETRY_AFTER_MAX_NS),
        (b"Mon, 23 Nov 2026 14:59:59 GMT", None),
        (b"Mon, 31 Feb 2027 15:00:00 GMT", None),
        (b"Mon, 23 Nox 2026 15:00:00 GMT", None),
        (b"-1", None),
        (b"nan", None),
        (b"inf", None),
        (b"1e3", None),
        (b"9" * 13, None),
        (b"9" * 5_000, None),
        ("٣".encode(), None),
        (b"", None),
        (b"soon", None),
    ],
)
def test_retry_after(value: bytes, expected: int | None) -> None:
    assert retry_after([(b"date", b"x"), (b"retry-after", value)], NOW) == expected


def test_milliseconds_are_finer_than_seconds_and_the_first_readable_value_counts() -> None:
    headers = [(b"retry-after", b"2"), (b"retry-after", b"9"), (b"retry-after-ms", b"1500")]
    assert retry_after(headers, NOW) == 1_500_000_000
    assert retry_after(headers[:2], NOW) == 2 * NANOSECONDS
    assert retry_after([(b"retry-after-ms", b"-5"), (b"retry-after", b"2")], NOW) == 2 * NANOSECONDS


def test_a_date_counts_from_now() -> None:
    later = Instant(NOW + 3 * NANOSECONDS)
    assert retry_after([(b"retry-after", b"Mon, 23 Nov 2026 15:00:07 GMT")], later) == 4 * NANOSECONDS
