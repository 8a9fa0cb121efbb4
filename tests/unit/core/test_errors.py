"""Every error has one status and code, and can be told to a caller."""

import inspect

import pytest

from palyra.core import errors
from palyra.core.errors import ApprovalRequired, BudgetExceeded, FieldError, PalyraError
from palyra.core.invariant import InvariantViolation, invariant, unreachable

TABLE = {
    "PalyraError": (500, "internal_error", None),
    "InvalidRequest": (400, "invalid_request_error", None),
    "InvalidApiKey": (401, "invalid_api_key", None),
    "BudgetExceeded": (402, "budget_exceeded", False),
    "ApprovalRequired": (402, "approval_required", False),
    "PriceUnknown": (402, "price_unknown", False),
    "ModelNotAllowed": (403, "model_not_allowed", None),
    "Forbidden": (403, "forbidden", None),
    "ModelNotFound": (404, "model_not_found", None),
    "RouteNotFound": (404, "not_found_error", None),
    "NotFound": (404, "not_found", None),
    "MethodNotAllowed": (405, "method_not_allowed", None),
    "IdempotencyInFlight": (409, "idempotency_in_flight", None),
    "IdempotencySettled": (409, "idempotency_in_flight", False),
    "ReadOnly": (409, "read_only", None),
    "AlreadyExists": (409, "already_exists", None),
    "AlreadySent": (409, "already_sent", None),
    "ApprovalClosed": (409, "approval_closed", None),
    "Superseded": (409, "superseded", None),
    "VersionConflict": (412, "version_conflict", None),
    "RequestTooLarge": (413, "request_too_large", None),
    "WrongHost": (421, "wrong_host", None),
    "IdempotencyMismatch": (422, "idempotency_mismatch", None),
    "Overloaded": (429, "overloaded", None),
    "CapacityDeferred": (429, "capacity_deferred", None),
    "TooManyAttempts": (429, "too_many_attempts", None),
    "ProviderUnavailable": (503, "provider_unavailable", None),
    "UpstreamFailed": (502, "upstream_failed", None),
    "LedgerUnavailable": (503, "ledger_unavailable", None),
    "Outbid": (503, "ledger_unavailable", None),
    "RulesStale": (503, "ledger_unavailable", None),
    "CrossSite": (403, "cross_site", None),
    "WrongCsrfToken": (403, "csrf_token", None),
    "StreamUnavailable": (503, "stream_unavailable", None),
    "UpstreamTimedOut": (504, "upstream_timeout", None),
}
WITH_RETRY_AFTER = {
    "CapacityDeferred",
    "IdempotencyInFlight",
    "LedgerUnavailable",
    "Outbid",
    "Overloaded",
    "ProviderUnavailable",
    "RulesStale",
    "StreamUnavailable",
}


def all_errors() -> dict[str, type[PalyraError]]:
    found = inspect.getmembers(errors, inspect.isclass)
    return {name: each for name, each in found if issubclass(each, PalyraError)}


def test_the_table_of_errors_is_the_contract() -> None:
    assert {name: (each.status, each.code, each.should_retry) for name, each in all_errors().items()} == TABLE
    assert {name for name, each in all_errors().items() if each.retry_after_s} == WITH_RETRY_AFTER


def test_the_docstring_of_the_module_lists_them_all() -> None:
    assert errors.__doc__ is not None
    for name, (status, code, _) in TABLE.items():
        if name != "PalyraError":
            row = next(line for line in errors.__doc__.splitlines() if f" {name} " in line)
            assert f"{status} {code}" in row


def test_an_error_carries_what_its_caller_needs_to_know() -> None:
    error = BudgetExceeded("too dear", param="model", detail={"remaining": 5})
    assert (str(error), error.message, error.param, error.detail) == (
        "too dear",
        "too dear",
        "model",
        {"remaining": 5},
    )
    assert PalyraError("x").detail == {}
    assert PalyraError("x").param is None
    assert PalyraError("x").headers == []
    assert issubclass(ApprovalRequired, BudgetExceeded)


def test_details_of_two_errors_are_not_shared() -> None:
    detail: dict[str, object] = {}
    first, second = PalyraError("a", detail=detail), PalyraError("b", detail=detail)
    first.detail["x"] = 1
    assert second.detail == detail == {}


def test_a_field_error_names_its_field_from_the_root() -> None:
    error = FieldError("hard_limit", "is negative").under("budgets[2]")
    assert (error.field, str(error)) == ("budgets[2].hard_limit", "budgets[2].hard_limit: is negative")
    assert FieldError("", "is no table").under("budgets[2]").field == "budgets[2]"


def test_an_invariant_stops_with_its_id() -> None:
    invariant(True, "L1", "never told")
    with pytest.raises(InvariantViolation, match="L1: over the limit") as caught:
        invariant(False, "L1", "over the limit")
    assert caught.value.invariant_id == "L1"
    with pytest.raises(InvariantViolation, match="L3: no way"):
        unreachable("L3", "no way")


def test_an_error_may_say_when_to_come_again() -> None:
    error = errors.CapacityDeferred.after("no free slot", 7)
    assert (error.message, error.retry_after_s, error.status) == ("no free slot", 7, 429)
    assert errors.CapacityDeferred("no free slot").retry_after_s == 1
