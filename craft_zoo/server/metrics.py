"""Prometheus metrics."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

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
        self._registry = registry = CollectorRegistry()
        counter = partial(Counter, registry=registry)
        sizes = partial(Histogram, buckets=_SIZES, registry=registry)
        self._requests = counter("craft_zoo_requests", "Requests.", ("method", "path", "status"))
        self._seconds = Histogram(
            "craft_zoo_request_seconds",
            "Time from a request to its answer.",
            ("path",),
            registry=registry,
        )
        self.predictions = counter(
            "craft_zoo_predictions", "Predictions that were billed.", ("account",)
        )
        self._model_seconds = counter(
            "craft_zoo_model_seconds", "Time that the model computed.", ("kind",)
        )
        self._sizes = {
            "scores": sizes(
                "craft_zoo_batch_texts", "Texts (prompts x classes) in a call of the model."
            ),
            "classes": sizes(
                "craft_zoo_batch_images", "Images in a call of the model that classifies."
            ),
        }
        self._together = sizes("craft_zoo_batch_requests", "Requests in a call of the model.")
        queue = Gauge("craft_zoo_queue_length", "Jobs that wait for the model.", registry=registry)
        queue.set_function(waiting)

    def observe_request(self, method: str, path: str, status: int, seconds: float) -> None:
        """Count a request. ``path`` is the template of the route, ``seconds`` its duration."""
        self._requests.labels(method, path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def observe_call(self, kind: str, requests: int, size: int, seconds: float) -> None:
        """Count a call of the model that served a number of requests.

        ``size`` is the number of texts of the kind ``scores``, or of images of ``classes``.
        """
        self._model_seconds.labels(kind).inc(seconds)
        if kind in self._sizes:
            self._together.observe(requests)
            self._sizes[kind].observe(size)

    def text(self) -> tuple[bytes, str]:
        """The metrics in Prometheus's text format, and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST
