"""Every fault that a host can be given, and what a control plane must then say of its GPUs."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tests.fakenvml.library import (
    LIB_RM_VERSION_MISMATCH,
    RESET_REQUIRED,
    UNKNOWN,
    Gpu,
    Host,
)

Shown = frozenset[tuple[str, str]]
"""(kind, code) of each open fault of a GPU."""

UNREADABLE = "unreadable"
ECC = "ecc.volatile.uncorrected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that goes wrong with one GPU, or with the driver of all."""

    name: str
    on_gpu: Callable[[Gpu], Gpu] | None = None
    on_host: Callable[[Host], Host] | None = None
    unplugs: bool = False
    """Whether PCI does not list the card any more."""
    unloads: bool = False
    """Whether there is no driver at all."""
    shown: Shown
    """Of the GPU, or of each one."""
    needs_operator: bool = False
    sweeps: int = 1
    """After how many samples it must be shown, at the latest."""

    @property
    def of_all(self) -> bool:
        """Whether every GPU has it."""
        return self.on_gpu is None

    def upon(self, host: Host, index: int) -> Host:
        """The host with this fault, the GPU's at that index."""
        if self.on_host is not None:
            return self.on_host(host)
        return host if self.on_gpu is None else host.with_gpu(index, self.on_gpu(host.gpus[index]))


HEALTH_EVERY = 6
"""Samples between two looks at the GPUs' health."""


def _cannot_be_read(reason: str) -> Shown:
    return frozenset({(UNREADABLE, reason)})


def _xid(code: int) -> Callable[[Gpu], Gpu]:
    return lambda gpu: replace(gpu, xids=[*gpu.xids, (len(gpu.xids) + 1, code)])


def _errors(code: int) -> Callable[[Gpu], Gpu]:
    return lambda gpu: replace(gpu, errors={"*": code})


def _one_more_error(gpu: Gpu) -> Gpu:
    return gpu.with_figures(ecc_volatile_uncorrected=(gpu.further.get(ECC) or 0) + 1)


def _reloaded(host: Host) -> Host:
    return replace(host, session=host.session + 1)


FAULTS = (
    Fault(
        name="hung", on_gpu=lambda gpu: gpu.hanging("nvmlDeviceGetPowerUsage"), shown=_cannot_be_read("hung")
    ),
    Fault(
        name="hangs in a rarer call",
        on_gpu=lambda gpu: gpu.hanging("nvmlDeviceGetRemappedRows"),
        shown=_cannot_be_read("hung"),
        sweeps=HEALTH_EVERY,
    ),
    Fault(name="lost", on_gpu=lambda gpu: gpu.lost(), shown=_cannot_be_read("lost")),
    Fault(name="off the bus", on_gpu=lambda gpu: gpu.lost(), unplugs=True, shown=_cannot_be_read("off_bus")),
    Fault(name="unknown error", on_gpu=_errors(UNKNOWN), shown=_cannot_be_read("unknown_error")),
    Fault(name="reset required", on_gpu=_errors(RESET_REQUIRED), shown=_cannot_be_read("reset_required")),
    Fault(
        name="crashes the library",
        on_gpu=lambda gpu: replace(gpu, crashes=["nvmlDeviceGetPowerUsage"]),
        shown=_cannot_be_read("reader_died"),
    ),
    *(
        Fault(
            name=f"Xid {code}", on_gpu=_xid(code), shown=frozenset({("xid", str(code))}), needs_operator=True
        )
        for code in (48, 79, 95)
    ),
    Fault(name="Xid 13, a job's own", on_gpu=_xid(13), shown=frozenset()),
    Fault(
        name="uncorrectable ECC",
        on_gpu=_one_more_error,
        shown=frozenset({("ecc", "uncorrectable")}),
        needs_operator=True,
        sweeps=HEALTH_EVERY,
    ),
    Fault(
        name="row remap pending",
        on_gpu=lambda gpu: gpu.with_figures(rows_pending=1),
        shown=frozenset({("row_remap", "pending")}),
        sweeps=HEALTH_EVERY,
    ),
    Fault(
        name="row remap failed",
        on_gpu=lambda gpu: gpu.with_figures(rows_failed=1),
        shown=frozenset({("row_remap", "failed")}),
        sweeps=HEALTH_EVERY,
    ),
    Fault(
        name="recovery action",
        on_gpu=lambda gpu: gpu.with_figures(recovery_action=1),
        shown=frozenset({("recovery", "gpu_reset")}),
        sweeps=HEALTH_EVERY,
    ),
    Fault(name="driver absent", unloads=True, shown=_cannot_be_read("driver_absent")),
    Fault(name="driver reloaded", on_host=_reloaded, shown=frozenset()),
    Fault(
        name="driver of another version",
        on_host=lambda host: replace(_reloaded(host), init=LIB_RM_VERSION_MISMATCH),
        shown=_cannot_be_read("library_mismatch"),
    ),
    Fault(
        name="NVML hangs as a whole",
        on_host=lambda host: replace(_reloaded(host), hang=True),
        shown=_cannot_be_read("hung"),
        sweeps=2,  # the first one still has the answers of the session that went stale
    ),
)
BY_NAME = {fault.name: fault for fault in FAULTS}
IN_PAIRS = (
    "hung", "lost", "off the bus", "crashes the library", "Xid 79", "uncorrectable ECC", "driver absent",
    "driver reloaded",
)  # fmt: skip
"""Of each kind one: every two of them are tried together."""


