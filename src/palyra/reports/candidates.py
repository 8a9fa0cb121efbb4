"""Budgets to be tried: documents read, and put in the place of those in force."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from palyra.budgets.fields import as_list, as_table
from palyra.budgets.policy import Policy, PolicyDefaults, parse_policy
from palyra.core.errors import FieldError

CANDIDATES_MAX = 1_000
"""So many budgets are tried at once (V2)."""


class Tried(NamedTuple):
    """What a simulation goes by. ``candidates`` are the ids of the policies that are no fact."""

    policies: Sequence[Policy]
    candidates: frozenset[str]
    replaced: Mapping[str, int]
    """By id, the version in force that a candidate stands for."""


def read_candidates(
    value: object, field: str, in_force: Mapping[str, Policy], defaults: PolicyDefaults, *, only: bool
) -> Tried:
    """The policies of a list of documents, with those in force that none of them replaces, unless ``only``.

    Raises FieldError for the field of a document, ``field[2].hard_limit``, and for an id that is there twice.
    """
    documents = as_list(value, field)
    if not documents:
        raise FieldError(field, "is empty; write the budgets to be tried.")
    if len(documents) > CANDIDATES_MAX:
        raise FieldError(field, f"has {len(documents)} budgets; try at most {CANDIDATES_MAX} at once.")
    found: dict[str, Policy] = {}
    for place, each in enumerate(documents):
        where = f"{field}[{place}]"
        document = as_table(each, where)
        try:
            policy = _read(document, in_force, defaults)
        except FieldError as error:
            raise error.under(where) from None
        if policy.id in found:
            raise FieldError(f"{where}.id", f"{policy.id!r} is there twice; rename one of them.")
        found[policy.id] = policy
    kept = {} if only else {name: policy for name, policy in in_force.items() if name not in found}
    replaced = {name: in_force[name].version for name in found if name in in_force}
    policies = sorted([*kept.values(), *found.values()], key=lambda policy: policy.id)
    return Tried(policies, frozenset(found), replaced)


def _read(document: Mapping[str, object], in_force: Mapping[str, Policy], defaults: PolicyDefaults) -> Policy:
    policy_id = document.get("id")
    before = in_force.get(policy_id) if isinstance(policy_id, str) else None
    version = 1 if before is None else before.version + 1
    return parse_policy(document, defaults=defaults, version=version, actor="candidate", origin="api")
