"""NVML, read through nvidia-ml-py: the only module that imports it."""

import ctypes
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias, TypeVar

import pynvml

from gpuforge_agent.sources.base import SESSION, Fault, GpuIdentity, Inventory, Reading, Reason, slot, unread

T = TypeVar("T")
Number = TypeVar("Number", int, float)
Handle: TypeAlias = object
"""An `nvmlDevice_t`, good for the session that answered it."""

UNKNOWN_MODEL = "unknown"
BYTES_PER_MB = 1 << 20  # "MB" in every answer of NVML's own tools is a MiB

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
# What every GPU says once the driver under an open session was reloaded.
_STALE_SESSION = frozenset({Reason.DRIVER_ABSENT, Reason.LIBRARY_MISMATCH, Reason.LOST, Reason.UNKNOWN_ERROR})


def reason_of(error: Exception) -> Reason:
    """Answer the reason that an error of nvidia-ml-py stands for.

    `NVMLLibraryMismatchError` is no `NVMLError`: with old drivers some calls raise it.
    """
    if isinstance(error, pynvml.NVMLLibraryMismatchError):
        return Reason.LIBRARY_MISMATCH
    return REASONS.get(int(getattr(error, "value", pynvml.NVML_ERROR_UNKNOWN)), Reason.UNKNOWN_ERROR)


def attempt(call: Callable[[Handle], T | Reason], handle: Handle) -> T | Reason:
    """Call NVML for one GPU; an error is its reason."""
    try:
        return call(handle)
    except (pynvml.NVMLError, pynvml.NVMLLibraryMismatchError) as error:
        return reason_of(error)


def prefer(newer: Callable[[Handle], T], older: Callable[[Handle], T], handle: Handle) -> T | Reason:
    """Make the newer call, and the older one where the driver lacks or refuses the newer."""
    answer = attempt(newer, handle)
    return attempt(older, handle) if isinstance(answer, Reason) and answer in _TRY_OLDER_CALL else answer


def within(value: Number, lowest: Number, highest: Number) -> Number | Reason:
    """Pass a figure that can be true; NVML also answers SUCCESS with 0xFFFFFFFF and the like."""
    return value if lowest <= value <= highest else Reason.OUT_OF_RANGE


def utilization_pct(handle: Handle) -> float | Reason:
    """`nvmlDeviceGetUtilizationRates().gpu`, per cent of the last sample period (1/6 to 1 s)."""
    return within(float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu), 0.0, 100.0)


def temperature_c(handle: Handle) -> float | Reason:
    """`nvmlDeviceGetTemperatureV`, or `nvmlDeviceGetTemperature` of drivers before it, degrees Celsius."""
    sensor = pynvml.NVML_TEMPERATURE_GPU
    answer = prefer(
        lambda gpu: float(pynvml.nvmlDeviceGetTemperatureV(gpu, sensor)),
        lambda gpu: float(pynvml.nvmlDeviceGetTemperature(gpu, sensor)),
        handle,
    )
    return answer if isinstance(answer, Reason) else within(answer, -50.0, 150.0)


