"""One decision as a page to read: the sentence first, then every number behind it.

Works on the JSON document of ``reports.explain``, so that the command line can render what a daemon sent.
"""

from collections.abc import Mapping, Sequence
from typing import Any

Document = Mapping[str, Any]

_LABEL_WIDTH = 16
_RULE = "----"
_AUTO = "auto"
_TOO_MANY = 429
_BOOK_CHARS = 12
_LATENCY = {0: "low", 1: "standard", 2: "high"}


def headline(document: Document) -> str:
    """What happened, in one sentence."""
    who = document["principal"] + (f" ({document['agent']})" if document["agent"] else "")
    call = f"The call of {who} to {document['requested_model']}"
    if document["state"] == "denied":
        verb = "needs an approval" if document["outcome"] == "ask" else "was refused"
        return f"{call} {verb}: {document['message'] or document['error_code'] or document['status']}"
    admitted = f"was admitted in {document['mode']} mode{_served_by(document)}"
    return f"{call} {admitted}; {_ending(document)}{_end_elsewhere(document)}"


def explain_lines(document: Document) -> list[str]:
    """The page, line by line, without colours. Sections that say nothing are left out.

    A call that was taken up elsewhere is told to its end: ``continued_as`` holds what followed.
    """
    followed: Sequence[Document] = document.get("continued_as") or ()
    sections = [
        _chain(document, followed),
        _call(document),
        _estimate(document.get("estimate")),
        *_routing(document),
        _evaluations(document.get("evaluations") or (), document["message"]),
        _overrides(document.get("overrides") or ()),
        _clamp(document.get("clamp")),
        _price(document.get("price")),
        _settlement(document.get("settlement")),
        _counterfactual(document.get("counterfactual")),
        *([f"{_RULE} {each['request_id']}", "", *explain_lines(each)] for each in followed),
    ]
    return _page(headline(document), sections)


def forecast(document: Document) -> str:
    """What would happen to a call that is only asked about, in one sentence."""
    who = document["principal"] + (f" ({document['agent']})" if document["agent"] else "")
    call = f"A call of {who} to {document['requested_model']}"
    if document["would_run"]:
        return (
            f"{call} would run on {document['model']} at {document['provider']}, in {document['mode']} mode."
        )
    told = document["message"] or document["error_code"] or document["status"]
    verb = "would need an approval" if document["outcome"] == "ask" else "would be refused"
    if document["error"]["status"] == _TOO_MANY:
        verb = "would have to wait"
    return f"{call} {verb}: {told}"


def forecast_lines(document: Document) -> list[str]:
    """The page of a call that is only asked about: everything that it was judged by, as ``explain_lines``."""
    sections = [
        _estimate(document.get("estimate")) or ["Estimate", "  Nothing could be estimated."],
        *_routing(document),
        _evaluations(document.get("evaluations") or (), document["message"]),
        _overrides(document.get("overrides") or ()),
        _terms(document),
        _price(document.get("price")) or ["Price", "  No price is known."],
        _route(document),
        _clamp(document.get("clamp")) or ["Clamp", "  The output cap stays as it is."],
        _counterfactual(document.get("counterfactual"))
        or ["If everything were enforced", "  Nothing would be different."],
    ]
    return _page(forecast(document), sections)


def _page(first: str, sections: Sequence[Sequence[str]]) -> list[str]:
    lines = [first]
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


def _end_elsewhere(document: Document) -> str:
    followed: Sequence[Document] = document.get("continued_as") or ()
    if not followed:
        return ""
    last = followed[-1]
    where = f"{last['model']} at {last['provider']}"
    if last["state"] == "denied":
        return f" It could not be taken up elsewhere: {last['message'] or last['error_code']}"
    return f" It was taken up by {where}: {_ending(last)}"


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
        ("continues", document.get("continues")),
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


def _routing(document: Document) -> list[list[str]]:
    """How the model was chosen: what the call looks like, and every model that was looked at."""
    routing: Document | None = document.get("routing") or document.get("survey")
    if not routing:
        return []
    features = routing["features"]
    pairs = [
        ("score", f"{routing['score']:.3f} of 1, by version {routing['score_version']} of the weights"),
        ("text", f"{features['text_bytes']} bytes, about {features['tokens']} tokens"),
        ("messages", features["turns"]),
        ("tools", features["tools"]),
        ("pictures", features["images"]),
        ("strict JSON", "yes" if features["wants_json"] else "no"),
    ]
    return [["Complexity", *_pairs(pairs)], _candidates(document, routing)]


def _candidates(document: Document, routing: Document) -> list[str]:
    header = ("model", "provider", "cost", "tier", "latency", "health", "room", "kept", "is")
    rows = [
        (
            each["model"],
            each["provider"],
            _usd(each, "cost_bound"),
            each["cost_tier"],
            _LATENCY.get(each["latency_rank"], str(each["latency_rank"])),
            each["health"],
            each["room"],
            "yes" if each["kept"] else f"no: {each['lost']}",
            ", ".join(_marks(place, each, document, routing)),
        )
        for place, each in enumerate(routing["candidates"])
    ]
    pairs = [
        ("choice", "left to Palyra" if routing["open"] else "the caller's"),
        ("chosen by", f"{routing['by']}: {routing['reason']}"),
        ("session's model", routing["session_model"]),
        ("made cheaper by", ", ".join(routing["degraded_by"])),
        ("would be, by", ", ".join(routing.get("would_degrade") or ())),
    ]
    return ["Candidates", *table(header, rows, frozenset((2,))), *_pairs(pairs)]


