"""suggest, dry_run and enforced, as DESIGN section 4 tells them; who may change the mode of a call."""

from collections.abc import Callable, Mapping
from typing import cast

import pytest

from harness.daemon import DaemonProcess, config, model
from harness.ledger import settlement_of
from harness.raw import Reply
from harness.script import Answer, fixed
from harness.stub import Stub
from harness.talk import INPUT_NANO, OUTPUT_NANO, Document, balance, chat, code, only_account, request_id
from harness.tenant import SharedDaemons, Tenant
from palyra.core.money import format_usd

TINY = "0.00001"
"""Less than any call holds."""
USED = 100_000
"""Nano-USD of a call that reports 20 input and 40 output tokens."""

TenantOf = Callable[..., Tenant]
AS = "x-palyra-mode"


def in_mode(mode: str, daemons: SharedDaemons, stub: Stub) -> DaemonProcess:
    large = model("stub-model", output_limit=128_000)
    return daemons(config(stub.url, models=[large], governance={"mode": mode}))


@pytest.fixture(scope="module")
def suggesting(module_daemons: SharedDaemons, module_stub: Stub) -> DaemonProcess:
    return in_mode("suggest", module_daemons, module_stub)


@pytest.fixture(scope="module")
def dry(module_daemons: SharedDaemons, module_stub: Stub) -> DaemonProcess:
    return in_mode("dry_run", module_daemons, module_stub)


@pytest.fixture(scope="module")
def enforcing(module_daemons: SharedDaemons, module_stub: Stub) -> DaemonProcess:
    return in_mode("enforced", module_daemons, module_stub)


@pytest.fixture(autouse=True)
def stub(shared_stub: Stub) -> Stub:
    """Every call uses 20 input and 40 output tokens unless a test says otherwise."""
    shared_stub.script = Answer(usage=fixed(20, 40))
    return shared_stub


def decided(tenant: Tenant, reply: Reply) -> dict[str, object]:
    """The decision once the call is over."""
    return tenant.api.settled(request_id(reply))


def counterfactual(tenant: Tenant, reply: Reply) -> Document:
    """What enforcement would have done."""
    return cast("Document", decided(tenant, reply)["counterfactual"])


def shadow(account: Document) -> tuple[int, int]:
    """Posted and held as if dry-run budgets had been enforced."""
    return cast("int", account["shadow_posted_nano_usd"]), cast("int", account["shadow_held_nano_usd"])


@pytest.mark.parametrize("action", ["block", "approval_required", "alert"])
def test_suggest_never_stops_a_call_and_still_counts_it(
    suggesting: DaemonProcess, tenant_of: TenantOf, stub: Stub, action: str
) -> None:
    tenant = tenant_of(suggesting)
    policy = tenant.budget(TINY, action=action)

    replies = [tenant.ask(chat(64_000)) for _ in range(2)]

    assert [reply.status for reply in replies] == [200, 200]
    assert {reply.header(AS) for reply in replies} == {"suggest"}
    assert {reply.header("x-palyra-would") for reply in replies} == {None}
    assert {reply.header("x-palyra-clamped-max-tokens") for reply in replies} == {None}
    assert policy in (replies[0].header("x-palyra-budget-warning") or "")
    assert [call.json["max_tokens"] for call in stub.generations] == [64_000, 64_000]
    decision = decided(tenant, replies[1])
    assert (decision["outcome"], decision["mode"], decision["counterfactual"]) == ("admit", "suggest", None)
    account = only_account(tenant.api, policy)
    assert balance(account) == (2 * USED, 0)
    assert shadow(account) == balance(account)


