"""Approvals as lines and cells for people."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console

from palyra.cli.tables import print_line, print_table
from palyra.core.instant import NANOSECONDS, Instant, parse_instant

Document = Mapping[str, Any]

TITLES = ("id", "state", ">age", "who", "budget", ">needs", "risk", "what comes of it")
_UNITS = {"cost_usd": "USD", "requests": "request"}
_LABEL = 15


def print_approvals(console: Console, items: list[Document], now: Instant) -> None:
    """A table, those that are pending first."""
    if not items:
        print_line(console, "No approvals.")
        return
    print_table(console, TITLES, (cells(each, now) for each in items))


def cells(approval: Document, now: Instant) -> tuple[str, ...]:
    """One row under TITLES."""
    return (
        approval["id"],
        approval["state"],
        since(approval["created_at"], now),
        whose(approval),
        budget_of(approval),
        quantity(approval, "asked"),
        approval["risk"],
        outlook(approval, now),
    )


def print_approval(console: Console, approval: Document, now: Instant) -> None:
    """Everything a person needs to decide, then what was decided and what was used."""
    for line in approval_lines(approval, now):
        print_line(console, line)


def approval_lines(approval: Document, now: Instant) -> Iterator[str]:
    """The page of one approval."""
    yield f"{approval['id']} is {approval['standing']}"
    yield from _labelled(_asking(approval, now))
    yield ""
    yield "Budget"
    yield from _labelled(_budget(approval))
    yield ""
    yield "History"
    for at, text in _history(approval):
        yield f"  {at}  {text}"
    if approval["used_by"] is not None:
        yield f"  It let request {approval['used_by']} through."
    for step in next_steps(approval):
        yield ""
        yield step


def next_steps(approval: Document) -> Iterator[str]:
    """What somebody may do now, if anything."""
    ref, grant = approval["id"], approval["grant"]
    if approval["state"] == "pending":
        usual = "--once" if approval["request_id"] is not None else f"--amount {_as_option(approval)}"
        yield (
            f"Decide: palyra approvals approve {ref} {usual} --reason '…' | "
            f"palyra approvals deny {ref} --reason '…'"
        )
    elif grant is not None and grant["used"] and approval["state"] == "approved":
        yield "It is used: the call went on."
    elif grant is not None and grant["live"] and grant["kind"] == "once":
        yield (
            f"The caller repeats its call with the header x-palyra-approval: {ref}; "
            "one that waits goes on by itself."
        )
    elif grant is not None and grant["live"]:
        yield f"Calls of {approval['principal'] or 'everybody on the account'} go on without doing anything."


def granted(approval: Document) -> str:
    """What was granted: ``once, a call of at most 0.20 USD, until 2026-11-24T00:00:00Z``."""
    grant = approval["grant"]
    extra = quantity({**grant, "metric": approval["metric"]}, "extra")
    until = f"until {grant['expires_at']}"
    if grant["kind"] == "once":
        return f"once, a call of at most {extra}, {until}"
    each = " in each window" if grant["kind"] == "timeboxed" and approval["interval"] != "request" else ""
    return f"{extra} on top of the limit{each}, {until}"


def outlook(approval: Document, now: Instant) -> str:
    """What may still come of it, or how it ended."""
    grant = approval["grant"]
    if approval["state"] == "pending":
        return f"expires in {until(approval['expires_at'], now)}"
    if approval["state"] == "approved" and grant is not None:
        if grant["used"]:
            return "once, used"
        if grant["live"]:
            return f"{grant['kind']}, {until(grant['expires_at'], now)} left"
        return f"{grant['kind']}, over"
    last = approval["revocation"] or {"by": approval["decided_by"], "at": approval["decided_at"]}
    by = f"by {last['by']} " if last["by"] else ""
    return f"{by}{since(last['at'], now)} ago"


def whose(approval: Document) -> str:
    """Who asks, with which agent, and for whom if that is somebody else."""
    agent = f" ({approval['agent']})" if approval["agent"] else ""
    if approval["principal"] == approval["requester"]:
        return f"{approval['requester']}{agent}"
    return f"{approval['requester']}{agent} for {approval['principal'] or 'everybody'}"


def budget_of(approval: Document) -> str:
    """The budget, and whose account where it has several."""
    if approval["entity"] == "*":
        return approval["policy_id"]
    return f"{approval['policy_id']} of {approval['entity']}"


def quantity(document: Document, name: str) -> str:
    """An amount with its unit: ``0.20 USD``, ``1,200 tokens``, ``1 request``; a dash for none."""
    metric = document["metric"]
    found = document.get(f"{name}_usd" if metric == "cost_usd" else name)
    if found is None:
        return "-"
    unit = _UNITS.get(metric, "token")
    if metric == "cost_usd":
        return f"{found} {unit}"
    return f"{found:,} {unit}" if found == 1 else f"{found:,} {unit}s"


def since(at: str, now: Instant) -> str:
    """How long ago that was, in its largest unit: ``45s``, ``5m``, ``3h``, ``2d``."""
    return _span(now - parse_instant(at))


def until(at: str, now: Instant) -> str:
    """How long it is until then, in the same form."""
    return _span(parse_instant(at) - now)


def _span(nanoseconds: int) -> str:
    seconds = max(0, nanoseconds) // NANOSECONDS
    for length, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= 2 * length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def _as_option(approval: Document) -> str:
    if approval["metric"] == "cost_usd":
        return f"{approval['asked_usd']}usd"
    return str(approval["asked"])


def _labelled(pairs: Iterator[tuple[str, str]]) -> Iterator[str]:
    for label, text in pairs:
        yield f"  {label:<{_LABEL}} {text}"


def _asking(approval: Document, now: Instant) -> Iterator[tuple[str, str]]:
    session = f", session {approval['session']}" if approval["session"] else ""
    yield "who", f"{whose(approval)}{session}"
    if approval["request_id"] is not None:
        yield "call", f"{approval['request_id']} to {approval['model']}"
    yield "needs", f"{quantity(approval, 'asked')} on top of the limit, risk {approval['risk']}"
    if approval["reason"]:
        yield "reason", approval["reason"]
    times = "" if approval["occurrences"] == 1 else f", {approval['occurrences']} times"
    yield "asked", f"{since(approval['asked_at'], now)} ago{times}"


def _budget(approval: Document) -> Iterator[tuple[str, str]]:
    counts = f"{approval['metric']} of {approval['scope']} per {approval['interval']}"
    yield "budget", f"{budget_of(approval)} v{approval['policy_version']}: {counts}"
    if approval["window_start"] is not None:
        yield "window", f"{approval['window_start']} to {approval['window_end'] or 'the end of time'}"
    consumed, limit = quantity(approval, "consumed"), quantity(approval, "limit")
    call = f"; with the call {quantity(approval, 'projected')}" if approval["request_id"] is not None else ""
    yield "when asked", f"{consumed} of {limit}{call}"
    now = approval["budget_now"]
    if now is None:
        yield "now", "the budget was deleted"
        return
    held = f", of it {quantity(now, 'held')} held"
    left = f", {quantity(now, 'remaining')} left"
    yield "now", f"{quantity(now, 'consumed')} of {quantity(now, 'limit')}{held}{left}"
    for each in now["overrides"]:
        extra = quantity({**each, "metric": now["metric"]}, "extra")
        told = f"{extra} until {each['expires_at']} for {each['principal'] or 'everybody'} ({each['id']})"
        yield "override", told


def _history(approval: Document) -> Iterator[tuple[str, str]]:
    """Who did what, when and why."""
    yield approval["created_at"], f"{approval['requester']} asked for {quantity(approval, 'asked')}"
    if approval["decided_at"] is not None:
        who = f"{approval['decided_by']} " if approval["decided_by"] else "it was "
        what = {"denied": "denied it", "expired": "closed", "void": "closed"}.get(
            approval["state"], "approved it"
        )
        if approval["grant"] is not None:
            what = f"approved {granted(approval)}{_used(approval)}"
        yield approval["decided_at"], f"{who}{what}{_why(approval['decision_reason'])}"
    revocation = approval["revocation"]
    if revocation is not None:
        yield revocation["at"], f"{revocation['by']} revoked it{_why(revocation['reason'])}"


def _used(approval: Document) -> str:
    grant = approval["grant"]
    if grant["kind"] == "once":
        return ", used" if grant["used"] else ", not used"
    used = quantity({**grant, "metric": approval["metric"]}, "extra_used")
    return "" if used == "-" else f", {used} used"


def _why(reason: str | None) -> str:
    return f": {reason}" if reason else ""
