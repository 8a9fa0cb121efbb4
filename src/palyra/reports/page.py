"""One decision as a page to read: the sentence first, then every number behind it.

Works on the JSON document of ``reports.explain``, so that the command line can render what a daemon sent.
"""

from collections.abc import Mapping, Sequence
from typing import Any

Document = Mapping[str, Any]

_LABEL_WIDTH = 16


def headline(document: Document) -> str:
    """What happened, in one sentence."""
    who = document["principal"] + (f" ({document['agent']})" if document["agent"] else "")
    call = f"The call of {who} to {document['requested_model']}"
    if document["state"] == "denied":
        verb = "needs an approval" if document["outcome"] == "ask" else "was refused"
        return f"{call} {verb}: {document['message'] or document['error_code'] or document['status']}"
    return f"{call} was admitted in {document['mode']} mode{_served_by(document)}; {_ending(document)}"


def explain_lines(document: Document) -> list[str]:
    """The page, line by line, without colours. Sections that say nothing are left out."""
    sections = (
        _call(document),
        _estimate(document.get("estimate")),
        _evaluations(document.get("evaluations") or (), document["message"]),
        _clamp(document.get("clamp")),
        _price(document.get("price")),
        _settlement(document.get("settlement")),
        _counterfactual(document.get("counterfactual")),
    )
    lines = [headline(document)]
    for section in sections:
        if section:
            lines += ["", *section]
    return lines


