"""What each rule reads from the picture, one value a subject, and how it words what it found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from gpuforge_controlplane.domain.reasons import gpus as counted
from gpuforge_controlplane.domain.reasons import instant
from gpuforge_controlplane.domain.rules import RuleType
from gpuforge_controlplane.domain.watched import Gpu, View

HELD_FOR_S = 1800  # a job may take its time to begin; what it holds is idle only after this


class Reading(NamedTuple):
    """A subject's value in the rule's unit; None where nothing tells it, which is neither good nor bad."""

    subject_id: int
    value: float | None
    suppressed: bool = False  # its node is down, and that is the one thing to be told
    told: float = -1.0  # the highest level that was told already, of rules that have several


class Words(NamedTuple):
    """Who and what an event is about, for people, and whose it is."""

    subject: str
    message: str
    tenant_id: int | None = None
    cluster_id: int | None = None


class Watch(NamedTuple):
    """How a rule looks, and how it tells what it saw."""

    read: Callable[[View], Iterator[Reading]]
    words: Callable[[View, int, float], Words]  # of a subject in the picture and its value


def _idle_clusters(view: View) -> Iterator[Reading]:
    for cluster in view.watched.clusters:
        yield Reading(cluster.id, cluster.mean_pct)


def _idle_cluster_words(view: View, cluster_id: int, value: float) -> Words:
    name = view.clusters[cluster_id].name
    message = f"GPUs of cluster {name} were used {value:.1f} % on average over 15 min"
    return Words(name, message, None, cluster_id)


def _quotas(view: View) -> Iterator[Reading]:
    for tenant in view.watched.tenants:
        yield Reading(tenant.id, 100 * tenant.in_use / tenant.quota)


def _quota_words(view: View, tenant_id: int, value: float) -> Words:
    tenant = view.tenants[tenant_id]
    held = f"{tenant.in_use} of its quota of {counted(tenant.quota)}"
    return Words(tenant.name, f"tenant {tenant.name} uses {held} ({value:.0f} %)", tenant_id)


def _health(view: View) -> Iterator[Reading]:
    """A node whose silence may be our own deafness is unknown, not unhealthy."""
    fresh, listening = view.fresh, view.listening
    for node_id, gpus in view.gpus_by_node.items():
        if gpus:
            known = listening or all(gpu.id in fresh for gpu in gpus)
            yield Reading(node_id, 100 * _healthy(view, gpus) / len(gpus) if known else None)


def _healthy(view: View, gpus: Sequence[Gpu]) -> int:
    fresh = view.fresh
    return sum([gpu.id in fresh and not gpu.faults for gpu in gpus])


def _health_words(view: View, node_id: int, _value: float) -> Words:
    node, gpus = view.nodes[node_id], view.gpus_by_node[node_id]
    faulty = sum(bool(gpu.faults) for gpu in gpus)
    stale = sum(gpu.id not in view.fresh and not gpu.faults for gpu in gpus)
    whys = ((faulty, "with a fault"), (stale, "not reporting"))
    why = ", ".join(f"{count} {words}" for count, words in whys if count)
    message = f"{_healthy(view, gpus)} of {counted(len(gpus))} of {node.hostname} healthy: {why}"
    return Words(node.hostname, message, None, node.cluster_id)


def _faults(view: View) -> Iterator[Reading]:
    down = view.down
    for gpu in view.watched.gpus:
        yield Reading(gpu.id, len(gpu.faults), gpu.node_id in down)


def _fault_words(view: View, gpu_id: int, _value: float) -> Words:
    gpu = view.gpus[gpu_id]
    return _about_gpu(view, gpu, f"has a fault: {', '.join(gpu.faults)}")


def _temperatures(view: View) -> Iterator[Reading]:
    down, fresh = view.down, view.fresh
    for gpu in view.watched.gpus:
        hot = gpu.temperature_c if gpu.id in fresh else None
        yield Reading(gpu.id, hot, gpu.node_id in down)


def _temperature_words(view: View, gpu_id: int, value: float) -> Words:
    return _about_gpu(view, view.gpus[gpu_id], f"is at {value:.0f} degrees C")


def _silences(view: View) -> Iterator[Reading]:
    for node in view.watched.nodes:
        known = node.id not in view.silent or view.listening
        yield Reading(node.id, max(0.0, view.now - node.heard_at) if known else None)


def _silence_words(view: View, node_id: int, _value: float) -> Words:
    node = view.nodes[node_id]
    message = f"node {node.hostname} was last heard at {instant(node.heard_at)}"
    return Words(node.hostname, message, None, node.cluster_id)


def _idle_holdings(view: View) -> Iterator[Reading]:
    down, gpus, until = view.down, view.gpus, view.now - HELD_FOR_S
    for holding in view.watched.holdings:
        gpu = gpus.get(holding.gpu_id)
        if gpu is not None and holding.since <= until:
            yield Reading(gpu.id, holding.mean_pct, gpu.node_id in down)


def _idle_holding_words(view: View, gpu_id: int, value: float) -> Words:
    holding = view.holdings[gpu_id]
    what = f"is held by job {holding.job_id} and was used {value:.1f} % over 30 min"
    return _about_gpu(view, view.gpus[gpu_id], what)._replace(tenant_id=holding.tenant_id)


def _waits(view: View) -> Iterator[Reading]:
    for cluster in view.watched.clusters:
        oldest = view.now if cluster.oldest_queued_at is None else cluster.oldest_queued_at
        yield Reading(cluster.id, max(0.0, view.now - oldest) / 60)


def _wait_words(view: View, cluster_id: int, value: float) -> Words:
    name = view.clusters[cluster_id].name
    return Words(name, f"a job has been queued in cluster {name} for {value:.0f} min", None, cluster_id)


def _budgets(view: View) -> Iterator[Reading]:
    for tenant in view.watched.tenants:
        if tenant.budget_pct is not None:
            yield Reading(tenant.id, tenant.budget_pct, told=tenant.budget_told_pct)


def _budget_words(view: View, tenant_id: int, value: float) -> Words:
    name = view.tenants[tenant_id].name
    return Words(name, f"tenant {name} has used {value:.0f} % of this month's budget", tenant_id)


def _overdue(view: View) -> Iterator[Reading]:
    for invoice in view.watched.invoices:
        yield Reading(invoice.id, (view.now - invoice.due_at) / 86_400)


def _overdue_words(view: View, invoice_id: int, _value: float) -> Words:
    invoice = view.invoices[invoice_id]
    message = f"invoice {invoice.number} was due at {instant(invoice.due_at)}"
    return Words(invoice.number, message, invoice.tenant_id)


def _metering(view: View) -> Iterator[Reading]:
    """After an outage of ours the meter, too, has to catch up first."""
    since = view.now if view.watched.usage_owed_since is None else view.watched.usage_owed_since
    known = view.listening or since >= view.watched.hearing_since
    yield Reading(0, max(0.0, view.now - since) if known else None)


def _metering_words(_view: View, _subject_id: int, value: float) -> Words:
    return Words("meter", f"usage has been missing from the ledger for {value / 60:.0f} min")


def _about_gpu(view: View, gpu: Gpu, what: str) -> Words:
    node = view.nodes.get(gpu.node_id)
    name = f"{node.hostname if node else gpu.node_id}/{gpu.gpu_index}"
    return Words(name, f"GPU {name} {what}", None, node.cluster_id if node else None)


WATCHES: Mapping[RuleType, Watch] = {
    "idle_gpu": Watch(_idle_clusters, _idle_cluster_words),
    "quota_breach": Watch(_quotas, _quota_words),
    "health_degraded": Watch(_health, _health_words),
    "gpu_fault": Watch(_faults, _fault_words),
    "gpu_thermal": Watch(_temperatures, _temperature_words),
    "node_offline": Watch(_silences, _silence_words),
    "idle_allocated": Watch(_idle_holdings, _idle_holding_words),
    "queue_wait": Watch(_waits, _wait_words),
    "budget": Watch(_budgets, _budget_words),
    "invoice_overdue": Watch(_overdue, _overdue_words),
    "metering_gap": Watch(_metering, _metering_words),
}
