"""The labels a client gives: by Palyra's headers, else by the fields its wire format already has."""

from collections.abc import Mapping
from typing import NamedTuple

from palyra.budgets.policy import UNLABELLED
from palyra.budgets.terms import Mode
from palyra.core.errors import InvalidRequest
from palyra.core.limits import LABEL_CHARS_MAX, TAGS_MAX
from palyra.gateway.asks import Labelled, Metadata
from palyra.lifecycle.call import Hints
from palyra.routing.task import TaskClass

DEFAULT_TASK_CLASS = TaskClass.PRIMARY_INTERACTIVE.value

Headers = Mapping[bytes, bytes]

_TASK_CLASSES = frozenset(TaskClass)
_NO_METADATA = Metadata()
_CLAUDE_SESSION = "_session_"


class HeaderHints(NamedTuple):
    """The labels that headers give, each None where they are silent.

    ``alone`` are the labels of a call whose body gives none.
    """

    agent: str | None
    session: str | None
    parent_session: str | None
    task_class: str
    tags: Mapping[str, str]
    mode: Mode | None
    alone: Hints


def read_header_hints(headers: Headers) -> HeaderHints:
    """The labels among the headers. Raises InvalidRequest naming the header that cannot be accepted."""
    alone = Hints(
        _header(headers, b"x-palyra-agent"),
        _header(headers, b"x-palyra-session"),
        _header(headers, b"x-palyra-parent-session"),
        _task_class(headers),
        _tags(headers.get(b"x-palyra-tags")),
        _mode(headers.get(b"x-palyra-mode")),
    )
    return HeaderHints(
        alone.agent,
        alone.session,
        alone.parent_session,
        alone.task_class,
        alone.tags,
        alone.mode,
        alone,
    )


def read_hints(given: HeaderHints, labelled: Labelled) -> Hints:
    """Labels of one call. Raises InvalidRequest naming the field of the body that cannot be accepted."""
    if labelled.metadata is None and labelled.user is None and labelled.safety_identifier is None:
        return given.alone
    metadata = labelled.metadata or _NO_METADATA
    agent, session, parent, task_class, tags, mode, _ = given
    if session is None:
        named = metadata.session_id or metadata.session or _end_user(labelled, metadata)
        session = _label(named, "metadata.session_id")
    if agent is None:
        agent = _label(metadata.agent_id or metadata.agent, "metadata.agent_id")
    if parent is None:
        parent = _label(metadata.parent_session_id, "metadata.parent_session_id")
    return Hints(agent, session, parent, task_class, tags, mode)


def _end_user(labelled: Labelled, metadata: Metadata) -> str | None:
    """The wire formats' own word for whom a call is; coding agents put their session id into it."""
    named = metadata.user_id or labelled.safety_identifier or labelled.user
    if named is not None and _CLAUDE_SESSION in named:
        return named.rpartition(_CLAUDE_SESSION)[2] or named
    return named


def _header(headers: Headers, name: bytes) -> str | None:
    value = headers.get(name)
    return None if value is None else _label(_text(value, name.decode()), name.decode())


def _text(value: bytes, name: str) -> str:
    try:
        return value.decode("utf-8").strip()
    except UnicodeDecodeError:
        raise InvalidRequest(f"header {name} is not valid UTF-8", param=name) from None


def _label(value: str | None, name: str) -> str | None:
    if not value:
        return None
    if len(value) > LABEL_CHARS_MAX:
        raise InvalidRequest(f"{name} is longer than {LABEL_CHARS_MAX} characters", param=name)
    if value.startswith(UNLABELLED) or value == "*" or not value.isprintable():
        raise InvalidRequest(
            f"{name} must be printable and must not be '*' or start with {UNLABELLED!r}", param=name
        )
    return value


def _task_class(headers: Headers) -> str:
    value = headers.get(b"x-palyra-task-class")
    if value is None:
        return DEFAULT_TASK_CLASS
    name = _text(value, "x-palyra-task-class")
    if name not in _TASK_CLASSES:
        raise InvalidRequest(
            f"x-palyra-task-class {name!r} is not known; use one of {', '.join(sorted(_TASK_CLASSES))}",
            param="x-palyra-task-class",
        )
    return name


def _tags(value: bytes | None) -> Mapping[str, str]:
    if value is None:
        return {}
    tags: dict[str, str] = {}
    for pair in _text(value, "x-palyra-tags").split(","):
        key, separator, text = pair.partition("=")
        label = _label(text.strip(), "x-palyra-tags")
        if not separator or label is None or not _label(key.strip(), "x-palyra-tags"):
            raise InvalidRequest(
                "x-palyra-tags must be written as key=value,key=value", param="x-palyra-tags"
            )
        tags[key.strip()] = label
    if len(tags) > TAGS_MAX:
        raise InvalidRequest(f"x-palyra-tags has more than {TAGS_MAX} tags", param="x-palyra-tags")
    return tags


def _mode(value: bytes | None) -> Mode | None:
    if value is None:
        return None
    name = _text(value, "x-palyra-mode")
    try:
        return Mode(name)
    except ValueError:
        modes = ", ".join(mode.value for mode in Mode)
        raise InvalidRequest(
            f"x-palyra-mode {name!r} is not known; use one of {modes}", param="x-palyra-mode"
        ) from None