def afflicted(host: Host, faults: Sequence[Fault]) -> tuple[Host, Host]:
    """The host with these faults, the first on GPU 0, the second on GPU 1; and as it is once they are mended.

    What is past stays: a driver that was loaded anew, Xids, errors that were counted.
    """
    ill = host
    for index, fault in enumerate(faults):
        ill = fault.upon(ill, index)
    gpus = [_past(well, sick) for well, sick in zip(host.gpus, ill.gpus, strict=True)]
    return ill, replace(host, session=ill.session, gpus=gpus)


def _past(well: Gpu, ill: Gpu) -> Gpu:
    return replace(well, xids=ill.xids, further={**well.further, ECC: ill.further.get(ECC, 0)})


def plug_in(bus: Path, host: Host, faults: Sequence[Fault]) -> None:
    """Let PCI, which is the folder `bus`, list the host's cards, without those that a fault unplugged."""
    out = {index for index, fault in enumerate(faults) if fault.unplugs}
    for index, gpu in enumerate(host.gpus):
        _list_card(bus / f"0000:{gpu.pci[9:].lower()}", there=index not in out)


def _list_card(place: Path, *, there: bool) -> None:
    files: Collection[tuple[str, str]] = (("vendor", "0x10de"), ("class", "0x030200"))
    if there:
        place.mkdir(exist_ok=True)
        for name, text in files:
            (place / name).write_text(f"{text}\n")
    elif place.exists():
        for name, _ in files:
            (place / name).unlink()
        place.rmdir()


def expected(first: Fault, second: Fault | None, gpus: int) -> list[Shown]:
    """What must be shown of each GPU, the first fault on GPU 0 and then the second on GPU 1.

    What stops all reading takes the place of a GPU's own reason, and leaves what else is known of it.
    """
    faults = [fault for fault in (first, second) if fault is not None]
    shown: list[set[tuple[str, str]]] = [set() for _ in range(gpus)]
    for index, fault in enumerate(faults):
        for at in range(gpus) if fault.of_all else [index]:
            shown[at] |= fault.shown
    whole = next((fault for fault in faults if fault.of_all and fault.shown), None)
    if whole is not None:
        shown = [{each for each in of_one if each[0] != UNREADABLE} | whole.shown for of_one in shown]
    return [frozenset(of_one) for of_one in shown]
