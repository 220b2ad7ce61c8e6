"""The NVML source: one session with the driver, opened anew when it goes stale; who is there, who is lost."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from gpuforge_agent.sources import condition, figures, nvml
from gpuforge_agent.sources.base import (
    EVENTS,
    SESSION,
    Fault,
    GpuIdentity,
    Health,
    Inventory,
    MigInstance,
    Occupancy,
    Reading,
    Reason,
    Xid,
    slot,
    unknown_occupancy,
    unread,
)
from gpuforge_agent.sources.nvml import EventSet, Handle
from gpuforge_agent.sources.pci import DEVICES, PciBus

T = TypeVar("T")

# What every GPU says once the driver under an open session was reloaded.
_STALE_SESSION = frozenset({Reason.DRIVER_ABSENT, Reason.LIBRARY_MISMATCH, Reason.LOST, Reason.UNKNOWN_ERROR})
_NOT_THERE = frozenset({Reason.LOST, Reason.UNKNOWN_ERROR})


@dataclass(slots=True, kw_only=True)
class _Session:
    """What one nvmlInit listed: GPUs and handles by UUID, and the slots that do not say who they are."""

    driver_version: str | None
    present: dict[str, tuple[GpuIdentity, Handle]] = field(default_factory=dict)
    unidentified: dict[int, Reason] = field(default_factory=dict)
    events: EventSet | Reason
    watched: dict[str, Reason | None] = field(default_factory=dict)
    """UUID -> why its Xids can't be had; None: they can."""
    addresses: dict[int, str] = field(default_factory=dict)
    """Handle's address -> UUID, of every GPU listed since nvmlInit: a lost one can't be asked any more."""