@pytest.mark.parametrize(
    ("action", "what", "outcome"),
    [("block", "would_block", "deny"), ("approval_required", "would_ask", "ask")],
)
def test_dry_run_admits_and_says_what_enforcement_would_do(
    dry: DaemonProcess, tenant_of: TenantOf, action: str, what: str, outcome: str
) -> None:
    tenant = tenant_of(dry)
    policy = tenant.budget(TINY, action=action)

    reply = tenant.ask()

    assert (reply.status, reply.header(AS)) == (200, "dry_run")
    assert reply.header("x-palyra-would") == f"{policy}={what}"
    decision = decided(tenant, reply)
    assert (decision["outcome"], decision["state"]) == ("admit", "settled")
    (evaluation,) = cast("list[Document]", decision["evaluations"])
    assert (evaluation["would"], evaluation["mode"]) == (what, "dry_run")
    told = counterfactual(tenant, reply)
    assert (told["would"], told["outcome"]) == ([f"{policy}={what}"], outcome)
    assert (told["cost_bound_nano_usd"], told["cost_nano_usd"]) == (0, 0)
    account = only_account(tenant.api, policy)
    assert balance(account) == (USED, 0)
    assert shadow(account) == (0, 0)


def test_dry_run_says_nothing_where_enforcement_would_do_nothing(
    dry: DaemonProcess, tenant_of: TenantOf
) -> None:
    tenant = tenant_of(dry)
    policy = tenant.budget("5.00")

    reply = tenant.ask()

    assert reply.header("x-palyra-would") is None
    told = counterfactual(tenant, reply)
    assert (told["would"], told["outcome"], told["cost_nano_usd"]) == ([], "admit", USED)
    account = only_account(tenant.api, policy)
    assert shadow(account) == balance(account) == (USED, 0)


def test_dry_run_computes_the_clamp_and_its_cost_without_clamping(
    dry: DaemonProcess, tenant_of: TenantOf, stub: Stub
) -> None:
    tenant = tenant_of(dry)
    limit = 20_000_000
    policy = tenant.budget(format_usd(limit))
    stub.script = Answer(usage=fixed(20, 60_000))

    reply = tenant.ask(chat(64_000))

    assert reply.header("x-palyra-would") == f"{policy}=would_clamp"
    assert reply.header("x-palyra-clamped-max-tokens") is None
    assert stub.generations[0].json["max_tokens"] == 64_000
    told = counterfactual(tenant, reply)
    cap = cast("int", told["clamped_output_tokens"])
    assert (told["outcome"], told["cost_nano_usd"]) == ("admit", 20 * INPUT_NANO + cap * OUTPUT_NANO)
    assert limit - OUTPUT_NANO < cast("int", told["cost_bound_nano_usd"]) <= limit
    account = only_account(tenant.api, policy)
    assert balance(account) == (20 * INPUT_NANO + 60_000 * OUTPUT_NANO, 0)
    assert shadow(account)[0] <= limit


def test_the_shadow_stops_growing_where_enforcement_would_have_stopped(
    dry: DaemonProcess, tenant_of: TenantOf
) -> None:
    tenant = tenant_of(dry)
    # A call holds less than 0.0005 and uses 0.0001 USD: the first ones fit, and some time later none does.
    limit = 1_000_000
    policy = tenant.budget(format_usd(limit))

    replies = [tenant.ask() for _ in range(15)]

    would = [reply.header("x-palyra-would") for reply in replies]
    fitting = would.index(f"{policy}=would_block")
    assert fitting > 3
    assert set(would[:fitting]) == {None}
    assert set(would[fitting:]) == {f"{policy}=would_block"}
    account = only_account(tenant.api, policy)
    assert balance(account) == (15 * USED, 0)
    assert shadow(account) == (fitting * USED, 0)
    assert shadow(account)[0] <= limit < balance(account)[0]


def test_enforced_blocks_before_anything_is_sent(
    enforcing: DaemonProcess, tenant_of: TenantOf, stub: Stub
) -> None:
    tenant = tenant_of(enforcing)
    policy = tenant.budget(TINY)

    reply = tenant.ask()

    assert (reply.status, code(reply)) == (402, "budget_exceeded")
    assert (reply.header("x-should-retry"), reply.header("x-palyra-outcome")) == ("false", "deny")
    assert (reply.header(AS), reply.header("x-palyra-would")) == ("enforced", None)
    assert stub.generations == []
    decision = tenant.api.decision(request_id(reply))
    assert (decision["state"], decision["error_code"]) == ("denied", "budget_exceeded")
    assert balance(only_account(tenant.api, policy)) == (0, 0)