def _marks(place: int, candidate: Document, document: Document, routing: Document) -> list[str]:
    """What a candidate is to the call; the first one is what the caller named."""
    name = candidate["model"]
    actual = name == document["model"] and candidate["provider"] == document["provider"]
    asked = "default" if document["requested_model"] == _AUTO else "requested"
    recommended = document.get("recommended_model")
    # Two providers may have models of one id: what is said of it is said of the one that serves the call.
    elsewhere = name == document["model"] and not actual
    marks = (
        (asked, place == 0),
        ("session", name == routing["session_model"] and not elsewhere),
        ("recommended", name == recommended and not elsewhere),
        ("actual", actual),
    )
    return [mark for mark, holds in marks if holds]


def _terms(document: Document) -> list[str]:
    return ["Mode", f"  {document['mode']}, from {document.get('mode_origin') or 'the configuration'}"]


def _route(document: Document) -> list[str]:
    pairs = [
        ("route", f"{document.get('route') or '-'}: {document.get('route_reason') or 'as requested'}"),
        ("recommended", document.get("recommended_model")),
        ("actual", f"{document['model']} at {document['provider']}" if document["would_run"] else "none"),
    ]
    return ["Route", *_pairs(pairs)]


def _chain(document: Document, followed: Sequence[Document]) -> list[str]:
    """The parts of a call that was taken up elsewhere, each of which was held and settled by itself."""
    if not followed:
        return []
    rows = [
        (
            each["request_id"],
            each["model"] or "-",
            each["provider"] or "-",
            each["state"],
            _charged(each["settlement"]) if each.get("settlement") else "-",
            each.get("route_reason") or each["message"] or "as requested",
        )
        for each in (document, *followed)
    ]
    header = ("request", "model", "provider", "state", "cost", "why")
    return ["Taken up elsewhere", *table(header, rows, frozenset((4,)))]


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


def _overrides(overrides: Sequence[Document]) -> list[str]:
    """What people granted and the call needed."""
    return ["Overrides", *[_override(each) for each in overrides]] if overrides else []


def _override(override: Document) -> str:
    by = ", ".join(override["approvals"])
    if override["single_use"]:
        return f"  {override['policy_id']}: approval {by} let this one call through, and is used up by it."
    metric = "USD" if "extra_usd" in override else override["metric"]
    return f"  {override['policy_id']}: {_amount(override, 'extra')} {metric} more were granted by {by}."


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
            f" price book {price['book_version'][:_BOOK_CHARS]}{known}"
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
        ("cost", _charged(settlement)),
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
    return ["Settlement", *_pairs(pairs), *bill, *_attempts(settlement.get("attempts") or ())]


def _attempts(attempts: Sequence[Document]) -> list[str]:
    """Every try at a provider, in milliseconds since the call was decided."""
    if not attempts:
        return []
    rows = [
        (
            each["provider"],
            each["model"],
            str(each["began_ms"]),
            str(each["ended_ms"]),
            "-" if each["status"] is None else str(each["status"]),
            each["outcome"],
            each["then"] or "-",
            each["message"],
        )
        for each in attempts
    ]
    header = ("provider", "model", "began ms", "ended ms", "status", "outcome", "then", "message")
    return ["  Attempts", *table(header, rows, frozenset((2, 3, 4)))]


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
    otherwise = "run on the recommended model" if record.get("model") else "nothing different"
    would = ", ".join(record["would"]) or otherwise
    pairs = [
        ("would", f"{would} (outcome {record['outcome']})"),
        ("model", record.get("model")),
        ("output cap", record["clamped_output_tokens"]),
        ("cost", _shadow_cost(record)),
    ]
    return ["If everything were enforced", *_pairs(pairs)]


def _shadow_cost(record: Document) -> str | None:
    """What it would have cost, or could at most where the call is not over or did not run."""
    if record["cost_nano_usd"] is not None:
        return _usd(record, "cost")
    return None if record["cost_bound_nano_usd"] is None else f"at most {_usd(record, 'cost_bound')}"


def _pairs(pairs: Sequence[tuple[str, object]]) -> list[str]:
    return [f"  {label:<{_LABEL_WIDTH}}{value}" for label, value in pairs if value not in (None, "")]


def _usd(document: Document, name: str) -> str:
    amount = document.get(f"{name}_usd")
    return "unknown" if amount is None else f"{amount} USD"


def _charged(settlement: Document) -> str:
    return "nothing" if settlement["state"] == "released" else _usd(settlement, "cost")


def _amount(document: Document, name: str) -> str:
    if f"{name}_usd" in document:
        return document[f"{name}_usd"] or "-"
    count = document.get(name)
    return "-" if count is None else str(count)
