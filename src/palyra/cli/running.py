"""The rules of a running daemon, for commands that otherwise know only the configuration file."""

from dataclasses import replace
from typing import Any

from palyra.budgets.policy import WRITABLE_FIELDS, Policy, PolicyDefaults, parse_policy
from palyra.cli.client import Client
from palyra.config.settings import Settings
from palyra.core.instant import parse_instant
from palyra.identity.keys import ApiKey, Role


def with_running_rules(settings: Settings, client: Client) -> Settings:
    """The settings, with the budgets and active keys that were made at run time. Raises CommandError."""
    written = {policy.id for policy in settings.budgets}
    budgets = [_policy(each) for each in client.get("/budgets")["items"] if each["id"] not in written]
    keys = [_key(each) for each in client.items("/keys", revoked="false")]
    return replace(settings, budgets=(*settings.budgets, *budgets), keys=tuple(keys))


def _policy(document: dict[str, Any]) -> Policy:
    return parse_policy(
        {name: document[name] for name in WRITABLE_FIELDS if document.get(name) is not None},
        defaults=PolicyDefaults(),
        version=document["version"],
        actor=document["updated_by"],
        origin=document["origin"],
    )


def _key(document: dict[str, Any]) -> ApiKey:
    """A key as the API shows it: its hash stays with the daemon."""
    return ApiKey(
        id=document["id"],
        sha256="",
        prefix=document["prefix"],
        principal=document["principal"],
        agent=document["agent"],
        roles=frozenset(Role(role) for role in document["roles"]),
        models=tuple(document["models"]),
        tags=document["tags"],
        created_at=parse_instant(document["created_at"]),
        created_by=document["created_by"],
        revoked_at=None,
        origin=document["origin"],
    )
