"""THE TABLE: one row = one endpoint. Routing, access, validation and OpenAPI all read it."""

from __future__ import annotations

from gpuforge_controlplane.api import events, exports, invoice_pages, system, webhooks
from gpuforge_controlplane.api.route import Route
from gpuforge_controlplane.domain.access import Access
from gpuforge_controlplane.services import (
    alerts,
    allocation_history,
    budgets,
    channels,
    dashboard,
    drafts,
    fleet,
    health,
    history,
    ingest,
    inventory,
    invoices,
    jobs,
    keys,
    kpis,
    leakage,
    queueing,
    rates,
    registration,
    reports,
    submissions,
    tenants,
    usage,
)
from gpuforge_controlplane.services.payments import PaymentDesk
from gpuforge_shared.wire import alerts as alerts_wire
from gpuforge_shared.wire import billing as billing_wire
from gpuforge_shared.wire import events as events_wire
from gpuforge_shared.wire import fleet as fleet_wire
from gpuforge_shared.wire import health as health_wire
from gpuforge_shared.wire import jobs as jobs_wire
from gpuforge_shared.wire import keys as keys_wire
from gpuforge_shared.wire import kpis as kpis_wire
from gpuforge_shared.wire import leakage as leakage_wire
from gpuforge_shared.wire import tenants as tenants_wire
from gpuforge_shared.wire.base import PageQuery
from gpuforge_shared.wire.history import History, HistoryQuery

_READ_ALL = Access(scope="read", tenants=True, agents=True)
_READ_TENANTS = Access(scope="read", tenants=True)
_AGENT_READ = Access(scope="read", agents=True)
_AGENT_WRITE = Access(scope="write", agents=True)
_WRITE = Access(scope="write")
_WRITE_TENANTS = Access(scope="write", tenants=True)
_READ = Access(scope="read")
_ADMIN = Access(scope="admin")
_ADMIN_TENANTS = Access(scope="admin", tenants=True)

_GPU = "GPU Management"
_BILLING = "Billing"
_KEYS = "API Keys"
_TENANTS = "Tenant Management"
_JOBS = "Job Management"
_ALERTS = "Alerts"
_DASHBOARD = "Dashboard"
_SYSTEM = "System"


