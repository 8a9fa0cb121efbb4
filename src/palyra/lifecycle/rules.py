"""The rules in force: policies and keys as one snapshot, swapped whole by one assignment.

A call reads ``rules.snapshot`` once and decides by it, so that an edit applies to the next call and no call
sees half of one. Every change is on disk, with its audit entry, before the snapshot is swapped.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, TypeVar

from palyra.budgets.index import PolicyIndex
from palyra.budgets.policy import (
    Known,
    Policy,
    PolicyDefaults,
    parse_policy,
    policy_to_dict,
    unknown_target,
    unmatchable,
)
from palyra.budgets.problems import policy_problems
from palyra.core.errors import (
    AlreadyExists,
    FieldError,
    Forbidden,
    IdempotencyMismatch,
    NotFound,
    ReadOnly,
    RulesStale,
    VersionConflict,
)
from palyra.core.instant import Instant, isoformat
from palyra.core.secret import Secret
from palyra.identity.keys import (
    KEY_RANDOM_BYTES,
    ApiKey,
    Grant,
    KeyOrigin,
    Role,
    Subject,
    check_grant,
    covers,
    format_key,
    hash_key,
    key_id_of,
    key_prefix,
)
from palyra.lifecycle.ports import AuditEntry, Clock, Records

OWNER_PRINCIPAL = "owner"
CONFIGURED_OWNER = "owner-key"
"""Id of the owner key that the configuration gives by reference."""

CHANGES_TRIED_MAX = 8
_FIRST_START = "first-start"
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One set of rules. ``keys`` and ``subjects``: SHA-256 in hex -> active key, and who presents it."""

    version: int
    index: PolicyIndex
    policies: Mapping[str, Policy]
    keys: Mapping[str, ApiKey]
    subjects: Mapping[str, Subject]

    def subject(self, clear: str) -> Subject | None:
        """The subject that presents ``clear``, or None for a key that is unknown or revoked."""
        return self.subjects.get(hash_key(clear))


@dataclass(frozen=True, slots=True)
class PolicyVerdict:
    """What would become of a budget if it was written now: ``policy`` where there are no ``problems``.

    ``exists``: there is a budget of this id, which it would replace.
    """

    problems: Sequence[FieldError]
    policy: Policy | None
    exists: bool


