"""What a server takes at the most."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from craft_zoo.errors import CraftZooError


@dataclass(frozen=True)
class Limits:
    """What a server takes; more is refused with a sentence, or waits for others to end.

    Attributes:
        body_bytes: of a request.
        json_bytes: of a request in JSON, which takes a multiple of its size to read.
        held_bytes: of all requests and answers that are under way, together.
        connections: that are open at once; the one that has been idle for longest goes for another.
        header_seconds: that the head of a request may take to come in.
        body_seconds: that the rest of it may take.
        answer_seconds: that an answer may take to be sent.
        images: in a set.
        image_sets: of an account; the one that was used longest ago is forgotten for another.
        opened_bytes: of an account's image sets, and as many of its classifiers; likewise.
        kept_bytes: of an account's image files, which are kept until they are encoded, or for good
            where the model remembers nothing of an image.
        pixels: of an image.
        request_pixels: of a request's images, together.
        classes: of a classifier.
        classifiers: of an account, as image sets.
        names_per_second: class names that an account may open in the long run; those of two
            classifiers at once after a rest.
        cached_images: of an account, that the model's feature cache on disk gets of it between
            two starts of the server; those of further sets are encoded and not kept there.
        name_length: characters of a class name.
        template_length: characters of a template.
        contexts: or templates of a request.
        answer_bytes: of an answer.
        stored_bytes: of an account's answers that are stored to be sent again; the oldest go first.
        requests_per_second: of an account, in the long run.
        burst: requests at once after a rest.
        waiting: requests whose bodies are in that may be under way at once.
        waiting_each: of one account, those included whose bodies are coming in.
    """

    body_bytes: int = 2**26
    json_bytes: int = 2**24
    held_bytes: int = 2**29
    connections: int = 500
    header_seconds: float = 20.0
    body_seconds: float = 120.0
    answer_seconds: float = 120.0
    images: int = 50_000
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
        """Bytes of one account's requests and answers under way: half of all, so that nobody alone
        is in everybody's way, but no less than one request may need. What is read of its body, and
        the scores that its answer is written from, are in memory beside these."""
        one = 2 * (self.body_bytes + self.answer_bytes)
        return min(self.held_bytes, max(self.held_bytes // 2, one))
