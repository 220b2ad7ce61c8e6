"""The fake libnvidia-ml.so.1 for tests: builds it, and writes the state it answers from."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("fakenvml.c")
MIB = 1 << 20

NOT_SUPPORTED = 3
NO_PERMISSION = 4
DRIVER_NOT_LOADED = 9
GPU_IS_LOST = 15
RESET_REQUIRED = 16
LIB_RM_VERSION_MISMATCH = 18
UNKNOWN = 999

EVERY_CALL = "*"


WELL = {
    "clock.graphics": 1755,
    "clock.sm": 1755,
    "clock.memory": 2619,
    "clock.video": 1545,
    "clock.sm.max": 1980,
    "throttle": 0,
    "ecc.volatile.corrected": 0,
    "ecc.volatile.uncorrected": 0,
    "ecc.aggregate.corrected": 0,
    "ecc.aggregate.uncorrected": 0,
    "rows.corrected": 0,
    "rows.uncorrected": 0,
    "rows.pending": 0,
    "rows.failed": 0,
    "pcie.generation": 5,
    "pcie.generation.max": 5,
    "pcie.width": 16,
    "pcie.width.max": 16,
    "pcie.replays": 0,
    "nvlink.links": 18,
    "nvlink.active": 18,
    "nvlink.replay": 0,
    "nvlink.recovery": 0,
    "nvlink.crc.flit": 0,
    "nvlink.crc.data": 0,
    "recovery.action": 0,
}
"""What a card in perfect health answers, by key of NUMBERS in fakenvml.c."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process on a GPU."""

    pid: int
    kind: str = "compute"
    used: int = 0
    """Bytes."""
    gpu_instance: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Mig:
    """One MIG device."""

    uuid: str
    gpu_instance: int
    memory_mb: int = 9_856
    slices: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU as the driver sees it, in NVML's own units; None: the driver answers NOT_SUPPORTED."""

    uuid: str
    name: str = "NVIDIA H100 80GB HBM3"
    pci: str = "00000000:18:00.0"
    serial: str = ""
    utilization: int | Sequence[int] | None = 0
    """Per cent; of several, each call takes the next and the last one stays."""
    memory_total: int | None = 81_559 * MIB
    memory_reserved: int = 611 * MIB
    memory_used: int = 0
    temperature: int | None = 31
    power_mw: int | None = 70_000
    power_limit_mw: int | None = 700_000
    processes: Sequence["Process"] = ()
    mig: Sequence["Mig"] = ()
    """The MIG devices; MIG is on where there are any."""
    xids: Sequence[tuple[int, int]] = ()
    """(growing number, Xid) of every event so far."""
    further: Mapping[str, int | None] = field(default_factory=dict)
    """Key of NUMBERS in fakenvml.c -> value."""
    errors: Mapping[str, int] = field(default_factory=dict)
    """Function -> the code it answers."""
    hangs: Sequence[str] = ()
    crashes: Sequence[str] = ()

    def lost(self) -> "Gpu":
        """The same card after it fell off the bus: every call on it answers 15."""
        return replace(self, errors={EVERY_CALL: GPU_IS_LOST})

    def with_figures(self, **further: int | None) -> "Gpu":
        """The same card with other numbers; `ecc_volatile_uncorrected=1` is the key with dots for `_`."""
        told = {name.replace("_", "."): number for name, number in further.items()}
        return replace(self, further={**self.further, **told})

    def hanging(self, function: str = EVERY_CALL) -> "Gpu":
        """The same card, with a call on it that does not return."""
        return replace(self, hangs=(function,))

    def lines(self) -> list[str]:
        """Its part of the state file."""
        series = [self.utilization] if isinstance(self.utilization, int) else self.utilization
        numbers: dict[str, int | None] = {
            "memory.total": self.memory_total,
            "memory.reserved": self.memory_reserved,
            "memory.used": self.memory_used,
            "temperature": self.temperature,
            "power": self.power_mw,
            "power.limit": self.power_limit_mw,
            "mig.mode": int(bool(self.mig)),
            **WELL,
            **self.further,
        }
        return [
            "gpu",
            *(f"{key} {getattr(self, key)}" for key in ("uuid", "name", "pci", "serial")),
            *([] if series is None else [f"utilization {' '.join(map(str, series))}"]),
            *(f"{key} {number}" for key, number in numbers.items() if number is not None),
            *(f"error {function} {code}" for function, code in self.errors.items()),
            *(f"hang {function}" for function in self.hangs),
            *(f"crash {function}" for function in self.crashes),
            *(f"process {one.pid} {one.kind} {one.used} {one.gpu_instance}" for one in self.processes),
            *(f"mig {one.uuid} {one.gpu_instance} 0 {one.memory_mb} {one.slices}" for one in self.mig),
            *(f"xid {number} {code}" for number, code in self.xids),
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One host's driver and GPUs, in NVML's order."""

    gpus: Sequence[Gpu]
    driver: str = "550.54.14"
    init: int = 0
    """What nvmlInit answers."""
    hang: bool = False
    """Whether nvmlInit does not return."""
    hang_events: bool = False
    """Whether the wait for events does not return."""
    slow_init_ms: int = 0
    """How long nvmlInit takes."""
    slow_slot_ms: int = 0
    """How long finding a GPU takes for the first time."""
    session: int = 1
    """Which load of the driver this is: sessions of an earlier one are stale."""
    stale: int = UNKNOWN
    """What a stale session answers."""

    def text(self) -> str:
        """The state file."""
        keys = {"driver": self.driver, "cuda": 12040, "init": self.init, "hang": int(self.hang)}
        session = {"session": self.session, "stale": self.stale, "hang.events": int(self.hang_events)}
        slow = {"slow.init": self.slow_init_ms, "slow.slot": self.slow_slot_ms}
        lines = [f"{key} {value}" for key, value in (keys | session | slow).items()]
        for gpu in self.gpus:
            lines += gpu.lines()
        return "\n".join(lines) + "\n"

    def with_gpu(self, index: int, gpu: Gpu) -> "Host":
        """The same host with another GPU at that index."""
        return replace(self, gpus=[*self.gpus[:index], gpu, *self.gpus[index + 1 :]])


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeNvml:
    """A built library and the state file it reads; the variable that names that file is set."""

    library: Path
    old_library: Path
    """Of a driver before R510: fewer symbols."""
    state: Path

    def show(self, host: Host) -> None:
        """From the next call on, the library answers this."""
        fresh = self.state.with_suffix(".new")
        fresh.write_bytes(host.text().encode(errors="surrogateescape"))
        fresh.replace(self.state)

    def unload(self) -> None:
        """From the next call on, there is no driver."""
        self.state.unlink(missing_ok=True)

    def environment(self) -> dict[str, str]:
        """What another process needs so that its `libnvidia-ml.so.1` is this library."""
        return {**os.environ, "LD_LIBRARY_PATH": str(self.library.parent), "FAKENVML_STATE": str(self.state)}


def eight_gpus() -> Host:
    """A busy host: eight cards, all figures different."""
    return Host(
        gpus=[
            Gpu(
                uuid=f"GPU-0000000{index}-1111-2222-3333-44444444444{index}",
                serial=f"165432109876{index}",
                pci=f"00000000:{0x18 + 0x11 * index:02X}:00.0",
                utilization=10 + 11 * index,
                memory_used=(10_000 + 7_001 * index) * MIB,
                temperature=40 + 3 * index,
                power_mw=310_250 + 45_125 * index,
            )
            for index in range(8)
        ]
    )


def build(compiler: str, folder: Path, *flags: str) -> Path:
    """Compile the library into that folder and answer its path."""
    folder.mkdir()
    library = folder / "libnvidia-ml.so.1"
    command = [compiler, "-std=gnu11", "-O1", "-Wall", "-Wextra", "-shared", "-fPIC", *flags]
    subprocess.run([*command, "-Wl,-soname,libnvidia-ml.so.1", "-o", library, SOURCE], check=True)
    return library


@pytest.fixture(scope="session")
def fakenvml_libraries(c_compiler: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The library of today's driver and of an old one, built once a session."""
    folder = tmp_path_factory.mktemp("fakenvml")
    return build(c_compiler, folder / "today"), build(c_compiler, folder / "old", "-DOLD_DRIVER")


@pytest.fixture
def fakenvml(
    fakenvml_libraries: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> FakeNvml:
    """The fake library with a state of this test's own: eight GPUs until it shows something else."""
    library, old_library = fakenvml_libraries
    fake = FakeNvml(library=library, old_library=old_library, state=tmp_path / "nvml.state")
    monkeypatch.setenv("FAKENVML_STATE", str(fake.state))
    fake.show(eight_gpus())
    return fake
