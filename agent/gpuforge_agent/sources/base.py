"""What a source of GPU readings is, and the values it answers with."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Protocol, TypeAlias


class Reason(StrEnum):
    """Why a value is missing. The codes are stable: they are stored and shown, so none is ever renamed."""

    NOT_SUPPORTED = "not_supported"  # this GPU, or this mode of it (MIG, unified memory), has no such figure
    NO_PERMISSION = "no_permission"
    LOST = "lost"  # it was there, and is not any more
    OFF_BUS = "off_bus"  # lost, and PCI does not list it either
    HUNG = "hung"  # a call on it did not return in time; it is tried again, ever more rarely
    READER_DIED = "reader_died"  # the process reading it ended in the middle of the call
    NOT_REACHED = "not_reached"  # other GPUs used up the time of this call
    ASLEEP = "asleep"  # suspended by the kernel; reading it would wake it
    RESET_REQUIRED = "reset_required"
    DRIVER_ABSENT = "driver_absent"
    DRIVER_TOO_OLD = "driver_too_old"  # the driver lacks the call
    LIBRARY_ABSENT = "library_absent"  # there is no libnvidia-ml.so.1
    LIBRARY_MISMATCH = "library_mismatch"  # the library and the loaded driver are of different versions
    OUT_OF_RANGE = "out_of_range"  # the call succeeded, with a figure that cannot be true
    UNKNOWN_ERROR = "unknown_error"


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuIdentity:
    """One card. `uuid` is who it is; `index` is where NVML listed it last, and moves when a card dies."""

    uuid: str
    index: int
    model: str
    vram_mb: int | None
    """MiB, None where the card has no memory of its own to speak of (unified memory)."""
    pci_bus_id: str | None
    """As NVML writes it, e.g. `00000000:3B:00.0`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One GPU's figures at one moment; every None has its reason in `missing`, under the field's name.

    A further measure is a further field with the default None: `MEASURES` and every caller follow.
    """

    uuid: str
    index: int
    utilization_pct: float | None = None
    """Per cent of the driver's last sample period in which a kernel ran, 0..100."""
    memory_used_mb: int | None = None
    """MiB, without what the driver reserves, unless `caveats` says so."""
    memory_total_mb: int | None = None
    """MiB."""
    temperature_c: float | None = None
    """Degrees Celsius of the die."""
    power_draw_w: float | None = None
    """Watts of the whole board."""
    missing: Mapping[str, Reason] = field(default_factory=dict)
    caveats: Mapping[str, str] = field(default_factory=dict)
    """Field name -> what a reader of that figure must know, e.g. `includes_reserved`."""


MEASURES: tuple[str, ...] = tuple(
    each.name for each in fields(Reading) if each.name not in {"uuid", "index", "missing", "caveats"}
)
"""The names of the figures a reading carries."""


def unread(uuid: str, index: int, reason: Reason) -> Reading:
    """Answer the reading of a GPU of which nothing could be read, for one and the same reason."""
    return Reading(uuid=uuid, index=index, missing=dict.fromkeys(MEASURES, reason))


Figure: TypeAlias = float | int | bool | str | tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MigInstance:
    """A part of a GPU that MIG cut off for itself."""

    uuid: str
    gpu_instance: int
    compute_instance: int
    memory_mb: int
    slices: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How one GPU is, beyond its samples: each figure of CONDITION in `figures`, or with why in `missing`."""

    uuid: str
    index: int
    figures: Mapping[str, Figure] = field(default_factory=dict)
    mig_instances: tuple[MigInstance, ...] = ()
    missing: Mapping[str, Reason] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process that holds a GPU."""

    pid: int
    kind: str
    """`compute` or `graphics`."""
    memory_mb: int | None
    """MiB; None where the driver does not say."""
    gpu_instance: int | None = None
    """Of MIG; None on a whole GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Occupancy:
    """Who works on one GPU."""

    uuid: str
    index: int
    processes: tuple[Process, ...] | None
    reason: Reason | None = None
    """Why `processes` is None."""


def unknown_occupancy(uuid: str, index: int, reason: Reason) -> Occupancy:
    """Answer who works on a GPU that can't be asked."""
    return Occupancy(uuid=uuid, index=index, processes=None, reason=reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Xid:
    """An error that the driver reported of a GPU, by NVIDIA's number for it."""

    uuid: str
    code: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why a source cannot be used at all at present. It comes back by itself."""

    reason: Reason
    detail: str
    """One sentence for a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """The GPUs of this host as of now."""

    gpus: tuple[GpuIdentity, ...] = ()
    """Those that answer, by index."""
    absent: tuple[GpuIdentity, ...] = ()
    """Those known before that do not answer now."""
    unidentified: Mapping[int, Reason] = field(default_factory=dict)
    """NVML index -> why it does not say who it is."""
    driver_version: str | None = None
    fault: Fault | None = None
    pci_gpus: int | None = None
    """NVIDIA GPUs that PCI lists; None where the host does not say."""
    reopened: int = 0
    """How often NVML was opened anew, as after a driver's reload, since this source began."""


SESSION = "session"
"""The subject of opening a source as a whole: a call that hangs there is no single GPU's fault."""


EVENTS = "events"
"""The subject of asking for Xids: a hang there is no single GPU's fault either, and stops no reading."""


def slot(index: int) -> str:
    """Answer the subject of finding out which GPU the driver lists at that index."""
    return f"slot {index}"


def slot_of(subject: str) -> int | None:
    """Answer the index that a subject made by `slot` is about, None for every other subject."""
    return int(subject.removeprefix("slot ")) if subject.startswith("slot ") else None


class Source(Protocol):
    """Where readings come from. Its calls block, and may block for ever: a collector runs them."""

    def inventory(self) -> Inventory:
        """List the GPUs. Never raises: what cannot be listed is in the answer."""
        ...

    def read(self, uuids: Sequence[str] | None = None) -> Iterator[Reading]:
        """Read those GPUs in that order (None: every one ever seen), each yielded as soon as it is read.

        A GPU that is not there any more is yielded too, with the reason `lost`. One may be yielded twice: the
        later reading counts. Never raises.
        """
        ...

    def health(self, uuids: Sequence[str] | None = None) -> Iterator[Health]:
        """Look after those GPUs, on the terms of `read`, but each once."""
        ...

    def occupancy(self, uuids: Sequence[str] | None = None) -> Iterator[Occupancy]:
        """Say who works on those GPUs, on the terms of `health`."""
        ...

    def xids(self) -> Sequence[Xid]:
        """Answer the Xids that came up since the last call, oldest first. Waits for none, never raises."""
        ...

    @property
    def fault(self) -> Fault | None:
        """What the last call found: why the source as a whole cannot be used, None when it can."""
        ...

    def close(self) -> None:
        """Let go of every handle. The next call would open them again."""
        ...
