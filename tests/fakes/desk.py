"""A desk that answers every question about models with what it was asked."""

from collections.abc import AsyncGenerator, Mapping, Sequence

from palyra.api.deps import AuditOutcome
from palyra.core.instant import Instant, isoformat


class FakeDesk:
    """See ``api.deps.ModelDesk``."""

    def status(self) -> Mapping[str, object]:
        return {
            "live": True,
            "default_model": None,
            "providers": [],
            "models": 1,
            "priced": 1,
            "problems": [],
        }

    def listing(self) -> Mapping[str, object]:
        return {"live": True, "items": [{"id": "gpt-4o-mini"}]}

    async def explain(self, document: Mapping[str, object]) -> Mapping[str, object]:
        return {"asked": dict(document)}

    async def test(
        self, provider_id: str | None, timeout_s: float, *, refresh: bool, discover: bool = False
    ) -> Mapping[str, object]:
        asked = {"provider": provider_id, "timeout_s": timeout_s, "refresh": refresh, "discover": discover}
        return {"ok": True, "live": True, "providers": [], "asked": asked}

    async def generate(self, provider_id: str | None, clear_key: str) -> Sequence[Mapping[str, object]]:
        return [{"provider": provider_id or "stub", "ok": bool(clear_key)}]


class FakeAuditDesk:
    """See ``api.deps.AuditDesk``: a journal that holds, or what it is told to answer."""

    def __init__(self) -> None:
        self.outcome: AuditOutcome | Exception = AuditOutcome(7, 2, "ab" * 32, None, 12)
        self.lines: list[bytes | Exception] = [b"{}\n"]

    async def verify(self) -> AuditOutcome:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    async def export(
        self, made_at: Instant, since: Instant | None, until: Instant | None
    ) -> AsyncGenerator[bytes]:
        span = [None if each is None else isoformat(each) for each in (since, until)]
        for line in (f"{isoformat(made_at)} {span}\n".encode(), *self.lines):
            if isinstance(line, Exception):
                raise line
            yield line
