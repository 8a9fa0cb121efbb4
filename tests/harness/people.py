"""People who decide: what calls ask them for, and what they answer through the API."""

from collections.abc import Mapping, Sequence
from typing import cast

from harness import raw
from harness.daemon import Api, poll
from harness.raw import Reply
from harness.talk import CHAT, Document, chat, code, detail

SECONDS = 60
"""How long a caller of these tests waits for a person."""


def asking(policy_id: str, hard_limit: str | int = 1, **fields: object) -> dict[str, object]:
    """A budget that asks people once it is full: by default one request a day for each principal."""
    document: dict[str, object] = {
        "id": policy_id,
        "scope": "principal:*",
        "metric": "requests",
        "interval": "day",
        "hard_limit": hard_limit,
        "action": "approval_required",
    }
    return document | fields


def showing(*approval_ids: str, wait: bool = False) -> dict[str, str]:
    """The headers of a call that shows approvals, or waits for one."""
    shown = {"x-palyra-approval": ", ".join(approval_ids)} if approval_ids else {}
    return shown | ({"prefer": f"wait={SECONDS}"} if wait else {})


def asked(reply: Reply) -> str:
    """The id of the request that a stopped call made or joined."""
    assert (reply.status, code(reply)) == (402, "approval_required"), f"{reply.status} {reply.body!r}"
    return cast("str", detail(reply)["approval_id"])


async def stopped(url: str, key: str, body: object = None) -> str:
    """Make a call that a budget stops; returns the id of what it asks for."""
    return asked(await raw.call(url, CHAT, json_body=chat() if body is None else body, key=key))


def shown(api: Api, approval_id: str) -> Document:
    """An approval as people see it."""
    return api.get(f"/approvals/{approval_id}")


def pending(api: Api, *requesters: str) -> dict[str, Document]:
    """What waits for a decision, by id, oldest first; of everybody where nobody is named. At most 200."""
    items = cast("list[Document]", api.get("/approvals", state="pending", limit="200")["items"])
    wanted = [each for each in items if not requesters or each["requester"] in requesters]
    return {cast("str", each["id"]): each for each in reversed(wanted)}


def await_asks(api: Api, requesters: Sequence[str], *occurrences: int) -> list[str]:
    """Wait until so many requests are pending, each asked for so often; returns their ids, oldest first."""
    found = poll(
        lambda: pending(api, *requesters),
        lambda seen: sorted(cast("int", each["occurrences"]) for each in seen.values()) == [*occurrences],
        20.0,
        f"requests that were asked for {occurrences} times",
    )
    return list(found)


def allow(api: Api, approval_id: str, **grant: object) -> Document:
    """Grant it: the very call, unless ``grant`` says something else."""
    return api.post(f"/approvals/{approval_id}/decision", {"decision": "allow", **grant})


def deny(api: Api, approval_id: str, reason: str = "") -> Document:
    """Refuse it."""
    return api.post(f"/approvals/{approval_id}/decision", {"decision": "deny", "reason": reason})


def grant_of(document: Document) -> Mapping[str, object]:
    """What an approval gives, and how much of it is used."""
    return cast("Mapping[str, object]", document["grant"])
