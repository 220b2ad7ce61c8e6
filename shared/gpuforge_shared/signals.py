"""Which signals end a program that runs until it is told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable


def on_stop(stop: Callable[[], object]) -> None:
    """Call `stop` at SIGTERM and SIGINT, and at a SIGHUP where there is a terminal to hang up.

    Elsewhere a SIGHUP changes nothing, in the processes begun after this neither: daemons get it by habit, to
    read their settings anew, and ours read theirs at the start alone. From within a running loop.
    """
    loop = asyncio.get_running_loop()
    numbers = [signal.SIGTERM, signal.SIGINT]
    if os.isatty(0):
        numbers.append(signal.SIGHUP)
    else:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    for number in numbers:
        loop.add_signal_handler(number, stop)
