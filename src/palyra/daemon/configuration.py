"""What of the settings goes into the journal: whatever decides about money or rights, and nothing secret."""

from pathlib import Path

from palyra.config.settings import AuthSettings, Settings
from palyra.daemon.storage import gateway_name
from palyra.identity.keys import Role
from palyra.lifecycle.configured import Document, described
from palyra.lifecycle.rules import CONFIGURED_OWNER, OWNER_PRINCIPAL
from palyra.pricing.base import BasePrices

_ACTOR = "config"


def documents_of(settings: Settings, catalog: BasePrices) -> dict[str, Document]:
    """Budgets, keys, prices, governance, and which price list lies below the prices, by name."""
    governance = settings.governance
    return {
        **described(settings.budgets, settings.keys, settings.prices),
        **_owner_key(settings.auth),
        "governance": {
            "mode": governance.mode.value,
            "timezone": governance.timezone,
            "unknown_price": governance.unknown_price.value,
            "default_model": governance.default_model,
        },
        "pricebook": {"source": catalog.source},
    }


def actor_of(settings: Settings) -> str:
    """Who changed what the file says: ``config``, and at which gateway where there may be several."""
    if isinstance(settings.server.database, Path):
        return _ACTOR
    return f"{_ACTOR}@{gateway_name(settings)}"


def _owner_key(auth: AuthSettings) -> dict[str, Document]:
    """The owner key by where it is kept: people choose it, so that even its hash would tell of it."""
    if not auth.owner_key:
        return {}
    document = {
        "id": CONFIGURED_OWNER,
        "principal": OWNER_PRINCIPAL,
        "roles": [Role.OWNER.value],
        "reference": auth.owner_key_ref,
    }
    return {f"key/{CONFIGURED_OWNER}": document}
