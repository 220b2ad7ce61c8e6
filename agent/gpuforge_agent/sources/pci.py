"""What the kernel knows of the cards on the PCI bus: it can be asked without touching, or waking, a card."""

from pathlib import Path
from typing import TypeAlias

DEVICES = Path("/sys/bus/pci/devices")
NVIDIA = "0x10de"
DISPLAY_CLASS = "0x03"  # VGA (0x0300) and 3D controllers (0x0302); a card's sound function is 0x0403

Place: TypeAlias = tuple[int, int, int]
"""Where a card is: domain, bus, device."""


def place_of(pci_bus_id: str) -> Place | None:
    """The place that `0000:3b:00`, in sysfs `0000:3b:00.0`, in NVML `00000000:3B:00.0` names, if any."""
    try:
        domain, bus, device = (int(part, 16) for part in pci_bus_id.partition(".")[0].split(":"))
    except ValueError:
        return None
    return domain, bus, device


class PciBus:
    """The PCI devices under one sysfs folder."""

    def __init__(self, devices: Path = DEVICES) -> None:
        """Nothing is read before it is asked for."""
        self._devices = devices

    def is_asleep(self, pci_bus_id: str | None) -> bool:
        """Whether the kernel has suspended that card. Asking the card itself would wake it."""
        folder = self._folder(pci_bus_id)
        try:
            return folder is not None and _text(folder / "power" / "runtime_status") == "suspended"
        except OSError:
            return False

    def gpus(self) -> int | None:
        """How many NVIDIA GPUs the bus lists; None where there is no PCI to ask."""
        try:
            return sum(map(_is_nvidia_gpu, self._devices.iterdir()))
        except OSError:
            return None

    def lacks(self, pci_bus_id: str | None) -> bool:
        """Whether the bus lists NVIDIA GPUs, but not that one.

        Where it lists none at all, as in a container without sysfs, it is no witness.
        """
        folder = self._folder(pci_bus_id)
        return folder is not None and not folder.exists() and bool(self.gpus())

    def _folder(self, pci_bus_id: str | None) -> Path | None:
        domain, _, rest = (pci_bus_id or "").partition(":")
        try:
            # NVML writes eight digits of domain, sysfs four
            return self._devices / f"{int(domain, 16):04x}:{rest.lower()}"
        except ValueError:
            return None


def _is_nvidia_gpu(device: Path) -> bool:
    try:
        return _text(device / "vendor") == NVIDIA and _text(device / "class").startswith(DISPLAY_CLASS)
    except OSError:
        return False


def _text(file: Path) -> str:
    return file.read_text(encoding="ascii").strip()
