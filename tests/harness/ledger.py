"""What the ledger says of a call, for comparing with what somebody else says."""

from collections.abc import Mapping
from typing import cast

from harness.daemon import Api


def settlement_of(api: Api, request_id: str) -> dict[str, object]:
    """The settlement of a call once it is over."""
    settlement = api.settled(request_id)["settlement"]
    assert isinstance(settlement, dict), f"{request_id} has no settlement"
    return cast("dict[str, object]", settlement)


def tokens_of(api: Api, request_id: str) -> tuple[int, int]:
    """Input and output tokens in the ledger, as the provider reported them (never an estimate)."""
    settlement = settlement_of(api, request_id)
    assert settlement["source"] != "estimated", settlement
    usage = cast("Mapping[str, int]", settlement["usage"])
    return usage["input_tokens"], usage["output_tokens"]


def rows(api: Api, **filters: str) -> list[dict[str, object]]:
    """Decisions as listed, newest first."""
    return cast("list[dict[str, object]]", api.get("/decisions", **filters)["items"])
