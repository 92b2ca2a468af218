"""What a server takes at the most."""

from __future__ import annotations

from dataclasses import dataclass, fields

from craft_zoo.errors import CraftZooError


@dataclass(frozen=True)
class Limits:
    """What a server takes; more is refused with a sentence, or waits for others to end.

    Attributes:
        body_bytes: of a request.
        json_bytes: of a request in JSON, which takes a multiple of its size to read.
        held_bytes: of all requests and answers that are under way, together.
        body_seconds: that a request may take to come in.
        images: in a set.
        image_sets: of an account; the one that was used longest ago is forgotten for another.
        kept_bytes: of an account's image files, which are kept until they are encoded, or for good
            where the model remembers nothing of an image.
        pixels: of an image.
        classes: of a classifier.
        classifiers: of an account, as image sets.
        name_length: characters of a class name.
        template_length: characters of a template.
        contexts: or templates of a request.
        answer_bytes: of an answer.
        stored_bytes: of an account's answers that are stored to be sent again; the oldest go first.
        requests_per_second: of an account, in the long run.
        burst: requests at once after a rest.
        waiting: requests with a body that may be under way at once.
        waiting_each: of these, of one account.
    """

    body_bytes: int = 2**26
    json_bytes: int = 2**24
    held_bytes: int = 2**29
    body_seconds: float = 120.0
    images: int = 50_000
    image_sets: int = 16
    kept_bytes: int = 2**30
    pixels: int = 2**25
    classes: int = 10_000
    classifiers: int = 32
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
            if not getattr(self, field.name) > 0:
                raise CraftZooError(
                    f"the limit {field.name} must be more than 0, not {getattr(self, field.name)}"
                )
        if self.body_bytes + self.answer_bytes > self.held_bytes:
            raise CraftZooError(
                f"one request may have {self.body_bytes + self.answer_bytes:,} bytes with its "
                f"answer and all together {self.held_bytes:,}: raise the limit held_bytes"
            )
