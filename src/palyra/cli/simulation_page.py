"""A simulation on the terminal: what really happened beside what would have."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from palyra.cli.tables import print_line, print_table

_ROWS = (
    ("ran", "ran"),
    ("blocked", "blocked"),
    ("asked", "asked for approval"),
    ("other", "refused otherwise"),
    ("clamped", "cut short"),
    ("degraded", "made cheaper"),
)
_DONE = (
    ("blocked", "blocked"),
    ("asked", "asked"),
    ("clamped", "cut short"),
    ("degraded", "made cheaper"),
    ("alerted", "alerted"),
    ("over_soft", "over the soft limit"),
    ("would_block", "would block"),
    ("would_ask", "would ask"),
    ("would_clamp", "would cut short"),
)
_GROUP_TITLES = (">calls", ">stopped", ">let in", ">cut short", ">cheaper", ">USD", ">would be", ">saved")
_GROUPS_SHOWN = 10

Document = Mapping[str, Any]


def print_simulation(console: Console, document: Document) -> None:
    """The whole report."""
    totals = document["totals"]
    print_line(console, f"From {document['since']} to {document['until']}: {totals['calls']:,} calls")
    if document["read_since"] != document["since"]:
        print_line(console, f"Windows are counted from {document['read_since']} on.")
    if document["mode"] is not None:
        print_line(console, f"As if every call had the mode {document['mode']}.")
    if not document["read"]:
        print_line(console, "No call is recorded since then.")
        return
    really, simulated = totals["really"], totals["simulated"]
    rows = [(title, f"{really[name]:,}", f"{simulated[name]:,}") for name, title in _ROWS]
    cost = ("cost in USD", really["cost_usd"], simulated["cost_usd"])
    print_table(console, ("calls that", ">really", ">would have"), rows, cost)
    print_line(console, _verdict(totals))
    shown = [policy for policy in document["policies"] if _matters(policy)]
    for policy in shown:
        _print_policy(console, policy)
    idle = len(document["policies"]) - len(shown)
    if idle:
        console.print()
        print_line(console, f"{_counted(idle, 'budget')} in force would have had nothing to do.")
    _print_groups(console, document, "principals", "principal")
    _print_groups(console, document, "agents", "agent")
    _print_examples(console, document["examples"])
    for note in document["notes"]:
        print_line(console, note)


def _verdict(totals: Document) -> str:
    saved = totals["saved_usd"]
    told = (
        f"{saved} USD would have been saved"
        if totals["saved_nano_usd"] >= 0
        else (f"{saved.removeprefix('-')} USD more would have been spent")
    )
    parts = [f"{_counted(totals['stopped'], 'call')} that ran would have been stopped"]
    if totals["let_in"]:
        parts.append(f"{_counted(totals['let_in'], 'call')} that never ran would have run")
    if totals["would_save_nano_usd"]:
        told += f", and {totals['would_save_usd']} USD more were dry-run budgets enforced"
    return f"{', '.join(parts)}; {told}."


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _matters(policy: Document) -> bool:
    """Whether there is something to say of a policy: of the candidates always."""
    return policy["candidate"] or policy["really_stopped"] or any(policy[name] for name, _ in _DONE)


def _print_policy(console: Console, policy: Document) -> None:
    done = [f"{title} {policy[name]:,}" for name, title in _DONE if policy[name]]
    console.print()
    print_line(console, f"{policy['policy_id']} ({_kind(policy)}): {', '.join(done) or 'nothing to do'}")
    if policy["really_stopped"]:
        print_line(console, f"  really stopped {policy['really_stopped']:,}")
    if policy["saved_nano_usd"]:
        print_line(console, f"  saves {policy['saved_usd']} USD")
    for name, title in (("first_soft", "soft limit"), ("first_hard", "hard limit")):
        moment = policy[name]
        if moment is not None:
            whose = "" if moment["entity"] == "*" else f", by {moment['entity']}"
            print_line(console, f"  {title} first reached {moment['at']}{whose} ({moment['request_id']})")
    for what, ids in policy["examples"].items():
        print_line(console, f"  {what.replace('_', ' ')}: {', '.join(ids)}")


def _kind(policy: Document) -> str:
    if not policy["candidate"]:
        return "in force"
    replaced = policy["replaces_version"]
    return "new" if replaced is None else f"in the place of version {replaced}"


def _print_groups(console: Console, document: Document, name: str, title: str) -> None:
    groups: Sequence[Document] = document[name]
    if not groups:
        return
    rows = [
        (
            each[title],
            f"{each['calls']:,}",
            f"{each['stopped']:,}",
            f"{each['let_in']:,}",
            f"{each['simulated']['clamped']:,}",
            f"{each['simulated']['degraded']:,}",
            each["really"]["cost_usd"],
            each["simulated"]["cost_usd"],
            each["saved_usd"],
        )
        for each in groups[:_GROUPS_SHOWN]
    ]
    console.print()
    print_table(console, (title, *_GROUP_TITLES), rows)
    more = len(groups) - len(rows) + document[f"{name}_left_out"]
    if more:
        print_line(console, f"and {more:,} more {name} (--json)")


def _print_examples(console: Console, examples: Mapping[str, Sequence[str]]) -> None:
    console.print()
    for name, told in (("stopped", "Would have been stopped"), ("let_in", "Would have run")):
        if examples[name]:
            print_line(console, f"{told}: {', '.join(examples[name])}")
