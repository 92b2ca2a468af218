"""Client of Hugging Face's zero-shot image classification API."""

from __future__ import annotations

import base64
import json
import os
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from craft_zoo.blackbox.base import (
    VLM,
    BlackBox,
    ImageSet,
    Progress,
    check_given,
)
from craft_zoo.blackbox.cost_limit import CostLimit
from craft_zoo.blackbox.load import ModelSpec, register_model
from craft_zoo.blackbox.templates import DEFAULT_INIT, filled
from craft_zoo.blackbox.usage import Price, Usage
from craft_zoo.client.callables import log_of
from craft_zoo.client.files import ImageFiles, file_of
from craft_zoo.client.http import (
    BUSY,
    Answer,
    Http,
    checked_key,
    message_of,
)
from craft_zoo.client.idempotency import QuestionKeys
from craft_zoo.client.prefetch import prefetched
from craft_zoo.client.retrying import (
    Damaged,
    Retrying,
    Transient,
    clamped,
)
from craft_zoo.client.word_box import WordBox, check_distinct
from craft_zoo.data.images import ImageSource, as_images
from craft_zoo.errors import CraftZooError
from craft_zoo.protocol import IDEMPOTENCY_HEADER

if TYPE_CHECKING:
    import httpx

SCHEME = "hf-api:"
_LABEL_BYTES = 1000  # maximum size of an answer per label
_PROXY_TIMED_OUT = frozenset({504, 524})  # statuses of proxies; the model may still have answered
_FAILURES = 3  # attempts after which HTTP 500, which may be transient, is a permanent failure
_NO_JSON = 2  # attempts after which an answer without JSON is a permanent failure
_ONE = Usage(predictions=1)
_NONE = object()  # result of parsing a body that is no JSON


