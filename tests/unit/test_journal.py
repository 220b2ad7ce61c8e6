"""Xids from the kernel's log: what is read of it, through what ends; told once where NVML tells too."""

import asyncio
import contextlib
import shlex
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from gpuforge_agent.journal import MARK_EVERY, MOST_WAITING, KernelLog, LoggedXid, xid_in
from gpuforge_agent.journal_mark import FILE, JournalMark
from gpuforge_agent.sources.base import Xid
from gpuforge_agent.sources.pci import Place, place_of
from gpuforge_agent.witnesses import MOST_CODES, MOST_REMEMBERED, Witness, Witnesses
from gpuforge_client.retry import World

RECORDED = (
    Path(__file__).resolve().parents[1] / "golden" / "kernel.log.json"
)  # of journalctl, and damaged lines
NOW = datetime(2026, 5, 9, tzinfo=UTC)
CARD = Xid(uuid="GPU-1", code=79)


@pytest.mark.parametrize(
    ("message", "place", "code"),
    [
        pytest.param(
            "NVRM: Xid (PCI:0000:3b:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.",
            (0, 0x3B, 0), 79, id="of today",
        ),
        pytest.param("NVRM: Xid (PCI:0001:00:1f.0): 63, pid=1", (1, 0, 0x1F), 63, id="with a function"),
        pytest.param("NVRM: Xid (PCI:0000:3b:00 GPU-I:05): 94, pid=1", (0, 0x3B, 0), 94, id="of an instance"),
        pytest.param("NVRM: Xid (0000:af:00): 48, DBE", (0, 0xAF, 0), 48, id="of long ago"),
        pytest.param("[1] NVRM: Xid (PCI:00000000:3B:00): 154, GPU", (0, 0x3B, 0), 154, id="after a prefix"),
    ],
)  # fmt: skip
def test_an_xid_is_read_however_the_driver_writes_it(message: str, place: Place, code: int) -> None:
    assert xid_in(message, NOW) == LoggedXid(place=place, code=code, at=NOW)


@pytest.mark.parametrize(
    "message",
    [
        "",
        "NVRM: GPU at PCI:0000:3b:00: GPU-2f7a",
        "NVRM: Xid (PCI:0000:3b): 79, pid=1",
        "NVRM: Xid (PCI:0000:3b:00): none",
        "NVRM: Xid (PCI:0000:3b:00): 4294967296, pid=1",
    ],
)
def test_whatever_else_is_said_is_no_xid(message: str) -> None:
    assert xid_in(message, NOW) is None


@pytest.mark.parametrize(
    ("written", "place"),
    [
        ("0000:3b:00", (0, 59, 0)),
        ("00000000:3B:00.0", (0, 59, 0)),
        ("3b:00.0", None),
        ("", None),
        ("x:y:z", None),
    ],
)
def test_a_place_is_the_same_however_it_is_written(written: str, place: Place | None) -> None:
    assert place_of(written) == place


