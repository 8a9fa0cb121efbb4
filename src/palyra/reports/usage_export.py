"""Usage for other programs: CSV that no spreadsheet takes for formulas, JSON, and FOCUS 1.2."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

from palyra.core.hours import HOUR_NS
from palyra.core.instant import isoformat, to_datetime
from palyra.core.money import format_usd
from palyra.reports.summary import sums_document

if TYPE_CHECKING:
    from palyra.lifecycle.usage import UsageTotals

Row = Mapping[str, object]

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
"""A cell of text that begins with one of these is run by spreadsheets."""

SUMS = tuple(sums_document(()))
_NAMES = ("principal", "agent", "model", "provider")
HOUR_COLUMNS = ("hour", *_NAMES, *SUMS)

FOCUS_COLUMNS = (
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ContractedCost",
    "EffectiveCost",
    "InvoiceIssuerName",
    "ListCost",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "ServiceCategory",
    "ServiceName",
    "ServiceSubcategory",
    "SkuId",
    "SubAccountId",
    "SubAccountName",
    "Tags",
    "x_Agent",
    "x_EstimatedCalls",
    "x_InputTokens",
    "x_Model",
    "x_OutputTokens",
    "x_UnpricedCalls",
)
"""The columns of FOCUS 1.2 that usage has something to say for, and Palyra's own with ``x_``."""


def csv_lines(columns: Sequence[str], rows: Sequence[Row], *, head: bool) -> bytes:
    """Rows as CSV (RFC 4180, UTF-8), each cell in quotes where it must be; ``head``: the columns first.

    Text that begins like a formula gets an apostrophe in front of it. None is an empty cell.
    """
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    if head:
        writer.writerow(columns)
    writer.writerows([_cell(row[name]) for name in columns] for row in rows)
    return out.getvalue().encode("utf-8", "replace")


def json_items(rows: Sequence[Row], *, first: bool) -> bytes:
    """Rows as members of a JSON array, one a line; ``first``: none are before them."""
    text = ",\n".join(json.dumps(row, ensure_ascii=True) for row in rows)
    return ((text if first else f",\n{text}") if text else "").encode()


def hour_row(sums: "UsageTotals") -> Row:
    """A cell of the rollups: its hour, its names and its sums."""
    names = {name: sums.group[name] for name in _NAMES}
    return {"hour": isoformat(int(sums.group["hour"])), **names, **sums_document((sums,))}


def focus_row(sums: "UsageTotals") -> Row:
    """A cell of the rollups as a charge: what a provider bills for one hour of a model to a principal.

    Costs are decimal strings of USD; calls without a price are in no cost and in ``x_UnpricedCalls`` (L6).
    """
    hour, model, provider = int(sums.group["hour"]), sums.group["model"], sums.group["provider"]
    start, end = _month(hour)
    cost = format_usd(sums.cost)
    tokens = sums.input_tokens + sums.output_tokens
    tags = {"agent": sums.group["agent"], "principal": sums.group["principal"]}
    return {
        "BilledCost": cost,
        "BillingAccountId": provider,
        "BillingAccountName": provider,
        "BillingCurrency": "USD",
        "BillingPeriodEnd": end,
        "BillingPeriodStart": start,
        "ChargeCategory": "Usage",
        "ChargeClass": None,
        "ChargeDescription": f"{sums.requests} calls of {model} with {tokens} tokens",
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodEnd": isoformat(hour + HOUR_NS),
        "ChargePeriodStart": isoformat(hour),
        "ConsumedQuantity": tokens,
        "ConsumedUnit": "Tokens",
        "ContractedCost": cost,
        "EffectiveCost": cost,
        "InvoiceIssuerName": provider,
        "ListCost": cost,
        "PricingQuantity": tokens,
        "PricingUnit": "Tokens",
        "ProviderName": provider,
        "PublisherName": provider,
        "ServiceCategory": "AI and Machine Learning",
        "ServiceName": "Language models",
        "ServiceSubcategory": "Generative AI",
        "SkuId": f"{provider}/{model}",
        "SubAccountId": sums.group["principal"],
        "SubAccountName": sums.group["principal"],
        "Tags": json.dumps(tags, sort_keys=True),
        "x_Agent": sums.group["agent"],
        "x_EstimatedCalls": sums.estimated,
        "x_InputTokens": sums.input_tokens,
        "x_Model": model,
        "x_OutputTokens": sums.output_tokens,
        "x_UnpricedCalls": sums.unpriced,
    }


def _cell(value: object) -> object:
    if isinstance(value, str) and value.startswith(FORMULA_STARTS):
        return f"'{value}"
    if isinstance(value, bool):
        return "true" if value else "false"
    return value


def _month(hour: int) -> tuple[str, str]:
    """The first moments of the calendar month of UTC that has ``hour``, and of the next one."""
    day = to_datetime(hour).date().replace(day=1)
    following = date(day.year + day.month // 12, day.month % 12 + 1, 1)
    return f"{day.isoformat()}T00:00:00Z", f"{following.isoformat()}T00:00:00Z"
