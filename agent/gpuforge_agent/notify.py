"""Tells systemd of a unit of Type=notify how this process is (sd_notify(3))."""

from __future__ import annotations

import logging
import socket

logger = logging.getLogger(__name__)


def notify(address: str | None, state: str) -> None:
    """Send `state` (`READY=1`, `WATCHDOG=1`, `STOPPING=1`, `STATUS=…`) to systemd's socket, if there is one.

    A failure is logged and no more: a lost READY shows in systemd as a start that timed out.
    """
    if address is None:
        return
    target = "\0" + address[1:] if address.startswith("@") else address  # @ stands for the abstract namespace
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as datagrams:
            datagrams.setblocking(False)
            datagrams.sendto(state.encode(), target)
    except OSError as error:
        logger.warning("systemd does not hear us on its notify socket: %s", error)