@pytest.mark.parametrize("asked", ["suggest", "dry_run"])
def test_a_caller_cannot_loosen_the_mode(enforcing: DaemonProcess, tenant_of: TenantOf, asked: str) -> None:
    tenant = tenant_of(enforcing)
    tenant.budget(TINY)

    reply = tenant.ask(headers={AS: asked})

    assert (reply.status, reply.header(AS)) == (402, "enforced")
    assert tenant.api.decision(request_id(reply))["mode_origin"] == "config"


@pytest.mark.parametrize("asked", ["suggest", "dry_run"])
@pytest.mark.parametrize("role", ["admin", "owner"])
def test_a_key_of_an_admin_may_loosen_the_mode(
    enforcing: DaemonProcess, tenant_of: TenantOf, role: str, asked: str
) -> None:
    tenant = tenant_of(enforcing, roles=[role])
    tenant.budget(TINY)

    reply = tenant.ask(headers={AS: asked})

    assert (reply.status, reply.header(AS)) == (200, asked)
    assert decided(tenant, reply)["mode_origin"] == "caller"


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_other_roles_may_not(enforcing: DaemonProcess, tenant_of: TenantOf, role: str) -> None:
    tenant = tenant_of(enforcing, roles=["caller", role])
    tenant.budget(TINY)

    assert tenant.ask(headers={AS: "suggest"}).status == 402


def test_any_caller_may_be_stricter(suggesting: DaemonProcess, tenant_of: TenantOf) -> None:
    tenant = tenant_of(suggesting)
    policy = tenant.budget(TINY)

    dry_run, enforced = (tenant.ask(headers={AS: mode}) for mode in ("dry_run", "enforced"))

    assert (dry_run.status, dry_run.header("x-palyra-would")) == (200, f"{policy}=would_block")
    assert (enforced.status, enforced.header(AS)) == (402, "enforced")
    assert tenant.api.decision(request_id(enforced))["mode_origin"] == "caller"


def test_a_mode_that_does_not_exist_is_refused(enforcing: DaemonProcess, tenant_of: TenantOf) -> None:
    reply = tenant_of(enforcing).ask(headers={AS: "enforce"})

    assert (reply.status, reply.error()["param"]) == (400, "x-palyra-mode")


def test_a_policy_over_its_soft_limit_tightens_the_mode_of_the_call(
    suggesting: DaemonProcess, tenant_of: TenantOf
) -> None:
    tenant = tenant_of(suggesting)
    policy = tenant.budget("0.001", soft_limit="0.0005", routing_mode_override="enforced")

    replies = [tenant.ask() for _ in range(12)]

    modes = [cast("str", reply.header(AS)) for reply in replies]
    tightened = modes.index("enforced")
    assert 0 < tightened < 11
    assert modes == ["suggest"] * tightened + ["enforced"] * (12 - tightened)
    assert replies[-1].status == 402
    decision = tenant.api.decision(request_id(replies[tightened]))
    assert decision["mode_origin"] == f"policy:{policy}"
    assert balance(only_account(tenant.api, policy))[0] <= 1_000_000


def test_a_threshold_tightens_the_mode_for_every_policy_of_the_call(
    suggesting: DaemonProcess, tenant_of: TenantOf
) -> None:
    tenant = tenant_of(suggesting)
    tenant.budget("5.00", "watch", thresholds=[{"at": "0.00001", "then": "routing_mode", "to": "enforced"}])
    policy = tenant.budget(TINY, "hard")

    reply = tenant.ask()

    assert (reply.status, reply.header(AS)) == (402, "enforced")
    assert cast("Mapping[str, object]", reply.error()["palyra"])["policy_id"] == policy


