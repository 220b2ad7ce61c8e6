"""What one answer of NVML comes to: reasons, ranges, fall-backs, sleeping cards."""

from pathlib import Path

import pynvml
import pytest

from gpuforge_agent.sources import figures, nvml, session
from gpuforge_agent.sources.base import MEASURES, GpuIdentity, Reason, slot, slot_of, unread
from gpuforge_agent.sources.pci import PciBus
from gpuforge_agent.sources.ranges import within


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (pynvml.NVML_ERROR_UNINITIALIZED, Reason.DRIVER_ABSENT),
        (pynvml.NVML_ERROR_NOT_SUPPORTED, Reason.NOT_SUPPORTED),
        (pynvml.NVML_ERROR_NO_PERMISSION, Reason.NO_PERMISSION),
        (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, Reason.DRIVER_ABSENT),
        (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, Reason.LIBRARY_ABSENT),
        (pynvml.NVML_ERROR_FUNCTION_NOT_FOUND, Reason.DRIVER_TOO_OLD),
        (pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH, Reason.DRIVER_TOO_OLD),
        (pynvml.NVML_ERROR_GPU_IS_LOST, Reason.LOST),
        (pynvml.NVML_ERROR_RESET_REQUIRED, Reason.RESET_REQUIRED),
        (pynvml.NVML_ERROR_OPERATING_SYSTEM, Reason.NO_PERMISSION),
        (pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, Reason.LIBRARY_MISMATCH),
        (pynvml.NVML_ERROR_UNKNOWN, Reason.UNKNOWN_ERROR),
        (4711, Reason.UNKNOWN_ERROR),
    ],
)
def test_every_return_code_has_a_reason(code: int, reason: Reason) -> None:
    assert nvml.reason_of(pynvml.NVMLError(code)) is reason


def test_a_library_mismatch_is_no_nvml_error_and_is_caught_all_the_same() -> None:
    def call(_: nvml.Handle) -> float:
        raise pynvml.NVMLLibraryMismatchError

    assert not issubclass(pynvml.NVMLLibraryMismatchError, pynvml.NVMLError)
    assert nvml.attempt(call, None) is Reason.LIBRARY_MISMATCH


@pytest.mark.parametrize("code", [pynvml.NVML_ERROR_FUNCTION_NOT_FOUND, pynvml.NVML_ERROR_NOT_SUPPORTED])
def test_the_older_call_is_made_where_the_newer_is_lacking_or_refused(code: int) -> None:
    def newer(_: nvml.Handle) -> int:
        raise pynvml.NVMLError(code)

    assert nvml.prefer(newer, lambda _: 61, None) == 61


def test_the_older_call_is_not_made_on_a_lost_gpu() -> None:
    def newer(_: nvml.Handle) -> int:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)

    assert nvml.prefer(newer, lambda _: 61, None) is Reason.LOST


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(0, 0, id="lowest"),
        pytest.param(100, 100, id="highest"),
        pytest.param(-1, Reason.OUT_OF_RANGE, id="negative"),
        pytest.param(101, Reason.OUT_OF_RANGE, id="above"),
        pytest.param(0xFFFFFFFF, Reason.OUT_OF_RANGE, id="all ones"),
    ],
)
def test_success_with_nonsense_is_out_of_range(value: int, expected: int | Reason) -> None:
    assert within(value, 0, 100) == expected


def test_not_a_number_is_out_of_range() -> None:
    assert within(float("nan"), 0.0, 100.0) is Reason.OUT_OF_RANGE


@pytest.mark.parametrize(
    ("status", "asleep"),
    [("suspended\n", True), ("active\n", False), ("unsupported\n", False), (None, False)],
)
def test_a_card_that_the_kernel_suspended_is_asleep(
    tmp_path: Path, status: str | None, *, asleep: bool
) -> None:
    if status is not None:
        power = tmp_path / "0000:3b:00.0" / "power"
        power.mkdir(parents=True)
        (power / "runtime_status").write_text(status)
    assert PciBus(tmp_path).is_asleep("00000000:3B:00.0") is asleep


@pytest.mark.parametrize("pci_bus_id", [None, "", "nonsense"])
def test_a_card_without_a_place_on_the_bus_counts_as_awake(tmp_path: Path, pci_bus_id: str | None) -> None:
    assert not PciBus(tmp_path).is_asleep(pci_bus_id)


def test_nvml_is_opened_anew_ever_more_rarely_and_never_while_something_answers() -> None:
    assert [sweeps for sweeps in range(49) if session._worth_reopening(sweeps)] == [
        1,
        2,
        4,
        8,
        12,
        24,
        36,
        48,
    ]


def test_a_card_keeps_what_it_said_of_itself_before() -> None:
    before = GpuIdentity(uuid="GPU-1", index=3, model="NVIDIA H200", vram_mb=143_771, pci_bus_id="0:3B:0.0")
    now = GpuIdentity(uuid="GPU-1", index=2, model=figures.UNKNOWN_MODEL, vram_mb=None, pci_bus_id=None)
    assert figures.completed(now, before) == GpuIdentity(
        uuid="GPU-1", index=2, model="NVIDIA H200", vram_mb=143_771, pci_bus_id="0:3B:0.0"
    )


def test_an_unread_gpu_has_no_figure_and_a_reason_for_each() -> None:
    reading = unread("GPU-1", 5, Reason.HUNG)
    assert [getattr(reading, measure) for measure in MEASURES] == [None] * 5
    assert reading.missing == dict.fromkeys(MEASURES, Reason.HUNG)


def test_a_slot_is_known_from_its_subject() -> None:
    assert slot_of(slot(12)) == 12
    assert slot_of("GPU-12") is None