ROUTES: tuple[Route, ...] = (
    Route(
        method="GET", path="/api/clusters", tag=_GPU, access=_READ_ALL,
        service=fleet.list_clusters, query=PageQuery, answer=list[fleet_wire.ClusterRecord],
    ),
    Route(
        method="POST", path="/api/clusters", tag=_GPU, access=_WRITE, status=(201,), sealed="api_key",
        service=fleet.create_cluster, body=fleet_wire.ClusterCreate, answer=fleet_wire.ClusterCreated,
    ),
    Route(
        method="GET", path="/api/clusters/{cluster_id}", tag=_GPU, access=_READ_ALL,
        service=fleet.get_cluster, answer=fleet_wire.ClusterDetail,
    ),
    Route(
        method="POST", path="/api/clusters/nodes", tag=_GPU, access=_AGENT_WRITE, status=(201, 200),
        service=registration.register_node, many=registration.register_nodes,
        body=fleet_wire.NodeRegister, answer=fleet_wire.NodeRecord,
    ),
    Route(
        method="GET", path="/api/clusters/nodes/{node_id}", tag=_GPU, access=_AGENT_READ,
        service=health.get_node, answer=health_wire.NodeCondition,
    ),
    Route(
        method="PATCH", path="/api/clusters/nodes/{node_id}", tag=_GPU, access=_AGENT_WRITE,
        service=fleet.update_node, body=fleet_wire.NodeUpdate, answer=fleet_wire.NodeRecord,
    ),
    Route(
        method="DELETE", path="/api/clusters/nodes/{node_id}", tag=_GPU, access=_WRITE,
        service=fleet.retire_node, answer=fleet_wire.NodeRecord,
    ),
    Route(
        method="POST", path="/api/clusters/nodes/{node_id}/health", tag=_GPU, access=_AGENT_WRITE,
        service=reports.report_health, many=reports.report_nodes,
        body=health_wire.NodeReport, answer=health_wire.ReportAccepted,
    ),
    Route(
        method="POST", path="/api/gpus/{gpu_id}/clear-fault", tag=_GPU, access=_WRITE,
        service=health.clear_fault, body=health_wire.FaultClear, answer=health_wire.FaultsCleared,
    ),
    Route(
        method="POST", path="/api/clusters/gpus", tag=_GPU, access=_AGENT_WRITE, status=(201, 200),
        service=inventory.register_gpus, many=inventory.register_inventories,
        body=fleet_wire.GpuRegister, answer=list[fleet_wire.GpuRecord],
    ),
    Route(
        method="POST", path="/api/clusters/metrics", tag=_GPU, access=_AGENT_WRITE, samples=True,
        service=ingest.ingest_metrics, body=fleet_wire.MetricsBatch, answer=fleet_wire.MetricsAccepted,
    ),
    Route(
        method="GET", path="/api/dashboard/gpu-allocation", tag=_GPU, access=_READ_TENANTS,
        service=dashboard.gpu_allocation, query=fleet_wire.AllocationQuery,
        answer=list[fleet_wire.GpuAllocation],
    ),
    Route(
        method="GET", path="/api/tenants", tag=_TENANTS, access=_READ_TENANTS,
        service=tenants.list_tenants, query=PageQuery, answer=list[tenants_wire.TenantRecord],
    ),
    Route(
        method="POST", path="/api/tenants", tag=_TENANTS, access=_WRITE, status=(201,),
        service=tenants.create_tenant, body=tenants_wire.TenantCreate, answer=tenants_wire.TenantRecord,
    ),
    Route(
        method="GET", path="/api/tenants/{tenant_id}", tag=_TENANTS, access=_READ_TENANTS,
        service=tenants.get_tenant, answer=tenants_wire.TenantRecord,
    ),
    Route(
        method="PUT", path="/api/tenants/{tenant_id}", tag=_TENANTS, access=_WRITE,
        service=tenants.update_tenant, body=tenants_wire.TenantUpdate, answer=tenants_wire.TenantRecord,
    ),
    Route(
        method="DELETE", path="/api/tenants/{tenant_id}", tag=_TENANTS, access=_WRITE,
        service=tenants.delete_tenant, query=tenants_wire.TenantDelete, answer=tenants_wire.TenantRecord,
    ),
    Route(
        method="GET", path="/api/jobs", tag=_JOBS, access=_READ_TENANTS,
        service=jobs.list_jobs, query=jobs_wire.JobsQuery, answer=list[jobs_wire.JobRecord],
    ),
    Route(
        method="POST", path="/api/jobs", tag=_JOBS, access=_WRITE_TENANTS, status=(201, 200),
        service=queueing.submit_job, many=submissions.create_jobs,
        body=jobs_wire.JobCreate, query=jobs_wire.JobSubmit, answer=jobs_wire.JobRecord | jobs_wire.DryRun,
    ),
    Route(
        method="GET", path="/api/jobs/{job_id}", tag=_JOBS, access=_READ_TENANTS,
        service=jobs.get_job, answer=jobs_wire.JobDetail,
    ),
    Route(
        method="PATCH", path="/api/jobs/{job_id}", tag=_JOBS, access=_WRITE_TENANTS,
        service=jobs.update_job, body=jobs_wire.JobUpdate, answer=jobs_wire.JobRecord,
    ),
    Route(
        method="GET", path="/api/jobs/{job_id}/explain", tag=_JOBS, access=_READ_TENANTS,
        service=queueing.explain_job, answer=jobs_wire.JobExplanation,
    ),
    Route(
        method="GET", path="/api/dashboard/scheduling-metrics", tag=_JOBS, access=_READ_TENANTS,
        service=queueing.scheduling_metrics, answer=jobs_wire.SchedulingMetrics,
    ),
    Route(
        method="GET", path="/api/scheduler/logs", tag=_JOBS, access=_READ,
        service=queueing.list_cycles, query=jobs_wire.LogQuery, answer=list[jobs_wire.SchedulerLog],
    ),
    Route(
        method="GET", path="/api/alerts/rules", tag=_ALERTS, access=_READ_TENANTS,
        service=alerts.list_rules, answer=list[alerts_wire.RuleRecord],
    ),
    Route(
        method="PATCH", path="/api/alerts/rules/{rule_id}", tag=_ALERTS, access=_WRITE,
        service=alerts.update_rule, body=alerts_wire.RuleUpdate, answer=alerts_wire.RuleRecord,
    ),
    Route(
        method="GET", path="/api/alerts/events", tag=_ALERTS, access=_READ_TENANTS,
        service=alerts.list_events, query=alerts_wire.EventsQuery, answer=list[alerts_wire.EventRecord],
    ),
    Route(
        method="POST", path="/api/alerts/events/{event_id}/acknowledge", tag=_ALERTS, access=_WRITE,
        service=alerts.acknowledge_event, body=alerts_wire.Acknowledge, answer=alerts_wire.EventRecord,
    ),
    Route(
        method="GET", path="/api/tenants/{tenant_id}/usage", tag=_TENANTS, access=_READ_TENANTS,
        service=usage.tenant_usage, query=billing_wire.UsageQuery, answer=billing_wire.TenantUsage,
    ),
    Route(
        method="PUT", path="/api/tenants/{tenant_id}/budget", tag=_BILLING, access=_WRITE,
        service=budgets.set_budget, body=billing_wire.BudgetSet, answer=billing_wire.BudgetRecord,
    ),
    Route(
        method="GET", path="/api/tenants/{tenant_id}/invoice/preview", tag=_BILLING, access=_READ_TENANTS,
        service=drafts.preview, query=billing_wire.InvoiceQuery, answer=billing_wire.InvoicePreview,
    ),
    Route(
        method="POST", path="/api/tenants/{tenant_id}/invoice", tag=_BILLING, access=_WRITE,
        status=(201, 200), service=drafts.create_invoice, query=billing_wire.InvoiceQuery,
        answer=billing_wire.InvoiceIssued, afterwards=PaymentDesk.with_link,
    ),
    Route(
        method="GET", path="/api/usage/export.csv", tag=_BILLING, access=_READ_TENANTS, stream=True,
        media=exports.MEDIA, service=exports.export_usage, query=billing_wire.ExportQuery, answer=str,
    ),
    Route(
        method="GET", path="/api/billing/summary", tag=_BILLING, access=_READ_TENANTS,
        service=invoices.summary, answer=billing_wire.BillingSummary,
    ),
    Route(
        method="GET", path="/api/invoices", tag=_BILLING, access=_READ_TENANTS,
        service=invoices.list_invoices, query=billing_wire.InvoicesQuery,
        answer=list[billing_wire.InvoiceRecord],
    ),
    Route(
        method="GET", path="/api/invoices/{invoice_id}", tag=_BILLING, access=_READ_TENANTS,
        service=invoices.get_invoice, answer=billing_wire.InvoiceDetail,
        views=(("text/csv", invoice_pages.invoice_csv), ("text/html", invoice_pages.invoice_page)),
    ),
    Route(
        method="PATCH", path="/api/invoices/{invoice_id}/status", tag=_BILLING, access=_WRITE,
        service=invoices.set_status, body=billing_wire.InvoiceStatusUpdate, answer=billing_wire.InvoiceRecord,
    ),
    Route(
        method="POST", path="/api/invoices/{invoice_id}/void", tag=_BILLING, access=_ADMIN,
        service=invoices.void_invoice, body=billing_wire.InvoiceVoid, answer=billing_wire.InvoiceRecord,
    ),
    Route(
        method="POST", path="/api/stripe/webhook", tag=_BILLING, access=None, raw=True,
        service=webhooks.stripe, answer=billing_wire.WebhookReceived,
    ),
    Route(
        method="GET", path="/api/rates", tag=_BILLING, access=_READ_TENANTS,
        service=rates.list_rates, query=billing_wire.RatesQuery, answer=list[billing_wire.RateRecord],
    ),
    Route(
        method="PUT", path="/api/rates/{family}", tag=_BILLING, access=_ADMIN,
        service=rates.set_rate, body=billing_wire.RateSet, answer=billing_wire.RateRecord,
    ),
    Route(
        method="GET", path="/api/dashboard/revenue", tag=_DASHBOARD, access=_READ_TENANTS,
        service=usage.revenue, query=billing_wire.DaysQuery, answer=billing_wire.Revenue,
    ),
    Route(
        method="GET", path="/api/alerts/silences", tag=_ALERTS, access=_READ,
        service=channels.list_silences, query=alerts_wire.SilencesQuery,
        answer=list[alerts_wire.SilenceRecord],
    ),
    Route(
        method="POST", path="/api/alerts/silences", tag=_ALERTS, access=_WRITE, status=(201,),
        service=channels.create_silence, body=alerts_wire.SilenceCreate, answer=alerts_wire.SilenceRecord,
    ),
    Route(
        method="DELETE", path="/api/alerts/silences/{silence_id}", tag=_ALERTS, access=_WRITE,
        service=channels.end_silence, answer=alerts_wire.SilenceRecord,
    ),
    Route(
        method="GET", path="/api/alerts/channels", tag=_ALERTS, access=_READ,
        service=channels.list_channels, answer=list[alerts_wire.ChannelRecord],
    ),
    Route(
        method="POST", path="/api/alerts/channels", tag=_ALERTS, access=_ADMIN, status=(201,),
        sealed="signing_secret", service=channels.create_channel, body=alerts_wire.ChannelCreate,
        answer=alerts_wire.ChannelCreated,
    ),
    Route(
        method="DELETE", path="/api/alerts/channels/{channel_id}", tag=_ALERTS, access=_ADMIN,
        service=channels.delete_channel, answer=alerts_wire.ChannelRecord,
    ),
    Route(
        method="GET", path="/api/dashboard/leakage", tag=_DASHBOARD, access=_READ_TENANTS,
        service=leakage.revenue_leakage, answer=leakage_wire.Leakage,
    ),
    Route(
        method="POST", path="/api/api-keys", tag=_KEYS, access=_ADMIN_TENANTS, status=(201,), sealed="key",
        service=keys.create_key, body=keys_wire.KeyCreate, answer=keys_wire.KeyCreated,
    ),
    Route(
        method="GET", path="/api/api-keys", tag=_KEYS, access=_ADMIN_TENANTS,
        service=keys.list_keys, query=PageQuery, answer=list[keys_wire.KeyRecord],
    ),
    Route(
        method="DELETE", path="/api/api-keys/{key_id}", tag=_KEYS, access=_ADMIN_TENANTS,
        service=keys.revoke_key, answer=keys_wire.KeyRecord,
    ),
    Route(
        method="GET", path="/api/whoami", tag=_KEYS, access=_READ_ALL,
        service=keys.whoami, answer=keys_wire.WhoAmI,
    ),
    Route(
        method="GET", path="/api/dashboard", tag=_DASHBOARD, access=_READ_TENANTS,
        service=dashboard.overview, query=fleet_wire.OverviewQuery, answer=fleet_wire.DashboardOverview,
    ),
    Route(
        method="GET", path="/api/gpus/{gpu_id}/metrics", tag=_GPU, access=_READ_TENANTS,
        service=history.gpu_history, query=HistoryQuery, answer=History,
    ),
    Route(
        method="GET", path="/api/clusters/nodes/{node_id}/metrics", tag=_GPU, access=_AGENT_READ,
        service=history.node_history, query=HistoryQuery, answer=History,
    ),
    Route(
        method="GET", path="/api/clusters/{cluster_id}/metrics", tag=_GPU, access=_READ_TENANTS,
        service=history.cluster_history, query=HistoryQuery, answer=History,
    ),
    Route(
        method="GET", path="/api/jobs/{job_id}/metrics", tag=_JOBS, access=_READ_TENANTS,
        service=history.job_history, query=HistoryQuery, answer=History,
    ),
    Route(
        method="GET", path="/api/tenants/{tenant_id}/metrics", tag=_TENANTS, access=_READ_TENANTS,
        service=history.tenant_history, query=HistoryQuery, answer=History,
    ),
    Route(
        method="GET", path="/api/events", tag=_DASHBOARD, access=_READ_TENANTS, stream=True,
        media=events.MEDIA, service=events.stream_events, query=events_wire.EventsQuery, answer=str,
        events=events_wire.MESSAGES,
    ),
    Route(
        method="GET", path="/api/dashboard/kpis", tag=_DASHBOARD, access=_READ_TENANTS,
        service=kpis.executive_kpis, answer=kpis_wire.Kpis,
    ),
    Route(
        method="GET", path="/api/dashboard/allocation-history", tag=_DASHBOARD, access=_READ,
        service=allocation_history.allocation_history, query=kpis_wire.AllocationHistoryQuery,
        answer=kpis_wire.AllocationHistory,
    ),
    Route(
        method="GET", path="/api/audit", tag=_SYSTEM, access=_ADMIN,
        service=keys.list_audit, query=keys_wire.AuditQuery, answer=list[keys_wire.AuditRecord],
    ),
    Route(
        method="GET", path="/api/openapi.json", tag=_SYSTEM, access=None, raw=True,
        service=system.openapi, answer=dict[str, object],
    ),
    Route(
        method="GET", path="/healthz", tag=_SYSTEM, access=None, raw=True,
        service=system.healthz, answer=system.Health,
    ),
    Route(
        method="GET", path="/readyz", tag=_SYSTEM, access=None, raw=True,
        service=system.readyz, answer=system.Health,
    ),
    Route(
        method="GET", path="/metrics", tag=_SYSTEM, access=None, raw=True, media="text/plain",
        service=system.prometheus, answer=str,
    ),
)  # fmt: skip
