"""The stream of events as bytes, and when it ends; the hub behind it is the real one, on a fake clock."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from starlette.types import Message

from palyra.api.app import create_api
from palyra.core.errors import LedgerUnavailable
from palyra.lifecycle.listening import Changes, Figures
from palyra.lifecycle.signed_in import SignIn
from palyra.lifecycle.topics import Topic

HELLO = (
    b"retry: 2000\nid: 0\nevent: hello\n"
    b'data: {"topics":["usage","decisions","budgets","approvals","alerts","models","keys"]}\n\n'
)
BEAT = b": nothing changed\n\n"


class Visit:
    """One page, and what was sent to it. ``reads``: whether it takes what it is sent."""

    def __init__(self) -> None:
        self.figures: dict[Topic, object] = dict.fromkeys(Topic, 0)
        self.hub = Changes(self.look, self.pause)
        self.sent: list[bytes] = []
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.is_over = False
        self.gone = asyncio.Event()
        self.reads = asyncio.Event()
        self.reads.set()
        self._seconds = asyncio.Semaphore(0)

    async def look(self) -> Figures:
        return dict(self.figures)

    async def pause(self, _seconds: float) -> None:
        await self._seconds.acquire()

    async def second(self, times: int = 1) -> None:
        """So many seconds pass, each to its end."""
        for _ in range(times):
            self._seconds.release()
            await settled()

    async def receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        await self.reads.wait()
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], dict(message["headers"])
        else:
            self.sent += [message["body"]] if message["body"] else []
            self.is_over = not message.get("more_body", False)


async def settled() -> None:
    """All that is ready to run has run; nothing here waits for anything else."""
    for _ in range(40):
        await asyncio.sleep(0)


@asynccontextmanager
async def visiting(plane: Any, key: str = "", **headers: str) -> AsyncGenerator[Visit]:
    """A page that was greeted. It is gone after the block, and nobody listens then."""
    visit = Visit()
    app = create_api(replace(plane.deps, changes=visit.hub))
    given = {"host": "127.0.0.1:8484"} | ({"authorization": f"Bearer {key}"} if key else {}) | headers
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/api/v1/events",
        "raw_path": b"/api/v1/events",
        "query_string": b"",
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8484),
    }
    task = asyncio.ensure_future(app(scope, visit.receive, visit.send))
    await settled()
    yield visit
    visit.gone.set()
    await asyncio.wait_for(task, 10)
    await visit.second()
    assert not visit.hub.is_looking


@asynccontextmanager
async def signed_in(plane: Any, role: str = "viewer") -> AsyncGenerator[Visit]:
    """The page of a browser."""
    token, _ = await plane.deps.sign_ins.sign_in(plane.keys[role], "127.0.0.1")
    async with visiting(plane, cookie=f"palyra_session={token}") as visit:
        yield visit


async def test_the_stream_names_topics_with_a_number_and_nothing_else(plane: Any) -> None:
    async with visiting(plane, plane.keys["caller"]) as visit:
        assert (visit.status, visit.sent) == (200, [HELLO])
        assert visit.headers[b"content-type"].startswith(b"text/event-stream")
        assert visit.headers[b"cache-control"] == b"no-store"
        await visit.second()
        visit.figures[Topic.KEYS] = visit.figures[Topic.USAGE] = 1
        await visit.second()
        visit.figures[Topic.USAGE] = 2
        await visit.second()
        assert visit.sent[1:] == [
            b'id: 1\nevent: change\ndata: {"topics":["usage","keys"]}\n\n',
            b'id: 2\nevent: change\ndata: {"topics":["usage"]}\n\n',
        ]


async def test_a_comment_comes_every_fifteen_seconds(plane: Any) -> None:
    async with visiting(plane, plane.keys["viewer"]) as visit:
        await visit.second(14)
        assert visit.sent == [HELLO]
        await visit.second()
        assert visit.sent == [HELLO, BEAT]
        await visit.second(15)
        assert visit.sent == [HELLO, BEAT, BEAT]


async def test_who_does_not_read_gets_one_event_of_all_that_changed(plane: Any) -> None:
    async with visiting(plane, plane.keys["viewer"]) as visit:
        visit.reads.clear()
        for number in range(1, 200):
            visit.figures[Topic.USAGE] = number
            await visit.second()
        visit.figures[Topic.ALERTS] = 1
        await visit.second()
        visit.reads.set()
        await settled()
        first, rest = visit.sent[1:]
        assert first == b'id: 1\nevent: change\ndata: {"topics":["usage"]}\n\n'
        assert rest == b'id: 200\nevent: change\ndata: {"topics":["usage","alerts"]}\n\n'


async def test_who_goes_away_while_it_is_sent_something_listens_no_more(plane: Any) -> None:
    async with visiting(plane, plane.keys["viewer"]) as visit:
        visit.reads.clear()
        visit.figures[Topic.USAGE] = 1
        await visit.second()


async def test_it_ends_at_once_when_the_daemon_stops(plane: Any) -> None:
    async with visiting(plane, plane.keys["viewer"]) as visit:
        visit.hub.leave()
        await settled()
        assert visit.is_over


async def test_it_ends_with_the_key(plane: Any) -> None:
    async with visiting(plane, plane.keys["viewer"]) as visit, signed_in(plane) as browser:
        rules = plane.deps.rules
        subject = rules.snapshot.subject(plane.keys["viewer"])
        await rules.revoke_key(subject.key_id, by=rules.snapshot.subject(plane.keys["owner"]))
        for each in (visit, browser):
            each.figures[Topic.KEYS] = 1
            await each.second()
            assert (each.is_over, each.sent) == (True, [HELLO])


@pytest.mark.parametrize("how", ["its time", "signed out elsewhere"])
async def test_it_ends_within_seconds_of_the_sign_in(plane: Any, how: str) -> None:
    async with signed_in(plane) as visit:
        await visit.second(5)
        assert not visit.is_over
        if how == "its time":
            plane.clock.advance(12 * 3_600)
        else:
            plane.records.kept.sign_ins.clear()
        await visit.second(5)
        assert visit.is_over


async def test_a_database_that_cannot_be_read_ends_no_stream_before_its_time(plane: Any) -> None:
    async with signed_in(plane) as visit:

        async def fails(_token: str) -> SignIn | None:
            raise LedgerUnavailable("gone")

        plane.records.sign_in = fails
        await visit.second(5)
        assert not visit.is_over
        plane.clock.advance(12 * 3_600)
        await visit.second(5)
        assert visit.is_over


async def test_where_nobody_can_listen_it_is_a_problem_with_the_time_to_come_again(plane: Any) -> None:
    answer = plane.call("GET", "/api/v1/events", "viewer")
    assert (answer.status_code, answer.json()["code"]) == (503, "stream_unavailable")
    assert answer.headers["retry-after"] == "5"
    assert plane.call("GET", "/api/v1/events", None).status_code == 401
