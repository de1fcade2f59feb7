"""What a server counts, in the format that Prometheus collects (https://prometheus.io/docs/instrumenting/exposition_formats)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Counters of one server. ``stats``: model -> the engine's counts of this moment, asked for at each collection."""

    def __init__(self, stats: Callable[[], Mapping[str, Any]]) -> None:
        self.registry = CollectorRegistry()  # one per server: a notebook may start several

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, registry=self.registry)

        def histogram(name: str, text: str) -> Histogram:
            return Histogram(name, text, ("model",), registry=self.registry, buckets=SECONDS)

        self.requests = counter("llm_requests", "Requests that were answered", "path", "status")
        self.prompt_tokens = counter("llm_prompt_tokens", "Tokens read", "model")
        self.new_tokens = counter("llm_new_tokens", "Tokens generated", "model")
        self.gone = counter("llm_gone", "Answers given up because the client left or did not read", "model")
        self.first = histogram("llm_time_to_first_token_seconds", "From the request to its first token")
        self.per_token = histogram("llm_time_per_token_seconds", "Mean time between the later tokens of an answer")
        self.whole = histogram("llm_request_seconds", "From the request to the end of its answer")
        self.registry.register(_Gauges(stats))

    def page(self) -> bytes:
        """All of it as text."""
        return generate_latest(self.registry)


class _Gauges:
    def __init__(self, stats: Callable[[], Mapping[str, Any]]) -> None:
        self._stats = stats

    def collect(self) -> Iterator[GaugeMetricFamily]:
        found = self._stats()
        for name, text in {
            "running": "Requests in the batch",
            "waiting": "Requests in the queue",
            "free_blocks": "Blocks of the cache that can be handed out",
            "prefix_hits": "Prompt tokens found in the cache, since the start",
            "preemptions": "Requests that gave way, since the start",
        }.items():
            family = GaugeMetricFamily(f"llm_{name}", text, labels=["model"])
            for model, stats in found.items():
                family.add_metric([model], getattr(stats, name))
            yield family