def table(header: Sequence[str], rows: Sequence[Sequence[str]], right: frozenset[int]) -> list[str]:
    """Columns aligned with spaces, indented by two; the columns in ``right`` are flush right."""
    cells = [list(header), *(list(row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    return [
        (
            "  "
            + "  ".join(
                cell.rjust(widths[column]) if column in right else cell.ljust(widths[column])
                for column, cell in enumerate(row)
            )
        ).rstrip()
        for row in cells
    ]


def _served_by(document: Document) -> str:
    if document["model"] and document["model"] != document["requested_model"]:
        return f" and served by {document['model']} ({document['route']}: {document['route_reason']})"
    return ""


def _ending(document: Document) -> str:
    settlement = document.get("settlement")
    if settlement is None:
        return "it is still running."
    cost = _usd(settlement, "cost")
    match document["state"]:
        case "released":
            return f"nothing was charged ({settlement['reason']})."
        case "in_doubt":
            held = _usd(settlement, "held")
            return f"its end is not known ({settlement['reason']}), so the held {held} stands."
        case _:
            overrun = ", more than was held" if settlement["overrun"] else ""
            estimated = " (estimated)" if settlement["source"] == "estimated" else ""
            return f"it cost {cost}{estimated}{overrun}."


def _call(document: Document) -> list[str]:
    tags: Document = document.get("tags") or {}
    pairs = [
        ("request", document["request_id"]),
        ("at", document["at"]),
        ("endpoint", document["endpoint"] + (", streamed" if document["stream"] else "")),
        ("principal", document["principal"]),
        ("agent", document["agent"]),
        ("session", document["session"]),
        ("key", document.get("key_id")),
        ("tags", ", ".join(f"{name}={value}" for name, value in tags.items())),
        ("outcome", f"{document['outcome']} ({document['status']}), now {document['state']}"),
        ("mode", f"{document['mode']}, from {document.get('mode_origin') or 'the configuration'}"),
        ("requested", document["requested_model"]),
        ("recommended", document.get("recommended_model")),
        ("actual", f"{document['model']} at {document['provider']}" if document["model"] else None),
        ("route", f"{document.get('route') or '-'}: {document.get('route_reason') or 'as requested'}"),
    ]
    return ["Call", *_pairs(pairs)]


def _estimate(estimate: Document | None) -> list[str]:
    if not estimate:
        return []
    cap = estimate["output_cap_requested"]
    pairs = [
        (
            "input",
            (
                f"{estimate['input_tokens_expected']} tokens expected,"
                f" at most {estimate['input_tokens_bound']}"
                f" ({estimate['input_bytes']} bytes, {estimate['method']})"
            ),
        ),
        (
            "output",
            f"at most {estimate['output_tokens_bound']} tokens"
            + (f" (asked for {cap})" if cap is not None else " (no cap was asked for)")
            + (f" in {estimate['choices']} choices" if estimate["choices"] != 1 else ""),
        ),
        ("cost", f"{_usd(estimate, 'cost_expected')} expected, at most {_usd(estimate, 'cost_bound')}"),
    ]
    return ["Estimate", *_pairs(pairs)]


def _evaluations(evaluations: Sequence[Document], told: str) -> list[str]:
    """The policies with their numbers; a message that the page began with is not told again."""
    if not evaluations:
        return ["Budgets", "  No budget applied to this call."]
    amounts = ("consumed", "this call", "projected", "soft", "hard")
    header = ("policy", "entity", "metric", "interval", *amounts, "status")
    rows = [
        (
            f"{each['policy_id']} v{each['policy_version']}",
            each["entity"],
            each["metric"],
            each["interval"],
            *(
                _amount(each, name)
                for name in ("consumed", "amount", "projected", "soft_limit", "hard_limit")
            ),
            each["status"] + (f" ({each['would'].replace('_', ' ')})" if each["would"] else ""),
        )
        for each in evaluations
    ]
    notes = [_note(each) for each in evaluations if each["message"] not in ("", told)]
    return ["Budgets", *table(header, rows, frozenset(range(4, 9))), *notes]


def _note(evaluation: Document) -> str:
    named = f"{evaluation['policy_id']}: "
    return f"  {named}{evaluation['message'].removeprefix(named)}"


def _clamp(clamp: Document | None) -> list[str]:
    if not clamp:
        return []
    return [
        "Clamp",
        (
            f"  The output cap was lowered from {clamp['requested']} to {clamp['granted']} tokens to fit"
            f" {clamp['policy_id']}."
        ),
    ]


def _price(price: Document | None) -> list[str]:
    if not price:
        return []
    known = "" if price["known"] else " (no price is known; a ceiling was used)"
    return [
        "Price",
        (
            f"  {price['provider']}/{price['model']}: entry {price['entry_id']} of {price['source']},"
            f" price book {price['book_version']}{known}"
        ),
    ]


def _settlement(settlement: Document | None) -> list[str]:
    if not settlement:
        return []
    usage: Document = settlement["usage"] or {}
    used = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in usage.items() if count)
    flags = [
        text
        for name, text in (("overrun", "overrun"), ("late", "late"), ("client_gone", "client gone"))
        if settlement[name]
    ]
    reason = f" ({settlement['reason']})" if settlement["reason"] else ""
    pairs = [
        ("usage", f"{used or 'none'} ({settlement['source']})"),
        ("held", _usd(settlement, "held")),
        ("cost", _usd(settlement, "cost")),
        ("ended", f"{settlement['at']}, after {settlement['total_ms']} ms{reason}"),
        ("upstream", _upstream(settlement)),
        ("notes", ", ".join(flags)),
    ]
    bill: list[str] = []
    if settlement["lines"]:
        rows = [
            (line["unit"], str(line["quantity"]), line["usd_per_million"], line["cost_usd"])
            for line in settlement["lines"]
        ]
        bill = table(("line", "quantity", "USD per million", "USD"), rows, frozenset((1, 2, 3)))
    return ["Settlement", *_pairs(pairs), *bill]


def _upstream(settlement: Document) -> str | None:
    parts = [
        str(settlement[name])
        for name in ("upstream_status", "upstream_model", "service_tier")
        if settlement[name] is not None
    ]
    return ", ".join(parts) or None


def _counterfactual(record: Document | None) -> list[str]:
    if not record:
        return []
    would = ", ".join(record["would"]) or "nothing different"
    pairs = [
        ("would", f"{would} (outcome {record['outcome']})"),
        ("output cap", record["clamped_output_tokens"]),
        ("cost", _usd(record, "cost") if record["cost_nano_usd"] is not None else None),
    ]
    return ["If dry-run budgets were enforced", *_pairs(pairs)]


def _pairs(pairs: Sequence[tuple[str, object]]) -> list[str]:
    return [f"  {label:<{_LABEL_WIDTH}}{value}" for label, value in pairs if value not in (None, "")]


def _usd(document: Document, name: str) -> str:
    amount = document.get(f"{name}_usd")
    return "unknown" if amount is None else f"{amount} USD"


def _amount(document: Document, name: str) -> str:
    if f"{name}_usd" in document:
        return document[f"{name}_usd"] or "-"
    count = document.get(name)
    return "-" if count is None else str(count)
