"""This host's figures as Prometheus reads them (text format 0.0.4), in base units; the unknown is absent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from gpuforge_agent.sources.base import GpuIdentity, Reading, Xid
from gpuforge_agent.timetable import Run

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What delivery did since the agent started, in samples."""

    delivered: int = 0
    refused: int = 0
    """That the control plane did not take, whatever the reason."""
    newest_at: datetime | None = None
    """When the newest of those delivered was recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFigures:
    """One node at one moment. `readings` are empty where the last ones are too old to be called current."""

    hostname: str
    gpus: Sequence[GpuIdentity] = ()
    readings: Sequence[Reading] = ()
    read_at: datetime | None = None
    queued: int = 0
    on_disk: bool | None = None
    """Whether the queue's disk goes along; None where it has none."""
    lost: int = 0
    counts: Counts = field(default_factory=Counts)
    clock_offset_s: float | None = None
    runs: Sequence[Run] = ()
    missed_deadlines: Mapping[str, int] = field(default_factory=dict)
    xids: Mapping[Xid, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Family:
    name: str
    kind: Literal["gauge", "counter"]
    about: str
    values: Iterable[tuple[Labels, float | None]]

    def lines(self) -> Iterator[str]:
        """Help, type, and a line for every value there is."""
        given = [(labels, value) for labels, value in self.values if value is not None]
        if given:
            yield f"# HELP {self.name} {self.about}"
            yield f"# TYPE {self.name} {self.kind}"
        for labels, value in given:
            inside = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items())
            yield f"{self.name}{{{inside}}} {value!r}"


# a reading's field -> the name, what it is multiplied by, and the words
_FIGURES: Mapping[str, tuple[str, float, str]] = {
    "utilization_pct": ("utilization_ratio", 0.01, "Share of the last sample period in which a kernel ran."),
    "memory_used_mb": ("memory_used_bytes", 2**20, "Memory in use, without what the driver reserves."),
    "memory_total_mb": ("memory_total_bytes", 2**20, "Memory of the card."),
    "temperature_c": ("temperature_celsius", 1, "Of the die."),
    "power_draw_w": ("power_draw_watts", 1, "Of the whole board."),
}


_WITHOUT_DEADLINE = frozenset({"host", "journal"})  # they call no driver


def exposition(version: str, nodes: Sequence[NodeFigures]) -> str:
    """All families, each value with its node's name."""
    families = [
        _Family(
            name="gpuforge_agent_info",
            kind="gauge",
            about="The version of this agent.",
            values=[({"version": version}, 1)],
        ),
        *_of_agent(nodes),
        *_of_collectors(nodes),
        *_of_gpus(nodes),
    ]
    return "".join(f"{line}\n" for family in families for line in family.lines())


def _of_agent(nodes: Sequence[NodeFigures]) -> Iterator[_Family]:
    def family(
        name: str, kind: Literal["gauge", "counter"], about: str, values: Sequence[float | None]
    ) -> _Family:
        labelled = [({"node": node.hostname}, value) for node, value in zip(nodes, values, strict=True)]
        return _Family(name=f"gpuforge_agent_{name}", kind=kind, about=about, values=labelled)

    yield family("queue_samples", "gauge", "Samples that wait for delivery.", [node.queued for node in nodes])
    yield family(
        "queue_on_disk",
        "gauge",
        "1 while the queue is kept on disk, 0 while that fails or hangs.",
        [None if node.on_disk is None else int(node.on_disk) for node in nodes],
    )
    yield family(
        "lost_samples_total",
        "counter",
        "Samples that the queue lost: it was full, or its disk failed.",
        [node.lost for node in nodes],
    )
    yield family(
        "delivered_samples_total",
        "counter",
        "Samples that the control plane took.",
        [node.counts.delivered for node in nodes],
    )
    yield family(
        "refused_samples_total",
        "counter",
        "Samples that the control plane did not take.",
        [node.counts.refused for node in nodes],
    )
    yield family(
        "newest_delivered_timestamp_seconds",
        "gauge",
        "When the newest sample that the control plane took was recorded.",
        [_timestamp(node.counts.newest_at) for node in nodes],
    )
    yield family(
        "last_reading_timestamp_seconds",
        "gauge",
        "When the GPUs were read last.",
        [_timestamp(node.read_at) for node in nodes],
    )
    yield family(
        "clock_offset_seconds",
        "gauge",
        "This host's clock minus the control plane's.",
        [node.clock_offset_s for node in nodes],
    )


_COLLECTORS: Mapping[str, tuple[Literal["gauge", "counter"], str, Callable[[Run], float]]] = {
    "duration_seconds": ("gauge", "How long the last run of a collector took.", lambda run: run.duration_s),
    "last_run_timestamp_seconds": (
        "gauge", "When the last run of a collector began.", lambda run: run.ran_at.timestamp()
    ),
    "unread": ("gauge", "GPUs that the last run has nothing of; of host, figures.", lambda run: run.failed),
    "runs_total": ("counter", "Runs of a collector.", lambda run: run.runs),
    "failures_total": ("counter", "Runs that had nothing of some GPU.", lambda run: run.failures),
}  # fmt: skip


def _of_collectors(nodes: Sequence[NodeFigures]) -> Iterator[_Family]:
    runs = [({"node": node.hostname, "collector": run.what.name}, run) for node in nodes for run in node.runs]
    for name, (kind, about, value) in _COLLECTORS.items():
        yield _Family(
            name=f"gpuforge_agent_collector_{name}",
            kind=kind,
            about=about,
            values=[(labels, value(run)) for labels, run in runs],
        )
    yield _Family(
        name="gpuforge_agent_collector_deadlines_missed_total",
        kind="counter",
        about="Calls of the driver that did not return in time: each cost a reader process.",
        values=[
            ({"node": node.hostname, "collector": run.what.name}, node.missed_deadlines.get(run.what.name, 0))
            for node in nodes
            for run in node.runs
            if run.what.name not in _WITHOUT_DEADLINE
        ],
    )


def _of_gpus(nodes: Sequence[NodeFigures]) -> Iterator[_Family]:
    known = [(_labels(node, reading), reading) for node in nodes for reading in node.readings]
    for measure, (name, factor, about) in _FIGURES.items():
        yield _Family(
            name=f"gpuforge_gpu_{name}",
            kind="gauge",
            about=about,
            values=[(labels, _scaled(getattr(reading, measure), factor)) for labels, reading in known],
        )
    yield _Family(
        name="gpuforge_gpu_xids_total",
        kind="counter",
        about="Xids of a GPU since the agent started, by NVIDIA's number.",
        values=[
            ({"node": node.hostname, "uuid": xid.uuid, "code": str(xid.code)}, count)
            for node in nodes
            for xid, count in node.xids.items()
        ],
    )
    yield _Family(
        name="gpuforge_gpu_missing",
        kind="gauge",
        about="1 for a figure that could not be read, with the reason.",
        values=[
            ({**labels, "figure": figure, "reason": str(reason)}, 1)
            for labels, reading in known
            for figure, reason in reading.missing.items()
        ],
    )


def _labels(node: NodeFigures, reading: Reading) -> Labels:
    models = {gpu.uuid: gpu.model for gpu in node.gpus}
    return {
        "node": node.hostname,
        "gpu": str(reading.index),
        "uuid": reading.uuid,
        "model": models.get(reading.uuid, ""),
    }


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _timestamp(at: datetime | None) -> float | None:
    return None if at is None else at.timestamp()


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
