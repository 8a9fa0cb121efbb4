"""Who is calling: key -> subject, and the labels of the call. What a key pins, a client cannot change."""

from palyra.core.errors import InvalidApiKey
from palyra.identity.keys import Subject
from palyra.lifecycle.call import Hints
from palyra.lifecycle.decision import Labels
from palyra.lifecycle.rules import Snapshot


def authenticate(credential: str | None, rules: Snapshot) -> Subject:
    """The subject that presents this key. Raises InvalidApiKey."""
    if credential is None:
        raise InvalidApiKey(
            "no API key was given; send a Palyra key as 'Authorization: Bearer …' or 'x-api-key: …'"
        )
    subject = rules.subject(credential)
    if subject is None:
        raise InvalidApiKey(
            "this API key is unknown or revoked; palyra keys create makes a new one "
            "(provider keys belong into the daemon's configuration, not into requests)"
        )
    return subject


def labels_of(subject: Subject, hints: Hints) -> Labels:
    """The labels the call is counted under: the key's own first, the client's where the key is silent."""
    pinned = subject.tags
    return Labels(
        subject.key_id,
        subject.principal,
        subject.agent or hints.agent,
        hints.session,
        hints.parent_session,
        hints.task_class,
        {**hints.tags, **pinned} if pinned else hints.tags,
    )
