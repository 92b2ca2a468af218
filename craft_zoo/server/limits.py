"""Limits on the requests and memory that a server accepts."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from craft_zoo.errors import CraftZooError


@dataclass(frozen=True)
class Limits:
    """Limits of a server. A request beyond a limit is refused, unless stated otherwise.

    Attributes:
        body_bytes: bytes of a request body.
        json_bytes: bytes of a JSON body, which takes a multiple of its size to parse.
        held_bytes: bytes of all requests and answers in progress, together.
        connections: open connections; beyond it, the one idle for longest is closed.
        header_seconds: time in which a request's headers must arrive.
        body_seconds: time in which a request's body must arrive.
        answer_seconds: time in which a client must read an answer.
        images: images of a set.
        request_images: images of a request that an adapter classifies.
        image_sets: image sets of an account; beyond it, the least recently used one is dropped.
        opened_bytes: bytes of an account's image sets, and again of its classifiers; beyond it,
            the least recently used ones are dropped.
        kept_bytes: bytes of an account's image files. They are kept until they are encoded, or as
            long as their set if the model does not cache features.
        pixels: pixels of an image.
        request_pixels: pixels of all images of a request.
        classes: classes of a classifier.
        classifiers: classifiers of an account; beyond it, the least recently used one is dropped.
        names_per_second: class names that an account may open a second, on average; the burst is
            twice ``classes``.
        cached_images: images of an account that may enter the model's feature cache on disk until
            the server is restarted; further sets are encoded without being cached.
        name_length: characters of a class name.
        template_length: characters of a template.
        contexts: prompts (contexts or templates) of a request.
        answer_bytes: bytes of an answer.
        stored_bytes: bytes of an account's stored answers; beyond it, the oldest are deleted.
        requests_per_second: requests of an account a second, on average.
        burst: requests of an account at once.
        waiting: requests in progress whose bodies are complete.
        waiting_each: requests in progress of one account, with or without complete bodies.
    """

    body_bytes: int = 2**26
    json_bytes: int = 2**24
    held_bytes: int = 2**29
    connections: int = 500
    header_seconds: float = 20.0
    body_seconds: float = 120.0
    answer_seconds: float = 120.0
    images: int = 50_000
    request_images: int = 64
    image_sets: int = 64
    opened_bytes: int = 2**30
    kept_bytes: int = 2**30
    pixels: int = 2**25
    request_pixels: int = 2**29
    classes: int = 10_000
    classifiers: int = 32
    names_per_second: float = 500.0
    cached_images: int = 1_000_000
    name_length: int = 200
    template_length: int = 500
    contexts: int = 256
    answer_bytes: int = 2**27
    stored_bytes: int = 2**28
    requests_per_second: float = 50.0
    burst: int = 100
    waiting: int = 128
    waiting_each: int = 64

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (value > 0 and math.isfinite(value)):
                raise CraftZooError(
                    f"the limit {field.name} must be more than 0 and finite, not {value}"
                )
        if self.pixels > self.request_pixels:
            raise CraftZooError(
                f"one image may have {self.pixels:,} pixels and all of a request "
                f"{self.request_pixels:,}: raise the limit request_pixels"
            )
        if self.body_bytes + self.answer_bytes > self.held_bytes:
            raise CraftZooError(
                f"one request may have {self.body_bytes + self.answer_bytes:,} bytes with its "
                f"answer and all together {self.held_bytes:,}: raise the limit held_bytes"
            )

    @property
    def held_each(self) -> int:
        """Bytes of one account's requests and answers in progress: half of ``held_bytes``, so that
        one account cannot block the others, but enough for any one request. The factor 2 covers
        the parsed body, and the scores from which the answer is encoded."""
        one = 2 * (self.body_bytes + self.answer_bytes)
        return min(self.held_bytes, max(self.held_bytes // 2, one))
