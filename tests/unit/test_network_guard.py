"""The guard that keeps tests on loopback, asked with the events an interpreter raises."""

import socket

import pytest

from tests.network import NetworkGuard

DOCUMENTATION_ADDRESS = "192.0.2.1"  # RFC 5737: nobody answers there


@pytest.fixture
def guard() -> NetworkGuard:
    return NetworkGuard()


@pytest.mark.parametrize(
    ("family", "address"),
    [
        (socket.AF_INET, (DOCUMENTATION_ADDRESS, 443)),
        (socket.AF_INET, ("example.com", 443)),
        (socket.AF_INET6, ("2001:db8::1", 443, 0, 0)),
    ],
    ids=["ipv4", "name", "ipv6"],
)
@pytest.mark.parametrize("event", ["socket.connect", "socket.sendto"])
def test_refuses_what_leaves_the_machine(
    guard: NetworkGuard, event: str, family: int, address: tuple[object, ...]
) -> None:
    with socket.socket(family) as opened, pytest.raises(OSError, match="loopback"):
        guard(event, (opened, address))
    assert guard.refused == [address[0]]


@pytest.mark.parametrize(
    ("family", "address"),
    [
        (socket.AF_INET, ("127.0.0.1", 80)),
        (socket.AF_INET, ("127.8.9.1", 80)),
        (socket.AF_INET, ("localhost", 80)),
        (socket.AF_INET6, ("::1", 80, 0, 0)),
        (socket.AF_UNIX, "/run/x.sock"),
    ],
    ids=["ipv4", "ipv4 net", "name", "ipv6", "unix"],
)
def test_allows_what_stays(guard: NetworkGuard, family: int, address: object) -> None:
    with socket.socket(family) as opened:
        guard("socket.connect", (opened, address))
    assert not guard.refused


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", b"::1", None, "", DOCUMENTATION_ADDRESS])
def test_a_look_up_that_asks_nobody_is_allowed(guard: NetworkGuard, host: object) -> None:
    guard("socket.getaddrinfo", (host, 80, 0, 0, 0))
    assert not guard.refused


def test_a_look_up_of_a_name_is_refused(guard: NetworkGuard) -> None:
    with pytest.raises(OSError, match=r"example\.com"):
        guard("socket.getaddrinfo", ("example.com", 80, 0, 0, 0))


def test_is_installed(network_guard: NetworkGuard) -> None:
    with socket.socket() as opened, pytest.raises(OSError, match="loopback"):
        opened.connect((DOCUMENTATION_ADDRESS, 9))
    assert network_guard.refused == [DOCUMENTATION_ADDRESS]
    network_guard.refused.clear()
