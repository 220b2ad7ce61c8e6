"""A request for every row of the route table, for the tests that walk it. A new row needs one here."""

from dataclasses import dataclass
from typing import Any

from gpuforge_controlplane.api.route import Route
from gpuforge_controlplane.api.routes import ROUTES
from tests.api.harness import Json, Plane, Site, build_site


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A request that the admin's key may make and that changes something, if the row writes."""

    path: str
    body: Json = None
    once: bool = False  # another of the same finds nothing left to do


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What the examples speak of."""

    site: Site
    spare: Site
    key_id: int
    tenant_id: int
    spare_tenant_id: int
    job_id: int  # queued, and the tenant's
    silence_id: int
    channel_id: int
    event_id: int  # firing: a node that was heard last an hour ago
    held_gpu_id: int  # the tenant's job had it once
    owing_tenant_id: int  # used a GPU for an hour, and was not invoiced yet
    invoice_id: int  # the tenant's
    spare_invoice_id: int


async def build_scene(plane: Plane) -> Scene:
    """Two sites, a key, two tenants, a job, an alert, a silence and a channel."""
    tenant_id = await plane.tenant()
    site = await build_site(plane, "east")
    plane.clock.forward(hours=1)
    await plane.evaluate()
    plane.clock.forward(hours=-1)
    silence = {"subject": "gpu/*", "until": "2026-05-10T12:00:00Z", "reason": "burn-in"}
    channel = {"name": "pager", "type": "webhook", "url": "https://hooks.example/pager"}
    (event,) = await plane.admin.read("/api/alerts/events?rule_id=6")
    job = {"cluster_id": site.cluster_id, "name": "first", "tenant_id": tenant_id}
    key = await plane.admin.write("/api/api-keys", {"label": "to be revoked", "tenant_id": tenant_id})
    invoiced, spare_invoiced, owing = await _users(plane, tenant_id)
    return Scene(
        site=site,
        owing_tenant_id=owing,
        invoice_id=await _invoice(plane, invoiced),
        spare_invoice_id=await _invoice(plane, spare_invoiced),
        spare=await build_site(plane, "west"),
        key_id=key["id"],
        tenant_id=tenant_id,
        spare_tenant_id=await plane.tenant("to be deleted"),
        job_id=(await plane.admin.write("/api/jobs", job))["id"],
        event_id=event["id"],
        silence_id=(await plane.admin.write("/api/alerts/silences", silence))["id"],
        channel_id=(await plane.admin.write("/api/alerts/channels", channel))["id"],
        held_gpu_id=(await plane.rows(_HELD, tenant=tenant_id))[0][0],
    )


_HELD = "SELECT gpu_id FROM allocations WHERE tenant_id = :tenant"


async def _users(plane: Plane, first: int) -> list[int]:
    """Tenants that have each just used a GPU for an hour, the first one of them this."""
    plane.clock.forward(hours=-1)
    cluster_id = (await build_site(plane, "billed")).cluster_id
    await build_site(plane, "billed too", cluster_id=cluster_id)
    users = [first, await plane.tenant("invoiced too"), await plane.tenant("owing")]
    jobs = [
        await plane.admin.write("/api/jobs", {"cluster_id": cluster_id, "name": "done", "tenant_id": user})
        for user in users
    ]
    await plane.cycle()
    plane.clock.forward(hours=1)
    for job in jobs:
        assert (await plane.admin.patch(f"/api/jobs/{job['id']}", {"status": "completed"})).status == 200
    return users


async def _invoice(plane: Plane, tenant_id: int) -> int:
    issued = await plane.admin.write(f"/api/tenants/{tenant_id}/invoice", None)
    return int(issued["invoice"]["id"])


def examples(scene: Scene) -> dict[tuple[str, str], Example]:
    """By method and path template; none takes away what another one speaks of."""
    site, spare = scene.site, scene.spare
    fallen_off = {"code": 79, "seen_at": "2026-05-09T11:59:00Z"}  # a fault that waits for an operator's word
    requests: dict[tuple[str, str], Any] = {
        ("GET", "/api/clusters"): Example(path="/api/clusters"),
        ("POST", "/api/clusters"): Example(path="/api/clusters", body={"name": "new", "region": "eu-1"}),
        ("GET", "/api/clusters/{cluster_id}"): Example(path=f"/api/clusters/{site.cluster_id}"),
        ("POST", "/api/clusters/nodes"): Example(
            path="/api/clusters/nodes", body={"cluster_id": site.cluster_id, "hostname": "new"}
        ),
        ("GET", "/api/clusters/nodes/{node_id}"): Example(path=f"/api/clusters/nodes/{site.node_id}"),
        ("PATCH", "/api/clusters/nodes/{node_id}"): Example(
            path=f"/api/clusters/nodes/{site.node_id}", body={"state": "cordoned"}
        ),
        ("DELETE", "/api/clusters/nodes/{node_id}"): Example(path=f"/api/clusters/nodes/{spare.node_id}"),
        ("POST", "/api/clusters/nodes/{node_id}/health"): Example(
            path=f"/api/clusters/nodes/{site.node_id}/health",
            body={"gpus": [{"gpu_id": site.gpu_ids[1], "xids": [fallen_off]}]},
            once=True,
        ),
        ("POST", "/api/gpus/{gpu_id}/clear-fault"): Example(
            path=f"/api/gpus/{site.gpu_ids[1]}/clear-fault", body={"note": "reseated"}
        ),
        ("POST", "/api/clusters/gpus"): Example(
            path="/api/clusters/gpus",
            body={"node_id": site.node_id, "gpus": [{"gpu_index": 7, "uuid": "GPU-new", "model": "H100"}]},
        ),
        ("POST", "/api/clusters/metrics"): Example(
            path="/api/clusters/metrics",
            body={
                "metrics": [
                    {
                        "gpu_id": site.gpu_ids[0],
                        "recorded_at": "2026-05-09T11:59:00Z",
                        "utilization_pct": 50,
                    }
                ]
            },
        ),
        ("GET", "/api/dashboard/gpu-allocation"): Example(path="/api/dashboard/gpu-allocation"),
        ("GET", "/api/tenants"): Example(path="/api/tenants"),
        ("POST", "/api/tenants"): Example(path="/api/tenants", body={"name": "new", "gpu_quota": 1}),
        ("GET", "/api/tenants/{tenant_id}"): Example(path=f"/api/tenants/{scene.tenant_id}"),
        ("PUT", "/api/tenants/{tenant_id}"): Example(
            path=f"/api/tenants/{scene.tenant_id}", body={"gpu_quota": 7}
        ),
        ("DELETE", "/api/tenants/{tenant_id}"): Example(path=f"/api/tenants/{scene.spare_tenant_id}"),
        ("GET", "/api/jobs"): Example(path="/api/jobs"),
        ("POST", "/api/jobs"): Example(path="/api/jobs", body={"cluster_id": site.cluster_id, "name": "new"}),
        ("GET", "/api/jobs/{job_id}"): Example(path=f"/api/jobs/{scene.job_id}"),
        ("PATCH", "/api/jobs/{job_id}"): Example(
            path=f"/api/jobs/{scene.job_id}", body={"status": "cancelled"}
        ),
        ("GET", "/api/jobs/{job_id}/explain"): Example(path=f"/api/jobs/{scene.job_id}/explain"),
        ("GET", "/api/dashboard/scheduling-metrics"): Example(path="/api/dashboard/scheduling-metrics"),
        ("GET", "/api/scheduler/logs"): Example(path="/api/scheduler/logs"),
        ("GET", "/api/alerts/rules"): Example(path="/api/alerts/rules"),
        ("PATCH", "/api/alerts/rules/{rule_id}"): Example(
            path="/api/alerts/rules/1", body={"threshold": 50, "clear_threshold": 55}
        ),
        ("GET", "/api/alerts/events"): Example(path="/api/alerts/events"),
        ("POST", "/api/alerts/events/{event_id}/acknowledge"): Example(
            path=f"/api/alerts/events/{scene.event_id}/acknowledge", body={"note": "on it"}
        ),
        ("GET", "/api/tenants/{tenant_id}/usage"): Example(path=f"/api/tenants/{scene.tenant_id}/usage"),
        ("PUT", "/api/tenants/{tenant_id}/budget"): Example(
            path=f"/api/tenants/{scene.tenant_id}/budget", body={"monthly_amount": 1000}
        ),
        ("GET", "/api/tenants/{tenant_id}/invoice/preview"): Example(
            path=f"/api/tenants/{scene.tenant_id}/invoice/preview"
        ),
        ("POST", "/api/tenants/{tenant_id}/invoice"): Example(
            path=f"/api/tenants/{scene.owing_tenant_id}/invoice", once=True
        ),
        ("GET", "/api/usage/export.csv"): Example(path="/api/usage/export.csv"),
        ("GET", "/api/billing/summary"): Example(path="/api/billing/summary"),
        ("GET", "/api/invoices"): Example(path="/api/invoices"),
        ("GET", "/api/invoices/{invoice_id}"): Example(path=f"/api/invoices/{scene.invoice_id}"),
        ("PATCH", "/api/invoices/{invoice_id}/status"): Example(
            path=f"/api/invoices/{scene.invoice_id}/status", body={"status": "paid"}
        ),
        ("POST", "/api/invoices/{invoice_id}/void"): Example(
            path=f"/api/invoices/{scene.spare_invoice_id}/void", body={"reason": "a test"}, once=True
        ),
        ("POST", "/api/stripe/webhook"): Example(path="/api/stripe/webhook", body={}),
        ("GET", "/api/rates"): Example(path="/api/rates"),
        ("PUT", "/api/rates/{family}"): Example(path="/api/rates/H100", body={"rate_per_hour": 4.5}),
        ("GET", "/api/dashboard/revenue"): Example(path="/api/dashboard/revenue"),
        ("GET", "/api/alerts/silences"): Example(path="/api/alerts/silences"),
        ("POST", "/api/alerts/silences"): Example(
            path="/api/alerts/silences",
            body={"subject": "node/east-*", "until": "2026-05-09T18:00:00Z", "reason": "new fans"},
        ),
        ("DELETE", "/api/alerts/silences/{silence_id}"): Example(
            path=f"/api/alerts/silences/{scene.silence_id}"
        ),
        ("GET", "/api/alerts/channels"): Example(path="/api/alerts/channels"),
        ("POST", "/api/alerts/channels"): Example(
            path="/api/alerts/channels",
            body={"name": "new", "type": "webhook", "url": "https://hooks.example/secret"},
        ),
        ("DELETE", "/api/alerts/channels/{channel_id}"): Example(
            path=f"/api/alerts/channels/{scene.channel_id}"
        ),
        ("GET", "/api/dashboard/leakage"): Example(path="/api/dashboard/leakage"),
        ("POST", "/api/api-keys"): Example(
            path="/api/api-keys", body={"label": "new", "tenant_id": scene.tenant_id}
        ),
        ("GET", "/api/api-keys"): Example(path="/api/api-keys"),
        ("DELETE", "/api/api-keys/{key_id}"): Example(path=f"/api/api-keys/{scene.key_id}"),
        ("GET", "/api/whoami"): Example(path="/api/whoami"),
        ("GET", "/api/dashboard"): Example(path="/api/dashboard"),
        ("GET", "/api/gpus/{gpu_id}/metrics"): Example(path=f"/api/gpus/{scene.held_gpu_id}/metrics"),
        ("GET", "/api/clusters/nodes/{node_id}/metrics"): Example(
            path=f"/api/clusters/nodes/{site.node_id}/metrics"
        ),
        ("GET", "/api/clusters/{cluster_id}/metrics"): Example(
            path=f"/api/clusters/{site.cluster_id}/metrics"
        ),
        ("GET", "/api/jobs/{job_id}/metrics"): Example(path=f"/api/jobs/{scene.job_id}/metrics"),
        ("GET", "/api/tenants/{tenant_id}/metrics"): Example(path=f"/api/tenants/{scene.tenant_id}/metrics"),
        ("GET", "/api/events"): Example(path="/api/events"),
        ("GET", "/api/dashboard/kpis"): Example(path="/api/dashboard/kpis"),
        ("GET", "/api/dashboard/allocation-history"): Example(path="/api/dashboard/allocation-history"),
        ("GET", "/api/audit"): Example(path="/api/audit"),
        ("GET", "/api/openapi.json"): Example(path="/api/openapi.json"),
        ("GET", "/healthz"): Example(path="/healthz"),
        ("GET", "/readyz"): Example(path="/readyz"),
        ("GET", "/metrics"): Example(path="/metrics"),
    }
    return requests


def rows_to_walk(scene: Scene) -> list[tuple[Route, Example]]:
    """Every row with its example, in the table's order; not webhooks, whose callers sign what they send."""
    requests = examples(scene)
    return [(row, requests[row.method, row.path]) for row in ROUTES if not (row.raw and row.writes)]
