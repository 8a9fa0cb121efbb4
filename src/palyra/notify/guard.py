"""Where a sender may connect to: every address is looked at in the moment it is connected to.

Senders are code of others as well (Apprise, and under it requests and smtplib). So it is the interpreter
that tells of each connection before it is made, with the very address, whoever looked it up and however. A
name that leads somewhere else the second time, or to several places, gains nothing by it. The interpreter
tells of things in all threads; in those where no guard is active, that costs a look at a variable.
"""

import socket
import sys
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from typing import NoReturn, cast
from urllib.parse import urlsplit

from palyra.core.address import Reach, reach_of

_FORBIDDEN = frozenset(
    {
        "os.exec",
        "os.fork",
        "os.forkpty",
        "os.posix_spawn",
        "os.spawn",
        "os.system",
        "subprocess.Popen",
        # A thread of its own would be out of reach of the guard. Python tells of it from 3.12 on.
        "_thread.start_new_thread",
        "_thread.start_joinable_thread",
    }
)
_here = threading.local()
_installing = threading.Lock()
_installed: list[Callable[[str, tuple[object, ...]], None]] = []
"""The hook, once it is there: the interpreter keeps one for ever."""


class Refused(OSError):
    """The sender tried what its target does not allow. To libraries it looks like a failed connection."""


class Guard:
    """What one attempt may do, in the thread that is inside ``active``.

    ``reaches`` are the kinds of addresses it may connect to. ``proxies`` are hosts that it must not look up:
    what a proxy connects to nobody here can see. ``refused`` is what it tried in vain, in words for people.
    """

    def __init__(self, reaches: frozenset[Reach], proxies: frozenset[str] = frozenset()) -> None:
        self.refused: list[str] = []
        self._reaches = reaches
        self._proxies = proxies
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._is_cut = False

    @contextmanager
    def active(self) -> Generator[None]:
        """Guard the thread that runs this, until the end of the block."""
        _install()
        _here.guard = self
        try:
            yield
        finally:
            _here.guard = None
            with self._lock:
                for each in self._open:
                    each.close()
                self._open.clear()

    def cut(self) -> None:
        """End it from another thread: its connections break, and it gets no new ones."""
        with self._lock:
            self._is_cut = True
            for each in self._open:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def check(self, event: str, args: tuple[object, ...]) -> None:
        """Called by the interpreter before it does what ``event`` names. Raises Refused."""
        match event:
            case "socket.connect":
                self._check_address(args[1])
                self._keep(cast("socket.socket", args[0]))
            case "socket.sendto":
                self._check_address(args[1])
            case "socket.sendmsg":
                if args[1] is not None:
                    self._check_address(args[1])
            case "socket.getaddrinfo":
                self._check_lookup(args[0])
            case _:
                if event in _FORBIDDEN:
                    self._refuse(f"{event} is nothing that a message needs")

    def _check_address(self, address: object) -> None:
        host = cast("tuple[object, ...]", address)[0] if isinstance(address, tuple) and address else None
        try:
            found = ip_address(host if isinstance(host, str) else "")
        except ValueError:
            # A name that the interpreter itself would look up, or a socket of this machine.
            self._refuse("it does not connect to an internet address")
        reach = reach_of(found)
        if reach not in self._reaches:
            self._refuse(f"it leads to {found}, which is a {reach.value} address")

    def _check_lookup(self, host: object) -> None:
        name = host.decode("ascii", "replace") if isinstance(host, bytes) else str(host)
        if name.lower() in self._proxies:
            self._refuse("it would go through the proxy of the environment; see the configuration of notify")

    def _refuse(self, told: str) -> NoReturn:
        self.refused.append(told)
        raise Refused(told)

    def _keep(self, made: socket.socket) -> None:
        """Remember a connection, so that it can be cut: TLS takes the socket itself away from us."""
        with self._lock:
            if self._is_cut:
                raise Refused("its time is over")
            self._open.append(made.dup())


def proxy_hosts(env: Mapping[str, str]) -> frozenset[str]:
    """The hosts of the proxies that libraries would take from ``env``; none where it says ``NO_PROXY=*``."""
    lowered = {name.lower(): value for name, value in env.items()}
    if lowered.get("no_proxy", "").strip() == "*":
        return frozenset()
    found: set[str] = set()
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        text = lowered.get(name, "").strip()
        if text:
            host = urlsplit(text if "://" in text else f"//{text}").hostname
            found |= {host} if host else set()
    return frozenset(found)


def _install() -> None:
    """Have the interpreter ask from now on; a second time it changes nothing."""
    with _installing:
        if not _installed:
            sys.addaudithook(_ask)
            _installed.append(_ask)


def _ask(event: str, args: tuple[object, ...]) -> None:
    guard: Guard | None = getattr(_here, "guard", None)
    if guard is not None:
        guard.check(event, args)
