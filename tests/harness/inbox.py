"""A receiver of signed webhooks that can hold its answers, and sees which messages come more than once."""

import threading
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from fakes.receivers import WebReceiver
from palyra.webhooks import ID

HELD_S_MAX = 60.0


@dataclass
class Inbox(WebReceiver):
    """Answers at once, ``pause_s`` later, or when it is opened again after ``close``.

    ``arrived``: the ids in the order in which they came. ``doubled``: those that came while the same one was
    not answered yet.
    """

    pause_s: float = 0.0
    arrived: list[str] = field(default_factory=list[str])
    doubled: set[str] = field(default_factory=set[str])
    most_at_once: int = 0

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: Counter[str] = Counter()
        self._open = threading.Event()
        self._open.set()
        self._never = threading.Event()

    def close(self) -> None:
        """Hold what comes from now on."""
        self._open.clear()

    def open(self) -> None:
        """Answer what is held, and what comes from now on."""
        self._open.set()

    def respond(self, handler: BaseHTTPRequestHandler) -> None:
        """See ``WebReceiver``: called in a thread for each request."""
        message_id = str(handler.headers[ID])
        with self._lock:
            self.arrived.append(message_id)
            self._under_way[message_id] += 1
            self.most_at_once = max(self.most_at_once, self._under_way.total())
            if self._under_way[message_id] > 1:
                self.doubled.add(message_id)
        try:
            assert self._open.wait(HELD_S_MAX)
            self._never.wait(self.pause_s)
        finally:
            # Before the answer: whoever sends it once more after that does nothing wrong.
            with self._lock:
                self._under_way[message_id] -= 1
        super().respond(handler)
