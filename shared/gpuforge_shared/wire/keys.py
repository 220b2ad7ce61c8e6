"""API keys and the audit log on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import TypedDict  # pydantic reads typing\'s own from 3.12 on only

from gpuforge_shared.wire.base import HumanBody, Id, Instant, Name, PageQuery, PrincipalName, Text

Scope = Literal["read", "write", "admin"]
Permission = Literal["read", "write", "admin", "agent"]  # agent: a cluster key's, never asked for by name


class KeyCreate(HumanBody):
    """POST /api/api-keys. With `cluster_id` (ours) the key is a cluster key: an agent's, nothing wider."""

    label: Name = Field(description="Human-readable label for this key.")
    tenant_id: Id | None = Field(default=None, description="Associate key with a tenant.")
    permissions: Annotated[list[Scope], Field(min_length=1, max_length=3)] = Field(
        default=["read", "write"], description='Permission scopes: ["read", "write", "admin"].'
    )
    cluster_id: Id | None = Field(default=None, description="Make this the key of a cluster's agents.")
    expires_at: Instant | None = Field(default=None, description="When the key stops working.")


class KeyRecord(TypedDict):
    """A key as lists show it: never the raw key."""

    id: int
    key_prefix: str
    label: str
    tenant_id: int | None
    cluster_id: int | None
    permissions: list[Permission]
    created_at: datetime
    last_used_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None


class KeyCreated(KeyRecord):
    """The record and the raw key, in this one answer."""

    key: str


class WhoAmI(TypedDict):
    """GET /api/whoami: what the caller may do. `scopes` are closed: admin holds all three."""

    name: str
    kind: Literal["key", "tenant key", "cluster key", "anonymous"]
    scopes: list[Scope]
    key_id: int | None
    tenant_id: int | None
    cluster_id: int | None


class AuditRecord(TypedDict):
    """One write: who did what to which object, in which request."""

    id: int
    at: datetime
    principal: str
    action: str
    object_type: str
    object_id: int | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    request_id: str


class AuditQuery(PageQuery):
    """Filters of the audit log; newest first."""

    object_type: Text | None = None
    object_id: Id | None = None
    principal: PrincipalName | None = None
    since: Instant | None = Field(default=None, description="From this time on (inclusive).")
    until: Instant | None = Field(default=None, description="Before this time (exclusive).")
