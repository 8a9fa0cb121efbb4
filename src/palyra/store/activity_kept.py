"""Sessions, tags and latencies in memory, summed up from the writes that a database would store."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from operator import add

from palyra.core.hours import HALF_DAY_NS
from palyra.core.instant import Instant
from palyra.lifecycle.activity import LatencyCounts, SessionFilter, SessionTotals, TagTotals
from palyra.store.derived import SESSION_FIGURES, Derived


class KeptActivity:
    """The reading half of ``ActivityRecords``."""

    def _kept_sums(self) -> Sequence[Derived]:
        """What every commit added."""
        raise NotImplementedError

    async def sessions(self, wanted: SessionFilter) -> Sequence[SessionTotals]:
        """See ``ActivityRecords.sessions``."""
        after, order = wanted.after, wanted.order
        parts: dict[tuple[str, str], set[tuple[str, str, str]]] = {}
        for added in self._kept_sums():
            for principal, session, *names in added.session_parts:
                parts.setdefault((principal, session), set()).add((names[0], names[1], names[2]))
        users = {
            principal
            for added in self._kept_sums()
            for half_day, principal, *names in added.half_days
            if (wanted.since is None or half_day >= wanted.since - wanted.since % HALF_DAY_NS)
            and (wanted.until is None or half_day < wanted.until)
            and _is_of(wanted, (names[0], names[1], names[2]))
        }
        is_named = (wanted.agent, wanted.model, wanted.provider) != (None, None, None)
        found = [
            each
            for each in self._kept_sessions().values()
            if wanted.principal in (None, each.principal)
            and (not is_named or each.principal in users)
            and any(_is_of(wanted, part) for part in parts[each.principal, each.session])
            and (wanted.since is None or each.last_at >= wanted.since)
            and (wanted.until is None or each.first_at < wanted.until)
            and (after is None or each.place(order) < after)
        ]
        return sorted(found, key=lambda each: each.place(order), reverse=True)[: wanted.limit]

    async def session(self, principal: str, session: str) -> SessionTotals | None:
        """See ``ActivityRecords.session``."""
        return self._kept_sessions().get((principal, session))

    async def tags(self, since: Instant, until: Instant, tag: str | None = None) -> Sequence[TagTotals]:
        """See ``ActivityRecords.tags``."""
        sums: dict[tuple[str, str], Sequence[int]] = {}
        for added in self._kept_sums():
            for hour, name, value, *figures in added.tags:
                if since <= hour < until and tag in (None, name):
                    sums[name, value] = list(map(add, sums.get((name, value), [0] * 4), figures))
        found = [TagTotals(*names, *figures) for names, figures in sums.items()]
        return sorted(found, key=lambda each: (-each.cost, each.tag, each.value))

    async def latencies(
        self, since: Instant, until: Instant, provider: str | None = None, model: str | None = None
    ) -> Sequence[LatencyCounts]:
        """See ``ActivityRecords.latencies``."""
        counts: dict[tuple[str, str], Counter[int]] = {}
        for added in self._kept_sums():
            for hour, *names, bucket, calls in added.latencies:
                if since <= hour < until and provider in (None, names[0]) and model in (None, names[1]):
                    counts.setdefault((names[0], names[1]), Counter())[bucket] += calls
        return [LatencyCounts(*names, dict(counts[names])) for names in sorted(counts)]

    async def all_latencies(
        self, since: Instant, until: Instant, provider: str | None = None, model: str | None = None
    ) -> Mapping[int, int]:
        """See ``ActivityRecords.all_latencies``."""
        counts: Counter[int] = Counter()
        for each in await self.latencies(since, until, provider, model):
            counts.update(each.calls)
        return counts

    def _kept_sessions(self) -> dict[tuple[str, str], SessionTotals]:
        found: dict[tuple[str, str], SessionTotals] = {}
        for added in self._kept_sums():
            for row in added.sessions:
                made = SessionTotals(*row)
                place = made.principal, made.session
                found[place] = _merged(found[place], made) if place in found else made
        return found


def _is_of(wanted: SessionFilter, part: tuple[str, str, str]) -> bool:
    asked = wanted.agent, wanted.model, wanted.provider
    return all(name in (None, has) for name, has in zip(asked, part, strict=True))


def _merged(one: SessionTotals, other: SessionTotals) -> SessionTotals:
    first = min(one, other, key=lambda each: each.first_call)
    last = one if one.last_call >= other.last_call else other
    sums = {name: getattr(one, name) + getattr(other, name) for name in SESSION_FIGURES}
    return replace(last, first_at=first.first_at, first_call=first.first_call, **sums)
