"""Protocol of services that answer questions about an image with probabilities."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
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


def probabilities(question: ImageQuestion, by_value: Mapping[str, Any]) -> list[float]:
    """The probabilities of a question's options, in their order.

    Args:
        question: with options.
        by_value: the probabilities in the answer.

    Raises:
        KeyError, TypeError, ValueError: they are not those of the options.
    """
    if len(by_value) != len(question.options):
        raise ValueError(f"{len(by_value)} probabilities for {len(question.options)} options")
    return [probability(by_value[value]) for value, _ in question.options]


def probability(value: Any) -> float:
    """A value that must be a probability, up to rounding.

    Raises:
        ValueError: it is none.
    """
    number = float(value)
    if not math.isfinite(number) or not -1e-3 <= number <= 1.001:
        raise ValueError(f"{number:g} is not a probability")
    return min(max(number, 0.0), 1.0)


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
