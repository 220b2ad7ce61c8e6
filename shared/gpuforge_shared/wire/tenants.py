"""Tenants on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints
from typing_extensions import TypedDict  # pydantic reads typing's own from 3.12 on only

from gpuforge_shared.wire.base import MAX_INT, HumanBody, Name, Query

PlanTier = Literal["starter", "pro", "growth", "enterprise"]
TenantStatus = Literal["active", "inactive"]

_Quota = Annotated[int, Field(ge=1, le=MAX_INT)]
# One @ with something on either side: whether mail arrives there only a mail can tell.
_Email = Annotated[str, StringConstraints(max_length=255, pattern=r"^[^@\s\x00-\x1f]+@[^@\s\x00-\x1f]+$")]


class TenantCreate(HumanBody):
    """POST /api/tenants."""

    name: Name = Field(description="Tenant display name.")
    gpu_quota: _Quota = Field(description="Max GPUs this tenant can run simultaneously (min 1).")
    contact_email: _Email | None = Field(default=None, description="Billing contact email.")
    plan_tier: PlanTier = Field(default="starter", description="starter, pro, growth or enterprise.")
    status: TenantStatus = Field(default="active", description="active or inactive.")


class TenantUpdate(HumanBody):
    """PUT /api/tenants/{id}: only fields that are given change."""

    name: Name | None = Field(default=None, description="Tenant display name.")
    gpu_quota: _Quota | None = Field(default=None, description="Max GPUs this tenant can run simultaneously.")
    contact_email: _Email | None = Field(default=None, description="Billing contact email; null clears it.")
    plan_tier: PlanTier | None = Field(default=None, description="starter, pro, growth or enterprise.")
    status: TenantStatus | None = Field(default=None, description="active or inactive.")


class TenantDelete(Query):
    """DELETE /api/tenants/{id}."""

    force: bool = Field(default=False, description="Delete although its jobs run or its invoices are unpaid.")


class TenantRecord(TypedDict):
    """A tenant with its live counts. `gpus_in_use`: GPUs held by its running jobs."""

    id: int
    name: str
    plan_tier: PlanTier
    gpu_quota: int
    gpus_in_use: int
    running_jobs: int
    queued_jobs: int
    status: TenantStatus
    contact_email: str | None
    created_at: datetime
