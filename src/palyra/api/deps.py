"""What the control plane is given. Nothing here is looked up anywhere else."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from palyra.lifecycle.ports import Clock, Ledger, Records
from palyra.lifecycle.rules import Rules

BODY_BYTES_MAX = 1024 * 1024
"""No document of the control plane is larger (V2)."""


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the ledger takes calls; ``reason`` says why not, in words fit for strangers."""

    writable: bool
    reason: str = ""


class Sample(NamedTuple):
    """One number for ``/metrics``. ``name`` is a Prometheus name without the ``_total`` of counters."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class ApiDeps:
    """Everything the control plane needs.

    ``prices`` and ``models`` give JSON documents (``{"version", "items"}`` and ``{"items"}``), ``samples``
    the numbers of ``/metrics``. ``hosts`` are the host names (no port) that requests may name; ``"*"``
    stands for any and is for a daemon behind a proxy that checks them.
    """

    rules: Rules
    records: Records
    ledger: Ledger
    clock: Clock
    prices: Callable[[], Mapping[str, object]]
    models: Callable[[], Mapping[str, object]]
    health: Callable[[], Health]
    samples: Callable[[], Sequence[Sample]]
    hosts: frozenset[str]
    version: str
    body_bytes_max: int = BODY_BYTES_MAX
