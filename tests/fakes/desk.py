"""A desk that answers every question about models with what it was asked."""

from collections.abc import Mapping, Sequence


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
