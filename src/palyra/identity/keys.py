"""API keys and the subjects they stand for. A key gives at most what its issuer has (DESIGN section 11)."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Literal, cast

from palyra.core.errors import FieldError
from palyra.core.fields import refuse_unknown
from palyra.core.instant import Instant
from palyra.identity.fields import (
    read_label,
    read_labels,
    read_optional_label,
    read_tags,
)
from palyra.identity.models import AllowedModels

KeyOrigin = Literal["file", "api"]

KEY_START = "sk-palyra-"
KEY_RANDOM_BYTES = 32
_SHOWN_CHARS = len(KEY_START) + 4
_SHA256_CHARS = 64
_HEX = frozenset("0123456789abcdef")
_UNKNOWN_TIME = Instant(0)


class Role(StrEnum):
    """What a subject may do; each role may do what the ones of lower rank may."""

    OWNER = "owner"
    ADMIN = "admin"
    OPERATOR = "operator"
    VIEWER = "viewer"
    CALLER = "caller"

    @property
    def rank(self) -> int:
        """0 for caller (data plane only) up to 4 for owner."""
        match self:
            case Role.OWNER:
                return 4
            case Role.ADMIN:
                return 3
            case Role.OPERATOR:
                return 2
            case Role.VIEWER:
                return 1
            case _:
                return 0


@dataclass(frozen=True, slots=True)
class Grant:
    """What a key gives: for whom, pinned to which agent, as what, on which models, with which tags.

    ``models`` are ids or patterns with ``*``; empty means all. ``agent`` and ``tags`` cannot be
    overridden by the client.
    """

    principal: str
    agent: str | None = None
    roles: frozenset[Role] = frozenset({Role.CALLER})
    models: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Subject:
    """Who a call acts for, as its key says."""

    key_id: str
    principal: str
    agent: str | None
    roles: frozenset[Role]
    models: tuple[str, ...]
    tags: Mapping[str, str]
    rank: int = field(init=False, compare=False, repr=False)
    allowed_models: AllowedModels = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rank", max((role.rank for role in self.roles), default=-1))
        object.__setattr__(self, "allowed_models", AllowedModels(self.models))

    def may_use(self, model: str) -> bool:
        """True if the key allows ``model`` (an id or an alias such as ``auto``)."""
        allowed = self.allowed_models
        return allowed.everything or model in allowed

    def may_act_as(self, role: Role) -> bool:
        """True if one of the roles is ``role`` or a higher one."""
        return self.rank >= role.rank


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is stored: never in clear. ``sha256`` is hex, ``prefix`` is what people recognise it by.

    ``created_by`` is the id of the issuing key, or ``config`` for keys of the configuration file.
    """

    id: str
    sha256: str
    prefix: str
    principal: str
    agent: str | None
    roles: frozenset[Role]
    models: tuple[str, ...]
    tags: Mapping[str, str]
    created_at: Instant
    created_by: str
    revoked_at: Instant | None
    origin: KeyOrigin

    def subject(self) -> Subject:
        """The subject that presents this key."""
        return Subject(self.id, self.principal, self.agent, self.roles, self.models, self.tags)

    def grant(self) -> Grant:
        """What the key gives."""
        return Grant(self.principal, self.agent, self.roles, self.models, self.tags)


def hash_key(clear: str) -> str:
    """SHA-256 of the key in clear, as 64 hex digits. Keys have 256 random bits, so no salt is needed."""
    return hashlib.sha256(clear.encode("utf-8", "surrogatepass")).hexdigest()


def format_key(random_bytes: bytes) -> str:
    """The key in clear from 32 random bytes: ``sk-palyra-`` and 43 more. Raises ValueError otherwise."""
    if len(random_bytes) != KEY_RANDOM_BYTES:
        raise ValueError(f"a key is made of {KEY_RANDOM_BYTES} random bytes, not {len(random_bytes)}")
    return KEY_START + base64.urlsafe_b64encode(random_bytes).rstrip(b"=").decode("ascii")


def key_prefix(clear: str) -> str:
    """The first characters of a key, safe to show: ``sk-palyra-AbC1``."""
    return clear[:_SHOWN_CHARS]


def key_id_of(principal: str, token: str) -> str:
    """The id of the key that ``principal`` makes with the Idempotency-Key ``token``: the same each time."""
    length = len(principal.encode())
    return "key_" + hashlib.sha256(f"{length}:{principal}{token}".encode()).hexdigest()[:32]


def may_loosen_mode(subject: Subject) -> bool:
    """True if the subject may ask for a less strict mode than the configured one."""
    return subject.may_act_as(Role.ADMIN)


