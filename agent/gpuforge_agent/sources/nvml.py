"""NVML, called through nvidia-ml-py: the only module that imports it. A call answers a figure or a Reason."""

import ctypes
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import NamedTuple, TypeAlias, TypeVar, cast

import pynvml

from gpuforge_agent.sources.base import Fault, Reason

T = TypeVar("T")
Handle: TypeAlias = object
"""An `nvmlDevice_t`, good for the session that answered it."""
EventSet: TypeAlias = object
"""An `nvmlEventSet_t`, good for the session that answered it."""
Number: TypeAlias = int | Reason

REASONS: Mapping[int, Reason] = {
    pynvml.NVML_ERROR_UNINITIALIZED: Reason.DRIVER_ABSENT,
    pynvml.NVML_ERROR_NOT_SUPPORTED: Reason.NOT_SUPPORTED,
    pynvml.NVML_ERROR_NO_PERMISSION: Reason.NO_PERMISSION,
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: Reason.DRIVER_ABSENT,
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: Reason.LIBRARY_ABSENT,
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND: Reason.DRIVER_TOO_OLD,
    pynvml.NVML_ERROR_GPU_IS_LOST: Reason.LOST,
    pynvml.NVML_ERROR_RESET_REQUIRED: Reason.RESET_REQUIRED,
    pynvml.NVML_ERROR_OPERATING_SYSTEM: Reason.NO_PERMISSION,  # e.g. a device cgroup that says no
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: Reason.LIBRARY_MISMATCH,
    pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH: Reason.DRIVER_TOO_OLD,
    pynvml.NVML_ERROR_DEPRECATED: Reason.NOT_SUPPORTED,
    pynvml.NVML_ERROR_GPU_NOT_FOUND: Reason.LOST,
}
"""NVML return code -> our reason; any other code is `unknown_error`."""

# A newer call may be unknown to the driver, or refused on this card: the older one may still answer.
_TRY_OLDER_CALL = frozenset({Reason.DRIVER_TOO_OLD, Reason.NOT_SUPPORTED, Reason.LIBRARY_MISMATCH})
_XID = pynvml.nvmlEventTypeXidCriticalError
_MOST_EVENTS = 256  # a drain: a card that floods must not keep us


def reason_of(error: Exception) -> Reason:
    """Answer the reason that an error of nvidia-ml-py stands for.

    `NVMLLibraryMismatchError` is no `NVMLError`: with old drivers some calls raise it.
    """
    if isinstance(error, pynvml.NVMLLibraryMismatchError):
        return Reason.LIBRARY_MISMATCH
    return REASONS.get(int(getattr(error, "value", pynvml.NVML_ERROR_UNKNOWN)), Reason.UNKNOWN_ERROR)


def attempt(call: Callable[[Handle], T], handle: Handle) -> T | Reason:
    """Call NVML for one GPU; an error is its reason, and so is a text that is none."""
    try:
        return call(handle)
    except (pynvml.NVMLError, pynvml.NVMLLibraryMismatchError, UnicodeDecodeError) as error:
        return reason_of(error)


def prefer(newer: Callable[[Handle], T], older: Callable[[Handle], T], handle: Handle) -> T | Reason:
    """Make the newer call, and the older one where the driver lacks or refuses the newer."""
    answer = attempt(newer, handle)
    return attempt(older, handle) if isinstance(answer, Reason) and answer in _TRY_OLDER_CALL else answer


# ---- the session ----


def open_session(library: str | None) -> Fault | None:
    """`nvmlInit`, after loading the library at that path, if one is given; why not, where it fails."""
    try:
        if library is not None:
            # loaded first and by path, it is what nvidia-ml-py's CDLL("libnvidia-ml.so.1") then finds by its
            # soname; LD_LIBRARY_PATH set from inside a process is ignored
            ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
        pynvml.nvmlInit()
    except OSError as error:
        return Fault(reason=Reason.LIBRARY_ABSENT, detail=f"{library} cannot be loaded: {error}")
    except pynvml.NVMLError as error:
        return Fault(reason=reason_of(error), detail=f"nvmlInit answers: {error}")
    return None


def close_session() -> None:
    """`nvmlShutdown`; a stale session may refuse even that, and the next `nvmlInit` starts afresh anyhow."""
    attempt(lambda _: pynvml.nvmlShutdown(), None)


