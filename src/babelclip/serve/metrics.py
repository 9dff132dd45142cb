"""What an operator may watch, in Prometheus's format.

Labels are names that the server chose: routes, models, codes, stages. Nothing that a client sends becomes one, so
neither a secret nor an endless series can come in that way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from babelclip.serve.pricing import Usage

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_ITEMS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
_FRACTIONS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


class Metrics:
    """The metrics of one server."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._requests = Counter("babelclip_requests", "Answers sent.", ("route", "status"), registry=registry)
        self._seconds = Histogram(
            "babelclip_request_seconds",
            "From the first byte of a request to the last of its answer.",
            ("route",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._stages = Histogram(
            "babelclip_stage_seconds",
            "Stages of a request for vectors: fetch, prepare, model (its queue included).",
            ("stage", "modality"),
            buckets=_SECONDS,
            registry=registry,
        )
        self._refusals = Counter("babelclip_refusals", "Requests refused, by code.", ("code",), registry=registry)
        self._items = Counter("babelclip_items", "Items embedded.", ("model", "kind"), registry=registry)
        self._tokens = Counter("babelclip_tokens", "Tokens counted, as priced.", ("model", "kind"), registry=registry)
        self._pixels = Counter("babelclip_image_pixels", "Pixels of images embedded.", ("model",), registry=registry)
        self._fetches = Counter(
            "babelclip_image_fetches", "Images asked for by URL, by what came of it.", ("outcome",), registry=registry
        )
        self._cache = Counter(
            "babelclip_cache_lookups", "Items looked up in the cache.", ("model", "outcome"), registry=registry
        )
        self._batch_items = Histogram(
            "babelclip_batch_items", "Items of a batch.", ("model", "kind"), buckets=_ITEMS, registry=registry
        )
        self._batch_fill = Histogram(
            "babelclip_batch_fill",
            "Share of a batch's budget of tokens or pixels that was used.",
            ("model", "kind"),
            buckets=_FRACTIONS,
            registry=registry,
        )
        self._batch_seconds = Histogram(
            "babelclip_batch_seconds", "Time of a batch.", ("model", "kind"), buckets=_SECONDS, registry=registry
        )
        self._waiting = Gauge(
            "babelclip_queue_cost", "Tokens or pixels that wait for the model.", ("model", "kind"), registry=registry
        )
        self._ready = Gauge("babelclip_model_ready", "1 while the model can be asked.", ("model",), registry=registry)
        self._starts = Gauge(
            "babelclip_worker_starts", "How often the model's process was started.", ("model",), registry=registry
        )

    def answered(self, route: str, status: int, seconds: float) -> None:
        """An answer was sent whole, or its client went away."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def refused(self, code: str) -> None:
        """A request got an error."""
        self._refusals.labels(code).inc()

    def embedded(self, model: str, items: Mapping[str, int], usage: Usage, pixels: int) -> None:
        """A request for vectors was answered; items by kind."""
        for kind, number in items.items():
            self._items.labels(model, kind).inc(number)
        self._tokens.labels(model, "text").inc(usage.text_tokens)
        self._tokens.labels(model, "image").inc(usage.image_tokens)
        self._pixels.labels(model).inc(pixels)

    def staged(self, seconds: Mapping[str, float], modality: str) -> None:
        """The stages of a request; its modality is text, image or mixed."""
        for stage, each in seconds.items():
            self._stages.labels(stage, modality).observe(each)

    def fetched(self, outcome: str) -> None:
        """An image was fetched ("ok"), or was not, for a reason of ``images.image_url.Reason``."""
        self._fetches.labels(outcome).inc()

    def looked_up(self, model: str, hits: int, misses: int) -> None:
        """Items were looked up in the cache."""
        self._cache.labels(model, "hit").inc(hits)
        self._cache.labels(model, "miss").inc(misses)

    def watch_model(self, model: str, waiting: Mapping[str, Callable[[], float]], ready: Callable[[], float]) -> None:
        """Follow a model's queues (kind -> cost that waits) and whether it can be asked."""
        for kind, cost in waiting.items():
            self._waiting.labels(model, kind).set_function(cost)
        self._ready.labels(model).set_function(ready)

    def watch_starts(self, model: str, starts: Callable[[], float]) -> None:
        """Follow how often a worker was started."""
        self._starts.labels(model).set_function(starts)

    def batches(self, model: str, kind: str, budget: int) -> BatchMeter:
        """Watches the queue of one tower."""
        items, fill, seconds = (
            each.labels(model, kind) for each in (self._batch_items, self._batch_fill, self._batch_seconds)
        )
        return BatchMeter(items, fill, seconds, budget)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)


@dataclass(frozen=True, slots=True)
class BatchMeter:
    """A ``Watcher`` of one queue."""

    items: Histogram
    fill: Histogram
    seconds: Histogram
    budget: int

    def batch_done(self, items: int, cost: int, seconds: float) -> None:
        """A batch has been run."""
        self.items.observe(items)
        self.fill.observe(cost / self.budget)
        self.seconds.observe(seconds)