def check_grant(issuer: Subject, draft: Grant) -> None:
    """Refuse a draft that gives more than ``issuer`` has. Raises FieldError naming the field.

    Only admins and owners issue keys for another principal; nobody gives a role above the own one, a
    model the own key does not allow, or leaves a pinned agent or tag.
    """
    if draft.principal != issuer.principal and not issuer.may_act_as(Role.ADMIN):
        raise FieldError(
            "principal", f"your key may issue keys for {issuer.principal!r} only; an admin may for others."
        )
    if issuer.agent is not None and draft.agent != issuer.agent:
        raise FieldError("agent", f"your key is pinned to {issuer.agent!r}; write that agent.")
    for role in sorted(draft.roles):
        if not issuer.may_act_as(role):
            raise FieldError("roles", f"{role.value!r} is above your own role; leave it out.")
    _check_models(issuer, draft)
    for key, value in issuer.tags.items():
        if draft.tags.get(key) != value:
            raise FieldError(f"tags.{key}", f"your key carries {key}={value}; write the same tag.")


def covers(issuer: Subject, subject: Subject) -> bool:
    """True if ``subject`` still has no right that ``issuer`` lacks: for the check at use."""
    draft = Grant(subject.principal, subject.agent, subject.roles, subject.models, subject.tags)
    try:
        check_grant(issuer, draft)
    except FieldError:
        return False
    return True


def parse_grant(data: Mapping[str, object]) -> Grant:
    """Read what a new key shall give (API body). ``roles`` defaults to caller.

    Raises FieldError naming the field; nothing is ignored.
    """
    refuse_unknown(data, _GRANT_FIELDS, "a key")
    return _read_grant(data)


def parse_key_entry(
    data: Mapping[str, object], field: str = "", *, created_at: Instant = _UNKNOWN_TIME
) -> ApiKey:
    """Read one ``[[keys]]`` entry of the configuration; ``field`` (``keys[0]``) is put before field names.

    The entry holds the SHA-256 of the key, never the key. Raises FieldError; nothing is ignored.
    """
    try:
        refuse_unknown(data, ("id", "sha256", *_GRANT_FIELDS), "a key")
        key_id, sha256, grant = read_label(data, "id"), _read_sha256(data), _read_grant(data)
    except FieldError as error:
        raise (error.under(field) if field else error) from None
    return ApiKey(
        id=key_id,
        sha256=sha256,
        prefix=f"sha256:{sha256[:8]}",
        principal=grant.principal,
        agent=grant.agent,
        roles=grant.roles,
        models=grant.models,
        tags=grant.tags,
        created_at=created_at,
        created_by="config",
        revoked_at=None,
        origin="file",
    )


_GRANT_FIELDS = ("principal", "agent", "roles", "models", "tags")


def _read_grant(data: Mapping[str, object]) -> Grant:
    return Grant(
        principal=read_label(data, "principal"),
        agent=read_optional_label(data, "agent"),
        roles=_read_roles(data),
        models=read_labels(data, "models"),
        tags=MappingProxyType(read_tags(data, "tags")),
    )


def _read_roles(data: Mapping[str, object]) -> frozenset[Role]:
    if data.get("roles") is None:
        return frozenset({Role.CALLER})
    names = read_labels(data, "roles")
    valid = [role.value for role in Role]
    if not names:
        raise FieldError("roles", f"is empty; write at least one of: {', '.join(valid)}.")
    for place, name in enumerate(names):
        if name not in valid:
            raise FieldError(f"roles[{place}]", f"{name!r} is not one of: {', '.join(valid)}.")
    return frozenset(Role(name) for name in names)


def _read_sha256(data: Mapping[str, object]) -> str:
    value = cast("object", data.get("sha256"))
    if isinstance(value, str) and value.startswith(KEY_START):
        raise FieldError("sha256", "holds a key in clear; write its SHA-256 as 64 hex digits, and revoke it.")
    if not isinstance(value, str) or len(value) != _SHA256_CHARS or not _HEX.issuperset(value.lower()):
        raise FieldError("sha256", "must be the SHA-256 of the key as 64 hex digits.")
    return value.lower()


def _check_models(issuer: Subject, draft: Grant) -> None:
    if issuer.allowed_models.everything:
        return
    allowed = ", ".join(issuer.models)
    if not draft.models:
        raise FieldError(
            "models", f"would allow every model; your key allows: {allowed}. Write some of them."
        )
    for place, pattern in enumerate(draft.models):
        if not issuer.allowed_models.covers(pattern):
            raise FieldError(f"models[{place}]", f"{pattern!r} is not among those of your key: {allowed}.")