class Rules:
    """Owner of the snapshot and the only writer of policies and keys.

    ``known`` says what is configured right now, ``random_bytes(n)`` gives n secret bytes, ``new_id`` an id.
    """

    def __init__(
        self,
        records: Records,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
        new_id: Callable[[], str],
        file_policies: Iterable[Policy],
        file_keys: Iterable[ApiKey],
        known: Callable[[], Known],
        defaults: PolicyDefaults,
    ) -> None:
        self._records = records
        self._clock = clock
        self._random_bytes = random_bytes
        self._new_id = new_id
        self._known = known
        self._defaults = defaults
        self._file_policies = {policy.id: policy for policy in file_policies}
        self._policies: dict[str, Policy] = {}
        self._keys: dict[str, ApiKey] = {key.id: key for key in file_keys}
        self._writing = asyncio.Lock()
        self._changes: set[asyncio.Task[Any]] = set()
        self.snapshot = self._build(0)

    @property
    def all_keys(self) -> list[ApiKey]:
        """Every key ever made, revoked ones included, oldest first."""
        return sorted(self._keys.values(), key=lambda key: (key.created_at, key.id))

    def subject_of(self, key_id: str) -> Subject | None:
        """Who presents a key that is active now, by its id."""
        key = self._keys.get(key_id)
        return self.snapshot.subjects.get(key.sha256) if key is not None else None

    def principal_of(self, key_id: str) -> str | None:
        """Whose key it is or was, None for what is the id of no key."""
        key = self._keys.get(key_id)
        return None if key is None else key.principal

    def key_of(self, key_id: str) -> ApiKey | None:
        """A key that is active now, by its id."""
        key = self._keys.get(key_id)
        return self.snapshot.keys.get(key.sha256) if key is not None else None

    async def load(self) -> None:
        """Read what was made through the API. A policy of the file hides a stored one of the same id."""
        stored = await self._records.policies()
        keys = await self._records.keys()
        self._policies = {policy.id: policy for policy in stored}
        # A key of the file wins over a stored one of the same id, as policies do.
        self._keys = {key.id: key for key in keys} | {
            key.id: key for key in self._keys.values() if key.origin == "file"
        }
        self._swap()

    async def reload(self) -> None:
        """Read what another gateway changed; a change that is being made here is made first."""
        async with self._writing:
            await self.load()

    async def set_policy(
        self, document: Mapping[str, object], *, actor: str, expected_version: int | None
    ) -> Policy:
        """Create or replace a policy; the next call sees it, balances are kept.

        ``expected_version`` is the version the writer has seen, 0 for none, None for any. Raises FieldError,
        ReadOnly for a policy of the config file, VersionConflict.
        """
        return await self._alone(lambda: self._set_policy(dict(document), actor, expected_version))

    async def check_policy(self, document: Mapping[str, object], *, actor: str) -> PolicyVerdict:
        """Look at a budget as ``set_policy`` does, and change nothing."""
        policy_id = document.get("id")
        before = self.snapshot.policies.get(policy_id) if isinstance(policy_id, str) else None
        problems = policy_problems(document, self._defaults, self._known())
        if before is not None and before.origin == "file":
            problems.append(FieldError("id", _read_only(before.id).message))
        if problems:
            return PolicyVerdict(problems, None, before is not None)
        return PolicyVerdict((), await self._next_version(document, actor, before), before is not None)

    async def delete_policy(self, policy_id: str, *, actor: str, expected_version: int | None = None) -> None:
        """Take a policy out of force. Raises NotFound, ReadOnly, VersionConflict."""
        await self._alone(lambda: self._delete_policy(policy_id, actor, expected_version))

    async def create_key(
        self, draft: Grant, *, issuer: Subject, token: str | None = None
    ) -> tuple[ApiKey, str]:
        """Make a key; the second value is the key in clear, which exists nowhere else.

        With a ``token`` (an Idempotency-Key) the principal of the issuer makes one key, however often it
        asks. Raises FieldError for a right that the issuer lacks; AlreadyExists for a key that was made with
        the token before, IdempotencyMismatch if that one gives something else.
        """
        return await self._alone(lambda: self._create_key(draft, issuer, token))

    async def revoke_key(self, key_id: str, *, by: Subject) -> ApiKey:
        """Revoke a key for good; the next call with it is refused. Revoking it again changes nothing.

        Raises NotFound, ReadOnly for a key of the config file and for the last owner key, Forbidden for a key
        with more rights than ``by`` has.
        """
        return await self._alone(lambda: self._revoke_key(key_id, by))

    async def ensure_owner_key(self, configured: Secret | None) -> str | None:
        """Make sure somebody can administer. Returns a new owner key in clear on the first start, else None.

        A configured owner key is accepted by its hash, is never returned and is never stored.
        """
        return await self._alone(lambda: self._ensure_owner_key(configured))

    async def _alone(self, change: Callable[[], Coroutine[Any, Any, _Result]]) -> _Result:
        """Run one change to its end, even if the client that asked for it goes away meanwhile.

        Where other gateways change the rules, too, it is made anew on the rules as they are then.
        """

        async def serialised() -> _Result:
            async with self._writing:
                for _ in range(CHANGES_TRIED_MAX):
                    try:
                        return await change()
                    except RulesStale:
                        await self.load()
                return await change()

        task = asyncio.create_task(serialised())
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)
        return await asyncio.shield(task)

    async def _set_policy(self, document: dict[str, object], actor: str, expected: int | None) -> Policy:
        policy_id = document.get("id")
        before = self.snapshot.policies.get(policy_id) if isinstance(policy_id, str) else None
        _check_version(before, expected)
        if before is not None and before.origin == "file":
            raise _read_only(before.id)
        policy = await self._next_version(document, actor, before)
        audit = AuditEntry(
            "policy.updated" if before else "policy.created", policy.id, actor, _shown(before), _shown(policy)
        )
        await self._records.save_policy(policy, audit)
        self._policies[policy.id] = policy
        self._swap()
        return policy

    async def _next_version(
        self, document: Mapping[str, object], actor: str, before: Policy | None
    ) -> Policy:
        """The policy as it would be stored. Raises FieldError."""
        draft = parse_policy(
            document,
            defaults=self._defaults,
            version=1,
            actor=actor,
            origin="api",
            created_by=before.created_by if before else None,
        )
        known = self._known()
        reason = unmatchable(draft, known)
        if reason is not None:
            raise FieldError("scope", reason)
        target = unknown_target(draft, known)
        if target is not None:
            raise FieldError(*target)
        return replace(draft, version=await self._records.policy_version(draft.id) + 1)

    async def _delete_policy(self, policy_id: str, actor: str, expected: int | None) -> None:
        before = self.snapshot.policies.get(policy_id)
        if before is None:
            raise NotFound(f"There is no budget {policy_id!r}.")
        _check_version(before, expected)
        if before.origin == "file":
            raise _read_only(policy_id)
        audit = AuditEntry("policy.deleted", policy_id, actor, _shown(before), None)
        await self._records.delete_policy(policy_id, audit)
        self._policies.pop(policy_id, None)
        self._swap()

    async def _create_key(self, draft: Grant, issuer: Subject, token: str | None) -> tuple[ApiKey, str]:
        current = self._keys.get(issuer.key_id)
        if current is None or current.revoked_at is not None:
            raise Forbidden("The key that issues this one was revoked.")
        check_grant(current.subject(), draft)
        key_id = self._new_id() if token is None else key_id_of(issuer.principal, token)
        _check_first(self._keys.get(key_id), draft)
        clear = format_key(self._random_bytes(KEY_RANDOM_BYTES))
        key = self._key(draft, clear, key_id, issuer.key_id, self._clock.now(), "api")
        await self._save_key("key.created", key, issuer.key_id, None)
        return key, clear

    async def _revoke_key(self, key_id: str, by: Subject) -> ApiKey:
        key = self._keys.get(key_id)
        if key is None:
            raise NotFound(f"There is no key {key_id!r}.")
        if key.origin == "file":
            raise ReadOnly(f"The key {key_id!r} is defined in the config file; take it out there.")
        if not by.may_act_as(max(key.roles, key=lambda role: role.rank)):
            raise Forbidden(f"The key {key_id!r} has a role above your own.")
        if key.revoked_at is not None:
            return key
        if Role.OWNER in key.roles and self._owners() == [key]:
            raise ReadOnly("This is the last owner key; create another one before you revoke it.")
        revoked = replace(key, revoked_at=self._clock.now())
        await self._save_key("key.revoked", revoked, by.key_id, key)
        return revoked

    async def _ensure_owner_key(self, configured: Secret | None) -> str | None:
        owner = Grant(OWNER_PRINCIPAL, roles=frozenset({Role.OWNER}))
        if configured:
            text = configured.reveal()
            self._keys[CONFIGURED_OWNER] = replace(
                self._key(owner, text, CONFIGURED_OWNER, "config", Instant(0), "file"),
                prefix="(configured)",
            )
            self._swap()
        if self._owners():
            return None
        clear = format_key(self._random_bytes(KEY_RANDOM_BYTES))
        key = self._key(owner, clear, self._new_id(), _FIRST_START, self._clock.now(), "api")
        await self._save_key("key.created", key, _FIRST_START, None)
        return clear

    def _owners(self) -> list[ApiKey]:
        return [key for key in self.snapshot.keys.values() if Role.OWNER in key.roles]

    async def _save_key(self, kind: str, key: ApiKey, actor: str, before: ApiKey | None) -> None:
        audit = AuditEntry(kind, key.id, actor, key_document(before) if before else None, key_document(key))
        await self._records.save_key(key, audit)
        self._keys[key.id] = key
        self._swap()

    def _key(
        self, grant: Grant, clear: str, key_id: str, issuer: str, at: Instant, origin: KeyOrigin
    ) -> ApiKey:
        return ApiKey(
            id=key_id,
            sha256=hash_key(clear),
            prefix=key_prefix(clear),
            principal=grant.principal,
            agent=grant.agent,
            roles=grant.roles,
            models=grant.models,
            tags=grant.tags,
            created_at=at,
            created_by=issuer,
            revoked_at=None,
            origin=origin,
        )

    def _swap(self) -> None:
        self.snapshot = self._build(self.snapshot.version + 1)

    def _build(self, version: int) -> Snapshot:
        policies = self._policies | self._file_policies
        active = {key.sha256: key for key in self._keys.values() if self._holds(key)}
        subjects = {sha256: key.subject() for sha256, key in active.items()}
        return Snapshot(
            version,
            PolicyIndex(policies.values()),
            MappingProxyType(policies),
            MappingProxyType(active),
            MappingProxyType(subjects),
        )

    def _holds(self, key: ApiKey) -> bool:
        """Active, and no right beyond those that its issuer still has (an issuer of the file may shrink)."""
        if key.revoked_at is not None:
            return False
        issuer = self._keys.get(key.created_by)
        return issuer is None or issuer.revoked_at is not None or covers(issuer.subject(), key.subject())


