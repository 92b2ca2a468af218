"""Prometheus metrics."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Metrics:
    """Metrics of one server, in a registry of their own.

    Args:
        waiting: returns the number of jobs that wait for the model.

    Attributes:
        predictions: counter of billed predictions, by account.
    """

    def __init__(self, waiting: Callable[[], int]) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "craft_zoo_requests",
            "Requests.",
            ("method", "path", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "craft_zoo_request_seconds",
            "Time from a request to its answer.",
            ("path",),
            registry=self._registry,
        )
        self.predictions = Counter(
            "craft_zoo_predictions",
            "Predictions that were billed.",
            ("account",),
            registry=self._registry,
        )
        self._model_seconds = Counter(
            "craft_zoo_model_seconds",
            "Time that the model computed.",
            ("kind",),
            registry=self._registry,
        )
        self._texts = Histogram(
            "craft_zoo_batch_texts",
            "Texts (prompts x classes) in a call of the model.",
            buckets=_SIZES,
            registry=self._registry,
        )
        self._images = Histogram(
            "craft_zoo_batch_images",
            "Images in a call of the model that classifies.",
            buckets=_SIZES,
            registry=self._registry,
        )
        self._together = Histogram(
            "craft_zoo_batch_requests",
            "Requests in a call of the model.",
            buckets=_SIZES,
            registry=self._registry,
        )
        queue = Gauge(
            "craft_zoo_queue_length", "Jobs that wait for the model.", registry=self._registry
        )
        queue.set_function(waiting)

    def observe_request(self, method: str, path: str, status: int, seconds: float) -> None:
        """Count a request. ``path`` is the template of the route, ``seconds`` its duration."""
        self._requests.labels(method, path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def observe_call(self, kind: str, requests: int, size: int, seconds: float) -> None:
        """Count a call of the model that served a number of requests.

        Args:
            kind: kind of the call; ``scores`` and ``classes`` are batches.
            requests: number of requests.
            size: number of texts of ``scores``, or of images of ``classes``.
            seconds: duration of the call.
        """
        self._model_seconds.labels(kind).inc(seconds)
        sizes = {"scores": self._texts, "classes": self._images}.get(kind)
        if sizes is not None:
            self._together.observe(requests)
            sizes.observe(size)

    def text(self) -> tuple[bytes, str]:
        """The metrics in Prometheus's text format, and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST
