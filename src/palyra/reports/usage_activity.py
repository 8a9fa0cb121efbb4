"""Sessions, tags and latencies as JSON documents."""

import base64
import json
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from palyra.core.errors import FieldError
from palyra.core.instant import isoformat
from palyra.core.latency import quantile_ms
from palyra.core.money import INT64_MAX
from palyra.reports.explain import money
from palyra.reports.routing import percent
from palyra.reports.stretch import Stretch

if TYPE_CHECKING:
    from palyra.lifecycle.activity import LatencyCounts, SessionFilter, SessionTotals, TagTotals

Place = tuple[int, str, str]
_NAME_CHARS_MAX = 1_024
_QUANTILES = {"p50_ms": 500, "p95_ms": 950, "p99_ms": 990}


def session_document(session: "SessionTotals") -> dict[str, object]:
    """Everything about a session; its cost in nano-USD and USD. A missing agent is None."""
    return {
        "principal": session.principal,
        "session": session.session,
        "agent": session.agent or None,
        "model": session.model,
        "first_at": isoformat(session.first_at),
        "last_at": isoformat(session.last_at),
        "first_call": session.first_call,
        "last_call": session.last_call,
        "requests": session.requests,
        "denied": session.denied,
        "failed": session.failed,
        "input_tokens": session.input_tokens,
        "output_tokens": session.output_tokens,
        **money("cost", session.cost),
    }


def sessions_document(
    found: Sequence["SessionTotals"], wanted: "SessionFilter", stretch: Stretch, limit: int
) -> dict[str, object]:
    """At most ``limit`` sessions; ``next_cursor`` leads to those behind them, if there are any."""
    shown = found[:limit]
    more = len(found) > limit
    return {
        "since": isoformat(stretch.since),
        "until": isoformat(stretch.until),
        "sort": wanted.order.value,
        "items": [session_document(each) for each in shown],
        "next_cursor": _cursor(wanted.order.value, stretch, shown[-1].place(wanted.order)) if more else None,
    }


def tags_document(found: Sequence["TagTotals"], stretch: Stretch) -> dict[str, object]:
    """One item per tag and value, the dearest first. Shares are of all calls with that tag."""
    costs: Counter[str] = Counter()
    for each in found:
        costs[each.tag] += each.cost
    return {
        "since": isoformat(stretch.since),
        "until": isoformat(stretch.until),
        "items": [
            {
                "tag": each.tag,
                "value": each.value,
                "requests": each.requests,
                "input_tokens": each.input_tokens,
                "output_tokens": each.output_tokens,
                **money("cost", each.cost),
                "share_percent": percent(each.cost, costs[each.tag]),
            }
            for each in found
        ],
    }


def latencies_document(found: Sequence["LatencyCounts"], stretch: Stretch) -> dict[str, object]:
    """Quantiles of all calls, and of each model at each provider; None where no call was timed."""
    total: Counter[int] = Counter()
    for each in found:
        total.update(each.calls)
    return {
        "since": isoformat(stretch.since),
        "until": isoformat(stretch.until),
        "totals": _quantiles(total),
        "items": [
            {"provider": each.provider, "model": each.model, **_quantiles(Counter(each.calls))}
            for each in found
        ],
    }


def _quantiles(calls: Counter[int]) -> dict[str, object]:
    found = {name: quantile_ms(calls, permille) for name, permille in _QUANTILES.items()}
    return {"timed": calls.total(), **found}


def read_cursor(text: str, sort: str) -> tuple[Stretch, Place]:
    """The stretch that all pages are about, and where to go on. Raises FieldError("cursor")."""
    try:
        return _place(json.loads(base64.urlsafe_b64decode(text.encode("ascii") + b"==")), sort)
    except (ValueError, TypeError, RecursionError):
        wrong = "is not one that this list gave; leave it out, and keep the order as it was."
        raise FieldError("cursor", wrong) from None


def _place(found: object, sort: str) -> tuple[Stretch, Place]:
    order, since, until, figure, principal, session = cast("list[Any]", found)
    good = (
        order == sort
        and all(type(each) is int and abs(each) <= INT64_MAX for each in (since, until, figure))
        and all(type(each) is str for each in (principal, session))
        and len(principal) + len(session) <= _NAME_CHARS_MAX
        and "\0" not in principal + session
    )
    if not good:
        raise ValueError("another question")
    return Stretch(since, until), (figure, principal, session)


def _cursor(sort: str, stretch: Stretch, place: tuple[int, str, str]) -> str:
    text = json.dumps([sort, *stretch, *place], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()
