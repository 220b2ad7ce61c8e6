"""Keeps the suite on this machine: a connection that leaves loopback is refused, and fails its test."""

import errno
import ipaddress
import socket


class NetworkGuard:
    """An audit hook (see sys.addaudithook); `refused` holds what it stopped since a test began.

    Code under test may swallow the error, so the fixture reads `refused` too. Child processes are not seen.
    """

    def __init__(self) -> None:
        self.refused: list[str] = []

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        """Raise OSError for a socket or a name look-up that would leave this machine."""
        if event in ("socket.connect", "socket.sendto"):
            opened, address = arguments
            if isinstance(opened, socket.socket) and opened.family in (socket.AF_INET, socket.AF_INET6):
                self._require_loopback(address[0] if isinstance(address, tuple) else address)
        elif event == "socket.getaddrinfo" and arguments[0] and not _is_address(arguments[0]):
            self._require_loopback(arguments[0])

    def _require_loopback(self, host: object) -> None:
        if host == "localhost" or (_is_address(host) and ipaddress.ip_address(str(host)).is_loopback):
            return
        self.refused.append(str(host))
        raise OSError(errno.ENETUNREACH, f"a test may only connect to loopback, not to {host}")


def _is_address(host: object) -> bool:
    try:
        ipaddress.ip_address(host.decode() if isinstance(host, bytes) else str(host))
    except ValueError:
        return False
    return True
