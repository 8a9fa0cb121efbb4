"""A ledger that notes how long reservations take to become durable, and what was settled."""

import time
from typing import Any

from palyra.ledger.account import Shortfall
from palyra.ledger.event import Settled
from palyra.ledger.held import Reservation
from palyra.lifecycle.decision import AnyDecision, Settlement
from palyra.lifecycle.ports import Done, IdempotencyClaim


class Stopwatch:
    """``waits`` are in seconds; ``settled`` is the sum of the costs that are durable, in nano-USD."""

    def __init__(self, ledger: Any) -> None:
        self.waits: list[float] = []
        self.settled = 0
        self._ledger = ledger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    def reserve(
        self, event: Reservation, decision: AnyDecision, claim: IdempotencyClaim | None, done: Done
    ) -> Shortfall | None:
        """See ``Ledger.reserve``."""
        begun = time.perf_counter()

        def durable(error: Exception | None) -> None:
            self.waits.append(time.perf_counter() - begun)
            done(error)

        return self._ledger.reserve(event, decision, claim, durable)

    def settle(self, event: Settled, decision: AnyDecision, settlement: Settlement, done: Done) -> None:
        """See ``Ledger.settle``."""

        def durable(error: Exception | None) -> None:
            if error is None:
                self.settled += settlement.cost or 0
            done(error)

        self._ledger.settle(event, decision, settlement, durable)
