"""Changes of rules as JSON documents: for the audit trail, and as the history of one budget."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from palyra.budgets.policy import WRITABLE_FIELDS, Origin, PolicyDefaults, parse_policy, policy_to_dict
from palyra.core.errors import FieldError
from palyra.core.instant import isoformat
from palyra.reports.changes import changed_fields, without_derived

if TYPE_CHECKING:
    from palyra.lifecycle.changes import Change

PrincipalOf = Callable[[str], str | None]
"""Whose key it is, by its id; None for what is no key."""

_ACTIONS = {"created": "created", "updated": "changed", "deleted": "deleted"}
_OF_EVERY_EDIT = frozenset({"version", "created_by", "updated_by", "origin"})
"""Fields that say who made a version, which the step says itself."""


def change_document(change: "Change", principal_of: PrincipalOf) -> dict[str, object]:
    """One line of the audit trail. ``changes`` has every field that differs, a document that is gone none."""
    return {
        "at": isoformat(change.place.at),
        "kind": change.kind,
        "ref": change.ref,
        "by": change.actor,
        "by_principal": principal_of(change.actor),
        "version": _version(change),
        "note": _note(change.after or {}),
        "node": change.place.node,
        "record": change.place.record,
        "changes": [each._asdict() for each in changed_fields(change.before, change.after)],
        "before": change.before,
        "after": change.after,
    }


def version_document(change: "Change", principal_of: PrincipalOf) -> dict[str, object]:
    """One step in the history of a budget. ``policy`` is as it was from then on, None from its end on.

    ``version`` is None for a budget of the configuration file, which counts none.
    """
    before, after = _as_set(change.before), _as_set(change.after)
    found = without_derived(changed_fields(before, after))
    return {
        "version": _version(change),
        "at": isoformat(change.place.at),
        "by": change.actor,
        "by_principal": principal_of(change.actor),
        "action": _ACTIONS.get(change.kind.rpartition(".")[2], "changed"),
        "policy": None if change.after is None else _policy(change.after),
        "changes": [each._asdict() for each in found if each.field not in _OF_EVERY_EDIT],
    }


def _as_set(document: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The fields that are set: an empty list is none."""
    return {name: value for name, value in (document or {}).items() if value != []}


def _version(change: "Change") -> int | None:
    """Of the document after the change, or of the one that it ended."""
    document = change.after if change.after is not None else change.before
    version = (document or {}).get("version")
    return version if isinstance(version, int) else None


def _note(after: Mapping[str, Any]) -> str | None:
    """What whoever made the change said about it."""
    for place, name in (("acknowledged", "note"), ("revocation", "reason"), ("ruling", "reason")):
        table = after.get(place)
        said = cast("Mapping[str, Any]", table).get(name) if isinstance(table, Mapping) else None
        if isinstance(said, str) and said:
            return said
    said = after.get("reason")
    return said if isinstance(said, str) and said else None


def _policy(document: Mapping[str, Any]) -> dict[str, object] | None:
    """A budget as the API shows it, from the journal; None for one that today's rules refuse."""
    written = {name: document[name] for name in WRITABLE_FIELDS if document.get(name) is not None}
    origin: Origin = "api" if document.get("origin") == "api" else "file"
    try:
        policy = parse_policy(
            written,
            defaults=PolicyDefaults(),
            version=document.get("version", 1),
            actor=document.get("updated_by", "config"),
            origin=origin,
            created_by=document.get("created_by"),
        )
    except FieldError:
        return None
    return policy_to_dict(policy)
