"""No sender connects to an address that its target does not allow, whatever a name leads to."""

import os
import socket
import subprocess
import threading
from collections.abc import Callable, Generator
from typing import Any

import httpx2
import pytest
import requests

from palyra.core.address import Reach
from palyra.notify.guard import Guard, Refused, proxy_hosts
from palyra.notify.sender import ANYWHERE, PUBLIC

Lookup = Callable[..., list[tuple[Any, ...]]]
LOOPBACK = frozenset({Reach.LOOPBACK})


@pytest.fixture
def listening() -> Generator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
def refusing_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def port_of(server: socket.socket) -> int:
    return server.getsockname()[1]


def answering(*answers: list[str]) -> Lookup:
    """A resolver that gives one answer after the other, whatever it is asked."""
    left = list(answers)

    def look_up(host: object, port: int, *rest: object, **more: object) -> list[tuple[Any, ...]]:
        addresses = left.pop(0) if len(left) > 1 else left[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in addresses]

    return look_up


WAYS: dict[str, Callable[[int], object]] = {
    "socket": lambda port: socket.create_connection(("127.0.0.1", port), timeout=5),
    "connect_ex": lambda port: socket.socket().connect_ex(("127.0.0.1", port)),
    "name": lambda port: socket.create_connection(("localhost", port), timeout=5),
    "name without a look-up": lambda port: socket.socket().connect(("localhost", port)),
    "datagram": lambda port: socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", port)),
    "datagram to a name": lambda port: socket.socket(type=socket.SOCK_DGRAM).sendto(
        b"x", ("localhost", port)
    ),
    "message": lambda port: socket.socket(type=socket.SOCK_DGRAM).sendmsg([b"x"], [], 0, ("127.0.0.1", port)),
    "mapped": lambda port: socket.socket(socket.AF_INET6).connect(("::ffff:127.0.0.1", port)),
    "socket of the machine": lambda port: socket.socket(socket.AF_UNIX).connect("/run/docker.sock"),
}


@pytest.mark.parametrize("way", WAYS)
def test_loopback_is_refused_by_every_way(listening: socket.socket, way: str) -> None:
    guard = Guard(PUBLIC)
    with guard.active(), pytest.raises(Refused):
        WAYS[way](port_of(listening))
    assert len(guard.refused) == 1


@pytest.mark.parametrize("get", [requests.get, httpx2.Client(trust_env=False).get])
def test_the_libraries_see_a_failed_connection(listening: socket.socket, get: Callable[..., object]) -> None:
    guard = Guard(PUBLIC)
    with guard.active(), pytest.raises((requests.ConnectionError, httpx2.ConnectError)):
        get(f"http://localhost:{port_of(listening)}/", timeout=5)
    assert {told.rpartition("which is ")[2] for told in guard.refused} == {"a loopback address"}


@pytest.mark.parametrize(
    ("address", "allowed"),
    [("10.0.0.1", ANYWHERE), ("192.168.0.1", ANYWHERE), ("127.0.0.1", ANYWHERE), ("8.8.8.8", PUBLIC)],
)
def test_what_is_allowed_passes(address: str, allowed: frozenset[Reach]) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as sending:
        Guard(allowed).check("socket.sendto", (sending, (address, 9)))


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "100.100.100.200", "224.0.0.1", "0.0.0.0", "fe80::1%lo", "fd00:ec2::254"]
)
def test_special_addresses_are_refused_even_where_private_ones_are_allowed(address: str) -> None:
    with socket.socket() as made, pytest.raises(Refused, match="special address"):
        Guard(ANYWHERE).check("socket.connect", (made, (address, 80)))


def test_clear_text_stays_within_the_network() -> None:
    guard = Guard(frozenset({Reach.PRIVATE, Reach.LOOPBACK}))
    with socket.socket() as made, pytest.raises(Refused, match="public address"):
        guard.check("socket.connect", (made, ("8.8.8.8", 80)))


