"""What NVML's numbers about a GPU's health come to."""

import pytest

from gpuforge_agent.sources.base import Reason
from gpuforge_agent.sources.condition import CONDITION, health, unknown_health

ALL_ONES = 2**32 - 1
ALL_64_ONES = 2**64 - 1


@pytest.mark.parametrize(
    ("name", "number", "figure"),
    [
        ("clock_sm_mhz", 1755, 1755),
        ("clock_sm_mhz", ALL_ONES, Reason.OUT_OF_RANGE),
        ("power_limit_w", 700_000, 700.0),
        ("power_limit_w", ALL_ONES, Reason.OUT_OF_RANGE),
        ("throttle_reasons", 0, ()),
        ("throttle_reasons", 0x44, ("sw_power_cap", "hw_thermal")),
        ("throttle_reasons", 1 << 40, ("bit_40",)),
        ("throttle_reasons", ALL_64_ONES, Reason.OUT_OF_RANGE),
        ("ecc_volatile_uncorrected", 2, 2),
        ("ecc_volatile_uncorrected", ALL_64_ONES, Reason.OUT_OF_RANGE),
        ("remap_pending", 0, False),
        ("remap_failed", 1, True),
        ("remap_failed", 7, Reason.OUT_OF_RANGE),
        ("pcie_replays", ALL_ONES, Reason.OUT_OF_RANGE),
        ("recovery_action", 0, "none"),
        ("recovery_action", 2, "node_reboot"),
        ("recovery_action", 9, "action_9"),
        ("recovery_action", ALL_ONES, Reason.OUT_OF_RANGE),
        ("mig_mode", 1, True),
    ],
)
def test_what_a_number_comes_to(name: str, number: int, figure: object) -> None:
    found = CONDITION[name](number)
    assert (found, type(found)) == (figure, type(figure))


def test_each_figure_stands_in_one_place_with_its_value_or_with_its_reason() -> None:
    found = health("GPU-1", 3, [("pcie_width", 16), ("pcie_replays", Reason.NOT_SUPPORTED)], Reason.LOST)
    assert found.figures == {"pcie_width": 16}
    assert found.missing == {"pcie_replays": Reason.NOT_SUPPORTED, "mig_instances": Reason.LOST}


def test_an_unknown_health_says_why_of_every_figure() -> None:
    unknown = unknown_health("GPU-1", 3, Reason.HUNG)
    assert unknown.figures == {}
    assert unknown.missing == dict.fromkeys([*CONDITION, "mig_instances"], Reason.HUNG)
