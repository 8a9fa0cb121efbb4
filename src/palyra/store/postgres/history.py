"""The records of a shared ledger: every gateway's own journal, merged by their clocks."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, LiteralString

from palyra.core.instant import Instant
from palyra.lifecycle.history import Reading
from palyra.store.history import MergedReading, NodeReading, node_reading
from palyra.store.postgres import sql

Fetch = Callable[..., Awaitable[Sequence[Any]]]
"""Runs a statement with parameters and gives its rows."""


class PostgresHistory:
    """See ``History``; ``fetch`` asks the database."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch

    async def read(self, since: Instant) -> Reading:
        """See ``History.read``."""
        nodes: list[NodeReading] = []
        for (node,) in await self._fetch(sql.HISTORY_NODES):
            nodes.append(await node_reading(partial(self._rows, node), since))
        return nodes[0] if len(nodes) == 1 else MergedReading(nodes)

    async def _rows(self, node: int, name: str, *parameters: int) -> Sequence[Sequence[Any]]:
        statement: LiteralString = sql.HISTORY[name]
        return await self._fetch(statement, node, *parameters)
