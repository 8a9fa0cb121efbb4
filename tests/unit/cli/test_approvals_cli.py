"""``palyra approvals`` and ``palyra budgets override-request``: output, exit codes, JSON, help."""

import json
from typing import Any

import pytest

from fakes.approvals_cli import ApprovalsShell, approvals_shell
from fakes.asks import used
from fakes.records import NOON
from palyra.api.schemas.approvals import ApprovalPage, ApprovalShown
from palyra.cli.approvals_page import TITLES, approval_lines, cells
from palyra.core.instant import NANOSECONDS, Instant

LATER = Instant(NOON + 300 * NANOSECONDS)


@pytest.fixture
def shell() -> ApprovalsShell:
    return approvals_shell()


def page(shell: ApprovalsShell, ref: str = "apr_001", now: Instant = LATER) -> str:
    return "\n".join(approval_lines(shell.json("approvals", "show", ref), now)) + "\n"


def row(shell: ApprovalsShell, ref: str = "apr_001", now: Instant = LATER) -> dict[str, str]:
    shown = cells(shell.json("approvals", "show", ref), now)
    return dict(zip((title.removeprefix(">") for title in TITLES), shown, strict=True))


PENDING = """\
apr_001 is pending until 2026-11-24T00:00:00Z
  who             alice (nightly), session run-7
  call            req_1 to gpt-4o-mini
  needs           0.10 USD on top of the limit, risk low
  asked           5m ago, 2 times

Budget
  budget          money v1: cost_usd of global per day
  window          2026-11-23T00:00:00Z to 2026-11-24T00:00:00Z
  when asked      4.90 USD of 5.00 USD; with the call 5.10 USD
  now             4.95 USD of 5.00 USD, of it 0.05 USD held, 0.05 USD left

History
  2026-11-23T12:00:00Z  alice asked for 0.10 USD

Decide: palyra approvals approve apr_001 --once --reason '…' | palyra approvals deny apr_001 --reason '…'
"""


def test_a_pending_request_is_shown_with_what_is_needed_to_decide(shell: ApprovalsShell) -> None:
    money: dict[str, Any] = {"consumed": 4_900_000_000, "amount": 200_000_000, "asked": 100_000_000}
    approval = shell.stop_call("money", **money)
    shell.stop_call("money", **money)
    shell.records.account_rows.append(used(approval, 4_900_000_000, 50_000_000))
    assert page(shell) == PENDING
    assert shell.text("approvals", "show", "apr_001").splitlines()[0] == PENDING.splitlines()[0]


HISTORY = """\
History
  2026-11-23T12:00:00Z  alice asked for 10 tokens
  2026-11-23T12:00:00Z  operator approved once, a call of at most 20 tokens, until 2026-11-24T00:00:00Z, \
not used: month end
  2026-11-23T12:01:00Z  owner revoked it: wrong project
"""


def test_history_tells_who_did_what_when_and_why(shell: ApprovalsShell) -> None:
    shell.stop_call()
    assert shell.run("approvals", "approve", "apr_001", "--once", "--reason", "month end").exit_code == 0
    shell.clock.advance(60)
    done = shell.run("approvals", "revoke", "apr_001", "--reason", "wrong project", role="owner")
    assert done.stdout == ("apr_001 is revoked by owner at 2026-11-23T12:01:00Z: wrong project\n")
    assert HISTORY in page(shell)


def test_overrides_and_what_is_used_of_them_are_shown(shell: ApprovalsShell) -> None:
    shell.stop_call()
    shell.run("approvals", "approve", "apr_001", "--amount", "30 tokens")
    approval = shell.stop_call(cause="another", fingerprint="f2")
    shell.records.account_rows.append(used(approval, 112))
    text = page(shell, "apr_002")
    assert "  now             112 tokens of 100 tokens, of it 0 tokens held, 18 tokens left\n" in text
    assert "  override        30 tokens until 2026-11-24T00:00:00Z for alice (apr_001)\n" in text
    assert "approved 30 tokens on top of the limit, until 2026-11-24T00:00:00Z, 12 tokens used" in page(shell)


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (
            ("budgets", "set", "--id", "tokens", "--scope", "principal:*", "--metric", "total_tokens"),
            "changed",
        ),
        (("budgets", "delete", "tokens"), "deleted"),
    ],
)
def test_a_request_that_an_edit_closed_says_so(
    shell: ApprovalsShell, edit: tuple[str, ...], told: str
) -> None:
    shell.stop_call()
    limits = ("--interval", "day", "--hard", "7") if told == "changed" else ()
    assert shell.run(*edit, *limits, role="owner").exit_code == 0
    refused = shell.run("approvals", "approve", "apr_001")
    assert (refused.exit_code, f"as the budget was {told}" in refused.stderr) == (7, True)
    text = page(shell)
    assert f"  2026-11-23T12:00:00Z  it was closed: the budget was {told}\n" in text
    assert ("  now             the budget was deleted\n" in text) == (told == "deleted")


