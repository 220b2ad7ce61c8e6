"""Which figures can be true."""

from typing import TypeVar

from gpuforge_agent.sources.base import Reason

Number = TypeVar("Number", int, float)


def within(value: Number, lowest: Number, highest: Number) -> Number | Reason:
    """Pass a figure that can be true; NVML also answers SUCCESS with 0xFFFFFFFF and the like."""
    return value if lowest <= value <= highest else Reason.OUT_OF_RANGE