def driver_version() -> str | None:
    """`nvmlSystemGetDriverVersion`, None where it is not told."""
    answer = attempt(lambda _: str(pynvml.nvmlSystemGetDriverVersion()), None)
    return None if isinstance(answer, Reason) else answer


def count() -> int:
    """`nvmlDeviceGetCount`; a session gone stale lists nothing, and is opened anew for that."""
    answer = attempt(lambda _: int(pynvml.nvmlDeviceGetCount()), None)
    return 0 if isinstance(answer, Reason) else answer


def handle_at(index: int) -> Handle | Reason:
    """`nvmlDeviceGetHandleByIndex`."""
    return attempt(lambda _: pynvml.nvmlDeviceGetHandleByIndex(index), None)


# ---- who it is ----


def uuid(gpu: Handle) -> str | Reason:
    """`nvmlDeviceGetUUID`."""
    return attempt(lambda gpu: str(pynvml.nvmlDeviceGetUUID(gpu)), gpu)


def name(gpu: Handle) -> str | Reason:
    """`nvmlDeviceGetName`."""
    return attempt(lambda gpu: str(pynvml.nvmlDeviceGetName(gpu)), gpu)


def pci_bus_id(gpu: Handle) -> str | Reason:
    """`nvmlDeviceGetPciInfo().busId`, e.g. `00000000:3B:00.0`."""
    return attempt(lambda gpu: str(pynvml.nvmlDeviceGetPciInfo(gpu).busId), gpu)


# ---- what the samples hold ----


def utilization(gpu: Handle) -> Number:
    """`nvmlDeviceGetUtilizationRates().gpu`, per cent of the last sample period (1/6 to 1 s)."""
    return attempt(lambda gpu: int(pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu), gpu)


def temperature(gpu: Handle) -> Number:
    """`nvmlDeviceGetTemperatureV`, or `nvmlDeviceGetTemperature` of drivers before it, degrees Celsius."""
    sensor = pynvml.NVML_TEMPERATURE_GPU
    return prefer(
        lambda gpu: int(pynvml.nvmlDeviceGetTemperatureV(gpu, sensor)),
        lambda gpu: int(pynvml.nvmlDeviceGetTemperature(gpu, sensor)),
        gpu,
    )


def power(gpu: Handle) -> Number:
    """`nvmlDeviceGetPowerUsage`, milliwatts of the whole board."""
    return attempt(lambda gpu: int(pynvml.nvmlDeviceGetPowerUsage(gpu)), gpu)


class Memory(NamedTuple):
    """What a memory call answers, bytes."""

    total: int
    used: int
    includes_reserved: bool
    """Version 1 of the call counts what the driver reserves as used."""


def memory(gpu: Handle) -> Memory | Reason:
    """`nvmlDeviceGetMemoryInfo_v2`, or version 1 where the driver lacks it."""
    # without a version nvidia-ml-py makes the version 1 call
    return prefer(lambda gpu: _memory(gpu, pynvml.nvmlMemory_v2), lambda gpu: _memory(gpu, None), gpu)


def _memory(gpu: Handle, version: int | None) -> Memory:
    answer = pynvml.nvmlDeviceGetMemoryInfo(gpu, version)
    return Memory(int(answer.total), int(answer.used), includes_reserved=version is None)


# ---- how well it is: the names are those of the report, the units NVML's ----


def _clock(kind: int) -> Callable[[Handle], int]:
    return lambda gpu: int(pynvml.nvmlDeviceGetClockInfo(gpu, kind))


def _ecc(kind: int, counter: int) -> Callable[[Handle], int]:
    return lambda gpu: int(pynvml.nvmlDeviceGetTotalEccErrors(gpu, kind, counter))


