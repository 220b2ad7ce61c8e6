"""The audit log: one row a write, in the write's own transaction."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import select

from gpuforge_controlplane.storage.database import Connection
from gpuforge_controlplane.storage.schema import audit_log
from gpuforge_controlplane.storage.statements import Row, insert, records
from gpuforge_shared.wire.keys import AuditQuery, AuditRecord


async def append(tx: Connection, row: Row) -> None:
    """Add a row; `before` and `after` may hold times, which JSON keeps as text."""
    await append_all(tx, [row])


async def append_all(tx: Connection, rows: Sequence[Row]) -> None:
    """Add rows by one statement."""
    plain = [row | {name: msgspec.to_builtins(row[name]) for name in ("before", "after")} for row in rows]
    if plain:
        await tx.execute(insert(tx, audit_log), plain)


async def page(tx: Connection, query: AuditQuery, *, before_id: int, limit: int) -> list[AuditRecord]:
    """Newest first, below `before_id`."""
    wanted = select(audit_log).where(audit_log.c.id < before_id).order_by(audit_log.c.id.desc()).limit(limit)
    for name in ("object_type", "object_id", "principal"):
        if (value := getattr(query, name)) is not None:
            wanted = wanted.where(audit_log.c[name] == value)
    if query.since is not None:
        wanted = wanted.where(audit_log.c.at >= query.since)
    if query.until is not None:
        wanted = wanted.where(audit_log.c.at < query.until)
    return records(await tx.execute(wanted), AuditRecord)
