"""API keys: minting, listing, revoking, and finding out who calls."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

from gpuforge_controlplane.domain.access import Kind, Principal, closure, wider_than
from gpuforge_controlplane.services.context import LIST_CAP, Context, Page, decode_cursor, page_of
from gpuforge_controlplane.storage import audit, fleet, keys
from gpuforge_controlplane.storage.database import Database
from gpuforge_controlplane.storage.grouping import Grouped
from gpuforge_shared import apikey
from gpuforge_shared.clock import Clock
from gpuforge_shared.errors import Forbidden, Unauthorized, invalid, not_found
from gpuforge_shared.wire.base import MAX_ID, PageQuery
from gpuforge_shared.wire.keys import (
    AuditQuery,
    AuditRecord,
    KeyCreate,
    KeyCreated,
    KeyRecord,
    Scope,
    WhoAmI,
)

AGENT_PERMISSIONS = ("agent",)
SCOPES: tuple[Scope, ...] = ("read", "write", "admin")

HOST = Principal(name="command line", kind=Kind.OPERATOR, scopes=closure(("admin",)))


async def create_key(ctx: Context, body: KeyCreate) -> KeyCreated:
    """Mint a key. The raw key is in this answer and nowhere else."""
    permissions: tuple[str, ...] = tuple(dict.fromkeys(body.permissions))
    if body.cluster_id is not None:
        permissions = await _cluster_permissions(ctx, body)
    elif (refused := wider_than(ctx.principal, permissions, body.tenant_id)) is not None:
        raise Forbidden(refused, code="key_too_wide")
    if body.expires_at is not None and body.expires_at <= ctx.now:
        raise invalid("expires_at", "must lie in the future")
    if body.tenant_id is not None and not await keys.tenant_exists(ctx.tx, body.tenant_id):
        raise not_found("tenant", body.tenant_id)
    return await mint(
        ctx,
        label=body.label,
        permissions=permissions,
        tenant_id=body.tenant_id,
        cluster_id=body.cluster_id,
        expires_at=body.expires_at,
    )


async def create_key_on_host(database: Database, clock: Clock, body: KeyCreate) -> str:
    """A key for whoever may already read the database: the first admin's way in. The raw key."""
    async with database.write() as tx:
        ctx = Context(tx=tx, principal=HOST, now=clock(), request_id="command-line", retention=timedelta.max)
        return (await create_key(ctx, body))["key"]


