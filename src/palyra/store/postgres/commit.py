"""A batch of writes as the parameters of one ``palyra_commit``: what it adds, and which slices it changes."""

from collections.abc import Collection, Sequence
from itertools import chain
from operator import add, sub
from typing import NamedTuple

from palyra.ledger.account import AccountKey
from palyra.ledger.held import NO_LIMIT, HeldEntries, Stakes
from palyra.lifecycle.decision import CallState
from palyra.store.chain import Chapter
from palyra.store.derived import Derived
from palyra.store.postgres.share import Change, Share, Shares, Slicing
from palyra.store.write import Write

NOTHING = Change(0, 0, 0, 0)


class Entry(NamedTuple):
    """One account of a commit: what it adds, and what it wants of the shared row.

    ``delta`` None leaves the shared row alone; a positive one has to fit below ``most``, a negative one gives
    back. ``wish`` is taken on top of it, as far as there is room.
    """

    share: Share
    change: Change
    delta: int | None
    wish: int
    most: int | None


def entries_of(
    batch: Sequence[Write], shares: Shares, also: Collection[AccountKey], slicing: Slicing, now: float
) -> list[Entry]:
    """The accounts that a batch changes, and those to settle ``also``, in the order of locking."""
    sums = _sum_up(batch, shares)
    entries: list[Entry] = []
    for key in sorted({*sums, *also}):
        found = sums.get(key)
        share = shares.get(key) if found is None else shares.at(key, found.window_end)
        if share is None:
            continue
        change, calls = (NOTHING, 0) if found is None else (found.change(), found.calls)
        if calls and found is not None:
            share.rate(calls, found.reserved, now)
        entries.append(_entry(share, change, bool(calls), key in also, slicing, now))
    return entries


def _entry(
    share: Share, change: Change, reserves: bool, is_settling: bool, slicing: Slicing, now: float
) -> Entry:
    free = share.free - change.posted - change.held
    target = share.target(slicing, now)
    most = share.limit if reserves else None
    if free < 0:
        return Entry(share, change, -free, target, most)
    if target and 2 * free < target:
        return Entry(share, change, 0, target - free, share.limit)
    if free > 2 * target:
        return Entry(share, change, target - free, 0, None)
    return Entry(share, change, 0 if is_settling else None, 0, None)


class _Sums:
    """What a batch does to one account; ``calls`` place holds of ``reserved`` in sum that are still held."""

    __slots__ = ("calls", "held", "posted", "reserved", "shadow_held", "shadow_posted", "window_end")

    def __init__(self, window_end: int) -> None:
        self.window_end = window_end
        self.posted = self.held = self.shadow_posted = self.shadow_held = 0
        self.calls = self.reserved = 0

    def change(self) -> Change:
        return Change(self.posted, self.held, self.shadow_posted, self.shadow_held)


class _Alike:
    """Holds and settlements of calls alike: summed place by place, and written out once."""

    __slots__ = ("calls", "held", "posted", "reserved", "stakes")

    def __init__(self, stakes: Stakes) -> None:
        self.stakes = stakes
        nothing = [0] * len(stakes.accounts)
        self.posted, self.held, self.reserved = nothing, nothing, nothing
        self.calls = 0

    def add(self, entries: HeldEntries, is_reserving: bool) -> None:
        amounts, used = entries.held.amounts, entries.used
        if used is not None:
            self.posted = list(map(add, self.posted, [used.get(metric, 0) for metric in self.stakes.metrics]))
            self.held = list(map(sub, self.held, amounts))
            return
        self.held = list(map(add, self.held, amounts))
        if is_reserving:
            self.reserved = list(map(add, self.reserved, amounts))
            self.calls += 1


def _sum_up(batch: Sequence[Write], shares: Shares) -> dict[AccountKey, _Sums]:
    """Entry lines summed per account. Notes the limits of usual calls; those of others are noted already."""
    sums: dict[AccountKey, _Sums] = {}
    alike: dict[int, _Alike] = {}
    placed = {id(write) for write in reservations_of(batch)}
    for write in batch:
        entries = write.entries
        is_reserving = id(write) in placed
        if isinstance(entries, HeldEntries):
            stakes = entries.held.stakes
            group = alike.get(id(stakes))
            if group is None:
                group = alike[id(stakes)] = _Alike(stakes)
            group.add(entries, is_reserving)
            continue
        for key, window_end, posted, held, shadow_posted, shadow_held in entries:
            found = sums.get(key)
            if found is None:
                found = sums[key] = _Sums(window_end)
            found.posted += posted
            found.held += held
            found.shadow_posted += shadow_posted
            found.shadow_held += shadow_held
            if is_reserving:
                found.calls += 1
                found.reserved += held
    for group in alike.values():
        _write_out(group, sums, shares)
    return sums


