"""Client of Hugging Face's zero-shot image classification API."""

from __future__ import annotations

import base64
import json
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from craft_zoo.blackbox.base import BlackBox, check_given
from craft_zoo.blackbox.cost_limit import CostLimit
from craft_zoo.blackbox.load import ModelSpec, register_model
from craft_zoo.blackbox.templates import DEFAULT_INIT, filled
from craft_zoo.blackbox.usage import Price, Usage
from craft_zoo.client.failures import MISREAD, status_failure
from craft_zoo.client.files import ImageFiles
from craft_zoo.client.http import Answer, Http, checked_key, message_of
from craft_zoo.client.paid import PaidVLM, Reply
from craft_zoo.client.probabilities import decimals_of, log_of
from craft_zoo.client.retrying import Damaged, Retrying, clamped
from craft_zoo.client.word_box import WordBox, check_distinct
from craft_zoo.errors import CraftZooError
from craft_zoo.protocol import IDEMPOTENCY_HEADER
from craft_zoo.threads import prefetched

if TYPE_CHECKING:
    import httpx

SCHEME = "hf-api:"
_LABEL_BYTES = 1000  # maximum size of an answer per label
_NO_JSON = 2  # attempts after which an answer without JSON is a permanent failure
_ONE = Usage(predictions=1)


class HuggingFaceVLM(PaidVLM):
    """A model behind Hugging Face's task API ``zero-shot-image-classification``.

    It accepts texts, one template and image in a request, and returns probabilities, whose
    logarithms serve as logits. Endpoints do not store images, so each request contains its image.

    Each request has an ``Idempotency-Key``, which is the same for retries and for a resumed run.
    ``craft-zoo serve``, which offers this API too, bills a key once. Other endpoints ignore the key
    and may bill a retry again, so the retry of a request that may have been billed counts again
    towards the cost limit. Each answer is recorded as it arrives (:meth:`keep_responses`), so that
    a restarted process asks again only for what was not answered.

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

    counts_usage = False  # endpoints do not say what they bill

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
        token = checked_key(token, "HF_TOKEN")
        self._has_token = bool(token)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = Http(url.removeprefix(SCHEME), headers, timeout, transport)
        super().__init__(
            f"{SCHEME}{self._http.url}",
            concurrency=concurrency,
            cost_limit=CostLimit(max_predictions, price, max_cost),
            session=session,
            retrying=retrying,
        )
        self.images_in_flight = 4 * concurrency

    def classifier(self, classnames: Sequence[str], init: str = DEFAULT_INIT) -> BlackBox:
        """See :meth:`VLM.classifier`."""
        check_given(classnames, "class names")
        check_distinct(classnames, "the endpoint")
        return _Endpoint(self, classnames, init)

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
            CraftZooError: the endpoint does not answer or its answer is invalid, or the cost limit
                would be exceeded, possibly by a retry.
        """
        body = json.dumps(
            {
                "inputs": base64.b64encode(image).decode(),
                "parameters": {"candidate_labels": list(labels), "hypothesis_template": template},
            }
        ).encode()
        key = self._keys.key(body, name)
        headers = {"Content-Type": "application/json", IDEMPOTENCY_HEADER: key}
        most = _LABEL_BYTES * len(labels)

        def send() -> Reply:
            with self._http.reconnecting():
                answer = self._http.send("POST", "", body, headers, most=most)
                if answer.status != 200:
                    raise self._refused(answer)
                return Reply([self._row(answer, labels)], _ONE)

        reply = self._pay_once(key, send, _ONE, stop or threading.Event())
        return np.array(reply.answers[0])

    def _refused(self, answer: Answer) -> Exception:
        about = answer.json if isinstance(answer.json, dict) else {}
        loading = about.get("estimated_time")
        seconds = clamped(loading) if isinstance(loading, int | float) else 0.0
        return status_failure(
            f"endpoint {self._http.url}",
            answer.status,
            message_of(about),
            variable="HF_TOKEN",
            has_key=self._has_token,
            after=max(answer.retry_after, seconds),
            mend="check the endpoint and its task",
        )

    def _row(self, answer: Answer, labels: Sequence[str]) -> list[float]:
        said = answer.json
        if said is None:
            raise Damaged("its answer is not JSON", attempts=_NO_JSON, billed=True)
        try:
            pairs = [(each["label"], float(each["score"])) for each in said]
            scores = dict(pairs)
        except MISREAD:
            raise self._wrong("is not a list of labels with scores") from None
        asked = set(labels)
        for label, score in pairs:
            if not 0 <= score <= 1.001:
                raise self._wrong(f"has {score:g} for {label!r:.100}, which is not a probability")
            if label not in asked:
                raise self._wrong(f"has the label {label!r:.100}, which was not requested")
        if len(scores) < len(pairs):
            twice = Counter(label for label, _ in pairs).most_common(1)[0][0]
            raise self._wrong(f"has the label {twice!r:.100} twice")
        missing = [label for label in labels if label not in scores]
        if missing:
            raise self._wrong(f"has no label {missing[0]!r}")
        return [scores[label] for label in labels]

    def _wrong(self, what: str) -> CraftZooError:
        return CraftZooError(
            f"the answer of {self._http.url} {what}: check that its task is "
            f"zero-shot-image-classification"
        )


class _Endpoint(WordBox):
    _owner: HuggingFaceVLM

    def _answers(
        self, prompts: Sequence[str | tuple[str, ...]], images: ImageFiles, name: str | None
    ) -> Iterator[np.ndarray]:
        self._owner._log.begin(name)
        answers: dict[str | tuple[str, ...], np.ndarray] = {}
        for prompt in prompts:
            if prompt not in answers:
                found, owner = self._ask(prompt, images, name), self._owner
                owner.note_decimals(decimals_of(found))
                answers[prompt] = log_of(found, owner.decimals)
            yield answers[prompt].copy()

    def _ask(
        self, prompt: str | tuple[str, ...], images: ImageFiles, name: str | None
    ) -> np.ndarray:
        """(N, C) probabilities; images with equal files are sent only once.

        When one request fails, no further request or retry is sent.

        Raises:
            CraftZooError: see :meth:`HuggingFaceVLM.ask`.
        """
        owner, places, stop = self._owner, list(images.first.values()), threading.Event()
        labels: Sequence[str] = self.classnames
        if isinstance(prompt, tuple):
            # The API has one template for all labels, so complete prompts are sent as the labels.
            labels, prompt = filled(prompt, self.classnames), "{}"
            if len(set(labels)) < len(labels):
                raise CraftZooError(
                    f"{owner.name} identifies classes by their prompts, and two are equal: give "
                    f"each class its own prompt"
                )

        def ask(place: int) -> np.ndarray:
            image = images.file(place)
            return owner.ask(image, labels, prompt, name=name, stop=stop)

        try:
            found = prefetched(ask, places, owner._concurrency, stop=stop)
            rows = dict(zip(places, found, strict=True))
        finally:
            stop.set()
        return np.stack([rows[images.first[key]] for key in images.keys])


@register_model(SCHEME)
def open_hugging_face(spec: ModelSpec) -> HuggingFaceVLM:
    """A model behind Hugging Face's zero-shot-image-classification API, hf-api:https://ENDPOINT."""
    spec.check_no_options()
    return HuggingFaceVLM(
        spec.model, max_predictions=spec.max_predictions, price=spec.price, max_cost=spec.max_cost
    )
