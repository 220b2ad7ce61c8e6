"""The agent's small decisions: how long to wait, which item is at fault, whose turn, what a host says."""

import asyncio
import logging
import socket
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuforge_agent import host
from gpuforge_agent.app import every, next_due, spread_s
from gpuforge_agent.collector import InlineCollector
from gpuforge_agent.identity import EASY_S, LONGEST_REST_S, rest_s
from gpuforge_agent.notify import notify
from gpuforge_agent.push import AWAY, REFUSED, REFUSED_FLOOR_S, patience_s, reasons_by_index
from gpuforge_agent.sample import Sample
from gpuforge_agent.sampler import Sampler
from gpuforge_agent.sources.base import Fault, GpuIdentity, Inventory, Reading, Reason
from gpuforge_agent.sources.simulated import SimulatedSource
from gpuforge_agent.spool import Spool
from gpuforge_client.failures import CertificateRefused, ControlPlaneUnreachable, UnexpectedAnswer
from gpuforge_shared.errors import (
    Conflict,
    FieldError,
    Forbidden,
    GPUForgeError,
    Invalid,
    TooManyRequests,
    Unauthorized,
    Unavailable,
)

NOW = datetime(2026, 5, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("error", "attempt", "seconds"),
    [
        pytest.param(ControlPlaneUnreachable("", sent=True), 1, 0.5, id="away"),
        pytest.param(ControlPlaneUnreachable("", sent=False), 99, AWAY.cap_s / 2, id="long away"),
        pytest.param(Unavailable("", retry_after=5), 1, 5.5, id="503"),
        pytest.param(TooManyRequests("", retry_after=120), 1, 120.5, id="429"),
        pytest.param(Unauthorized(""), 1, REFUSED_FLOOR_S + REFUSED.base_s / 2, id="401"),
        pytest.param(Forbidden(""), 99, REFUSED_FLOOR_S + REFUSED.cap_s / 2, id="403 for long"),
        pytest.param(
            Conflict("", code="node_retired"), 1, REFUSED_FLOOR_S + REFUSED.base_s / 2, id="retired"
        ),
        pytest.param(
            CertificateRefused("", sent=False), 1, REFUSED_FLOOR_S + REFUSED.base_s / 2, id="certificate"
        ),
        pytest.param(UnexpectedAnswer(""), 1, REFUSED_FLOOR_S + REFUSED.base_s / 2, id="not a control plane"),
        pytest.param(ZeroDivisionError(), 1, None, id="a defect of ours"),
    ],
)
def test_patience(error: Exception, attempt: int, seconds: float | None) -> None:
    assert patience_s(error, attempt, 0.5) == seconds


@given(
    attempt=st.integers(1, 10**9),
    draw=st.floats(0, 1, exclude_max=True),
    error=st.sampled_from([Unauthorized(""), Unavailable(""), ControlPlaneUnreachable("", sent=True)]),
)
def test_patience_never_ends_and_is_never_longer_than_six_minutes(
    attempt: int, draw: float, error: GPUForgeError
) -> None:
    seconds = patience_s(error, attempt, draw)
    assert seconds is not None
    assert 0 <= seconds <= 360


@pytest.mark.parametrize(
    ("error", "reasons"),
    [
        pytest.param(Invalid("no"), {}, id="names none"),
        pytest.param(
            Invalid("no", errors=(FieldError("metrics[3].power_draw_w", "must be ≥ 0"),)),
            {3: "invalid"},
            id="one",
        ),
        pytest.param(
            Invalid(
                "no", errors=(FieldError("$.metrics[12]", "wrong type"), FieldError("metrics[0].gpu_id", "x"))
            ),
            {12: "invalid", 0: "invalid"},
            id="two",
        ),
        pytest.param(
            Invalid(
                "no",
                code="all_rejected",
                errors=(
                    FieldError("metrics[0]", "unknown_gpu"),
                    FieldError("metrics[1]", "recorded_in_future"),
                ),
            ),
            {0: "unknown_gpu", 1: "recorded_in_future"},
            id="all rejected, each for its reason",
        ),
        pytest.param(Invalid("no", errors=(FieldError("metrics", "too many"),)), {}, id="the whole"),
    ],
)
def test_items_at_fault(error: Invalid, reasons: Mapping[int, str]) -> None:
    assert reasons_by_index(error) == reasons


@given(hostname=st.text(min_size=1, max_size=60), period=st.floats(0.01, 3600))
def test_a_hosts_turn_is_within_the_period_and_always_the_same(hostname: str, period: float) -> None:
    assert 0 <= spread_s(hostname, period) < period
    assert spread_s(hostname, period) == spread_s(hostname, period)


def test_a_fleet_that_starts_at_once_arrives_evenly() -> None:
    turns = [spread_s(f"gpu-{number:05}", 10.0) for number in range(12_500)]
    seconds = [sum(second <= turn < second + 1 for turn in turns) for second in range(10)]
    assert min(seconds) > 1_000
    assert max(seconds) < 1_500


@pytest.mark.parametrize(
    ("now", "due"),
    [
        pytest.param(100.0, 110.0, id="done at once"),
        pytest.param(104.0, 110.0, id="done in time"),
        pytest.param(110.0, 110.0, id="just in time"),
        pytest.param(110.1, 120.0, id="late: the beat is left out"),
        pytest.param(1000.5, 1010.0, id="very late: in step still"),
    ],
)
def test_a_beat_that_was_missed_is_not_made_up_for(now: float, due: float) -> None:
    assert next_due(100.0, now, 10.0) == due


