"""What happened, as rows that only ever grow: the events of the live stream, whichever replica wrote them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Row, Select, Table, func, select

from gpuforge_controlplane.storage.alert_schema import alert_transitions
from gpuforge_controlplane.storage.database import Connection
from gpuforge_controlplane.storage.schema import audit_log, job_events, jobs, nodes
from gpuforge_controlplane.storage.statements import is_among
from gpuforge_shared.wire.events import (
    AlertMessage,
    ChangeMessage,
    InvoiceMessage,
    JobMessage,
    NodeMessage,
)

# Objects whose writes are told as `change`; keys are their administrators' affair, jobs tell more themselves.
_TOLD = frozenset({"alert_rule", "cluster", "rate", "silence", "tenant"})
_SHOWN = frozenset({"cluster", "gpu", "node", "tenant"})  # snapshot and allocation show names of these


class Happened(NamedTuple):
    """One row of a source. `event` is None for a row that tells nobody anything."""

    id: int
    event: str | None
    tenant_id: int | None  # whose affair it is, beside the operators'
    payload: Mapping[str, Any]
    shown: bool = False  # what stands still in the shown fleet may have changed by it


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A table whose rows, in order of id, are events."""

    name: str
    table: Table
    query: Select[Any]
    told: Callable[[Any], Happened]

    async def newest(self, tx: Connection) -> int:
        """The highest id, 0 where there is no row."""
        return int(await tx.scalar(select(func.coalesce(func.max(self.table.c.id), 0))) or 0)

    async def ids_from(self, tx: Connection, first: int) -> set[int]:
        """The ids from `first` on."""
        return set((await tx.scalars(select(self.table.c.id).where(self.table.c.id >= first))).all())

    async def beyond(
        self, tx: Connection, after: int, *, missed: Sequence[int] = (), limit: int
    ) -> list[Happened]:
        """Rows beyond `after`, and those of `missed`, in order of id."""
        wanted: ColumnElement[bool] = self.table.c.id > after
        if missed:
            wanted |= is_among(tx, self.table.c.id, missed)
        found = await tx.execute(self.query.where(wanted).order_by(self.table.c.id).limit(limit))
        return [self.told(row) for row in found]


def _job(row: Row[Any]) -> Happened:
    payload = JobMessage(
        job_id=row.job_id,
        name=row.name,
        cluster_id=row.cluster_id,
        tenant_id=row.tenant_id,
        gpu_count=row.gpu_count,
        from_status=row.from_status,
        status=row.to_status,
        reason=row.reason,
        at=row.at,
    )
    return Happened(row.id, "job", row.tenant_id, payload)


def _write(row: Row[Any]) -> Happened:
    known: Mapping[str, Any] = row.after or row.before or {}
    what, action, at = row.object_type, row.action, row.at
    if what == "node":
        node = NodeMessage(
            node_id=row.object_id,
            hostname=row.hostname,
            cluster_id=row.cluster_id,
            state=row.state,
            action=action,
            at=at,
        )
        return Happened(row.id, "node", None, node, shown=True)
    if what == "invoice":
        invoice = InvoiceMessage(
            invoice_id=row.object_id,
            tenant_id=known.get("tenant_id"),
            status=known.get("status"),
            action=action,
            at=at,
        )
        return Happened(row.id, "invoice", known.get("tenant_id"), invoice)
    if what not in _TOLD:
        return Happened(row.id, None, None, {}, shown=what in _SHOWN)
    change = ChangeMessage(object_type=what, object_id=row.object_id, action=action, at=at)
    owner = row.object_id if what == "tenant" else None
    return Happened(row.id, "change", owner, change, shown=what in _SHOWN)


def _alert(row: Row[Any]) -> Happened:
    payload = AlertMessage(
        event_id=row.event_id,
        rule_type=row.rule_type,
        severity=row.severity,
        subject_type=row.subject_type,
        subject_id=row.subject_id,
        subject=row.subject,
        tenant_id=row.tenant_id,
        cluster_id=row.cluster_id,
        from_state=row.from_state,
        state=row.to_state,
        acknowledged=row.acknowledged,
        value=row.value,
        message=row.message,
        reason=row.reason,
        at=row.at,
    )
    return Happened(row.id, "alert", row.tenant_id, payload)


_JOBS = Source(
    name="job",
    table=job_events,
    query=select(job_events, jobs.c.name, jobs.c.cluster_id, jobs.c.tenant_id, jobs.c.gpu_count).join(
        jobs, jobs.c.id == job_events.c.job_id
    ),
    told=_job,
)
_WRITES = Source(
    name="audit",
    table=audit_log,
    query=select(audit_log, nodes.c.hostname, nodes.c.cluster_id, nodes.c.state).outerjoin(
        nodes, (audit_log.c.object_type == "node") & (nodes.c.id == audit_log.c.object_id)
    ),
    told=_write,
)

_ALERTS = Source(name="alert", table=alert_transitions, query=select(alert_transitions), told=_alert)

# A place in this tuple is a place in the ids of events: append, never reorder.
SOURCES: tuple[Source, ...] = (_JOBS, _WRITES, _ALERTS)
FIRST_SOURCES = 2  # how many there were at first: ids of that time are still handed back
