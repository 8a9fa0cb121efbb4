"""A simulation of other budgets on what a bench recorded, and all that it found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fakes.engines import Bench
from palyra.budgets.policy import Policy
from palyra.budgets.terms import Mode
from palyra.core.instant import Instant
from palyra.ledger.account import AccountKey, Balance
from palyra.lifecycle.history import PastCall
from palyra.lifecycle.replay import replay
from palyra.lifecycle.simulate import Ended, Simulated, Simulation, Terms


@dataclass(slots=True)
class Kept:
    """A watcher that keeps everything."""

    decisions: list[tuple[PastCall, Simulated | None]] = field(
        default_factory=list[tuple[PastCall, Simulated | None]]
    )
    ends: list[Ended] = field(default_factory=list[Ended])
    balances: Mapping[AccountKey, Balance] = field(default_factory=dict[AccountKey, Balance])
    pending: int = 0

    def decided(self, past: PastCall, simulated: Simulated | None) -> None:
        self.decisions.append((past, simulated))

    def ended(self, ended: Ended) -> None:
        self.ends.append(ended)


async def simulated(bench: Bench, policies: Sequence[Policy], mode: Mode | None = None) -> Kept:
    """All that these policies would have made of the calls of a bench."""
    kept = Kept()
    simulation = Simulation(Terms(policies, mode), bench.engine)
    await replay(bench.store.history, Instant(0), simulation, kept, _say_nothing)
    book = simulation.book
    kept.balances = {key: account.balance() for key, account in book.accounts.items()}
    kept.pending = len(book.pending)
    return kept


async def _say_nothing(done: int, total: int) -> None:
    assert 0 <= done <= total