class NvmlSource:
    """This host's NVIDIA GPUs. Calls may block for ever; `entering` says beforehand on what."""

    def __init__(
        self,
        library: str | None = None,
        *,
        known: Iterable[GpuIdentity] = (),
        avoid_slots: frozenset[int] = frozenset(),
        entering: Callable[[str], None] = lambda _: None,
        pci_devices: Path = DEVICES,
    ) -> None:
        """Nothing is loaded or opened before the first call.

        `library`: absolute path of the libnvidia-ml to load. `known`: GPUs of earlier runs. `avoid_slots`:
        NVML indexes not to touch. `entering` is told a UUID, a `slot`, EVENTS or SESSION.
        """
        self._library = library
        self._known = {gpu.uuid: gpu for gpu in known}
        self._avoid_slots = avoid_slots
        self._entering = entering
        self._pci = PciBus(pci_devices)
        self._session: _Session | None = None
        self._fault: Fault | None = None
        self._blank_sweeps = 0
        self._opened_times = 0

    @property
    def fault(self) -> Fault | None:
        """See Source."""
        return self._fault

    def inventory(self) -> Inventory:
        """See Source."""
        was_open = self._session is not None
        session = self._opened()
        if session is not None and was_open:
            session = self._listed_again(session)
        if session is None:
            return Inventory(
                absent=_by_index(self._known.values()), fault=self._fault, pci_gpus=self._pci.gpus()
            )
        gone = [gpu for uuid, gpu in self._known.items() if uuid not in session.present]
        return Inventory(
            gpus=_by_index(gpu for gpu, _ in session.present.values()),
            absent=_by_index(gone),
            unidentified=session.unidentified,
            driver_version=session.driver_version,
            pci_gpus=self._pci.gpus(),
            reopened=self._opened_times - 1,
        )

    def read(self, uuids: Sequence[str] | None = None) -> Iterator[Reading]:
        """See Source. Where not one GPU answered, the session is opened anew and all are read once more."""
        self._opened()
        wanted = tuple(self._known if uuids is None else uuids)
        blank = True
        for uuid in wanted:
            answer = self._read(uuid)
            blank = blank and bool(answer.missing) and set(answer.missing.values()) <= _STALE_SESSION
            yield answer
        self._blank_sweeps = self._blank_sweeps + 1 if blank and wanted and self._session else 0
        if _worth_reopening(self._blank_sweeps):
            self.close()
            self._opened()
            yield from map(self._read, wanted)

    def health(self, uuids: Sequence[str] | None = None) -> Iterator[Health]:
        """See Source."""
        self._opened()
        for uuid in self._known if uuids is None else uuids:
            yield self._on(uuid, self._health, condition.unknown_health)

    def occupancy(self, uuids: Sequence[str] | None = None) -> Iterator[Occupancy]:
        """See Source."""
        self._opened()
        for uuid in self._known if uuids is None else uuids:
            yield self._on(uuid, figures.occupancy, unknown_occupancy)

    def xids(self) -> Sequence[Xid]:
        """See Source."""
        session = self._session
        if session is None or isinstance(session.events, Reason):
            return ()
        self._entering(EVENTS)
        pending, known = nvml.pending_xids(session.events), session.addresses
        return [Xid(uuid=known[at], code=code) for at, code in pending if at in known]

    def close(self) -> None:
        """See Source."""
        if self._session is None:
            return
        self._session = None
        self._entering(SESSION)
        nvml.close_session()

    def _read(self, uuid: str) -> Reading:
        answer = self._on(uuid, figures.reading, unread)
        reasons = set(answer.missing.values())
        identity = self._known.get(uuid)
        place = None if identity is None else identity.pci_bus_id
        if reasons and reasons <= _NOT_THERE and self._pci.lacks(place):
            return unread(uuid, answer.index, Reason.OFF_BUS)
        return answer

    def _health(self, handle: Handle, identity: GpuIdentity) -> Health:
        session = self._session
        told = list(nvml.condition(handle))
        mig = _mig_instances(handle) if dict(told).get("mig_mode") == 1 else ()
        health = condition.health(identity.uuid, identity.index, told, mig)
        deaf = None if session is None else session.watched.get(identity.uuid)
        return health if deaf is None else replace(health, missing={**health.missing, "xids": deaf})

    def _on(
        self,
        uuid: str,
        ask: Callable[[Handle, GpuIdentity], T],
        instead: Callable[[str, int, Reason], T],
    ) -> T:
        """Ask a GPU, unless it is known beforehand why it can't or mustn't be asked."""
        session = self._session
        identity = self._known.get(uuid)
        index = -1 if identity is None else identity.index
        if session is None:
            return instead(uuid, index, self._fault.reason if self._fault else Reason.UNKNOWN_ERROR)
        if uuid not in session.present:
            return instead(uuid, index, session.unidentified.get(index, Reason.LOST))
        identity, handle = session.present[uuid]
        if self._pci.is_asleep(identity.pci_bus_id):
            return instead(uuid, index, Reason.ASLEEP)
        self._entering(uuid)
        return ask(handle, identity)

    def _opened(self) -> _Session | None:
        if self._session is None:
            self._entering(SESSION)
            self._fault = nvml.open_session(self._library)
            if self._fault is None:
                self._opened_times += 1
                fresh = _Session(driver_version=nvml.driver_version(), events=nvml.new_event_set())
                self._session = self._listed(fresh, before=None)
        return self._session

    def _listed_again(self, session: _Session) -> _Session | None:
        """List within the session; one that lists nothing any more is stale, and is opened anew."""
        fresh = replace(session, driver_version=nvml.driver_version(), present={}, unidentified={})
        self._session = self._listed(fresh, before=session)
        if self._session.present or not session.present:
            return self._session
        self.close()
        return self._opened()

    def _listed(self, session: _Session, before: _Session | None) -> _Session:
        asleep = self._sleepers(before)
        for index in range(nvml.count()):
            if index in self._avoid_slots:
                session.unidentified[index] = Reason.HUNG
                continue
            self._entering(slot(index))
            handle = asleep[index][1] if index in asleep else nvml.handle_at(index)
            identity = asleep[index][0] if index in asleep else _identified(handle, index)
            if isinstance(identity, Reason) or isinstance(handle, Reason):
                session.unidentified[index] = identity if isinstance(identity, Reason) else Reason.LOST
                continue
            identity = figures.completed(identity, self._known.get(identity.uuid))
            self._known[identity.uuid] = identity
            session.present[identity.uuid] = (identity, handle)
            session.addresses[nvml.address(handle)] = identity.uuid
            self._listen(session, identity.uuid, handle)
        return session

    def _sleepers(self, before: _Session | None) -> dict[int, tuple[GpuIdentity, Handle]]:
        """By index: the cards of this session that sleep. Listing them again would wake them."""
        present = () if before is None else before.present.values()
        return {gpu.index: (gpu, handle) for gpu, handle in present if self._pci.is_asleep(gpu.pci_bus_id)}

    @staticmethod
    def _listen(session: _Session, uuid: str, handle: Handle) -> None:
        if uuid not in session.watched:  # once a session: twice would tell every Xid twice
            deaf = (
                session.events if isinstance(session.events, Reason) else nvml.watch(handle, session.events)
            )
            session.watched[uuid] = deaf


def _identified(handle: Handle | Reason, index: int) -> GpuIdentity | Reason:
    return handle if isinstance(handle, Reason) else figures.identify(handle, index)


def _mig_instances(handle: Handle) -> Iterable[MigInstance] | Reason:
    devices = nvml.mig_devices(handle)
    return devices if isinstance(devices, Reason) else [MigInstance(**each._asdict()) for each in devices]


def _by_index(gpus: Iterable[GpuIdentity]) -> tuple[GpuIdentity, ...]:
    return tuple(sorted(gpus, key=lambda gpu: (gpu.index, gpu.uuid)))


def _worth_reopening(blank_sweeps: int) -> bool:
    """Whether to open NVML anew after so many sweeps without any answer: soon at first, then one in twelve.

    Only where nothing asked for is readable: to open NVML beside a dead card can hang, and others may answer.
    """
    return blank_sweeps in {1, 2, 4, 8} or (blank_sweeps > 0 and blank_sweeps % 12 == 0)