def test_the_list_has_what_is_pending_first(shell: ApprovalsShell) -> None:
    shell.stop_call("money")
    shell.stop_call(fingerprint="f2", cause="f2")
    shell.run("approvals", "deny", "apr_002", "--reason", "too dear")
    items = shell.json("approvals", "list")
    ApprovalPage.model_validate(items)
    assert [each["id"] for each in items["items"]] == ["apr_001", "apr_002"]
    lines = shell.text("approvals", "list").splitlines()
    assert lines[0].split("  ")[0] == "id"
    assert [line.split()[:2] for line in lines[1:]] == [["apr_001", "pending"], ["apr_002", "denied"]]


def test_pending_requests_are_listed_however_old_they_are(shell: ApprovalsShell) -> None:
    shell.stop_call("money")
    for number in range(2):
        shell.stop_call(cause=f"c{number}", fingerprint=f"f{number}")
        shell.run("approvals", "deny", f"apr_00{number + 2}")
    items = shell.json("approvals", "list", "--limit", "1")
    assert [each["id"] for each in items["items"]] == ["apr_001", "apr_003"]
    rest = shell.json("approvals", "list", "--limit", "1", "--cursor", items["next_cursor"])
    assert [each["id"] for each in rest["items"]] == ["apr_002"]


def test_the_list_is_filtered_and_says_if_there_is_nothing(shell: ApprovalsShell) -> None:
    shell.stop_call()
    assert "apr_001" in shell.text("approvals", "list", "--requester", "alice", "--policy", "tokens")
    assert "apr_001" in shell.text("approvals", "list", "--state", "pending")
    assert shell.text("approvals", "list", "--state", "denied") == "No approvals.\n"
    assert shell.text("approvals", "list", role="alice").count("apr_001") == 1
    assert shell.run("approvals", "list", "--state", "open").exit_code == 2


def test_a_row_says_who_needs_what_of_which_budget(shell: ApprovalsShell) -> None:
    shell.stop_call()
    assert row(shell) == {
        "id": "apr_001",
        "state": "pending",
        "age": "5m",
        "who": "alice (nightly)",
        "budget": "tokens of alice",
        "needs": "10 tokens",
        "risk": "low",
        "what comes of it": "expires in 11h",
    }


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("deny",), "by operator 5m ago"),
        (("approve",), "once, 11h left"),
        (("approve", "--amount", "5"), "amount, 11h left"),
        (("approve", "--until", "2026-11-30T00:00:00Z"), "timeboxed, 6d left"),
    ],
)
def test_a_row_says_how_it_ended_or_how_long_it_lasts(
    shell: ApprovalsShell, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], told: str
) -> None:
    monkeypatch.setattr("palyra.cli.approvals.now_here", lambda: NOON)
    shell.stop_call()
    assert shell.run("approvals", words[0], "apr_001", *words[1:]).exit_code == 0
    assert row(shell)["what comes of it"] == told


def test_a_row_of_a_grant_that_is_used_or_over_or_revoked(shell: ApprovalsShell) -> None:
    shell.stop_call()
    shell.run("approvals", "approve", "apr_001")
    shown = shell.json("approvals", "show", "apr_001")
    over = shown | {"grant": shown["grant"] | {"live": False}}
    assert cells(over, LATER)[-1] == "once, over"
    assert cells(shown | {"grant": shown["grant"] | {"used": True}}, LATER)[-1] == "once, used"
    shell.run("approvals", "revoke", "apr_001", role="owner")
    assert row(shell)["what comes of it"] == "by owner 5m ago"


