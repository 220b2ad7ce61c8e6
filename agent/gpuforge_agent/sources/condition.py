"""What NVML's numbers about a GPU's health come to: names for codes, watts for milliwatts, ranges for all."""

from collections.abc import Callable, Iterable, Mapping

from gpuforge_agent.sources.base import Figure, Health, MigInstance, Reason
from gpuforge_agent.sources.ranges import within

RECOVERY_ACTIONS = (
    "none", "gpu_reset", "node_reboot", "drain_p2p", "drain_and_reset", "recover_imex_domain", "bus_reset",
    "system_reboot",
)  # fmt: skip
"""`NVML_GPU_RECOVERY_ACTION_…`, by number."""
THROTTLE_REASONS = (
    "gpu_idle", "applications_clocks", "sw_power_cap", "hw_slowdown", "sync_boost", "sw_thermal",
    "hw_thermal", "hw_power_brake", "display_clock", "board_limit", "reliability",
)  # fmt: skip
"""`nvmlClocksEventReason…`, by bit."""
_COUNTER = 2**63 - 1
_SMALL_COUNTER = 2**32 - 2  # all ones is no count


def _up_to(highest: int) -> Callable[[int], Figure | Reason]:
    return lambda value: within(value, 0, highest)


def _flag(value: int) -> Figure | Reason:
    return bool(value) if value in (0, 1) else Reason.OUT_OF_RANGE


def _watts(milliwatts: int) -> Figure | Reason:
    return within(milliwatts / 1000, 0.0, 10_000.0)


def throttle_names(mask: int) -> Figure | Reason:
    """Answer the names of the bits set; a newer driver's bits keep their number."""
    if mask >= 1 << 63:
        return Reason.OUT_OF_RANGE
    bits = (bit for bit in range(mask.bit_length()) if mask >> bit & 1)
    return tuple(THROTTLE_REASONS[bit] if bit < len(THROTTLE_REASONS) else f"bit_{bit}" for bit in bits)


def recovery_name(number: int) -> Figure | Reason:
    """Answer what must be done so that the GPU works again; a newer driver's actions keep their number."""
    if number > 255:
        return Reason.OUT_OF_RANGE
    return RECOVERY_ACTIONS[number] if number < len(RECOVERY_ACTIONS) else f"action_{number}"


CONDITION: Mapping[str, Callable[[int], Figure | Reason]] = {
    "clock_graphics_mhz": _up_to(10_000),
    "clock_sm_mhz": _up_to(10_000),
    "clock_memory_mhz": _up_to(50_000),
    "clock_sm_max_mhz": _up_to(10_000),
    "throttle_reasons": throttle_names,
    "power_limit_w": _watts,
    "ecc_volatile_corrected": _up_to(_COUNTER),
    "ecc_volatile_uncorrected": _up_to(_COUNTER),
    "ecc_aggregate_corrected": _up_to(_COUNTER),
    "ecc_aggregate_uncorrected": _up_to(_COUNTER),
    "rows_remapped_corrected": _up_to(_SMALL_COUNTER),
    "rows_remapped_uncorrected": _up_to(_SMALL_COUNTER),
    "remap_pending": _flag,
    "remap_failed": _flag,
    "pcie_generation": _up_to(16),
    "pcie_generation_max": _up_to(16),
    "pcie_width": _up_to(64),
    "pcie_width_max": _up_to(64),
    "pcie_replays": _up_to(_SMALL_COUNTER),
    "nvlink_links": _up_to(256),
    "nvlink_links_active": _up_to(256),
    "nvlink_replay_errors": _up_to(_COUNTER),
    "nvlink_recovery_errors": _up_to(_COUNTER),
    "nvlink_crc_flit_errors": _up_to(_COUNTER),
    "nvlink_crc_data_errors": _up_to(_COUNTER),
    "recovery_action": recovery_name,
    "mig_mode": _flag,
}
"""Figure's name -> what NVML's number for it comes to."""


def health(
    uuid: str,
    index: int,
    told: Iterable[tuple[str, int | Reason]],
    mig: Iterable[MigInstance] | Reason = (),
) -> Health:
    """Answer a GPU's health from NVML's own numbers by name; `mig`: its instances, or why none is known."""
    figures: dict[str, Figure] = {}
    missing: dict[str, Reason] = {}
    for name, number in told:
        figure = number if isinstance(number, Reason) else CONDITION[name](number)
        if isinstance(figure, Reason):
            missing[name] = figure
        else:
            figures[name] = figure
    if isinstance(mig, Reason):
        missing["mig_instances"] = mig
        mig = ()
    return Health(uuid=uuid, index=index, figures=figures, mig_instances=tuple(mig), missing=missing)


def unknown_health(uuid: str, index: int, reason: Reason) -> Health:
    """Answer the health of a GPU of which nothing could be read, for one and the same reason."""
    return Health(uuid=uuid, index=index, missing=dict.fromkeys((*CONDITION, "mig_instances"), reason))
