"""Latencies in classes, four to each doubling: a quantile is known to an eighth without every figure."""

from collections.abc import Mapping

BUCKETS = 80
"""How many classes there are; the last one begins at half an hour and has no end."""


def bucket_of(milliseconds: int) -> int:
    """The class of a latency, from 0. Up to 7 ms each has its own."""
    if milliseconds < 4:
        return max(0, milliseconds)
    bits = milliseconds.bit_length()
    return min(BUCKETS - 1, 4 * (bits - 2) + (milliseconds >> bits - 3 & 3))


def bounds_of(bucket: int) -> tuple[int, int]:
    """The least and the greatest latency of a class, in milliseconds."""
    return _least(bucket), _least(bucket + 1) - 1


def quantile_ms(calls: Mapping[int, int], permille: int) -> int | None:
    """The latency in milliseconds that so many thousandths of the calls do not exceed; None without calls.

    ``calls`` counts them by class. It is the middle of its class: at most an eighth of it off.
    """
    rank = -(-sum(calls.values()) * permille // 1_000)
    for bucket in sorted(calls):
        rank -= calls[bucket]
        if rank <= 0 < calls[bucket]:
            return sum(bounds_of(bucket)) // 2
    return None


def _least(bucket: int) -> int:
    return bucket if bucket < 4 else 4 + bucket % 4 << bucket // 4 - 1