@pytest.mark.parametrize(
    ("policy_id", "words", "kind", "extra"),
    [
        ("money", ("--once",), "once", "0.00000002 USD"),
        ("money", ("--amount", "5usd"), "amount", "5.00 USD"),
        ("money", ("--amount", "$5"), "amount", "5.00 USD"),
        ("money", ("--amount", "5.00"), "amount", "5.00 USD"),
        ("tokens", ("--amount", "20k"), "amount", "20,000 tokens"),
        ("calls", ("--amount", "3 requests"), "amount", "3 requests"),
        ("calls", ("--until", "2h", "--amount", "1"), "timeboxed", "1 request"),
        ("tokens", ("--until", "2h"), "timeboxed", "100 tokens"),
        ("tokens", (), "once", "20 tokens"),
    ],
)
def test_an_approval_grants_what_was_said(
    shell: ApprovalsShell,
    monkeypatch: pytest.MonkeyPatch,
    policy_id: str,
    words: tuple[str, ...],
    kind: str,
    extra: str,
) -> None:
    monkeypatch.setattr("palyra.cli.approvals.now_here", lambda: NOON)
    shell.stop_call(policy_id)
    text = shell.text("approvals", "approve", "apr_001", *words, "--reason", "fine")
    first, granted, then = text.splitlines()
    assert first == "apr_001 is approved by operator at 2026-11-23T12:00:00Z: fine"
    assert granted.startswith("Granted: once, a call of at most " if kind == "once" else "Granted: ")
    assert extra in granted
    assert ("x-palyra-approval: apr_001" in then) == (kind == "once")
    shown = shell.json("approvals", "show", "apr_001")
    assert shown["grant"]["kind"] == kind
    if kind == "timeboxed":
        assert shown["grant"]["expires_at"] == "2026-11-23T14:00:00Z"


def test_a_denial_says_who_and_why(shell: ApprovalsShell) -> None:
    shell.stop_call()
    text = shell.text("approvals", "deny", "apr_001", "--reason", "wait for Monday")
    assert text == "apr_001 is denied by operator at 2026-11-23T12:00:00Z: wait for Monday\n"


@pytest.mark.parametrize(
    ("words", "role", "code", "told"),
    [
        (("approve", "apr_001", "--once", "--amount", "5"), "operator", 2, "--once: goes with neither"),
        (("approve", "apr_001", "--once", "--until", "2h"), "operator", 2, "--once: goes with neither"),
        (("approve", "apr_001", "--amount", "5usd"), "operator", 2, "--amount: the budget counts tokens"),
        (("approve", "apr_001", "--amount", "0"), "operator", 2, "--amount: '0' is nothing"),
        (("approve", "apr_001", "--until", "soon"), "operator", 2, "--until: 'soon' is not a time"),
        (("approve", "apr_001", "--reason", "x" * 1001), "operator", 2, "reason: is longer than 1000"),
        (("approve", "apr_999"), "operator", 8, "There is no approval 'apr_999'"),
        (("approve", "apr_999", "--amount", "5"), "operator", 8, "There is no approval 'apr_999'"),
        (("show", "apr_999"), "operator", 8, "There is no approval"),
        (("approve", "apr_001"), "viewer", 3, "role 'operator'"),
        (("deny", "apr_001"), "alice", 3, "role 'operator'"),
        (("revoke", "apr_001"), "operator", 7, "no grant that could be revoked"),
        (("approve", "apr_002"), "operator", 3, "someone else must decide"),
        (("approve", "apr_003"), "operator", 7, "is denied by owner"),
        (("approve", "../keys"), "operator", 8, "Not Found"),
    ],
)
def test_an_error_has_its_exit_code_and_names_what_is_wrong(
    shell: ApprovalsShell, words: tuple[str, ...], role: str, code: int, told: str
) -> None:
    shell.stop_call()
    shell.stop_call("money", "operator")
    shell.stop_call("calls")
    shell.run("approvals", "deny", "apr_003", role="owner")
    result = shell.run("approvals", *words, role=role)
    assert (result.exit_code, result.stdout) == (code, ""), result.output
    assert told in result.stderr
    as_json = json.loads(shell.run("approvals", *words, "--json", role=role).stderr)
    assert as_json["error"]["exit_code"] == code