def key_document(key: ApiKey) -> dict[str, object]:
    """The key for the API and the audit trail: its prefix, never its hash or its text."""
    return {
        "id": key.id,
        "prefix": key.prefix,
        "principal": key.principal,
        "agent": key.agent,
        "roles": sorted(role.value for role in key.roles),
        "models": list(key.models),
        "tags": dict(key.tags),
        "created_at": isoformat(key.created_at),
        "created_by": key.created_by,
        "revoked_at": None if key.revoked_at is None else isoformat(key.revoked_at),
        "origin": key.origin,
    }


def _check_first(made: ApiKey | None, draft: Grant) -> None:
    """A key in clear is not stored, so that a repeat cannot be given it; nor is a second key made."""
    if made is None:
        return
    if made.grant() != draft:
        raise IdempotencyMismatch(
            f"This Idempotency-Key made the key {made.id!r}, which gives something else; take another one.",
            param="Idempotency-Key",
        )
    raise AlreadyExists(
        f"This Idempotency-Key made the key {made.id!r} already, and only that answer had it in clear. "
        "If it is lost, revoke the key and make another with a new Idempotency-Key.",
        param="Idempotency-Key",
        detail={"key_id": made.id},
    )


def _check_version(before: Policy | None, expected: int | None) -> None:
    found = before.version if before else 0
    if expected is not None and expected != found:
        told = f"is at version {found}" if found else "does not exist"
        raise VersionConflict(f"The budget {told}, not at version {expected}; read it again.")


def _read_only(policy_id: str) -> ReadOnly:
    return ReadOnly(f"The budget {policy_id!r} is defined in the config file; change it there.")


def _shown(policy: Policy | None) -> dict[str, object] | None:
    return policy_to_dict(policy) if policy else None