_CALLS: Mapping[str, Callable[[Handle], int]] = {
    "clock_graphics_mhz": _clock(pynvml.NVML_CLOCK_GRAPHICS),
    "clock_sm_mhz": _clock(pynvml.NVML_CLOCK_SM),
    "clock_memory_mhz": _clock(pynvml.NVML_CLOCK_MEM),
    "clock_sm_max_mhz": lambda gpu: pynvml.nvmlDeviceGetMaxClockInfo(gpu, pynvml.NVML_CLOCK_SM),
    "power_limit_w": lambda gpu: pynvml.nvmlDeviceGetEnforcedPowerLimit(gpu),
    "ecc_volatile_corrected": _ecc(pynvml.NVML_MEMORY_ERROR_TYPE_CORRECTED, pynvml.NVML_VOLATILE_ECC),
    "ecc_volatile_uncorrected": _ecc(pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC),
    "ecc_aggregate_corrected": _ecc(pynvml.NVML_MEMORY_ERROR_TYPE_CORRECTED, pynvml.NVML_AGGREGATE_ECC),
    "ecc_aggregate_uncorrected": _ecc(pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_AGGREGATE_ECC),
    "pcie_generation": lambda gpu: pynvml.nvmlDeviceGetCurrPcieLinkGeneration(gpu),
    "pcie_generation_max": lambda gpu: pynvml.nvmlDeviceGetMaxPcieLinkGeneration(gpu),
    "pcie_width": lambda gpu: pynvml.nvmlDeviceGetCurrPcieLinkWidth(gpu),
    "pcie_width_max": lambda gpu: pynvml.nvmlDeviceGetMaxPcieLinkWidth(gpu),
    "pcie_replays": lambda gpu: pynvml.nvmlDeviceGetPcieReplayCounter(gpu),
    "mig_mode": lambda gpu: pynvml.nvmlDeviceGetMigMode(gpu)[0],
}
_ROWS = ("rows_remapped_corrected", "rows_remapped_uncorrected", "remap_pending", "remap_failed")
_FIELDS: Mapping[str, int] = {
    "recovery_action": pynvml.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION,
    "nvlink_replay_errors": pynvml.NVML_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL,
    "nvlink_recovery_errors": pynvml.NVML_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL,
    "nvlink_crc_flit_errors": pynvml.NVML_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL,
    "nvlink_crc_data_errors": pynvml.NVML_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_TOTAL,
}
_UNSIGNED = {
    pynvml.NVML_VALUE_TYPE_UNSIGNED_INT: "uiVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG: "ulVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG: "ullVal",
}


def condition(gpu: Handle) -> Iterator[tuple[str, Number]]:
    """Every figure of a GPU's health by name, as NVML gives it: MHz, milliwatts, counts, bit masks."""
    for figure, call in _CALLS.items():
        yield figure, attempt(call, gpu)
    yield "throttle_reasons", _throttle_reasons(gpu)
    rows = attempt(lambda gpu: tuple(map(int, pynvml.nvmlDeviceGetRemappedRows(gpu))), gpu)
    for place, figure in enumerate(_ROWS):
        yield figure, rows if isinstance(rows, Reason) else rows[place]
    yield from _fields(gpu)
    yield from zip(("nvlink_links", "nvlink_links_active"), _links(gpu), strict=True)


def _throttle_reasons(gpu: Handle) -> Number:
    """`nvmlDeviceGetCurrentClocksEventReasons`, called ThrottleReasons before R535."""
    return prefer(
        lambda gpu: int(pynvml.nvmlDeviceGetCurrentClocksEventReasons(gpu)),
        lambda gpu: int(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(gpu)),
        gpu,
    )


def _fields(gpu: Handle) -> Iterator[tuple[str, Number]]:
    """`nvmlDeviceGetFieldValues`: many figures in one call, each with a return code of its own."""
    answers = attempt(lambda gpu: pynvml.nvmlDeviceGetFieldValues(gpu, list(_FIELDS.values())), gpu)
    for place, figure in enumerate(_FIELDS):
        yield figure, answers if isinstance(answers, Reason) else _field(answers[place])


def _field(answer: pynvml.c_nvmlFieldValue_t) -> Number:
    if answer.nvmlReturn == pynvml.NVML_ERROR_INVALID_ARGUMENT:
        return Reason.DRIVER_TOO_OLD  # a field that this driver has never heard of
    if answer.nvmlReturn != pynvml.NVML_SUCCESS:
        return REASONS.get(int(answer.nvmlReturn), Reason.UNKNOWN_ERROR)
    member = _UNSIGNED.get(int(answer.valueType))
    return Reason.OUT_OF_RANGE if member is None else int(getattr(answer.value, member))


def _links(gpu: Handle) -> tuple[Number, Number]:
    """`nvmlDeviceGetNvLinkState` of each link there is: how many, and how many are up."""
    links = active = 0
    for link in range(pynvml.NVML_NVLINK_MAX_LINKS):
        up = attempt(partial(_link_is_up, link=link), gpu)
        if isinstance(up, Reason):
            return (up, up) if link == 0 else (links, active)
        links, active = links + 1, active + up
    return links, active