def test_every_command_prints_the_document_with_json(shell: ApprovalsShell) -> None:
    shell.stop_call()
    ApprovalShown.model_validate(shell.json("approvals", "approve", "apr_001", "--amount", "5"))
    revoked = shell.json("approvals", "revoke", "apr_001")
    assert (revoked["state"], revoked["revocation"]["reason"]) == ("revoked", "")
    asked = shell.json("budgets", "override-request", "money", "--amount", "$1", "--reason", "demo")
    ApprovalShown.model_validate(asked)
    assert shell.json("approvals", "deny", asked["id"], role="owner")["state"] == "denied"


def ask(shell: ApprovalsShell, policy_id: str, amount: str, *words: str, role: str = "alice") -> Any:
    return shell.run(
        "budgets", "override-request", policy_id, "--amount", amount, "--reason", "demo", *words, role=role
    )


def test_an_override_is_asked_for_up_front(shell: ApprovalsShell) -> None:
    result = ask(shell, "tokens", "20k")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "apr_001 is pending until 2026-11-24T00:00:00Z"
    assert "  needs           20,000 tokens on top of the limit, risk high" in lines
    assert "  reason          demo" in lines
    assert "palyra approvals approve apr_001 --amount 20000 --reason" in lines[-1]
    assert row(shell)["who"] == "alice"
    shell.text("approvals", "approve", "apr_001")
    assert shell.json("approvals", "show", "apr_001")["grant"]["extra"] == 20_000


def test_an_operator_asks_for_others(shell: ApprovalsShell) -> None:
    assert ask(shell, "money", "$2", role="operator").exit_code == 0
    assert row(shell)["who"] == "operator for everybody"
    assert "--amount 2.00usd" in page(shell)
    assert ask(shell, "tokens", "5", "--entity", "alice", role="operator").exit_code == 0
    assert row(shell, "apr_002")["who"] == "operator for alice"
    assert ask(shell, "calls", "1 request", "--principal", "alice", role="operator").exit_code == 0
    approved = shell.text("approvals", "approve", "apr_003", role="owner")
    assert "Granted: 1 request on top of the limit, until" in approved
    assert "Calls of alice go on without doing anything." in approved


@pytest.mark.parametrize(
    ("policy_id", "amount", "words", "code", "told"),
    [
        ("tokens", "5usd", (), 2, "--amount: the budget counts tokens, not USD"),
        # A caller may not read this budget, so the amount must say its unit.
        ("money", "5", (), 2, "--amount: '5' does not say of what"),
        ("calls", "3 tokens", (), 2, "unit: the budget counts requests, not tokens"),
        ("calls", "5usd", (), 2, "amount_usd: the budget counts requests"),
        ("none", "5usd", (), 8, "There is no budget 'none'"),
        ("tokens", "5", ("--entity", "operator"), 3, "own principal only"),
    ],
)
def test_a_wish_that_cannot_come_true_says_why(
    shell: ApprovalsShell, policy_id: str, amount: str, words: tuple[str, ...], code: int, told: str
) -> None:
    result = ask(shell, policy_id, amount, *words)
    assert (result.exit_code, told in result.stderr) == (code, True), result.output


def test_a_caller_names_the_unit_of_a_budget_that_it_may_not_read(shell: ApprovalsShell) -> None:
    assert ask(shell, "money", "$5").exit_code == 0
    assert ask(shell, "calls", "3 requests").exit_code == 0
    assert [row(shell, ref)["needs"] for ref in ("apr_001", "apr_002")] == ["5.00 USD", "3 requests"]


def test_no_daemon_is_exit_4(shell: ApprovalsShell) -> None:
    shell.connector.broken = True
    for words in (("approvals", "list"), ("approvals", "watch"), ("approvals", "approve", "apr_001")):
        assert shell.run(*words).exit_code == 4
    assert ask(shell, "tokens", "5").exit_code == 4


@pytest.mark.parametrize("verb", ["list", "show", "approve", "deny", "revoke", "watch"])
def test_help_has_an_example(shell: ApprovalsShell, verb: str) -> None:
    shown = " ".join(shell.run("approvals", verb, "--help").stdout.split())
    assert f"palyra approvals {verb}" in shown
