"""One Idempotency-Key, one effect (K1): who may go on, who must wait, who gets the first answer again.

Answers are kept in memory only, within bounds: prompt and completion text is not stored.
"""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass

from palyra.core.errors import IdempotencyInFlight, IdempotencyMismatch, IdempotencySettled
from palyra.core.limits import IDEMPOTENCY_REPLAY_BYTES_MAX, IDEMPOTENCY_REPLAY_TOTAL_BYTES_MAX
from palyra.lifecycle.call import Call
from palyra.lifecycle.ports import IdempotencyClaim, Records

Header = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Replay:
    """An answer given before: the same status, headers and bytes."""

    status: int
    headers: tuple[Header, ...]
    body: bytes


class Replays:
    """Recent answers by request id, oldest dropped first; both one answer and their sum are bounded."""

    def __init__(
        self,
        each_max: int = IDEMPOTENCY_REPLAY_BYTES_MAX,
        total_max: int = IDEMPOTENCY_REPLAY_TOTAL_BYTES_MAX,
    ) -> None:
        self._each_max = each_max
        self._total_max = total_max
        self._total = 0
        self._kept: OrderedDict[str, Replay] = OrderedDict()

    def keep(self, request_id: str, replay: Replay) -> None:
        """Keep an answer unless it is too large."""
        if len(replay.body) > self._each_max or request_id in self._kept:
            return
        self._kept[request_id] = replay
        self._total += len(replay.body)
        while self._total > self._total_max:
            _, dropped = self._kept.popitem(last=False)
            self._total -= len(dropped.body)

    def find(self, request_id: str) -> Replay | None:
        """The answer of a request, if it is still kept."""
        return self._kept.get(request_id)


def claim_of(call: Call, principal: str) -> IdempotencyClaim | None:
    """The claim that the call's Idempotency-Key makes, None without one."""
    if call.idempotency_key is None:
        return None
    return IdempotencyClaim(principal, call.idempotency_key, fingerprint_of(call))


def fingerprint_of(call: Call) -> bytes:
    """What makes a call the same call: the SHA-256 of its endpoint and its body."""
    digest = hashlib.sha256(f"{call.endpoint}\n".encode())
    digest.update(call.raw_body)
    return digest.digest()


def earlier_answer(claim: IdempotencyClaim, records: Records, replays: Replays) -> tuple[str, Replay] | None:
    """The answer that the key was given before, with its request id; None if the key is new.

    Raises IdempotencyMismatch for another body, IdempotencyInFlight while the first call runs, and
    IdempotencySettled when the first answer is gone.
    """
    entry = records.idempotency(claim.principal, claim.key)
    if entry is None:
        return None
    if entry.fingerprint != claim.fingerprint:
        raise IdempotencyMismatch(
            "this Idempotency-Key was used with another body or endpoint; use a new key for a new request",
            param="Idempotency-Key",
        )
    if not entry.finished:
        raise IdempotencyInFlight(
            f"request {entry.request_id} with this Idempotency-Key is still running; retry in a moment",
            param="Idempotency-Key",
        )
    replay = replays.find(entry.request_id)
    if replay is None:
        raise IdempotencySettled(
            f"this Idempotency-Key was served by request {entry.request_id} and its answer is gone; "
            f"see palyra explain {entry.request_id}, or use a new key to run it again",
            param="Idempotency-Key",
        )
    return entry.request_id, replay
