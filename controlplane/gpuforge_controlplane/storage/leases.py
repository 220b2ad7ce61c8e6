"""The leader's lease: holder, expiry, fencing token, in the database's own time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import case, func, or_, select, update

from gpuforge_controlplane.storage.database import Connection
from gpuforge_controlplane.storage.schema import leases
from gpuforge_controlplane.storage.statements import insert

LEADER = "leader"


class LeaseLostError(Exception):
    """Somebody else leads by now: whatever this transaction was to write must not be written."""


async def take(tx: Connection, holder: str, ttl: timedelta) -> int | None:
    """Take or renew the lease for `ttl`; the fencing token, or None while another holds it.

    The token stays while the holder stays and grows with every change of holder.
    """
    now = await database_time(tx)
    mine = leases.c.holder == holder
    fresh = insert(tx, leases).values(name=LEADER, holder=holder, token=1, expires_at=now + ttl)
    statement = fresh.on_conflict_do_update(
        index_elements=[leases.c.name],
        set_={
            "holder": holder,
            "token": case((mine, leases.c.token), else_=leases.c.token + 1),
            "expires_at": now + ttl,
        },
        where=or_(mine, leases.c.expires_at <= now),
    ).returning(leases.c.token)
    token: int | None = (await tx.execute(statement)).scalar_one_or_none()
    return token


async def release(tx: Connection, holder: str) -> None:
    """Let go at once, so that another need not wait for the expiry."""
    now = await database_time(tx)
    await tx.execute(update(leases).where(leases.c.holder == holder).values(expires_at=now))


async def guard(tx: Connection, token: int) -> None:
    """Hold the lease row until the transaction ends. Raises LeaseLostError for a token of the past.

    So a leader that was stopped and goes on after its lease ran out can't write: its token is old.
    """
    held = await tx.execute(select(leases.c.token).where(leases.c.name == LEADER).with_for_update(read=True))
    if held.scalar_one_or_none() != token:
        raise LeaseLostError("another control plane leads by now")


async def database_time(tx: Connection) -> datetime:
    """The database's clock: the one that all replicas share."""
    if tx.dialect.name == "postgresql":
        moment: datetime = (await tx.execute(select(func.clock_timestamp()))).scalar_one()
        return moment
    found = await tx.exec_driver_sql("SELECT strftime('%Y-%m-%dT%H:%M:%f', 'now')")
    return datetime.fromisoformat(found.scalar_one()).replace(tzinfo=UTC)