def _write_out(group: _Alike, sums: dict[AccountKey, _Sums], shares: Shares) -> None:
    stakes = group.stakes
    for place, account in enumerate(stakes.accounts):
        key = account.key
        found = sums.get(key)
        if found is None:
            found = sums[key] = _Sums(account.window_end)
        posted, held = group.posted[place], group.held[place]
        found.posted += posted
        found.held += held
        found.shadow_posted += posted
        found.shadow_held += held
        found.calls += group.calls
        found.reserved += group.reserved[place]
        if group.calls:
            limit = stakes.limits[place]
            shares.at(key, account.window_end).limit = None if limit == NO_LIMIT else limit


def reservations_of(batch: Sequence[Write]) -> list[Write]:
    """The holds that a batch places and that are still held after it."""
    ended = {write.call.id for write in batch if write.call is not None and _ends(write)}
    return [
        write
        for write in batch
        if write.state is CallState.PENDING
        and not write.essential
        and write.call is not None
        and write.call.id not in ended
    ]


def _ends(write: Write) -> bool:
    return write.essential and write.state is not CallState.PENDING


def page_parameters(chapter: Chapter, next_seq: int) -> tuple[object, ...]:
    """The parameters from ``_seq`` to ``_documents``."""
    page = chapter.page
    if page is None:
        number = chapter.number if chapter.documents is not None else 0
        return (next_seq, 0, 0, 0, number, b"", b"", chapter.documents)
    number = chapter.number if chapter.documents is not None else 0
    return (
        page.seq,
        page.records,
        page.at,
        page.open_from,
        number,
        page.body,
        page.chain,
        chapter.documents,
    )


def account_parameters(entries: Sequence[Entry], share: float) -> tuple[object, ...]:
    """The parameters from ``_policy`` to ``_share``."""
    keys = [each.share.account.key for each in entries]
    return (
        *keys_parameters(keys),
        [int(each.share.account.window_end) for each in entries],
        *([each.change[place] for each in entries] for place in range(4)),
        [each.delta for each in entries],
        [each.wish for each in entries],
        [each.most for each in entries],
        share,
    )


def keys_parameters(keys: Sequence[AccountKey]) -> tuple[list[object], ...]:
    """Account keys, column by column."""
    return tuple([key[place] for key in keys] for place in range(4))


def call_parameters(chapter: Chapter) -> tuple[object, ...]:
    """The parameters from ``_call`` to ``_reservation``; of a call that is there twice, its last row."""
    rows = list({row[0]: row for row in chapter.calls}.values())
    return _columns(rows, 13)


def rollup_parameters(sums: Derived) -> tuple[object, ...]:
    """The parameters from ``_hour`` to ``_figures``."""
    return _with_figures(sums.rollups, 5)


def other_sums_parameters(sums: Derived) -> tuple[object, ...]:
    """The parameters from ``_l_hour`` on."""
    return (
        *_columns(sums.latencies, 5),
        *_with_figures(sums.tags, 3),
        *_with_figures(sums.sessions, 8),
        *_with_figures(sums.half_days, 6),
        *_columns(sums.session_parts, 5),
    )


def claims_of(batch: Sequence[Write]) -> list[Write]:
    """The writes that change an Idempotency-Key, in the order of locking; of one call the last."""
    found = {(*write.claim[:2], write.claim.request_id): write for write in batch if write.claim is not None}
    return [found[place] for place in sorted(found)]


def claim_parameters(claims: Sequence[Write]) -> tuple[object, ...]:
    """The parameters from ``_i_principal`` to ``_i_expires``."""
    return _columns([write.claim for write in claims if write.claim is not None], 6)


def _with_figures(rows: Sequence[Sequence[object]], keys: int) -> tuple[object, ...]:
    """The first columns one by one, and all figures behind them as one list, row by row."""
    figures = list(chain.from_iterable(row[keys:] for row in rows))
    return (*_columns([row[:keys] for row in rows], keys), figures)


def _columns(rows: Sequence[Sequence[object]], count: int) -> tuple[list[object], ...]:
    return tuple([row[place] for row in rows] for place in range(count))
