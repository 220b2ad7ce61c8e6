"""Runs what may block for ever where nobody has to wait for it: a dead name server, a disk that hangs."""

from __future__ import annotations

import asyncio
import concurrent.futures
import errno
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def aside(call: Callable[[], T]) -> asyncio.Future[T]:
    """What `call` answers or raises. Raises OSError where the host has no thread left.

    In a thread of its own that no end of a process waits for: those of asyncio.to_thread are joined at the
    exit, however long they block.
    """
    outcome: concurrent.futures.Future[T] = concurrent.futures.Future()
    outcome.set_running_or_notify_cancel()  # who gives up waiting does not stop it

    def run() -> None:
        try:
            outcome.set_result(call())
        except Exception as error:  # noqa: BLE001  # whatever it was belongs to the caller
            outcome.set_exception(error)

    try:
        threading.Thread(target=run, daemon=True).start()
    except RuntimeError as error:
        raise OSError(errno.EAGAIN, str(error)) from None
    return asyncio.wrap_future(outcome)
