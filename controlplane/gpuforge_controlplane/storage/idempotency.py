"""Answers kept for 24 h, so that a repeated POST gets the first one's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, delete, select, update

from gpuforge_controlplane.storage.database import Connection
from gpuforge_controlplane.storage.schema import idempotency_keys
from gpuforge_controlplane.storage.statements import insert

KEPT_FOR = timedelta(hours=24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A request that carries an Idempotency-Key: whose, on which route, with which body."""

    principal: str
    route: str
    key_digest: bytes  # SHA-256 of the header
    request_digest: bytes  # SHA-256 of path, query and body


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """The first request under a key and, once it was through, its answer."""

    request_digest: bytes
    status: int | None
    answer: bytes | None
    nonce: bytes


async def claim(tx: Connection, wanted: Claim, nonce: bytes, now: datetime) -> Stored | None:
    """Take the key for this transaction: None if it is ours, else what an earlier request left.

    A second request at the same instant waits here for the first one's transaction: on SQLite for the one
    writer, on PostgreSQL for the unique index. So an answer is there or nothing is, crash or not.
    """
    await tx.execute(
        delete(idempotency_keys).where(_is(wanted), idempotency_keys.c.created_at < now - KEPT_FOR)
    )
    taken = await tx.execute(
        insert(tx, idempotency_keys)
        .values(
            principal=wanted.principal,
            route=wanted.route,
            key_digest=wanted.key_digest,
            request_digest=wanted.request_digest,
            nonce=nonce,
            created_at=now,
        )
        .on_conflict_do_nothing()
        .returning(idempotency_keys.c.nonce)
    )
    if taken.one_or_none() is not None:
        return None
    row = (await tx.execute(select(idempotency_keys).where(_is(wanted)))).mappings().one()
    return Stored(
        request_digest=row["request_digest"], status=row["status"], answer=row["answer"], nonce=row["nonce"]
    )


async def keep(tx: Connection, done: Claim, status: int, answer: bytes) -> None:
    """Store the answer beside the claim, in the transaction that did the work."""
    await tx.execute(update(idempotency_keys).where(_is(done)).values(status=status, answer=answer))


async def prune(tx: Connection, now: datetime) -> int:
    """Drop what is older than 24 h; the number of rows dropped."""
    dropped = await tx.execute(delete(idempotency_keys).where(idempotency_keys.c.created_at < now - KEPT_FOR))
    return dropped.rowcount


def _is(wanted: Claim) -> ColumnElement[bool]:
    return and_(
        idempotency_keys.c.principal == wanted.principal,
        idempotency_keys.c.route == wanted.route,
        idempotency_keys.c.key_digest == wanted.key_digest,
    )
