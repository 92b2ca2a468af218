"""Protocol of services that return vectors of images and texts."""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np

from craft_zoo.blackbox.usage import Usage
from craft_zoo.client.failures import reading
from craft_zoo.client.openai_sdk import KEY, OpenAIClient
from craft_zoo.client.paid import token_count
from craft_zoo.client.services import PaidOptions

BATCH_BYTES = 6 * 10**6  # of the image files in a request, unless one alone has more

Input = str | bytes  # a text, or an image file


@dataclass(frozen=True)
class VectorOptions(PaidOptions):
    """Options of every service that returns vectors.

    Attributes:
        scale: factor of the cosine in the logits.
        batch: maximum number of images or texts in a request.
    """

    scale: float = 100.0
    batch: int = 32


class Vectors(NamedTuple):
    """A service's answer.

    Attributes:
        rows: (n, dim) float32, normalised.
        usage: what the service bills for the request.
    """

    rows: np.ndarray
    usage: Usage


class VectorService(ABC):
    """The protocol of a service that returns vectors of images and texts.

    Args:
        model: name of the model at the service.
        url: base URL; None: the vendor's, :attr:`vendor_url`.
        key: API key; None: the one in the environment variable :attr:`key_variable`.
        options: options of the model, of the type :attr:`options_type`.

    Attributes:
        name: see :attr:`VLM.name`.
        options: options of the model.
        image_bytes: maximum size of an image file.
        scheme: prefix of the model's name.
        vendor: who answers at ``vendor_url`` and needs a key.

    Raises:
        CraftZooError: see :class:`OpenAIClient`.
    """

    scheme: ClassVar[str]
    options_type: ClassVar[type[VectorOptions]] = VectorOptions
    key_variable: ClassVar[str] = KEY
    vendor: ClassVar[str | None] = None
    vendor_url: ClassVar[str | None] = None
    image_bytes = 20 * 10**6
    request_tokens: int | None = None  # added to each request; None: see TokenRule

    def __init__(
        self,
        model: str,
        url: str | None = None,
        *,
        key: str | None = None,
        options: VectorOptions | None = None,
    ) -> None:
        self.name = f"{self.scheme}{model}" + (f"@{url}" if url else "")
        self.options, self._model = options or self.options_type(), model
        self._client = OpenAIClient(
            url or self.vendor_url,
            key,
            self.options.timeout,
            variable=self.key_variable,
            owner=None if url else self.vendor,
        )

    def batches(self, inputs: Iterable[tuple[bytes, Input]]) -> Iterator[list[tuple[bytes, Input]]]:
        """Divide (key, input) pairs, all of them texts or all of them images, into requests."""
        batch: list[tuple[bytes, Input]] = []
        size = 0
        for key, given in inputs:
            full = len(batch) == self.batch(given) or size + len(given) > BATCH_BYTES
            if batch and full:
                yield batch
                batch, size = [], 0
            batch.append((key, given))
            size += len(given)
        if batch:
            yield batch

    def batch(self, given: Input) -> int:
        """Maximum number of inputs of this kind in a request."""
        return self.options.batch

    def send(self, inputs: Sequence[Input], key: str) -> Vectors:
        """Send a request once.

        Args:
            inputs: n texts or n images, see :meth:`batches`.
            key: idempotency key, the same for all attempts.

        Raises:
            Transient: the request may be sent again.
            CraftZooError: the service rejects the request.
        """
        body = self._client.call(self._create(), self._request(inputs), key)
        with reading("its answer has no vectors of the inputs"):
            rows, tokens = self._parsed(body, len(inputs))
            vectors = np.stack(rows)
            lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
            if vectors.ndim != 2 or len(vectors) != len(inputs):
                raise ValueError(f"{len(vectors)} vectors of {len(inputs)} inputs")
            if not (np.isfinite(lengths) & (lengths > 0)).all():
                raise ValueError("a vector is not finite, or 0")
            usage = self.expected(inputs)
            if tokens is None:
                self._client.warn_unbilled()
            else:
                usage = replace(usage, input_tokens=token_count(tokens))
            return Vectors((vectors / lengths).astype(np.float32), usage)

    @abstractmethod
    def _create(self) -> Callable[..., Any]:
        """See :meth:`OpenAIClient.call`."""

    @abstractmethod
    def _request(self, inputs: Sequence[Input]) -> dict[str, Any]:
        """Arguments of :meth:`_create`."""

    @abstractmethod
    def _parsed(self, body: dict[str, Any], count: int) -> tuple[list[np.ndarray], float | None]:
        """The vectors of ``count`` inputs in an answer, and the number of tokens billed.

        None: the answer does not say the number.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: it has none.
        """

    def expected(self, inputs: Sequence[Input]) -> Usage:
        """Estimate of what the service will bill for a request."""
        rule = self.options.tokens(self._model)
        tokens = rule.request if self.request_tokens is None else self.request_tokens
        tokens += sum(
            rule.of_text(each) if isinstance(each, str) else rule.of_image(each) for each in inputs
        )
        return Usage(requests=1, images=images_in(inputs), input_tokens=tokens)


def images_in(inputs: Sequence[Input]) -> int:
    """How many of the inputs are images."""
    return sum(isinstance(each, bytes) for each in inputs)


def encoded(row: np.ndarray) -> str:
    """A vector (dim,) in base64, which :func:`decoded` reads."""
    return base64.b64encode(row.astype("<f4").tobytes()).decode()


def indexed(body: dict[str, Any], count: int) -> list[np.ndarray]:
    """The vectors of ``count`` inputs in an answer that gives the place of each.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: one is missing.
    """
    found = {int(one["index"]): decoded(one["embedding"]) for one in body["data"]}
    return [found[place] for place in range(count)]


def decoded(row: Any) -> np.ndarray:
    """A vector from base64, or from a list of numbers, as servers send that know no base64.

    Raises:
        TypeError, ValueError: it is neither.
    """
    if isinstance(row, str):
        return np.frombuffer(base64.b64decode(row, validate=True), "<f4").astype(np.float32)
    return np.array(row, np.float32)
