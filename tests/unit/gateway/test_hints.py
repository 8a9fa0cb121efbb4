"""Labels come from Palyra's headers first, else from the fields that the wire formats have."""

from collections.abc import Mapping

import pytest

from palyra.core.errors import InvalidRequest
from palyra.core.limits import TAGS_MAX
from palyra.gateway.asks import Labelled, Metadata
from palyra.gateway.hints import read_header_hints, read_hints
from palyra.lifecycle.call import Hints
from palyra.routing.task import TaskClass


def hints(headers: Mapping[bytes, bytes] | None = None, **fields: object) -> Hints:
    given = read_header_hints(headers or {})
    return read_hints(given, Labelled(model="m", **fields))  # pyright: ignore[reportArgumentType]


def test_without_labels_a_call_is_interactive_and_nobody_s() -> None:
    assert hints() == Hints(None, None, None, "primary_interactive", {}, None)


def test_headers_win_over_fields() -> None:
    found = hints({b"x-palyra-session": b"from-header", b"x-palyra-agent": b"bot"}, user="from-body")
    assert (found.session, found.agent) == ("from-header", "bot")


@pytest.mark.parametrize(
    ("fields", "session"),
    [
        ({"user": "u1"}, "u1"),
        ({"safety_identifier": "s1", "user": "u1"}, "s1"),
        ({"metadata": Metadata(user_id="m1"), "user": "u1"}, "m1"),
        ({"metadata": Metadata(session_id="x1", user_id="m1")}, "x1"),
        ({"metadata": Metadata(user_id="user_ab_account__session_0f1e")}, "0f1e"),
        ({"metadata": Metadata(user_id="user_ab_session_")}, "user_ab_session_"),
        ({"user": ""}, None),
    ],
)
def test_the_wire_format_s_own_fields_name_the_session(fields: dict[str, object], session: str) -> None:
    assert hints(None, **fields).session == session


@pytest.mark.parametrize("name", list(TaskClass))
def test_task_classes_are_read(name: str) -> None:
    assert hints({b"x-palyra-task-class": name.encode()}).task_class == name


def test_tags_are_read() -> None:
    assert hints({b"x-palyra-tags": b" team = platform , env=dev"}).tags == {"team": "platform", "env": "dev"}


def test_a_label_may_be_any_printable_unicode() -> None:
    assert hints({b"x-palyra-agent": "Žluťoučký 🐎".encode()}).agent == "Žluťoučký 🐎"


@pytest.mark.parametrize("value", [b"a=1,b", b"=1", b"a=", b",", b"", b"a=*", b"*=a", b"~a=b"])
def test_tags_that_are_no_pairs_are_refused(value: bytes) -> None:
    with pytest.raises(InvalidRequest, match="x-palyra-tags"):
        hints({b"x-palyra-tags": value})


def test_more_tags_than_the_bound_are_refused() -> None:
    with pytest.raises(InvalidRequest, match=str(TAGS_MAX)):
        hints({b"x-palyra-tags": b",".join(b"k%d=v" % number for number in range(TAGS_MAX + 1))})


@pytest.mark.parametrize("value", ["*", "~x", "a\nb", "a\u202eb", "x" * 201])
def test_labels_that_could_be_mistaken_for_something_else_are_refused(value: str) -> None:
    with pytest.raises(InvalidRequest):
        hints(user=value)