def test_a_name_that_leads_elsewhere_the_second_time_gains_nothing(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: a look-up to check would have said 8.8.8.8, the one to connect says loopback."""
    monkeypatch.setattr(socket, "getaddrinfo", answering(["8.8.8.8"], ["127.0.0.1"]))
    url = f"http://rebinding.example:{port_of(listening)}/"
    assert socket.getaddrinfo("rebinding.example", 80)[0][4][0] == "8.8.8.8"
    guard = Guard(PUBLIC)
    with guard.active(), pytest.raises(httpx2.ConnectError):
        httpx2.Client(trust_env=False).post(url, timeout=5)
    listening.settimeout(0)
    with pytest.raises(BlockingIOError):
        listening.accept()
    assert guard.refused == ["it leads to 127.0.0.1, which is a loopback address"]


def test_of_a_good_and_a_bad_address_the_bad_one_is_refused(
    refusing_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", answering(["127.0.0.1", "10.0.0.1"]))
    guard = Guard(LOOPBACK)
    with guard.active(), pytest.raises(OSError, match=r"10\.0\.0\.1"):
        socket.create_connection(("both.example", refusing_port), timeout=5)
    assert guard.refused == ["it leads to 10.0.0.1, which is a private address"]


def test_of_a_bad_and_a_good_address_the_good_one_is_used(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", answering(["10.0.0.1", "127.0.0.1"]))
    with Guard(LOOPBACK).active():
        made = socket.create_connection(("both.example", port_of(listening)), timeout=5)
    assert made.getpeername() == listening.getsockname()
    made.close()


def test_other_threads_are_left_alone(listening: socket.socket) -> None:
    done: list[str] = []

    def connect() -> None:
        socket.create_connection(listening.getsockname(), timeout=5).close()
        done.append("connected")

    other = threading.Thread(target=connect)
    release = threading.Event()
    guarded = threading.Thread(target=lambda: _hold(Guard(PUBLIC), release))
    guarded.start()
    other.start()
    other.join()
    release.set()
    guarded.join()
    assert done == ["connected"]


def _hold(guard: Guard, release: threading.Event) -> None:
    with guard.active():
        assert release.wait(10)


def test_the_guard_ends_with_its_block(listening: socket.socket) -> None:
    with Guard(PUBLIC).active():
        pass
    socket.create_connection(listening.getsockname(), timeout=5).close()


@pytest.mark.parametrize(
    "run",
    [
        lambda: subprocess.run(["true"], check=True),
        lambda: os.posix_spawn("/bin/true", ["true"], {}),
        os.fork,
    ],
)
def test_a_sender_starts_no_program(run: Callable[[], object]) -> None:
    guard = Guard(ANYWHERE)
    with guard.active(), pytest.raises(Refused, match="nothing that a message needs"):
        run()


def test_a_connection_that_waits_breaks_when_it_is_cut(listening: socket.socket) -> None:
    guard = Guard(LOOPBACK)
    failed: list[BaseException] = []
    connected = threading.Event()

    def ask() -> None:
        with guard.active():
            made = socket.create_connection(listening.getsockname())
            connected.set()
            try:
                if not made.recv(1):
                    failed.append(ConnectionError("the end"))
                socket.create_connection(listening.getsockname())
            except OSError as error:
                failed.append(error)
            finally:
                made.close()

    thread = threading.Thread(target=ask)
    thread.start()
    assert connected.wait(10)
    guard.cut()
    thread.join(10)
    assert not thread.is_alive()
    assert [str(error) for error in failed] == ["the end", "its time is over"]


def test_nothing_stays_open_after_the_end(listening: socket.socket) -> None:
    guard = Guard(LOOPBACK)
    with guard.active():
        socket.create_connection(listening.getsockname(), timeout=5).close()
    accepted, _ = listening.accept()
    accepted.settimeout(5)
    assert accepted.recv(1) == b""
    accepted.close()
    guard.cut()


def test_a_proxy_of_the_environment_is_not_gone_through(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = f"http://localhost:{port_of(listening)}"
    monkeypatch.setenv("HTTP_PROXY", proxy)
    guard = Guard(ANYWHERE, proxy_hosts(os.environ))
    with guard.active(), pytest.raises(requests.exceptions.RequestException):
        requests.post("http://hooks.example.com/", timeout=5)
    assert ["proxy" in told for told in guard.refused] == [True]


@pytest.mark.parametrize(
    ("env", "hosts"),
    [
        ({}, set[str]()),
        ({"HTTPS_PROXY": "http://user:secret@proxy.example:3128"}, {"proxy.example"}),
        ({"https_proxy": "proxy.example:3128", "ALL_PROXY": "socks5://[::1]:1080"}, {"proxy.example", "::1"}),
        ({"HTTP_PROXY": "http://PROXY.example"}, {"proxy.example"}),
        ({"HTTP_PROXY": ""}, set[str]()),
        ({"HTTP_PROXY": "http://"}, set[str]()),
        ({"HTTP_PROXY": "http://proxy.example", "NO_PROXY": "*"}, set[str]()),
        ({"HTTP_PROXY": "http://proxy.example", "NO_PROXY": "localhost"}, {"proxy.example"}),
    ],
)
def test_the_proxies_of_an_environment(env: dict[str, str], hosts: set[str]) -> None:
    assert proxy_hosts(env) == hosts


def test_a_look_up_in_bytes_is_looked_at_too() -> None:
    with pytest.raises(Refused, match="proxy"):
        Guard(ANYWHERE, frozenset({"proxy.example"})).check("socket.getaddrinfo", (b"Proxy.example", 80))