def power_draw_w(handle: Handle) -> float | Reason:
    """`nvmlDeviceGetPowerUsage`, which is in milliwatts, in watts."""
    return within(int(pynvml.nvmlDeviceGetPowerUsage(handle)) / 1000, 0.0, 10_000.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """A GPU's memory in MiB, each figure or the reason why there is none."""

    used_mb: int | Reason
    total_mb: int | Reason
    includes_reserved: bool
    """Version 1 of the call counts what the driver reserves as used."""


def memory(handle: Handle) -> Memory | Reason:
    """`nvmlDeviceGetMemoryInfo_v2`, or version 1 where the driver lacks it."""
    # without a version nvidia-ml-py makes the version 1 call
    return prefer(lambda gpu: _memory(gpu, pynvml.nvmlMemory_v2), lambda gpu: _memory(gpu, None), handle)


def _memory(handle: Handle, version: int | None) -> Memory:
    answer = pynvml.nvmlDeviceGetMemoryInfo(handle, version)
    # unified memory: a total of 0, or of all ones, and a `used` above it have been seen with SUCCESS
    total = within(int(answer.total), BYTES_PER_MB, 64 << 40)
    used = within(int(answer.used), 0, total) if not isinstance(total, Reason) else total
    return Memory(
        used_mb=used if isinstance(used, Reason) else used // BYTES_PER_MB,
        total_mb=total if isinstance(total, Reason) else total // BYTES_PER_MB,
        includes_reserved=version is None,
    )


def reading(handle: Handle, identity: GpuIdentity) -> Reading:
    """Read every figure of one GPU."""
    missing: dict[str, Reason] = {}

    def known(name: str, figure: T | Reason) -> T | None:
        if not isinstance(figure, Reason):
            return figure
        missing[name] = figure
        return None

    held = memory(handle)
    if isinstance(held, Reason):
        held = Memory(used_mb=held, total_mb=held, includes_reserved=False)
    return Reading(
        uuid=identity.uuid,
        index=identity.index,
        utilization_pct=known("utilization_pct", attempt(utilization_pct, handle)),
        memory_used_mb=known("memory_used_mb", held.used_mb),
        memory_total_mb=known("memory_total_mb", held.total_mb),
        temperature_c=known("temperature_c", temperature_c(handle)),
        power_draw_w=known("power_draw_w", attempt(power_draw_w, handle)),
        missing=missing,
        caveats={"memory_used_mb": "includes_reserved"} if held.includes_reserved else {},
    )


def identify(handle: Handle, index: int) -> GpuIdentity | Reason:
    """Ask a GPU who it is; without a UUID it is nobody, everything else may be missing."""
    uuid = attempt(lambda gpu: str(pynvml.nvmlDeviceGetUUID(gpu)), handle)
    if isinstance(uuid, Reason):
        return uuid
    model = attempt(lambda gpu: str(pynvml.nvmlDeviceGetName(gpu)), handle)
    held = memory(handle)
    vram = held if isinstance(held, Reason) else held.total_mb
    pci_bus_id = attempt(lambda gpu: str(pynvml.nvmlDeviceGetPciInfo(gpu).busId), handle)
    return GpuIdentity(
        uuid=uuid,
        index=index,
        model=UNKNOWN_MODEL if isinstance(model, Reason) else model,
        vram_mb=None if isinstance(vram, Reason) else vram,
        pci_bus_id=None if isinstance(pci_bus_id, Reason) else pci_bus_id,
    )


def is_asleep(pci_bus_id: str | None, pci_devices: Path) -> bool:
    """Whether the kernel has suspended that card. Asking the card itself would wake it."""
    if pci_bus_id is None:
        return False
    domain, _, rest = pci_bus_id.partition(":")
    try:
        # NVML writes eight digits of domain, sysfs four
        status = pci_devices / f"{int(domain, 16):04x}:{rest.lower()}" / "power" / "runtime_status"
        return status.read_text().strip() == "suspended"
    except (OSError, ValueError):
        return False


@dataclass(slots=True, kw_only=True)
class _Session:
    """What one nvmlInit listed: GPUs and handles by UUID, and the slots that do not say who they are."""

    driver_version: str | None
    present: dict[str, tuple[GpuIdentity, Handle]] = field(default_factory=dict)
    unidentified: dict[int, Reason] = field(default_factory=dict)


class NvmlSource:
    """This host's NVIDIA GPUs. Calls may block for ever; `entering` says beforehand on what."""

    def __init__(
        self,
        library: str | None = None,
        *,
        known: Iterable[GpuIdentity] = (),
        avoid_slots: frozenset[int] = frozenset(),
        entering: Callable[[str], None] = lambda _: None,
        pci_devices: Path = Path("/sys/bus/pci/devices"),
    ) -> None:
        """Nothing is loaded or opened before the first call.

        `library`: absolute path of the libnvidia-ml to load. `known`: GPUs of earlier runs. `avoid_slots`:
        NVML indexes not to touch. `entering` is told a UUID, a `slot` or SESSION.
        """
        self._library = library
        self._known = {gpu.uuid: gpu for gpu in known}
        self._avoid_slots = avoid_slots
        self._entering = entering
        self._pci_devices = pci_devices
        self._session: _Session | None = None
        self._fault: Fault | None = None
        self._blank_sweeps = 0

    @property
    def fault(self) -> Fault | None:
        """See Source."""
        return self._fault

    def inventory(self) -> Inventory:
        """See Source."""
        was_open = self._session is not None
        session = self._opened()
        if session is not None and was_open:
            session = self._listed_again(session)
        if session is None:
            return Inventory(absent=_by_index(self._known.values()), fault=self._fault)
        gone = [gpu for uuid, gpu in self._known.items() if uuid not in session.present]
        return Inventory(
            gpus=_by_index(gpu for gpu, _ in session.present.values()),
            absent=_by_index(gone),
            unidentified=session.unidentified,
            driver_version=session.driver_version,
        )

    def read(self, uuids: Sequence[str] | None = None) -> Iterator[Reading]:
        """See Source. Where not one GPU answered, the session is opened anew and all are read once more."""
        self._opened()
        wanted = tuple(self._known if uuids is None else uuids)
        blank = True
        for uuid in wanted:
            answer = self._read(uuid)
            blank = blank and bool(answer.missing) and set(answer.missing.values()) <= _STALE_SESSION
            yield answer
        self._blank_sweeps = self._blank_sweeps + 1 if blank and wanted and self._session else 0
        if _worth_reopening(self._blank_sweeps):
            self.close()
            self._opened()
            yield from map(self._read, wanted)

    def close(self) -> None:
        """See Source."""
        if self._session is None:
            return
        self._session = None
        self._entering(SESSION)
        try:
            pynvml.nvmlShutdown()
        except pynvml.NVMLError:
            return  # a stale session may refuse even that; the next nvmlInit starts afresh all the same

    def _read(self, uuid: str) -> Reading:
        session = self._session
        identity = self._known.get(uuid)
        index = -1 if identity is None else identity.index
        if session is None:
            return unread(uuid, index, self._fault.reason if self._fault else Reason.UNKNOWN_ERROR)
        if uuid not in session.present:
            return unread(uuid, index, session.unidentified.get(index, Reason.LOST))
        identity, handle = session.present[uuid]
        if is_asleep(identity.pci_bus_id, self._pci_devices):
            return unread(uuid, index, Reason.ASLEEP)
        self._entering(uuid)
        return reading(handle, identity)

    def _opened(self) -> _Session | None:
        if self._session is None:
            self._entering(SESSION)
            self._fault = _initialise(self._library)
            if self._fault is None:
                self._session = self._listed()
        return self._session

    def _listed_again(self, session: _Session) -> _Session | None:
        """List within the session; one that lists nothing any more is stale, and is opened anew."""
        self._session = self._listed()
        if self._session.present or not session.present:
            return self._session
        self.close()
        return self._opened()

    def _listed(self) -> _Session:
        session = _Session(driver_version=_driver_version())
        for index in range(_count()):
            if index in self._avoid_slots:
                session.unidentified[index] = Reason.HUNG
                continue
            self._entering(slot(index))
            handle = _handle_at(index)
            identity = handle if isinstance(handle, Reason) else identify(handle, index)
            if isinstance(identity, Reason):
                session.unidentified[index] = identity
                continue
            identity = _completed(identity, self._known.get(identity.uuid))
            self._known[identity.uuid] = identity
            session.present[identity.uuid] = (identity, handle)
        return session


def _initialise(library: str | None) -> Fault | None:
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


def _driver_version() -> str | None:
    try:
        return str(pynvml.nvmlSystemGetDriverVersion())
    except pynvml.NVMLError:
        return None


def _count() -> int:
    try:
        return int(pynvml.nvmlDeviceGetCount())
    except pynvml.NVMLError:
        return 0  # a session gone stale: it lists nothing, and is opened anew for that


def _handle_at(index: int) -> Handle | Reason:
    try:
        handle: Handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    except pynvml.NVMLError as error:
        return reason_of(error)
    return handle


def _completed(identity: GpuIdentity, earlier: GpuIdentity | None) -> GpuIdentity:
    """Keep what the card said of itself earlier and does not say now; it is still the same card."""
    if earlier is None:
        return identity
    return replace(
        identity,
        model=earlier.model if identity.model == UNKNOWN_MODEL else identity.model,
        vram_mb=identity.vram_mb or earlier.vram_mb,
        pci_bus_id=identity.pci_bus_id or earlier.pci_bus_id,
    )


def _by_index(gpus: Iterable[GpuIdentity]) -> tuple[GpuIdentity, ...]:
    return tuple(sorted(gpus, key=lambda gpu: (gpu.index, gpu.uuid)))


def _worth_reopening(blank_sweeps: int) -> bool:
    """Whether to open NVML anew after so many sweeps without any answer: soon at first, then one in twelve.

    Only where nothing asked for is readable: to open NVML beside a dead card can hang, and others may answer.
    """
    return blank_sweeps in {1, 2, 4, 8} or (blank_sweeps > 0 and blank_sweeps % 12 == 0)
