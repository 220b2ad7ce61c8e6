"""Which of the kernel's device numbers are NVIDIA's, and of use to NVML."""

from pathlib import Path

import pytest

from gpuforge_agent.devices import nvidia_majors

BOTH = """\
Character devices:
  1 mem
{}
Block devices:
  8 sd
259 blkext
"""


@pytest.mark.parametrize(
    ("listed", "majors"),
    [
        pytest.param("", set(), id="no driver"),
        pytest.param("195 nvidia-frontend", {195}, id="of long ago"),
        pytest.param(
            "195 nvidia\n195 nvidiactl\n195 nvidia-modeset\n236 nvidia-caps", {195, 236}, id="of today"
        ),
        pytest.param("195 nvidia\n511 nvidia-uvm", {195}, id="with the first CUDA program"),
        pytest.param("nvidia\nx nvidia\n195", set(), id="what is no device"),
    ],
)
def test_devices_of_nvidias(listed: str, majors: set[int], tmp_path: Path) -> None:
    devices = tmp_path / "devices"
    devices.write_text(BOTH.format(listed))
    assert nvidia_majors(devices) == majors


def test_where_the_kernel_does_not_say_there_are_none(tmp_path: Path) -> None:
    assert nvidia_majors(tmp_path / "none") == frozenset()
