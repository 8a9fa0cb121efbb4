"""Gateways side by side: each says how it is installed, started and asked."""

from collections.abc import Iterable, Sequence

from benchmarks.contenders import litellm, palyra
from benchmarks.contenders.base import Contender
from benchmarks.contenders.haproxy import Haproxy
from benchmarks.contenders.mlflow import Mlflow
from benchmarks.contenders.nginx import Nginx
from benchmarks.contenders.portkey import Portkey
from benchmarks.contenders.tensorzero import TensorZero

ALL: tuple[Contender, ...] = (
    Nginx(),
    Haproxy(),
    *palyra.VARIANTS,
    TensorZero(),
    Mlflow(),
    Portkey(),
    *litellm.VARIANTS,
)
QUICK: tuple[Contender, ...] = (Nginx(), *palyra.VARIANTS[:2])


def names() -> list[str]:
    """The names of all."""
    return [each.name for each in ALL]


def named(wanted: Iterable[str]) -> Sequence[Contender]:
    """Those with these names, in the usual order. SystemExit for a name that no contender has."""
    asked = {name.strip() for name in wanted}
    if unknown := asked - set(names()):
        raise SystemExit(
            f"no contender is called {', '.join(sorted(unknown))}; there are {', '.join(names())}"
        )
    return [each for each in ALL if each.name in asked]
