"""Intervals are real: each window is an account of its own, cut in the policy's own time zone."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from harness.daemon import DaemonProcess, config
from harness.script import Answer, fixed
from harness.stub import Stub
from harness.talk import balance, only_account
from harness.tenant import SharedDaemons, Tenant

USED = 100_000


@pytest.fixture(scope="module")
def daemon(module_daemons: SharedDaemons, module_stub: Stub) -> DaemonProcess:
    return module_daemons(config(module_stub.url, governance={"timezone": "Asia/Kathmandu"}))


@pytest.fixture
def tenant(daemon: DaemonProcess, shared_stub: Stub, tenant_of: Callable[..., Tenant]) -> Tenant:
    shared_stub.script = Answer(usage=fixed(20, 40))
    return tenant_of(daemon)


def local(moment: object, zone: str) -> datetime:
    """An RFC 3339 text of the API as the clock on a wall in ``zone``."""
    return datetime.fromisoformat(str(moment)).astimezone(ZoneInfo(zone))


@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York", "Pacific/Chatham"])
@pytest.mark.parametrize(
    ("interval", "days"), [("day", range(1, 2)), ("week", range(7, 8)), ("month", range(28, 32))]
)
def test_a_window_starts_and_ends_at_midnight_of_the_policys_zone(
    tenant: Tenant, interval: str, days: range, zone: str | None
) -> None:
    policy = tenant.budget("5.00", interval=interval, timezone=zone)
    zone = zone or "Asia/Kathmandu"

    assert tenant.ask().status == 200

    account = only_account(tenant.api, policy)
    start, end = local(account["window_start"], zone), local(account["window_end"], zone)
    assert start.time() == end.time() == datetime.min.time()
    assert (end.date() - start.date()).days in days
    assert interval != "week" or start.weekday() == 0
    assert interval != "month" or start.day == end.day == 1
    assert start <= datetime.now(UTC) < end
    assert balance(account) == (USED, 0)


def test_an_hour_is_an_hour(tenant: Tenant) -> None:
    policy = tenant.budget("5.00", interval="hour")
    tenant.ask()

    account = only_account(tenant.api, policy)

    start, end = (local(account[name], "Asia/Kathmandu") for name in ("window_start", "window_end"))
    assert (end - start, start.minute, start.second) == (timedelta(hours=1), 0, 0)


def test_a_total_has_no_end(tenant: Tenant) -> None:
    policy = tenant.budget("5.00", interval="total")
    tenant.ask()

    assert only_account(tenant.api, policy)["window_end"] is None


def test_one_call_counts_in_each_interval(tenant: Tenant) -> None:
    intervals = ("hour", "day", "week", "month", "total", "hourly", "monthly")
    policies = [tenant.budget("5.00", interval, interval=interval) for interval in intervals]

    for _ in range(3):
        tenant.ask()

    for policy in policies:
        assert sum(balance(account)[0] for account in tenant.api.accounts(policy)) == 3 * USED


def test_a_limit_per_request_looks_at_one_request_only(tenant: Tenant) -> None:
    policy = tenant.budget("0.001", interval="request", min_output_tokens=4_000)

    small = [tenant.ask().status for _ in range(8)]
    large = tenant.ask({"model": "stub-model", "messages": [{"role": "user", "content": "x" * 5_000}]})

    assert set(small) == {200}
    assert large.status == 402
    assert tenant.api.accounts(policy) == []


@pytest.mark.parametrize(
    ("valid_from", "valid_until", "status"),
    [
        ("2020-01-01T00:00:00Z", None, 402),
        ("2090-01-01T00:00:00Z", None, 200),
        (None, "2020-01-01T00:00:00Z", 200),
        (None, "2090-01-01T00:00:00Z", 402),
    ],
)
def test_a_budget_binds_while_it_is_valid(
    tenant: Tenant, valid_from: str | None, valid_until: str | None, status: int
) -> None:
    tenant.budget("0.00001", valid_from=valid_from, valid_until=valid_until)

    assert tenant.ask().status == status