@pytest.mark.parametrize(
    ("cap", "would"), [("dry_run", "would_block"), ("suggest", None)], ids=["dry_run", "suggest"]
)
def test_the_mode_of_a_policy_caps_how_far_it_reaches(
    enforcing: DaemonProcess, tenant_of: TenantOf, cap: str, would: str | None
) -> None:
    tenant = tenant_of(enforcing)
    policy = tenant.budget(TINY, mode=cap)

    reply = tenant.ask()

    assert (reply.status, reply.header(AS)) == (200, "enforced")
    assert reply.header("x-palyra-would") == (f"{policy}={would}" if would else None)
    assert balance(only_account(tenant.api, policy)) == (USED, 0)


def test_a_policy_on_trial_beside_an_enforced_one(enforcing: DaemonProcess, tenant_of: TenantOf) -> None:
    tenant = tenant_of(enforcing)
    tried = tenant.budget(TINY, "tried", mode="dry_run")
    real = tenant.budget("0.0006", "real")

    replies = [tenant.ask() for _ in range(8)]

    statuses = [reply.status for reply in replies]
    served = statuses.index(402)
    assert served > 1
    assert statuses == [200] * served + [402] * (8 - served)
    assert {reply.header("x-palyra-would") for reply in replies[:served]} == {f"{tried}=would_block"}
    assert {cast("Document", reply.error()["palyra"])["policy_id"] for reply in replies[served:]} == {real}
    assert balance(only_account(tenant.api, tried)) == (served * USED, 0)
    assert balance(only_account(tenant.api, real)) == (served * USED, 0)


def test_alert_admits_and_warns(enforcing: DaemonProcess, tenant_of: TenantOf) -> None:
    tenant = tenant_of(enforcing)
    policy = tenant.budget(TINY, action="alert")

    reply = tenant.ask()

    assert (reply.status, reply.header("x-palyra-outcome")) == (200, "admit")
    assert reply.header("x-palyra-budget-warning") == f"{policy}=hard_limit"
    assert decided(tenant, reply)["status"] == "hard_limit"
    assert settlement_of(tenant.api, request_id(reply))["overrun"] is False


def test_a_soft_limit_warns(enforcing: DaemonProcess, tenant_of: TenantOf) -> None:
    tenant = tenant_of(enforcing)
    policy = tenant.budget("5.00", soft_limit=TINY)

    reply = tenant.ask()

    assert reply.status == 200
    assert reply.header("x-palyra-budget-warning") == f"{policy}=soft_limit"
    assert decided(tenant, reply)["status"] == "soft_limit"


def test_approval_required_asks(enforcing: DaemonProcess, tenant_of: TenantOf, stub: Stub) -> None:
    tenant = tenant_of(enforcing)
    policy = tenant.budget(TINY, action="approval_required")

    reply = tenant.ask()

    assert (reply.status, code(reply)) == (402, "approval_required")
    assert (reply.header("x-should-retry"), reply.header("x-palyra-outcome")) == ("false", "ask")
    assert cast("Document", reply.error()["palyra"])["policy_id"] == policy
    assert stub.generations == []


def test_deny_beats_ask_beats_admit(enforcing: DaemonProcess, tenant_of: TenantOf) -> None:
    tenant = tenant_of(enforcing)
    tenant.budget(TINY, "a-asks", action="approval_required")
    blocks = tenant.budget("0.0001", "b-blocks")
    tenant.budget(TINY, "c-alerts", action="alert")

    reply = tenant.ask()

    assert (code(reply), reply.header("x-palyra-outcome")) == ("budget_exceeded", "deny")
    assert cast("Document", reply.error()["palyra"])["policy_id"] == blocks
    evaluations = cast("list[Document]", tenant.api.decision(request_id(reply))["evaluations"])
    assert [each["status"] for each in evaluations] == ["approval_required", "blocked", "hard_limit"]
