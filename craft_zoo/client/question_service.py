"""Protocol of services that answer questions about an image with probabilities."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from craft_zoo.blackbox.usage import Usage
from craft_zoo.client.paid import Reply, token_count


@dataclass(frozen=True)
class ImageQuestion:
    """A question about an image.

    Attributes:
        instructions: the question; without options, a statement that may be true.
        options: (value, description) of each alternative; the description may be "".
    """

    instructions: str
    options: tuple[tuple[str, str], ...] = ()


def request_usage(input_tokens: Any, output_tokens: Any) -> Usage:
    """Usage of a request about one image, from the counts of tokens in its response.

    Raises:
        TypeError, ValueError: see :func:`token_count`.
    """
    tokens = token_count(input_tokens), token_count(output_tokens)
    return Usage(requests=1, images=1, input_tokens=tokens[0], output_tokens=tokens[1])


@dataclass(frozen=True)
class Limits:
    """Limits of a service on a request.

    Attributes:
        questions: maximum number of questions.
        options: maximum number of options of a question.
        image_bytes: maximum size of an image file.
        statements: whether it answers questions without options.
    """

    questions: int
    options: int
    image_bytes: int = 20 * 10**6
    statements: bool = True


class QuestionService(ABC):
    """The protocol of a service, to which :class:`QuestionVLM` adds everything else.

    Attributes:
        name: see :attr:`VLM.name`.
        limits: what a request may contain.
        rounds: whether it may round the probabilities; those that the client computes are not.
    """

    name: str
    limits: Limits
    rounds: bool = True

    @abstractmethod
    def request(self, image: bytes, questions: Sequence[ImageQuestion]) -> dict[str, Any]:
        """The body of a request as JSON values: questions about one image file."""

    @abstractmethod
    def send(self, request: dict[str, Any], questions: Sequence[ImageQuestion], key: str) -> Reply:
        """Send a request once.

        Args:
            request: made by :meth:`request`.
            questions: those in the request.
            key: idempotency key, the same for all attempts.

        Raises:
            Transient: the request may be sent again.
            CraftZooError: the service rejects the request, or its answer is invalid.
        """

    @abstractmethod
    def expected(self, request: dict[str, Any], image: bytes) -> Usage:
        """Estimate of what the service will bill for a request."""
