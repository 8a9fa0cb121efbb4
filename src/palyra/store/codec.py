"""How records are written as JSON text and read back."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, cast

import msgspec

from palyra.alerts.alert import Alert, Notice
from palyra.approvals.approval import Approval
from palyra.budgets.policy import Policy, PolicyDefaults, parse_policy, policy_document
from palyra.identity.keys import ApiKey
from palyra.ledger.event import Reserved


def _plain(value: object) -> object:
    """What JSON has no word for: a read-only mapping is written as the mapping it shows."""
    if isinstance(value, MappingProxyType):
        return dict(cast("MappingProxyType[str, object]", value))
    raise NotImplementedError(f"{type(value).__name__} has no JSON form")


_encoder = msgspec.json.Encoder(enc_hook=_plain)
_reserved = msgspec.json.Decoder(Reserved)
_key = msgspec.json.Decoder(ApiKey)
_approval = msgspec.json.Decoder(Approval)
_alert = msgspec.json.Decoder(Alert)
_notice = msgspec.json.Decoder(Notice)
_policy = msgspec.json.Decoder(dict[str, Any])


def encode(record: object) -> bytes:
    """Any record of the store as JSON, on one line."""
    return _encoder.encode(record)


def read_reservation(text: bytes) -> Reserved:
    """The reserve event kept with a call in doubt."""
    return _reserved.decode(text)


def key_text(key: ApiKey) -> str:
    """An API key (its hash, never the key) as JSON."""
    return encode(key).decode()


def key_from(text: str) -> ApiKey:
    """The reverse of ``key_text``."""
    return _key.decode(text)


def approval_text(approval: Approval) -> str:
    """A request to go over a budget, as JSON."""
    return encode(approval).decode()


def approval_from(text: str) -> Approval:
    """The reverse of ``approval_text``."""
    return _approval.decode(text)


ACKNOWLEDGED = '"acknowledged":{"at":'
"""Is in the text of an alert that somebody has seen, and of no other: within strings, quotes are escaped."""


def alert_text(alert: Alert) -> str:
    """An alert as JSON."""
    return encode(alert).decode()


def alert_from(text: str) -> Alert:
    """The reverse of ``alert_text``."""
    return _alert.decode(text)


def notice_text(notice: Notice) -> str:
    """A message with its alert, as JSON."""
    return encode(notice).decode()


def notice_from(text: str) -> Notice:
    """The reverse of ``notice_text``."""
    return _notice.decode(text)


def policy_text(policy: Policy) -> str:
    """A policy as the document it was made from, with its version and authors."""
    stored: Mapping[str, object] = {
        "document": policy_document(policy),
        "version": policy.version,
        "created_by": policy.created_by,
        "updated_by": policy.updated_by,
    }
    return encode(stored).decode()


def policy_from(text: str) -> Policy:
    """The reverse of ``policy_text``. Raises FieldError if today's rules refuse the document."""
    stored = _policy.decode(text)
    policy = parse_policy(
        stored["document"],
        defaults=PolicyDefaults(),
        version=stored["version"],
        actor=stored["updated_by"],
        origin="api",
    )
    return replace(policy, created_by=stored["created_by"])
