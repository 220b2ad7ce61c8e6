"""Simulated GPUs for demos: deterministic from a host's name and a seed, alive from one call to the next."""

import hashlib
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from gpuforge_agent.sources.base import (
    Fault,
    Figure,
    GpuIdentity,
    Health,
    Inventory,
    Occupancy,
    Reading,
    Reason,
    Xid,
    unread,
)
from gpuforge_agent.sources.condition import CONDITION, unknown_health


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What sets one kind of card apart, from its data sheet."""

    name: str
    """As NVML names it."""
    vram_mb: int
    idle_w: float
    limit_w: float


MODELS: Mapping[str, Model] = {
    "H100": Model(name="NVIDIA H100 80GB HBM3", vram_mb=81_559, idle_w=70.0, limit_w=700.0),
    "H200": Model(name="NVIDIA H200", vram_mb=143_771, idle_w=77.0, limit_w=700.0),
    "A100": Model(name="NVIDIA A100-SXM4-80GB", vram_mb=81_920, idle_w=55.0, limit_w=400.0),
    "A6000": Model(name="NVIDIA RTX A6000", vram_mb=49_140, idle_w=22.0, limit_w=300.0),
}
_SPOTLESS: Mapping[str, Figure] = {
    "clock_sm_max_mhz": 1980,
    "throttle_reasons": (),
    "ecc_volatile_corrected": 0,
    "ecc_volatile_uncorrected": 0,
    "ecc_aggregate_corrected": 0,
    "ecc_aggregate_uncorrected": 0,
    "rows_remapped_corrected": 0,
    "rows_remapped_uncorrected": 0,
    "remap_pending": False,
    "remap_failed": False,
    "pcie_replays": 0,
    "recovery_action": "none",
    "mig_mode": False,
}
RESERVED_MB = 460  # what a driver holds of an idle card
ROOM_C = 31.0


class SimulatedSource:
    """A host's GPUs, each with a load that follows its own curve over time; it cannot hang or fail."""

    def __init__(
        self,
        hostname: str,
        *,
        seed: int = 0,
        gpu_count: int = 8,
        model: str = "H100",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`model` is a key of MODELS (KeyError otherwise); `clock` is in seconds and only ever moves on."""
        self._model = MODELS[model]
        self._clock = clock
        self._allocated: Mapping[str, bool] | None = None
        self._gpus = tuple(
            _gpu(self._model, f"{hostname}/{seed}/{index}", index) for index in range(gpu_count)
        )

    def allocate(self, allocated: Mapping[str, bool] | None) -> None:
        """Let each GPU follow its allocation, by UUID: one not allocated idles. None: each its own curve."""
        self._allocated = allocated

    def inventory(self) -> Inventory:
        """See Source."""
        return Inventory(gpus=tuple(gpu.identity for gpu in self._gpus), driver_version="simulated")

    def read(self, uuids: Sequence[str] | None = None) -> Iterator[Reading]:
        """See Source."""
        now = self._clock()
        present = {gpu.identity.uuid: gpu for gpu in self._gpus}
        for uuid in present if uuids is None else uuids:
            gpu = present.get(uuid)
            yield self._reading(gpu, now) if gpu else unread(uuid, -1, Reason.LOST)

    def health(self, uuids: Sequence[str] | None = None) -> Iterator[Health]:
        """See Source. These GPUs never err; what a demo has no use for is not supported."""
        present = {gpu.identity.uuid: gpu.identity for gpu in self._gpus}
        figures: dict[str, Figure] = {**_SPOTLESS, "power_limit_w": self._model.limit_w}
        missing = dict.fromkeys(CONDITION.keys() - figures, Reason.NOT_SUPPORTED)
        for uuid in present if uuids is None else uuids:
            if uuid in present:
                index = present[uuid].index
                yield Health(uuid=uuid, index=index, figures=figures, missing=missing)
            else:
                yield unknown_health(uuid, -1, Reason.LOST)

    def occupancy(self, uuids: Sequence[str] | None = None) -> Iterator[Occupancy]:
        """See Source. Nobody runs anything on a simulated GPU."""
        present = {gpu.identity.uuid: gpu.identity.index for gpu in self._gpus}
        for uuid in present if uuids is None else uuids:
            yield Occupancy(uuid=uuid, index=present.get(uuid, -1), processes=())

    def xids(self) -> Sequence[Xid]:
        """See Source."""
        return ()

    @property
    def fault(self) -> Fault | None:
        """See Source."""
        return None

    def close(self) -> None:
        """See Source."""

    def _reading(self, gpu: "_Gpu", now: float) -> Reading:
        busy = self._allocated is None or self._allocated.get(gpu.identity.uuid, False)
        load = gpu.load(now) if busy else 0.0
        # the die takes minutes to warm up: it follows a slower mean of the load
        warmth = sum(gpu.load(now - lag) for lag in (0.0, 30.0, 60.0)) / 3 if busy else 0.0
        ripple = gpu.ripple(now)
        power = self._model.idle_w + (self._model.limit_w - self._model.idle_w) * (
            0.92 * load + 0.02 * ripple
        )
        held = gpu.footprint if load else 0.0
        used = RESERVED_MB + held * (self._model.vram_mb - RESERVED_MB) * (0.98 + 0.02 * ripple)
        return Reading(
            uuid=gpu.identity.uuid,
            index=gpu.identity.index,
            utilization_pct=float(round(100 * load)),
            memory_used_mb=int(used),
            memory_total_mb=self._model.vram_mb,
            temperature_c=float(round(ROOM_C + 44 * warmth + ripple)),
            power_draw_w=round(power, 3),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gpu:
    identity: GpuIdentity
    level: float
    swing: float
    period_s: float
    phase: float
    footprint: float

    def load(self, now: float) -> float:
        """Share of the card in use at that time, 0..1."""
        slow = math.sin(2 * math.pi * now / self.period_s + self.phase)
        fast = math.sin(2 * math.pi * now / 17.0 + 3 * self.phase)
        load = min(1.0, self.level + self.swing * slow + 0.05 * fast)
        return load if load > 0.03 else 0.0

    def ripple(self, now: float) -> float:
        """What changes from one call to the next even at a steady load, 0..1."""
        return (1 + math.sin(now * 1.7 + 5 * self.phase)) / 2


def _gpu(model: Model, name: str, index: int) -> _Gpu:
    digest = hashlib.sha256(name.encode()).hexdigest()
    uuid = f"GPU-{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:32]}"
    draw = random.Random(digest)  # noqa: S311 - a demo's curves, not a secret
    # one card in six stands idle, as in a real fleet: the dashboards are about those
    level = -1.0 if draw.random() < 1 / 6 else draw.uniform(0.55, 0.93)
    return _Gpu(
        identity=GpuIdentity(
            uuid=uuid,
            index=index,
            model=model.name,
            vram_mb=model.vram_mb,
            pci_bus_id=f"00000000:{0x18 + 0x11 * index % 0xE0:02X}:00.0",
        ),
        level=level,
        swing=draw.uniform(0.04, 0.25),
        period_s=draw.uniform(120.0, 900.0),
        phase=draw.uniform(0.0, 2 * math.pi),
        footprint=draw.uniform(0.35, 0.95),
    )
