"""What the agent must read from a fake host, worked out from its state alone."""

from gpuforge_agent.sources.base import Reading
from tests.fakenvml.library import MIB, Gpu, Host


def reading_of(gpu: Gpu, index: int) -> Reading:
    """The reading of a GPU without any gap in its figures."""
    assert isinstance(gpu.utilization, int)
    assert gpu.memory_total is not None
    assert gpu.temperature is not None
    assert gpu.power_mw is not None
    return Reading(
        uuid=gpu.uuid,
        index=index,
        utilization_pct=float(gpu.utilization),
        memory_used_mb=gpu.memory_used // MIB,
        memory_total_mb=gpu.memory_total // MIB,
        temperature_c=float(gpu.temperature),
        power_draw_w=gpu.power_mw / 1000,
    )


def readings_of(host: Host) -> tuple[Reading, ...]:
    """The readings of a host whose GPUs are all well."""
    return tuple(reading_of(gpu, index) for index, gpu in enumerate(host.gpus))