async def test_what_is_done_every_so_often_is_done_again_and_again() -> None:
    times: list[float] = []

    async def act() -> None:
        times.append(asyncio.get_running_loop().time())
        if len(times) == 3:
            raise ZeroDivisionError

    began = asyncio.get_running_loop().time()
    with pytest.raises(ZeroDivisionError):
        await every(0.001, act, after_s=0.002)
    assert times[0] >= began + 0.002
    assert times == sorted(times)


@pytest.mark.parametrize(
    ("content", "gigabytes"),
    [
        pytest.param("MemTotal:       1056784032 kB\nMemFree: 1 kB\n", 1008, id="1 TB host"),
        pytest.param("MemFree: 1 kB\n", None, id="not said"),
        pytest.param(None, None, id="no such file"),
    ],
)
def test_ram_is_what_proc_says_in_gibibytes(
    tmp_path: Path, content: str | None, gigabytes: int | None
) -> None:
    if content is not None:
        (tmp_path / "meminfo").write_text(content)
    assert host.ram_gb(tmp_path / "meminfo") == gigabytes


def test_a_host_says_what_it_is() -> None:
    this = host.describe("gpu-01")
    assert this.hostname == "gpu-01"
    assert host.describe(None).hostname == socket.gethostname()
    assert this.cpu_cores


def test_systemd_is_told_on_a_path_and_in_the_abstract_namespace(tmp_path: Path) -> None:
    for address, bound in ((str(tmp_path / "n"), str(tmp_path / "n")), (f"@{tmp_path}", f"\0{tmp_path}")):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.bind(bound)
            notify(address, "READY=1")
            assert systemd.recv(100) == b"READY=1"


def test_a_systemd_that_is_not_there_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    notify(None, "READY=1")
    assert caplog.text == ""
    notify(str(tmp_path / "gone"), "READY=1")
    assert "does not hear us" in caplog.text


def card(number: int) -> GpuIdentity:
    """A card."""
    return GpuIdentity(uuid=f"GPU-{number}", index=number, model="H100", vram_mb=1, pci_bus_id=None)


class Cards(InlineCollector):
    """A collector whose host changes at will; it counts how often it is asked for its list."""

    def __init__(self) -> None:
        super().__init__(SimulatedSource("cards", gpu_count=0))
        self.now = Inventory(gpus=(card(0), card(1)))
        self.readings: tuple[Reading, ...] = (Reading(uuid="GPU-0", index=0, temperature_c=40.0),)
        self.listed = 0
        self.time = NOW

    async def inventory(self) -> Inventory:
        """See Collector."""
        self.listed += 1
        return self.now

    async def read(self) -> tuple[Reading, ...]:
        """See Collector. It takes a minute."""
        self.time += timedelta(minutes=1)
        return self.readings

    async def close(self) -> None:
        """See Collector."""


async def test_a_reading_becomes_a_sample_with_its_reasons_and_the_time_it_began() -> None:
    spool, cards = Spool(10), Cards()
    cards.readings = (
        Reading(uuid="GPU-0", index=0, utilization_pct=1.0, power_draw_w=70.0),
        Reading(uuid="GPU-1", index=1, missing={"power_draw_w": Reason.NOT_SUPPORTED}),
    )
    await Sampler(cards, spool, lambda: cards.time, list_every=3).sample()
    assert (await spool.peek(5)).samples == (
        Sample(uuid="GPU-0", recorded_at=NOW, utilization_pct=1.0, power_draw_w=70.0),
        Sample(uuid="GPU-1", recorded_at=NOW, missing={"power_draw_w": "not_supported"}),
    )


async def test_the_gpus_are_listed_now_and_then_and_at_once_when_a_new_one_is_read() -> None:
    cards = Cards()
    sampler = Sampler(cards, Spool(10), lambda: NOW, list_every=3)
    listed = []
    for _ in range(4):
        await sampler.sample()
        listed.append(cards.listed)
    assert listed == [1, 1, 1, 2]
    cards.now = Inventory(gpus=(card(0), card(2)))
    cards.readings = (Reading(uuid="GPU-2", index=2),)
    await sampler.sample()
    assert cards.listed == 3
    assert sampler.inventory == cards.now


async def test_a_change_of_the_host_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    cards = Cards()
    sampler = Sampler(cards, Spool(100), lambda: NOW, list_every=1)
    gone = Inventory(gpus=(card(0),), absent=(card(1),))
    blind = Inventory(
        absent=(card(0), card(1)), fault=Fault(reason=Reason.DRIVER_ABSENT, detail="the driver is not loaded")
    )
    for now in (cards.now, gone, gone, cards.now, blind, blind, cards.now):
        cards.now = now
        await sampler.sample()
    assert [record.getMessage() for record in caplog.records] == [
        "GPU GPU-1 (H100) does not answer",
        "GPU GPU-1 (H100) is back",
        "the GPUs can't be read: the driver is not loaded",
        "the GPUs can be read again",
    ]


@pytest.mark.parametrize(
    ("took_s", "draw", "rest"),
    [
        pytest.param(0.02, 0.9, 0.0, id="a control plane at ease"),
        pytest.param(EASY_S, 0.9, 0.0, id="just so"),
        pytest.param(EASY_S + 1.0, 0.5, 3.0, id="busy"),
        pytest.param(EASY_S + 1.0, 0.0, 0.0, id="some go on at once"),
        pytest.param(15.0, 0.9, LONGEST_REST_S, id="never longer"),
    ],
)
def test_a_registration_rests_the_longer_the_busier_the_control_plane_is(
    took_s: float, draw: float, rest: float
) -> None:
    assert rest_s(took_s, draw) == pytest.approx(rest)
