"""Money: integer nano-USD (1e-9 USD) in the ledger, Decimal USD at the edges, never float."""

from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation, localcontext
from typing import NewType

NanoUsd = NewType("NanoUsd", int)

NANO_PER_USD = 1_000_000_000
INT64_MAX = 2**63 - 1
USD_MAX = Decimal(INT64_MAX) / NANO_PER_USD
"""The largest amount an account can carry: about 9.2 billion USD."""


def nano_from_usd(amount: Decimal) -> NanoUsd:
    """Round USD to nano-USD, half-even. Raises ValueError if it is not finite or does not fit int64."""
    if not amount.is_finite():
        raise ValueError("an amount of money must be a finite number")
    if abs(amount) > USD_MAX:
        raise ValueError(f"an amount of money must be at most {USD_MAX:.0f} USD")
    with localcontext() as context:
        context.prec = 50
        return NanoUsd(int((amount * NANO_PER_USD).to_integral_value(ROUND_HALF_EVEN)))


def parse_usd(text: str | int | Decimal) -> NanoUsd:
    """Parse a decimal string such as ``"5.00"`` to nano-USD, exactly.

    Floats are refused on purpose; more than nine decimals are refused, not rounded.
    Raises ValueError with a message fit for the user.
    """
    if isinstance(text, bool):
        raise ValueError("an amount of money must be a decimal string such as '5.00'")
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise ValueError(
            f"{text!r} is not an amount of money; write a decimal string such as '5.00'"
        ) from None
    nano = nano_from_usd(amount)
    if Decimal(nano) != amount * NANO_PER_USD:
        raise ValueError(f"{text!r} is finer than one nano-USD (nine decimals)")
    return nano


def format_usd(nano: int) -> str:
    """Write nano-USD as a decimal string of USD with at least two decimals: 1_500_000_000 -> "1.50"."""
    if nano < 0:
        return "-" + format_usd(-nano)
    text = f"{nano // NANO_PER_USD}.{nano % NANO_PER_USD:09d}"
    return text[:-7] + text[-7:].rstrip("0")