async def mint(
    ctx: Context,
    *,
    label: str,
    permissions: Sequence[str],
    tenant_id: int | None = None,
    cluster_id: int | None = None,
    expires_at: datetime | None = None,
) -> KeyCreated:
    """Make and store a key, audited; what it may do is the caller's to have decided."""
    raw = apikey.assemble(secrets.token_hex(apikey.RANDOM_DIGITS // 2))
    record = await keys.create(
        ctx.tx,
        {
            "digest": apikey.digest(raw),
            "key_prefix": apikey.display_prefix(raw),
            "label": label,
            "permissions": list(permissions),
            "tenant_id": tenant_id,
            "cluster_id": cluster_id,
            "expires_at": expires_at,
            "created_at": ctx.now,
        },
    )
    await ctx.audit("key.create", "api_key", record["id"], after=record)
    return KeyCreated(**record, key=raw)


async def list_keys(ctx: Context, query: PageQuery) -> Page[list[KeyRecord]]:
    """Keys in order of id, cluster keys and revoked ones too; a tenant's key sees its tenant's."""
    limit = query.limit or LIST_CAP
    found = await keys.page(
        ctx.tx, tenant_id=ctx.principal.tenant_id, after=decode_cursor(query.cursor), limit=limit + 1
    )
    return page_of(found, limit, [key["id"] for key in found])


async def revoke_key(ctx: Context, key_id: int) -> KeyRecord:
    """Revoke a key: 401 from the next request on. Revoking twice changes nothing."""
    before = await keys.by_id(ctx.tx, key_id)
    if before is None or ctx.principal.tenant_id not in (None, before["tenant_id"]):
        raise not_found("API key", key_id)
    if before["revoked_at"] is not None:
        return before
    await keys.revoke(ctx.tx, key_id, ctx.now)
    after = KeyRecord({**before, "revoked_at": ctx.now})
    await ctx.audit("key.revoke", "api_key", key_id, before=before, after=after)
    return after


async def whoami(ctx: Context) -> WhoAmI:
    """Who calls and what they may do, so that a client need not try and fail."""
    caller = ctx.principal
    held: list[Scope] = [scope for scope in SCOPES if scope in caller.scopes]
    return WhoAmI(
        name=caller.name,
        kind=caller.kind.value,
        scopes=held,
        key_id=caller.key_id,
        tenant_id=caller.tenant_id,
        cluster_id=caller.cluster_id,
    )


async def list_audit(ctx: Context, query: AuditQuery) -> Page[list[AuditRecord]]:
    """The audit log, newest first."""
    limit = query.limit or 100
    before = decode_cursor(query.cursor, start=MAX_ID)
    found = await audit.page(ctx.tx, query, before_id=before, limit=limit + 1)
    return page_of(found, limit, [row["id"] for row in found])


async def _cluster_permissions(ctx: Context, body: KeyCreate) -> tuple[str, ...]:
    assert body.cluster_id is not None
    if body.tenant_id is not None:
        raise invalid("tenant_id", "a key belongs to a cluster's agents or to a tenant, not to both")
    if "permissions" in body.model_fields_set:
        raise invalid("permissions", "a cluster key's permissions are fixed; leave this out")
    if ctx.principal.tenant_id is not None or not await fleet.clusters_page(
        ctx.tx, only=body.cluster_id, limit=1
    ):
        raise not_found("cluster", body.cluster_id)
    return AGENT_PERMISSIONS


class KeyRing:
    """Finds out who calls. Nothing is cached: a revoked key is refused on the very next request.

    Look-ups that arrive together share one query, so that agents by the thousand cost little.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._lookups: Grouped[bytes, KeyRecord | None] = Grouped(self._find, weight=lambda _: 1, most=500)
        self._used: Grouped[int, None] = Grouped(self._touch, weight=lambda _: 1, most=10_000)
        self._touched: dict[int, datetime] = {}

    async def principal(self, raw: str) -> Principal:
        """Who holds this key. Raises Unauthorized for one that is malformed, unknown, expired or revoked."""
        if not apikey.is_well_formed(raw):
            raise Unauthorized("this is no API key: gfk_ and 64 hex digits; was it cut or mistyped?")
        record = await self._lookups.submit(apikey.digest(raw))
        now = self._clock()
        if record is None:
            raise Unauthorized("unknown API key")
        if record["revoked_at"] is not None:
            raise Unauthorized(f"API key {record['key_prefix']}… has been revoked", code="key_revoked")
        if record["expires_at"] is not None and record["expires_at"] <= now:
            raise Unauthorized(f"API key {record['key_prefix']}… has expired", code="key_expired")
        await self._note_use(record, now)
        return _principal(record)

    async def _find(self, digests: Sequence[bytes]) -> list[KeyRecord | None]:
        async with self._database.read() as tx:
            found = await keys.by_digests(tx, digests)
        return [found.get(digest) for digest in digests]

    async def _note_use(self, record: KeyRecord, now: datetime) -> None:
        known = self._touched.get(record["id"]) or record["last_used_at"]
        if known is None or now - known >= keys.TOUCH_EVERY:
            self._touched[record["id"]] = now
            await self._used.submit(record["id"])

    async def _touch(self, key_ids: Sequence[int]) -> list[None]:
        async with self._database.write() as tx:
            await keys.touch(tx, key_ids, self._clock())
        return [None] * len(key_ids)


def _principal(record: KeyRecord) -> Principal:
    kind = Kind.OPERATOR
    if record["cluster_id"] is not None:
        kind = Kind.CLUSTER
    elif record["tenant_id"] is not None:
        kind = Kind.TENANT
    return Principal(
        name=f"{kind.value} {record['id']} ({record['label']})",
        kind=kind,
        scopes=closure(tuple(record["permissions"])),
        key_id=record["id"],
        tenant_id=record["tenant_id"],
        cluster_id=record["cluster_id"],
    )
