"""A page that listens to what changes."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

from harness import raw
from harness.raw import Reply, Wire

EVENTS = "/api/v1/events"
HEARD_S = 20.0


@dataclass(slots=True)
class Page:
    """One stream. ``reply`` is what came of it so far."""

    wire: Wire

    @property
    def reply(self) -> Reply:
        """Status, headers, and the stream up to now."""
        return self.wire.current

    @property
    def events(self) -> list[dict[str, str]]:
        """Every whole event, as its fields."""
        return events_of(self.reply)

    @property
    def changes(self) -> list[set[str]]:
        """The topics of each change, in order."""
        return [set(topics_of(each)) for each in self.events if each.get("event") == "change"]

    async def hears(self, *wanted: str, since: int = 0) -> set[str]:
        """Wait until all of these changed since so many changes; returns all that did."""

        def heard(reply: Reply) -> bool:
            return set(wanted) <= set().union(*changes_of(reply)[since:])

        await self.wire.until(heard, HEARD_S)
        found = set[str]().union(*self.changes[since:])
        assert set(wanted) <= found, f"the stream ended with {self.changes}"
        return found

    async def ends(self, deadline_s: float = HEARD_S) -> Reply:
        """Wait until the stream is over; AssertionError unless it ends as a whole answer."""
        reply = await self.wire.until(lambda _: False, deadline_s)
        assert reply.complete
        return reply


@asynccontextmanager
async def listening(url: str, key: str | None = None, **headers: str) -> AsyncGenerator[Page]:
    """A page that has heard ``hello``, or was refused."""
    async with Wire(url) as wire:
        wire.send(raw.request(url, EVENTS, method="GET", key=key, headers=headers))
        await wire.until(lambda reply: bool(events_of(reply)), HEARD_S)
        yield Page(wire)


def events_of(reply: Reply) -> list[dict[str, str]]:
    """Every whole event that came, as its fields; a comment has the field ""."""
    *whole, _ = reply.body.decode().split("\n\n")
    pairs = [[line.partition(":")[::2] for line in event.split("\n")] for event in whole]
    return [{name: value.strip() for name, value in lines} for lines in pairs]


def changes_of(reply: Reply) -> list[list[str]]:
    """The topics of each change."""
    return [topics_of(each) for each in events_of(reply) if each.get("event") == "change"]


def topics_of(event: dict[str, str]) -> list[str]:
    """The topics that an event names; nothing else may be in it."""
    document: Any = json.loads(event["data"])
    assert list(document) == ["topics"]
    return cast("list[str]", document["topics"])
