"""A terminal that hangs up ends what runs in it; no other SIGHUP does."""

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from gpuforge_shared.signals import on_stop


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
async def test_in_a_terminal_each_ends_it(monkeypatch: pytest.MonkeyPatch, number: signal.Signals) -> None:
    monkeypatch.setattr("os.isatty", lambda file: file == 0)
    stop = asyncio.Event()
    on_stop(stop.set)
    os.kill(os.getpid(), number)
    async with asyncio.timeout(20):
        await stop.wait()


async def test_without_one_a_hangup_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.isatty", lambda _: False)
    on_stop(lambda: None)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
