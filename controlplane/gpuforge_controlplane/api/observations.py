"""What Prometheus reads: counters and durations by route template, never by tenant or key."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Observations:
    """One process's counts, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "gpuforge_http_requests",
            "Requests answered.",
            ["method", "route", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "gpuforge_http_request_seconds",
            "From the request's headers to its answer.",
            ["method", "route"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._samples = Counter(
            "gpuforge_ingest_samples",
            "GPU samples by what became of them.",
            ["fate"],
            registry=self._registry,
        )

        self._streams = Gauge("gpuforge_streams", "Live streams that are open.", registry=self._registry)

    def request(self, method: str, route: str, status: int, seconds: float | None) -> None:
        """Count an answered request; `route` is the template, so that ids make no series.

        `seconds` is None for a stream: how long somebody reads tells nothing of the server.
        """
        self._requests.labels(method, route, str(status)).inc()
        if seconds is not None:
            self._seconds.labels(method, route).observe(seconds)

    @contextmanager
    def streaming(self) -> Iterator[None]:
        """A stream is open."""
        with self._streams.track_inprogress():
            yield

    def samples(self, *, accepted: int, duplicates: int, rejected: int) -> None:
        """Count a batch's samples."""
        for fate, count in (("accepted", accepted), ("duplicate", duplicates), ("rejected", rejected)):
            if count:
                self._samples.labels(fate).inc(count)

    def exposition(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self._registry)
