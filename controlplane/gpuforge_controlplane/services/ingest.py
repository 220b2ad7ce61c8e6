"""Telemetry in: decode, screen, store in groups; answered only after commit."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

import msgspec

from gpuforge_controlplane.domain.access import Principal
from gpuforge_controlplane.domain.buckets import start_of
from gpuforge_controlplane.domain.fleet import welcome
from gpuforge_controlplane.services.context import Context
from gpuforge_controlplane.storage import metrics
from gpuforge_controlplane.storage.database import Database
from gpuforge_controlplane.storage.grouping import Grouped
from gpuforge_controlplane.storage.metrics import Fate, Sample
from gpuforge_shared.clock import Clock
from gpuforge_shared.errors import (
    MAX_ERRORS,
    MAX_PATH,
    FieldError,
    Invalid,
    MalformedBody,
    Unavailable,
    invalid,
)
from gpuforge_shared.wire.fleet import Metric, MetricsAccepted, MetricsBatch, RejectedMetric

GROUP = 20_000  # samples a transaction: past that, latency grows and throughput does not
BACKLOG = 200_000  # samples waiting; beyond, callers are told to come back

_DECODER = msgspec.json.Decoder(MetricsBatch)
_WHERE = re.compile(r" - at `\$\.?(.*)`$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Screened:
    """A batch after the checks that need no database: `kept[i]` is the item at `places[i]`."""

    kept: list[Sample]
    places: list[int]
    rejected: list[RejectedMetric]


def decode(body: bytes) -> MetricsBatch:
    """The batch in `body`. Raises MalformedBody for what is not JSON, Invalid with the path otherwise."""
    try:
        return _DECODER.decode(body)
    except msgspec.ValidationError as error:
        message = str(error)
        where = _WHERE.search(message)
        raise invalid(where[1] if where else "body", _WHERE.sub("", message)) from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise _undecodable(body, str(error)) from None


def check(batch: MetricsBatch, principal: Principal, now: datetime, retention: timedelta) -> Screened:
    """Sort out samples whose time rules them out; a sample without a time gets the server's."""
    times = welcome(now, retention)
    kept: list[Sample] = []
    places: list[int] = []
    rejected: list[RejectedMetric] = []
    for index, metric in enumerate(batch.metrics):
        recorded_at = metric.recorded_at or now
        reason = times.refusal(recorded_at)
        if reason is None:
            kept.append(_sample(metric, recorded_at, principal.cluster_id))
            places.append(index)
        else:
            rejected.append(RejectedMetric(index=index, gpu_id=metric.gpu_id, reason=reason))
    return Screened(kept=kept, places=places, rejected=rejected)


async def ingest_metrics(ctx: Context, body: MetricsBatch) -> MetricsAccepted:
    """Store samples, each once however often it is sent; says which were rejected, and why.

    In a transaction of its own: the way of a request with an Idempotency-Key.
    """
    screened = check(body, ctx.principal, ctx.now, ctx.retention)
    late_before = start_of(ctx.now)
    fates = await metrics.store(ctx.tx, screened.kept, late_before) if screened.kept else []
    return outcome(screened, fates)


def outcome(screened: Screened, fates: Sequence[Fate]) -> MetricsAccepted:
    """The answer. Raises Invalid where every item was rejected."""
    unknown = [
        RejectedMetric(index=place, gpu_id=sample.gpu_id, reason="unknown_gpu")
        for place, sample, fate in zip(screened.places, screened.kept, fates, strict=True)
        if fate == "unknown_gpu"
    ]
    rejected = sorted([*screened.rejected, *unknown], key=lambda item: item["index"])
    accepted, duplicates = fates.count("accepted"), fates.count("duplicate")
    if rejected and not accepted and not duplicates:
        raise Invalid(
            f"nothing was stored: all {len(rejected)} items were rejected",
            code="all_rejected",
            errors=tuple(FieldError(f"metrics[{item['index']}]", item["reason"]) for item in rejected),
        )
    return MetricsAccepted(accepted=accepted, duplicates=duplicates, rejected=rejected)


class Ingest:
    """The hot path: requests that arrive together share a transaction."""

    def __init__(self, database: Database, retention: timedelta, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._retention = retention
        self._groups: Grouped[Sequence[Sample], Sequence[Fate]] = Grouped(self._store, weight=len, most=GROUP)

    async def accept(self, batch: MetricsBatch, principal: Principal, now: datetime) -> MetricsAccepted:
        """Store the batch; returns after commit. Raises Unavailable where too much waits already."""
        if self._groups.queued > BACKLOG:
            raise Unavailable("ingest is behind; send this batch again shortly", retry_after=2.0)
        screened = check(batch, principal, now, self._retention)
        fates = await self._groups.submit(screened.kept) if screened.kept else []
        return outcome(screened, fates)

    async def _store(self, group: Sequence[Sequence[Sample]]) -> list[Sequence[Fate]]:
        together = [sample for samples in group for sample in samples]
        # Every replica locks GPUs in the same order, so none waits for another in a circle.
        order = sorted(range(len(together)), key=lambda index: together[index].gpu_id)
        ordered = [together[index] for index in order]
        late_before = start_of(self._clock())
        stored = await self._database.transact(lambda tx: metrics.store(tx, ordered, late_before))
        fates: list[Fate] = ["accepted"] * len(together)
        for index, fate in zip(order, stored, strict=True):
            fates[index] = fate
        return list(_cut(fates, [len(samples) for samples in group]))


def _cut(fates: Sequence[Fate], lengths: Iterable[int]) -> Iterator[Sequence[Fate]]:
    start = 0
    for length in lengths:
        yield fates[start : start + length]
        start += length


def _sample(metric: Metric, recorded_at: datetime, within_cluster: int | None) -> Sample:
    return Sample(
        metric.gpu_id,
        recorded_at,
        metric.utilization_pct,
        metric.memory_used_mb,
        metric.memory_total_mb,
        metric.temperature_c,
        metric.power_draw_w,
        metric.missing,
        within_cluster,
    )


def _undecodable(body: bytes, said: str) -> MalformedBody | Invalid:
    """NaN and infinities are no JSON, but many writers send them: name the place, not just "malformed"."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return MalformedBody(f"the body is not JSON: {said}")
    paths = (
        path for path, value in _leaves(document) if isinstance(value, float) and not math.isfinite(value)
    )
    errors = tuple(
        FieldError(path[:MAX_PATH], "must be a finite number, or null where unknown")
        for path in islice(paths, MAX_ERRORS)
    )
    if not errors:  # such as a lone surrogate, which json.loads lets pass
        return MalformedBody(f"the body is not JSON: {said}")
    return Invalid(f"{errors[0].path}: {errors[0].message}", errors=errors)


def _leaves(document: object) -> Iterator[tuple[str, object]]:
    """Every value with its path, in order; without recursion, whatever the depth."""
    waiting: list[tuple[str, object]] = [("", document)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, dict):
            inside = [(f"{path}.{name}".lstrip("."), each) for name, each in value.items()]
        elif isinstance(value, list):
            inside = [(f"{path}[{index}]", each) for index, each in enumerate(value)]
        else:
            yield path, value
            continue
        waiting.extend(reversed(inside))