class Naps:
    """The world of a follower: naps that a test ends, and how long they were to be."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[float] = asyncio.Queue()
        self.over = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        await self.asked.put(seconds)
        await self.over.wait()
        self.over.clear()

    @property
    def world(self) -> World:
        return World(clock=lambda: NOW, sleep=self.sleep, draw=lambda: 0.5, monotonic=lambda: 0.0)


def shell(script: str) -> Sequence[str]:
    """A journalctl of our own; what it is told comes last, as `$1`."""
    return ("sh", "-c", script, "journalctl")


@contextlib.asynccontextmanager
async def following(log: KernelLog) -> AsyncIterator[None]:
    task = asyncio.create_task(log.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_a_recorded_log_is_followed_and_what_is_damaged_passed_over() -> None:
    naps = Naps()
    log = KernelLog(shell(f"cat {shlex.quote(str(RECORDED))}"), world=naps.world)
    async with following(log):
        assert await naps.asked.get() == 2.5
    began = datetime(2026, 5, 9, tzinfo=UTC)
    assert log.take() == (
        LoggedXid(place=(0, 0x3B, 0), code=13, at=began + timedelta(seconds=1)),
        LoggedXid(place=(0, 0x5E, 0), code=79, at=began + timedelta(seconds=3)),
        LoggedXid(place=(0, 0x86, 0), code=94, at=began + timedelta(seconds=4)),
        LoggedXid(place=(0, 0xAF, 0), code=48, at=began + timedelta(seconds=5)),
    )
    assert log.take() == ()


async def test_after_an_end_it_goes_on_where_it_was_ever_more_rarely(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    naps, told = Naps(), tmp_path / "told"
    script = (
        f'echo "$1" >> {told}; test -s {tmp_path}/log && cat {tmp_path}/log; echo no permission >&2; exit 1'
    )
    log = KernelLog(shell(script), world=naps.world)
    async with following(log):
        waits = [await naps.asked.get()]
        (tmp_path / "log").write_bytes(RECORDED.read_bytes())
        for _ in range(8):
            naps.over.set()
            waits.append(await naps.asked.get())
    assert log.problem == "no permission"
    assert waits == [2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 150.0, 150.0, 150.0]
    first, second, third, *_ = told.read_text().splitlines()
    assert first == second == f"--since=@{int(NOW.timestamp())}"
    assert third.startswith("--after-cursor=s=d23b;i=7;")
    assert [record.getMessage() for record in caplog.records] == [
        "the kernel's log can't be followed: no permission"
    ], "once, however often"


async def asked_for(folder: Path, told: Sequence[str] = (), *, began: datetime = NOW) -> str:
    """Where an agent lets journalctl begin, before it tells so much."""
    mark = JournalMark(folder)
    start = await mark.begin(began)
    for cursor in told:
        mark.told(cursor)
    await mark.saved()
    return start


async def test_the_next_agent_begins_where_all_was_told(tmp_path: Path) -> None:
    first, later = f"--since=@{int(NOW.timestamp())}", NOW + timedelta(days=1)
    assert await asked_for(tmp_path) == first, "what was before is nobody's"
    assert await asked_for(tmp_path, ["s=1", "s=2", "s=3"], began=later) == first, "nothing was told yet"
    assert await asked_for(tmp_path, began=later) == "--after-cursor=s=3"
    await JournalMark(tmp_path).forget()
    assert await asked_for(tmp_path, began=later) == f"--since=@{int(later.timestamp())}"


@pytest.mark.parametrize("content", [b"", b"[]", b'{"since":"x"}', b"\xff"])
async def test_a_damaged_mark_is_as_none(tmp_path: Path, content: bytes) -> None:
    await asyncio.to_thread((tmp_path / FILE).write_bytes, content)
    assert await asked_for(tmp_path) == f"--since=@{int(NOW.timestamp())}"


async def test_a_mark_that_cannot_be_kept_is_said_and_stops_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert await asked_for(tmp_path / "gone", ["s=1"]) == f"--since=@{int(NOW.timestamp())}"
    assert "can't be remembered" in caplog.text


async def test_the_log_is_told_as_far_as_it_was_taken(tmp_path: Path) -> None:
    naps, mark = Naps(), JournalMark(tmp_path)
    log = KernelLog(shell(f"cat {shlex.quote(str(RECORDED))}"), world=naps.world, mark=mark)
    async with following(log):
        await naps.asked.get()
    log.told()
    await mark.saved()
    assert (await asked_for(tmp_path)).startswith("--since="), "nothing was taken"
    log.take()
    log.told()
    await mark.saved()
    assert (await asked_for(tmp_path)).startswith("--after-cursor=s=d23b;i=7;")


async def test_what_tells_of_no_xid_is_not_read_again_for_ever(tmp_path: Path) -> None:
    naps, mark, behind = Naps(), JournalMark(tmp_path), 2 * MARK_EVERY + MARK_EVERY // 2
    script = f"""
    for n in $(seq 1 {behind}); do
      echo '{{"MESSAGE":"usb 1-1: new device","__REALTIME_TIMESTAMP":"0","__CURSOR":"s='$n'"}}'
    done"""
    log = KernelLog(shell(script), world=naps.world, mark=mark)
    async with following(log):
        await naps.asked.get()
    assert log.take() == ()
    log.told()
    await mark.saved()
    assert await asked_for(tmp_path) == f"--after-cursor=s={2 * MARK_EVERY}"


class Heard(KernelLog):
    """Says when it has noted the last line of the recorded log."""

    def __init__(self, command: Sequence[str]) -> None:
        super().__init__(command)
        self.all = asyncio.Event()

    def _note(self, line: bytes) -> None:
        super()._note(line)
        if b"i=7;" in line:
            self.all.set()


async def test_it_hears_while_journalctl_runs_and_takes_it_along_when_it_ends(tmp_path: Path) -> None:
    log = Heard(shell(f"echo $$ > {tmp_path}/pid; cat {shlex.quote(str(RECORDED))}; exec sleep 60"))
    async with following(log):
        await log.all.wait()
        assert len(log.take()) == 4
        assert log.problem is None
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


async def test_a_flood_keeps_the_latest_and_a_line_without_end_costs_itself_alone() -> None:
    naps = Naps()
    flood = r"""
    head -c 200000 /dev/zero | tr '\0' x; echo
    for code in $(seq 1 300); do
      echo '{"MESSAGE":"NVRM: Xid (PCI:0000:3b:00): '$code', x","__REALTIME_TIMESTAMP":"0","__CURSOR":"c"}'
    done"""
    log = KernelLog(shell(flood), world=naps.world)
    async with following(log):
        await naps.asked.get()
    assert [each.code for each in log.take()] == list(range(301 - MOST_WAITING, 301))


async def test_without_a_journalctl_that_is_said() -> None:
    naps = Naps()
    log = KernelLog(("/nowhere/journalctl",), world=naps.world)
    async with following(log):
        await naps.asked.get()
    assert log.problem == "/nowhere/journalctl: No such file or directory"


Told = tuple[Witness, Xid, float]


@pytest.mark.parametrize(
    ("told", "news"),
    [
        pytest.param([("nvml", CARD, 0), ("journal", CARD, 0)], [True, False], id="NVML first"),
        pytest.param([("journal", CARD, 0), ("nvml", CARD, 5)], [True, False], id="the journal first"),
        pytest.param([("journal", CARD, 0), ("nvml", CARD, 61)], [True, True], id="too far apart"),
        pytest.param([("nvml", CARD, 0), ("nvml", CARD, 1)], [True, True], id="twice by one witness"),
        pytest.param(
            [("nvml", CARD, 0), ("nvml", CARD, 1), ("journal", CARD, 0), ("journal", CARD, 1)],
            [True, True, False, False], id="two by two",
        ),
        pytest.param(
            [("nvml", CARD, 0), ("journal", CARD, 0), ("journal", CARD, 1)], [True, False, True],
            id="one that NVML missed",
        ),
        pytest.param(
            [("nvml", CARD, 0), ("journal", Xid(uuid="GPU-1", code=48), 0)], [True, True], id="another code"
        ),
        pytest.param(
            [("nvml", CARD, 0), ("journal", Xid(uuid="GPU-2", code=79), 0)], [True, True], id="another GPU"
        ),
    ],
)  # fmt: skip
def test_what_both_tell_is_told_once(told: list[Told], news: list[bool]) -> None:
    witnesses = Witnesses(60.0)
    found = [witnesses.is_news(who, xid, NOW + timedelta(seconds=at)) for who, xid, at in told]
    assert found == news
    assert sum(witnesses.counts.values()) == sum(news)


def test_what_is_remembered_is_bounded() -> None:
    witnesses = Witnesses(60.0)
    for code in range(2 * MOST_CODES):
        assert witnesses.is_news("nvml", Xid(uuid="GPU-1", code=code), NOW)
    assert len(witnesses.counts) == MOST_CODES
    assert witnesses.is_news("journal", Xid(uuid="GPU-1", code=0), NOW), "forgotten, so it is told again"
    newest = 2 * MOST_CODES - MOST_REMEMBERED + 1
    assert not witnesses.is_news("journal", Xid(uuid="GPU-1", code=newest), NOW)