class HuggingFaceVLM(VLM):
    """A model behind Hugging Face's task API ``zero-shot-image-classification``.

    It accepts texts, one template and image in a request, and returns probabilities, whose
    logarithms serve as logits. Endpoints do not store images, so each request contains its image.

    Each request has an ``Idempotency-Key``, which is the same for retries and for a resumed run.
    ``craft-zoo serve``, which offers this API too, bills a key once. Other endpoints ignore the key
    and may bill a retry again, so the retry of a request that may have been billed counts again
    towards the cost limit.

    Args:
        url: URL of the endpoint, with or without the prefix ``hf-api:``.
        token: API token; None: the environment variable ``HF_TOKEN``, if set.
        session: name from which idempotency keys are derived; None: a random one.
        concurrency: maximum number of concurrent requests.
        max_predictions: see :class:`~craft_zoo.blackbox.CostLimit`.
        price: price of one prediction.
        max_cost: maximum cost of all predictions.
        timeout: seconds for a whole exchange, see :class:`~craft_zoo.client.http.Http`.
        retrying: retry policy; None: the default one.
        transport: replaces the network in tests.

    Attributes:
        cost_limit: counts the predictions so far.

    Raises:
        CraftZooError: an argument is invalid, or the package httpx is missing.
    """

    bills = True

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        session: str | None = None,
        concurrency: int = 8,
        max_predictions: int | None = None,
        price: Price | float | None = None,
        max_cost: float | None = None,
        timeout: float = 60.0,
        retrying: Retrying | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        if concurrency < 1:
            raise CraftZooError(f"concurrency must be at least 1, not {concurrency}")
        token = os.environ.get("HF_TOKEN", "") if token is None else token
        token = checked_key(token, "HF_TOKEN")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = Http(url.removeprefix(SCHEME), headers, timeout, transport)
        self.name = f"{SCHEME}{self._http.url}"
        self.cost_limit = CostLimit(max_predictions, price, max_cost)
        self._retrying, self._concurrency = retrying or Retrying(), concurrency
        self._questions = QuestionKeys(session)
        self.images_in_flight = 4 * concurrency

    def next_question(self, name: str) -> None:
        """See :meth:`VLM.next_question`; only ``craft-zoo serve`` uses the name."""
        self._questions.name_next(name)

    def images(
        self,
        images: Sequence[ImageSource],
        progress: Progress | None = None,
        *,
        keep: bool = True,
    ) -> ImageSet:
        """See :meth:`VLM.images`. Images are only sent with each query."""
        images = as_images(images)
        return ImageFiles(images, self, progress)

    def classifier(self, classnames: Sequence[str], init: str = DEFAULT_INIT) -> BlackBox:
        """See :meth:`VLM.classifier`."""
        check_given(classnames, "class names")
        check_distinct(classnames, "the endpoint")
        return _Endpoint(self, self._questions, classnames, init)

    def ask(
        self,
        image: bytes,
        labels: Sequence[str],
        template: str,
        *,
        name: str | None = None,
        stop: threading.Event | None = None,
    ) -> np.ndarray:
        """(C,) probabilities of the labels for one image, in the order of the labels.

        Args:
            image: the image file.
            labels: C labels.
            template: template in which a label replaces ``{}``.
            name: name of the query, see :meth:`next_question`.
            stop: see :class:`~craft_zoo.client.Retrying`.

        Raises:
            CraftZooError: the endpoint does not answer or its answer is invalid, or a retry would
                exceed the cost limit.
        """
        body = json.dumps(
            {
                "inputs": base64.b64encode(image).decode(),
                "parameters": {"candidate_labels": list(labels), "hypothesis_template": template},
            }
        ).encode()
        key = self._questions.key(body, name)
        headers = {"Content-Type": "application/json", IDEMPOTENCY_HEADER: key}
        most = _LABEL_BYTES * len(labels)
        before: Transient | None = None

        def attempt() -> np.ndarray:
            nonlocal before
            if before is not None and before.billed:
                self._charge_again(before)
            try:
                answer = self._http.send("POST", "", body, headers, most=most)
                if answer.status != 200:
                    raise self._refused(answer)
                return self._scores(answer, labels)
            except Transient as failure:
                before = failure
                if isinstance(failure, Damaged):
                    self._http.reconnect()
                raise

        return self._retrying(attempt, f"endpoint {self._http.url}", stop)

    def _charge_again(self, failure: Transient) -> None:
        try:
            self.cost_limit.charge(_ONE)
        except CraftZooError as limit:
            raise CraftZooError(
                f"repeating a request to {self._http.url} ({failure.reason}) may be billed, "
                f"and {limit}"
            ) from None

    def _refused(self, answer: Answer) -> Exception:
        said = _parsed(answer.body)
        about = said if isinstance(said, dict) else {}
        message = message_of(about) or f"HTTP {answer.status}"
        # Statuses above 520 come from proxies in front of the endpoint.
        if answer.status in BUSY or answer.status == 500 or answer.status >= 520:
            loading = about.get("estimated_time")
            after = clamped(loading) if isinstance(loading, int | float) else 0.0
            return Transient(
                message,
                max(answer.retry_after, after),
                attempts=_FAILURES if answer.status == 500 else None,
                billed=answer.status in _PROXY_TIMED_OUT,
            )
        mend = "set HF_TOKEN" if answer.status in (401, 403) else "check the endpoint and its task"
        return CraftZooError(f"endpoint {self._http.url} refused the request ({message}): {mend}")

    def _scores(self, answer: Answer, labels: Sequence[str]) -> np.ndarray:
        said = _parsed(answer.body)
        if said is _NONE:
            raise Damaged("its answer is not JSON", attempts=_NO_JSON, billed=True)
        scores: dict[str, float] = {}
        try:
            for each in said:
                label, score = each["label"], float(each["score"])
                if label in scores:
                    raise self._wrong(f"has the label {label!r:.100} twice")
                if not 0 <= score <= 1.001:
                    raise self._wrong(
                        f"has {score:g} for {label!r:.100}, which is not a probability"
                    )
                scores[label] = score
        except (TypeError, KeyError, ValueError, OverflowError) as error:
            if isinstance(error, CraftZooError):
                raise
            raise self._wrong("is not a list of labels with scores") from None
        missing = [label for label in labels if label not in scores]
        if missing:
            raise self._wrong(f"has no label {missing[0]!r}")
        if len(scores) != len(labels):
            other = next(label for label in scores if label not in labels)
            raise self._wrong(f"has the label {other!r:.100}, which was not requested")
        return np.array([scores[label] for label in labels])

    def _wrong(self, what: str) -> CraftZooError:
        return CraftZooError(
            f"the answer of {self._http.url} {what}: check that its task is "
            f"zero-shot-image-classification"
        )

    def ask_all(
        self, labels: Sequence[str], template: str, images: ImageFiles, name: str | None = None
    ) -> np.ndarray:
        """(N, C) probabilities; images with equal files are sent only once.

        When one request fails, no further request or retry is sent.

        Raises:
            CraftZooError: see :meth:`ask`; if the cost limit would be exceeded, nothing is sent.
        """
        places = list(images.first.values())
        self.cost_limit.check(_ONE * len(places))
        stop = threading.Event()

        def files() -> Iterator[bytes]:
            for place in places:
                content = file_of(images.sources[place])
                self.cost_limit.charge(_ONE)
                yield content

        def ask(content: bytes) -> np.ndarray:
            return self.ask(content, labels, template, name=name, stop=stop)

        try:
            rows = dict(zip(places, prefetched(ask, files(), self._concurrency), strict=True))
        finally:
            stop.set()
        return np.stack([rows[images.first[key]] for key in images.keys])


class _Endpoint(WordBox):
    _owner: HuggingFaceVLM

    def _answers(
        self, prompts: Sequence[str | tuple[str, ...]], images: ImageFiles, name: str | None
    ) -> Iterator[np.ndarray]:
        again, answers = Counter(prompts), dict[str | tuple[str, ...], np.ndarray]()
        for prompt in prompts:
            again[prompt] -= 1
            answer = answers.pop(prompt, None)
            if answer is None:
                answer = log_of(self._ask(prompt, images, name))
            if again[prompt]:
                answers[prompt] = answer
            yield answer.copy()

    def _ask(
        self, prompt: str | tuple[str, ...], images: ImageFiles, name: str | None
    ) -> np.ndarray:
        if isinstance(prompt, str):
            return self._owner.ask_all(self.classnames, prompt, images, name)
        # The API has one template for all labels, so complete prompts are sent as the labels.
        labels = filled(prompt, self.classnames)
        if len(set(labels)) < len(labels):
            raise CraftZooError(
                f"{self._owner.name} identifies classes by their prompts, and two are equal: "
                f"give each class its own prompt"
            )
        return self._owner.ask_all(labels, "{}", images, name)


def _parsed(body: bytes) -> Any:
    """The parsed JSON, or ``_NONE`` if the body is no JSON."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return _NONE


@register_model(SCHEME)
def open_hugging_face(spec: ModelSpec) -> HuggingFaceVLM:
    """A model behind Hugging Face's zero-shot-image-classification API, hf-api:https://ENDPOINT."""
    return HuggingFaceVLM(
        spec.model,
        max_predictions=spec.max_predictions,
        price=spec.price,
        max_cost=spec.max_cost,
    )
