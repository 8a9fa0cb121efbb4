"""The words a budget policy is made of (DESIGN sections 2 and 4)."""

from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple, Self

from palyra.core.money import format_usd

EACH = "*"
"""As the id of a scope: every entity of the kind has an account of its own."""

TIERS = ("low", "standard", "premium")
"""The words that stand for every model of a cost tier, cheapest first, where a model id could be written."""


class ScopeKind(StrEnum):
    """What a budget binds."""

    GLOBAL = "global"
    PRINCIPAL = "principal"
    AGENT = "agent"
    SESSION = "session"
    PROVIDER = "provider"
    MODEL = "model"
    TAG = "tag"


class Metric(StrEnum):
    """What a budget counts: ``cost_usd`` in nano-USD, the others in whole tokens or requests."""

    COST_USD = "cost_usd"
    TOTAL_TOKENS = "total_tokens"
    INPUT_TOKENS = "input_tokens"
    OUTPUT_TOKENS = "output_tokens"
    REQUESTS = "requests"


_COST = Metric.COST_USD


class Action(StrEnum):
    """What happens when a call would exceed the hard limit."""

    BLOCK = "block"
    APPROVAL_REQUIRED = "approval_required"
    DEGRADE = "degrade"
    ALERT = "alert"


class UnknownPrice(StrEnum):
    """What happens to a call whose cost cannot be computed, under a money budget."""

    DENY = "deny"
    CEILING = "ceiling"
    ALLOW = "allow"


class Mode(StrEnum):
    """How far a policy reaches. Strictness: suggest < dry_run < enforced."""

    SUGGEST = "suggest"
    DRY_RUN = "dry_run"
    ENFORCED = "enforced"

    @property
    def strictness(self) -> int:
        """0 for suggest, 1 for dry_run, 2 for enforced."""
        if self is Mode.ENFORCED:
            return 2
        return 1 if self is Mode.DRY_RUN else 0

    def at_most(self, cap: "Mode | None") -> "Mode":
        """The less strict of the two; without a cap, this mode."""
        return self if cap is None or self.strictness <= cap.strictness else cap

    def strictest(self, *others: "Mode") -> "Mode":
        """The strictest of this mode and the others."""
        return max((self, *others), key=lambda mode: mode.strictness)


class Then(StrEnum):
    """What a threshold does once it is reached."""

    NOTIFY = "notify"
    ROUTING_MODE = "routing_mode"
    DEGRADE = "degrade"


class Scope(NamedTuple):
    """What a policy binds: a kind and an id; ``*`` as the id gives each entity its own account."""

    kind: ScopeKind
    id: str

    @property
    def each(self) -> bool:
        """True if the scope names no single entity (``principal:*``, ``tag:team=*``)."""
        return self.id == EACH or (self.kind is ScopeKind.TAG and self.id.endswith("=*"))

    @classmethod
    def everything(cls) -> Self:
        """The scope of every call."""
        return cls(ScopeKind.GLOBAL, EACH)

    def __str__(self) -> str:
        return "global" if self.kind is ScopeKind.GLOBAL else f"{self.kind.value}:{self.id}"


class Threshold(NamedTuple):
    """At this fraction of the limit (the hard one, else the soft one) do something.

    ``to`` is the mode that ``routing_mode`` sets; None means the policy's ``routing_mode_override``.
    For ``degrade`` it is a model id or one of TIERS; None means the policy's ``degrade_to``, and without
    that any cheaper model.
    """

    at: Decimal
    then: Then
    to: str | None = None


def format_amount(metric: Metric, amount: int) -> str:
    """An amount with its unit, for people: ``4.50 USD``, ``1200 tokens``, ``1 request``."""
    if metric is _COST:
        return f"{format_usd(amount)} USD"
    unit = "request" if metric is Metric.REQUESTS else "token"
    return f"{amount} {unit}" if amount == 1 else f"{amount} {unit}s"


def amount_fields(metric: Metric, name: str, amount: int | None) -> dict[str, object]:
    """JSON fields of an amount: money as ``<name>_nano_usd`` and ``<name>_usd``, a count as ``<name>``."""
    if metric is not _COST:
        return {name: amount}
    return {f"{name}_nano_usd": amount, f"{name}_usd": None if amount is None else format_usd(amount)}
