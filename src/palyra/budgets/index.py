"""Which policies bind a call, and on whose account. The cost depends on the matches, not on all policies."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from operator import attrgetter
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from palyra.budgets.binding import Binding, Bindings, bind
from palyra.budgets.policy import UNLABELLED, Policy
from palyra.budgets.terms import EACH, ScopeKind
from palyra.budgets.windows import Interval, Windows, window_at
from palyra.core.errors import FieldError
from palyra.core.instant import END_OF_TIME, Instant

KEPT_BINDINGS_MAX = 65_536
"""Labels come from callers: what is remembered of them must not grow with what they invent (V2)."""

_NO_TAGS: Mapping[str, str] = MappingProxyType({})
_BEGINNING_OF_TIME = Instant(-(2**63))


class Attributes(msgspec.Struct, frozen=True, gc=False):
    """Who calls what: the attributes of a call that scopes are matched against.

    ``model`` is the actual model id. Labels of clients must not begin with ``~`` (see ``PolicyIndex``).
    """

    principal: str
    provider: str
    model: str
    agent: str | None = None
    session: str | None = None
    parent_session: str | None = None
    tags: Mapping[str, str] = _NO_TAGS


class _Account:
    """A policy, an entity whose calls are counted on it, and the binding of the window seen last."""

    __slots__ = ("_kept", "entity", "policy", "windows")

    def __init__(self, policy: Policy, entity: str, windows: Windows) -> None:
        self.policy = policy
        self.entity = entity
        self.windows = windows
        self._kept: Binding | None = None

    def binding(self, now: Instant) -> Binding:
        window = self.windows.at(now)
        if self._kept is None or self._kept.window is not window:
            self._kept = bind(self.policy, self.entity, window)
        return self._kept


class _Bucket:
    """The policies of one scope kind: by exact id, and those that give each entity an account."""

    __slots__ = ("each", "exact")

    def __init__(self) -> None:
        self.exact: dict[str, list[_Account]] = {}
        self.each: list[tuple[Policy, Windows]] = []

    @property
    def used(self) -> bool:
        """Whether any policy has a scope of this kind."""
        return bool(self.exact or self.each)

    def add(self, policy: Policy, windows: Windows) -> None:
        if policy.scope.each:
            self.each.append((policy, windows))
        else:
            entity = policy.scope.id
            self.exact.setdefault(entity, []).append(_Account(policy, entity, windows))

    def collect(self, found: list[_Account], label: str | None, entity: str) -> None:
        """Append what binds ``label``; ``entity`` is the account of the policies for each."""
        if label is not None and label in self.exact:
            found.extend(self.exact[label])
        if self.each:
            found += [_Account(policy, entity, windows) for policy, windows in self.each]


class _Match(NamedTuple):
    """What binds calls with the same attributes in [``since``, ``until``)."""

    since: int
    until: int
    bindings: Bindings
    each_call: bool


_Key = tuple[str, str, str, str | None, str | None, str | None, tuple[tuple[str, str], ...]]


class PolicyIndex:
    """An immutable snapshot of the enabled policies, by scope; it remembers what it has matched.

    Accounts: a scope with an id has the account of that id, ``*`` one for each. A call without a
    session (agent) is counted on ``~principal``, so that nothing escapes ``session:*`` by leaving the
    label out. A call with a parent session counts on both. Raises FieldError if two policies share an id.
    """

    __slots__ = (
        "_agents",
        "_agents_used",
        "_everywhere",
        "_kept",
        "_matches",
        "_models",
        "_principals",
        "_providers",
        "_sessions",
        "_sessions_used",
        "_tags",
    )

    def __init__(self, policies: Iterable[Policy]) -> None:
        self._everywhere: list[_Account] = []
        self._principals, self._agents, self._sessions = _Bucket(), _Bucket(), _Bucket()
        self._providers, self._models = _Bucket(), _Bucket()
        self._tags: dict[str, _Bucket] = {}
        self._matches: OrderedDict[_Key, _Match] = OrderedDict()
        self._kept = 0
        seen: set[str] = set()
        for policy in policies:
            if policy.id in seen:
                raise FieldError("id", f"{policy.id!r} names two budgets; rename one of them.")
            seen.add(policy.id)
            if policy.enabled:
                self._add(policy)
        self._agents_used, self._sessions_used = self._agents.used, self._sessions.used

    @property
    def sees_sessions(self) -> bool:
        """Whether any policy has a scope of sessions: two sessions may then be bound differently."""
        return self._sessions_used

    def matching(self, attributes: Attributes, now: Instant) -> Bindings:
        """Every policy that binds the call at ``now``, ordered by policy id."""
        key = self._key(attributes)
        match = self._matches.get(key)
        if match is None or not match[0] <= now < match[1]:
            match = self._match(attributes, now)
            self._keep(key, match)
        if not match[3]:
            return match[2]
        each_call = (
            bind(each.policy, each.entity, window_at(Interval.REQUEST, each.policy.zone, now))
            if each.each_call
            else each
            for each in match[2].each
        )
        return Bindings.of(each_call, match[2].until)

    def _key(self, attributes: Attributes) -> _Key:
        """The attributes that decide: those that no policy looks at are the same for all."""
        return (
            attributes.principal,
            attributes.provider,
            attributes.model,
            attributes.agent if self._agents_used else None,
            attributes.session if self._sessions_used else None,
            attributes.parent_session if self._sessions_used else None,
            tuple(attributes.tags.items()) if self._tags else (),
        )

    def _keep(self, key: _Key, match: _Match) -> None:
        before = self._matches.pop(key, None)
        self._kept += len(match.bindings.each) - (len(before.bindings.each) if before else 0)
        self._matches[key] = match
        while self._kept > KEPT_BINDINGS_MAX or len(self._matches) > KEPT_BINDINGS_MAX:
            _, dropped = self._matches.popitem(last=False)
            self._kept -= len(dropped.bindings.each)

    def _match(self, attributes: Attributes, now: Instant) -> _Match:
        found = self._collect(attributes)
        since, until = _BEGINNING_OF_TIME, END_OF_TIME
        bindings: list[Binding] = []
        each_call = False
        for account in found:
            policy = account.policy
            edges = (policy.valid_from, policy.valid_until)
            if policy.live_at(now):
                binding = account.binding(now)
                bindings.append(binding)
                if binding.each_call:
                    each_call = True
                else:
                    edges = (*edges, *binding.window)
            since = max([since, *(edge for edge in edges if edge is not None and edge <= now)])
            until = min([until, *(edge for edge in edges if edge is not None and edge > now)])
        bindings.sort(key=attrgetter("policy.id"))
        return _Match(since, until, Bindings.of(bindings, Instant(until)), each_call)

    def _collect(self, attributes: Attributes) -> list[_Account]:
        """Every policy whose scope matches, whether or not it is in force now."""
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
        return found

    def _add(self, policy: Policy) -> None:
        windows = Windows(policy.interval, policy.zone)
        match policy.scope.kind:
            case ScopeKind.GLOBAL:
                self._everywhere.append(_Account(policy, EACH, windows))
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

    def _collect_tags(self, found: list[_Account], tags: Mapping[str, str]) -> None:
        for key, value in tags.items():
            bucket = self._tags.get(key)
            if bucket is not None:
                entity = f"{key}={value}"
                bucket.collect(found, entity, entity)