def _link_is_up(gpu: Handle, link: int) -> int:
    return int(pynvml.nvmlDeviceGetNvLinkState(gpu, link))


# ---- who works on it ----


class MigDevice(NamedTuple):
    """One MIG device of a GPU."""

    uuid: str
    gpu_instance: int
    compute_instance: int
    memory_mb: int
    slices: int


def mig_devices(gpu: Handle) -> list[MigDevice] | Reason:
    """`nvmlDeviceGetMigDeviceHandleByIndex` and what each says of itself; places may be empty."""
    most = attempt(lambda gpu: int(pynvml.nvmlDeviceGetMaxMigDeviceCount(gpu)), gpu)
    if isinstance(most, Reason):
        return most
    found = (attempt(partial(_mig_device, at=at), gpu) for at in range(most))
    return [device for device in found if not isinstance(device, Reason)]


def _mig_device(gpu: Handle, at: int) -> MigDevice:
    device = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, at)
    held = pynvml.nvmlDeviceGetAttributes_v2(device)
    return MigDevice(
        uuid=str(pynvml.nvmlDeviceGetUUID(device)),
        gpu_instance=int(pynvml.nvmlDeviceGetGpuInstanceId(device)),
        compute_instance=int(pynvml.nvmlDeviceGetComputeInstanceId(device)),
        memory_mb=int(held.memorySizeMB),
        slices=int(held.gpuInstanceSliceCount),
    )


class Running(NamedTuple):
    """One process on a GPU."""

    pid: int
    kind: str
    memory: int | None
    """Bytes; None where the driver does not say."""
    gpu_instance: int | None


def running(gpu: Handle) -> list[Running] | Reason:
    """`nvmlDeviceGetComputeRunningProcesses` and `…Graphics…`, version 3, or 2 of drivers before it."""
    compute = prefer(
        lambda gpu: list(pynvml.nvmlDeviceGetComputeRunningProcesses_v3(gpu)),
        lambda gpu: list(pynvml.nvmlDeviceGetComputeRunningProcesses_v2(gpu)),
        gpu,
    )
    graphics = prefer(
        lambda gpu: list(pynvml.nvmlDeviceGetGraphicsRunningProcesses_v3(gpu)),
        lambda gpu: list(pynvml.nvmlDeviceGetGraphicsRunningProcesses_v2(gpu)),
        gpu,
    )
    if isinstance(compute, Reason):
        return compute
    drawing = [] if isinstance(graphics, Reason) else graphics  # a card without graphics has none
    return [_running(each, "compute") for each in compute] + [_running(each, "graphics") for each in drawing]


def _running(process: pynvml.c_nvmlProcessInfo_v2_t, kind: str) -> Running:
    used, instance = process.usedGpuMemory, int(process.gpuInstanceId)
    on_whole_gpu = instance == 0xFFFFFFFF
    return Running(
        int(process.pid), kind, None if used is None else int(used), None if on_whole_gpu else instance
    )


# ---- what happens to it ----


def new_event_set() -> EventSet | Reason:
    """`nvmlEventSetCreate`. Needs no privilege."""
    return attempt(lambda _: pynvml.nvmlEventSetCreate(), None)


def watch(gpu: Handle, events: EventSet) -> Reason | None:
    """`nvmlDeviceRegisterEvents` for Xids; why not, where the card or driver has none."""
    return attempt(lambda gpu: pynvml.nvmlDeviceRegisterEvents(gpu, _XID, events), gpu)


def pending_xids(events: EventSet) -> Iterator[tuple[int, int]]:
    """`nvmlEventSetWait` without waiting: (`address` of the GPU's handle, Xid) of each that came up since."""
    for _ in range(_MOST_EVENTS):
        event = attempt(lambda events: pynvml.nvmlEventSetWait_v2(events, 0), events)
        if isinstance(event, Reason):  # a timeout: there is none; a stale session: its GPUs will say so
            return
        if int(event.eventType) & _XID:
            yield address(event.device), int(event.eventData)


def address(gpu: Handle) -> int:
    """What tells two handles of a session apart. A card off the bus can't be asked for its UUID any more."""
    return ctypes.cast(cast("ctypes.c_void_p", gpu), ctypes.c_void_p).value or 0
