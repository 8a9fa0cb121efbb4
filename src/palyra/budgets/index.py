"""Which policies bind a call, and on whose account. The cost depends on the matches, not on all policies."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import NamedTuple

from palyra.budgets.policy import UNLABELLED, Policy
from palyra.budgets.terms import EACH, ScopeKind
from palyra.budgets.windows import Windows
from palyra.core.errors import FieldError
from palyra.core.instant import Instant

_NO_TAGS: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Attributes:
    """Who calls what: the attributes of a call that scopes are matched against.

    ``model`` is the actual model id. Labels of clients must not begin with ``~`` (see ``PolicyIndex``).
    """

    principal: str
    provider: str
    model: str
    agent: str | None = None
    session: str | None = None
    parent_session: str | None = None
    tags: Mapping[str, str] = field(default_factory=lambda: _NO_TAGS)


class Applicable(NamedTuple):
    """A policy that binds a call, the entity whose account it is counted on, and its windows."""

    policy: Policy
    entity: str
    windows: Windows


class _Bucket:
    """The policies of one scope kind: by exact id, and those that give each entity an account."""

    __slots__ = ("each", "exact")

    def __init__(self) -> None:
        self.exact: dict[str, list[Applicable]] = {}
        self.each: list[tuple[Policy, Windows]] = []

    def add(self, policy: Policy, windows: Windows) -> None:
        if policy.scope.each:
            self.each.append((policy, windows))
        else:
            entity = policy.scope.id
            self.exact.setdefault(entity, []).append(Applicable(policy, entity, windows))

    def collect(self, found: list[Applicable], label: str | None, entity: str) -> None:
        """Append what binds ``label``; ``entity`` is the account of the policies for each."""
        if label is not None and label in self.exact:
            found.extend(self.exact[label])
        if self.each:
            found += [Applicable(policy, entity, windows) for policy, windows in self.each]


class PolicyIndex:
    """An immutable snapshot of the enabled policies, by scope.

    Accounts: a scope with an id has the account of that id, ``*`` one for each. A call without a
    session (agent) is counted on ``~principal``, so that nothing escapes ``session:*`` by leaving the
    label out. A call with a parent session counts on both. Raises FieldError if two policies share an id.
    """

    __slots__ = (
        "_agents",
        "_dated",
        "_everywhere",
        "_models",
        "_principals",
        "_providers",
        "_sessions",
        "_tags",
    )

    def __init__(self, policies: Iterable[Policy]) -> None:
        self._everywhere: list[Applicable] = []
        self._principals, self._agents, self._sessions = _Bucket(), _Bucket(), _Bucket()
        self._providers, self._models = _Bucket(), _Bucket()
        self._tags: dict[str, _Bucket] = {}
        self._dated = False
        seen: set[str] = set()
        for policy in policies:
            if policy.id in seen:
                raise FieldError("id", f"{policy.id!r} names two budgets; rename one of them.")
            seen.add(policy.id)
            if policy.enabled:
                self._add(policy)

    def matching(self, attributes: Attributes, now: Instant) -> list[Applicable]:
        """Every policy that binds the call at ``now``, ordered by policy id."""
        found = self._everywhere.copy()
        principal = attributes.principal
        self._principals.collect(found, principal, principal)
        self._providers.collect(found, attributes.provider, attributes.provider)
        self._models.collect(found, attributes.model, attributes.model)
        agent, session = attributes.agent, attributes.session
        self._agents.collect(found, agent, agent or UNLABELLED + principal)
        self._sessions.collect(found, session, session or UNLABELLED + principal)
        parent = attributes.parent_session
        if parent is not None and parent != session:
            self._sessions.collect(found, parent, parent)
        if self._tags and attributes.tags:
            self._collect_tags(found, attributes.tags)
        if self._dated:
            found = [each for each in found if each.policy.live_at(now)]
        found.sort(key=attrgetter("policy.id"))
        return found

    def _add(self, policy: Policy) -> None:
        windows = Windows(policy.interval, policy.zone)
        self._dated = self._dated or policy.valid_from is not None or policy.valid_until is not None
        match policy.scope.kind:
            case ScopeKind.GLOBAL:
                self._everywhere.append(Applicable(policy, EACH, windows))
            case ScopeKind.PRINCIPAL:
                self._principals.add(policy, windows)
            case ScopeKind.AGENT:
                self._agents.add(policy, windows)
            case ScopeKind.SESSION:
                self._sessions.add(policy, windows)
            case ScopeKind.PROVIDER:
                self._providers.add(policy, windows)
            case ScopeKind.MODEL:
                self._models.add(policy, windows)
            case _:
                key = policy.scope.id.partition("=")[0]
                self._tags.setdefault(key, _Bucket()).add(policy, windows)

    def _collect_tags(self, found: list[Applicable], tags: Mapping[str, str]) -> None:
        for key, value in tags.items():
            bucket = self._tags.get(key)
            if bucket is not None:
                entity = f"{key}={value}"
                bucket.collect(found, entity, entity)
