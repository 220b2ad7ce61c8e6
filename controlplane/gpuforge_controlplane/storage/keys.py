"""API keys: SHA-256 digests and what they open. The raw key never comes here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import cast

from sqlalchemy import exists, or_, select, update

from gpuforge_controlplane.storage.database import Connection
from gpuforge_controlplane.storage.schema import api_keys, tenants
from gpuforge_controlplane.storage.statements import Row, insert, is_among, record, records
from gpuforge_shared.wire.keys import KeyRecord

TOUCH_EVERY = timedelta(minutes=1)  # last_used_at is for people: once a minute is enough

_RECORD = (
    api_keys.c.id,
    api_keys.c.key_prefix,
    api_keys.c.label,
    api_keys.c.tenant_id,
    api_keys.c.cluster_id,
    api_keys.c.permissions,
    api_keys.c.created_at,
    api_keys.c.last_used_at,
    api_keys.c.expires_at,
    api_keys.c.revoked_at,
)


async def by_digests(tx: Connection, digests: Sequence[bytes]) -> dict[bytes, KeyRecord]:
    """The keys of these digests, revoked and expired ones too, by digest."""
    found = await tx.execute(select(*_RECORD, api_keys.c.digest).where(api_keys.c.digest.in_(digests)))
    return {key.pop("digest"): cast(KeyRecord, key) for key in records(found, Row)}


async def create(tx: Connection, values: Row) -> KeyRecord:
    """Store a key: `values` has every column but `id`."""
    made = await tx.execute(insert(tx, api_keys).values(**values).returning(*_RECORD))
    return records(made, KeyRecord)[0]


async def page(tx: Connection, *, tenant_id: int | None, after: int, limit: int) -> list[KeyRecord]:
    """Keys in order of id, beyond `after`; of one tenant where that is given."""
    query = select(*_RECORD).where(api_keys.c.id > after).order_by(api_keys.c.id).limit(limit)
    if tenant_id is not None:
        query = query.where(api_keys.c.tenant_id == tenant_id)
    return records(await tx.execute(query), KeyRecord)


async def by_id(tx: Connection, key_id: int) -> KeyRecord | None:
    return record(await tx.execute(select(*_RECORD).where(api_keys.c.id == key_id)), KeyRecord)


async def revoke(tx: Connection, key_id: int, now: datetime) -> None:
    """Mark the key revoked; the first time stands."""
    await tx.execute(
        update(api_keys)
        .where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
        .values(revoked_at=now)
    )


async def touch(tx: Connection, key_ids: Sequence[int], now: datetime) -> None:
    """Set `last_used_at`, unless another replica did within the minute."""
    stale = or_(api_keys.c.last_used_at.is_(None), api_keys.c.last_used_at <= now - TOUCH_EVERY)
    await tx.execute(
        update(api_keys).where(is_among(tx, api_keys.c.id, key_ids), stale).values(last_used_at=now)
    )


async def tenant_exists(tx: Connection, tenant_id: int) -> bool:
    return bool(await tx.scalar(select(exists().where(tenants.c.id == tenant_id))))
