"""What the configuration says of money and rights, journaled where it changed since it was recorded last.

An edit through the API is journaled as it is made. An edit of the file is found at the next start: each
object that the file defines has a name (``policy/daily``) and a document, and what is recorded under a name
is compared with what is configured now. The entry is on disk before a call is decided by what it says.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from palyra.budgets.policy import Policy, policy_document
from palyra.core.errors import Superseded
from palyra.identity.keys import ApiKey
from palyra.lifecycle.ports import AuditEntry, ConfigRecords
from palyra.lifecycle.rules import key_document
from palyra.pricing.entry import PriceEntry, price_document

ROUNDS_MAX = 64
"""So often another gateway may come first before a start gives up."""
AT_ONCE = 256
"""Objects that are recorded together: enough for few commits, few enough for pages of a bounded size."""

Document = Mapping[str, object]

_MADE = "created"
_CHANGED = "updated"
_GONE: Mapping[str, str] = MappingProxyType({"key": "revoked"})
_ALWAYS_THERE = frozenset({"governance", "pricebook"})
_json = msgspec.json.Encoder(order="sorted")
_document = msgspec.json.Decoder(dict[str, Any])


class Change(NamedTuple):
    """One object as it was recorded and as it is configured, as JSON text; None where there is none."""

    name: str
    before: str | None
    after: str | None

    @property
    def kind(self) -> str:
        """What the journal calls it: ``policy.created``, ``key.revoked``, ``governance.updated``."""
        what = self.name.partition("/")[0]
        if self.after is None:
            return f"{what}.{_GONE.get(what, 'deleted')}"
        return f"{what}.{_MADE if self.before is None and what not in _ALWAYS_THERE else _CHANGED}"

    @property
    def ref(self) -> str:
        """The id of the object; what there is one of is called by its kind."""
        what, _, ref = self.name.partition("/")
        return ref or what

    def entry(self, actor: str) -> AuditEntry:
        """The entry for the journal."""
        return AuditEntry(self.kind, self.ref, actor, _read(self.before), _read(self.after))


def described(
    policies: Iterable[Policy], keys: Iterable[ApiKey], prices: Iterable[PriceEntry]
) -> dict[str, Document]:
    """The documents of what a file lists, by name. Of a key there is what people recognise it by, no more."""
    found: dict[str, Document] = {}
    for policy in policies:
        found[_free(found, "policy", policy.id)] = policy_document(policy)
    for key in keys:
        found[_free(found, "key", key.id)] = key_document(key)
    # Two prices may have one name; which of them is the second must not depend on their order in the file.
    for price in sorted(prices, key=lambda each: (each.entry_id, _text(price_document(each)))):
        found[_free(found, "price", price.entry_id)] = price_document(price)
    return found


def difference(recorded: Mapping[str, str], configured: Mapping[str, str]) -> list[Change]:
    """What has to be recorded, in the order of names; nothing where both say the same."""
    names = sorted(recorded.keys() | configured.keys())
    changes = (Change(name, recorded.get(name), configured.get(name)) for name in names)
    return [each for each in changes if each.before != each.after]


async def journal_configuration(
    records: ConfigRecords, documents: Mapping[str, Document], actor: str
) -> Sequence[Change]:
    """Record what of ``documents`` is not recorded, one entry by ``actor`` for each; returns these changes.

    Where another gateway recorded something meanwhile, it is compared anew. A start records each name at most
    once, so that gateways with different files have one entry each, and no dispute. Raises LedgerUnavailable,
    and Superseded where others came first again and again.
    """
    configured = {name: _text(document) for name, document in documents.items()}
    done: list[Change] = []
    for _ in range(ROUNDS_MAX):
        mine = {each.name for each in done}
        changes = [
            each for each in difference(await records.configured(), configured) if each.name not in mine
        ]
        recorded = await _record_all(records, changes, actor)
        done += recorded
        if len(recorded) == len(changes):
            return done
    raise Superseded("Other gateways changed the recorded configuration again and again; start anew.")


async def _record_all(records: ConfigRecords, changes: Sequence[Change], actor: str) -> list[Change]:
    """Record all, in their order; returns those where nobody came first."""
    recorded: list[Change] = []
    for first in range(0, len(changes), AT_ONCE):
        some = changes[first : first + AT_ONCE]
        outcomes = await asyncio.gather(
            *(
                records.record_configured(each.name, each.before, each.after, each.entry(actor))
                for each in some
            ),
            return_exceptions=True,
        )
        for change, outcome in zip(some, outcomes, strict=True):
            if outcome is None:
                recorded.append(change)
            elif not isinstance(outcome, Superseded):
                raise outcome
    return recorded


def _free(taken: Mapping[str, Document], what: str, ref: str) -> str:
    """A name that nothing has yet. What cannot be seen is written out: not every database takes it."""
    seen = "".join(each if each.isprintable() else f"\\u{ord(each):04x}" for each in ref)
    name = f"{what}/{seen}"
    if name not in taken:
        return name
    return next(other for number in count(2) if (other := f"{name}#{number}") not in taken)


def _text(document: Document) -> str:
    """JSON that is the same for equal documents."""
    return _json.encode(document).decode()


def _read(text: str | None) -> dict[str, Any] | None:
    return None if text is None else _document.decode(text)
