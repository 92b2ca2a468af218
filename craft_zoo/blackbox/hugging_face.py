"""Endpoints of Hugging Face's task API for zero-shot image classification, seen as a black box."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from craft_zoo.blackbox.ahead import in_order
from craft_zoo.blackbox.base import VLM, BlackBox, ImageSet, Progress, Prompts, check_given
from craft_zoo.blackbox.callables import filled_of, log_of
from craft_zoo.blackbox.remote.files import file_of
from craft_zoo.blackbox.remote.http import BUSY, Answer, Http
from craft_zoo.blackbox.remote.retrying import Retrying, Transient
from craft_zoo.blackbox.remote.spending import Spending
from craft_zoo.blackbox.templates import DEFAULT_INIT, as_template
from craft_zoo.data.images import ImageSource
from craft_zoo.errors import CraftZooError
from craft_zoo.wire import IDEMPOTENCY_HEADER

if TYPE_CHECKING:
    import httpx

SCHEME = "hf-api:"
_LONGEST_LOADING = 1e6  # seconds; what is more is no estimate
_LABEL_BYTES = 1000  # that an answer takes for a label, at the most


class HuggingFaceVLM(VLM):
    """A model behind the task API ``zero-shot-image-classification``.

    It takes words, one template and image a request, and returns probabilities, whose logarithms
    stand for logits. Such an endpoint keeps no images, so every question sends its image along. A
    request that is sent again may be billed again, but by ``craft-zoo serve``.

    Args:
        url: of the endpoint, with or without ``hf-api:`` before it.
        token: sent as the key; None: the environment's ``HF_TOKEN``, if there is one.
        concurrency: requests that may be under way at once.
        max_predictions: see :class:`~craft_zoo.blackbox.remote.Spending`.
        price: likewise, of one prediction.
        max_cost: likewise.
        timeout: seconds that an answer may take.
        retrying: how long a request is tried.
        transport: stands in for the network.

    Raises:
        CraftZooError: an argument is wrong, or the package httpx is missing.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        concurrency: int = 8,
        max_predictions: int | None = None,
        price: float | None = None,
        max_cost: float | None = None,
        timeout: float = 60.0,
        retrying: Retrying | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        if concurrency < 1:
            raise CraftZooError(f"at least 1 request must be under way, not {concurrency}")
        token = (os.environ.get("HF_TOKEN", "") if token is None else token).strip()
        if not token.isascii():
            raise CraftZooError("the token for Hugging Face holds strange signs: check HF_TOKEN")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = Http(url.removeprefix(SCHEME), headers, timeout, transport)
        self.name = f"{SCHEME}{self._http.url}"
        self.spending = Spending(max_predictions, price, max_cost)
        self._retrying, self._concurrency = retrying or Retrying(), concurrency

    def images(
        self,
        images: Sequence[ImageSource],
        progress: Progress | None = None,
        *,
        keep: bool = True,
    ) -> ImageSet:
        """See :meth:`VLM.images`; they stay here until they are asked about."""
        check_given(images, "images")
        return _Files(images, self, progress)

    def classifier(self, classnames: Sequence[str], init: str = DEFAULT_INIT) -> BlackBox:
        """See :meth:`VLM.classifier`."""
        check_given(classnames, "class names")
        twice = sorted({name for name in classnames if list(classnames).count(name) > 1})
        if twice:
            raise CraftZooError(
                f"the class name {twice[0]!r} occurs twice, and the endpoint answers by name: "
                f"give the classes different names"
            )
        return _Endpoint(self, classnames, init)

    def ask(self, image: bytes, labels: Sequence[str], template: str) -> np.ndarray:
        """(C,) probabilities of one image's labels, in their order.

        Raises:
            CraftZooError: the endpoint does not answer, or not as it should.
        """
        body = json.dumps(
            {
                "inputs": base64.b64encode(image).decode(),
                "parameters": {"candidate_labels": list(labels), "hypothesis_template": template},
            }
        ).encode()
        # Served by craft-zoo, a request that is sent again is billed once; others ignore the name.
        headers = {"Content-Type": "application/json", IDEMPOTENCY_HEADER: secrets.token_hex(16)}
        most = _LABEL_BYTES * len(labels)

        def attempt() -> np.ndarray:
            answer = self._http.send("POST", "", body, headers, most=most)
            if answer.status != 200:
                raise self._refused(answer)
            return self._scores(answer, labels)

        return self._retrying(attempt, f"endpoint {self._http.url}")

    def _refused(self, answer: Answer) -> Exception:
        try:
            said = json.loads(answer.body)
        except ValueError:
            said = None
        about = said if isinstance(said, dict) else {}
        message = about.get("error") or about.get("message") or f"HTTP {answer.status}"
        if isinstance(message, list):
            message = "; ".join(str(each) for each in message)
        message = " ".join(str(message).split())[:300]
        if answer.status in BUSY or answer.status >= 520:  # those are of proxies before it
            loading = about.get("estimated_time")
            if not isinstance(loading, int | float) or not 0 <= loading < _LONGEST_LOADING:
                loading = 0.0
            return Transient(message, max(answer.retry_after, float(loading)))
        mend = "set HF_TOKEN" if answer.status in (401, 403) else "check the endpoint and its task"
        return CraftZooError(f"endpoint {self._http.url} refused the question ({message}): {mend}")

    def _scores(self, answer: Answer, labels: Sequence[str]) -> np.ndarray:
        try:
            said = json.loads(answer.body)
        except ValueError:
            raise Transient("its answer is no JSON") from None
        scores: dict[str, float] = {}
        try:
            for each in said:
                label, score = each["label"], float(each["score"])
                if label in scores:
                    raise self._wrong(f"has the label {label!r} twice")
                if not 0 <= score <= 1.001:
                    raise self._wrong(f"has {score:g} for {label!r}, which is no probability")
                scores[label] = score
        except (TypeError, KeyError, ValueError) as error:
            if isinstance(error, CraftZooError):
                raise
            raise self._wrong("is no list of labels with scores") from None
        missing = [label for label in labels if label not in scores]
        if missing:
            raise self._wrong(f"has no label {missing[0]!r}")
        if len(scores) != len(labels):
            other = next(label for label in scores if label not in labels)
            raise self._wrong(f"has the label {other!r}, which was not asked about")
        return np.array([scores[label] for label in labels])

    def _wrong(self, what: str) -> CraftZooError:
        return CraftZooError(
            f"the answer of {self._http.url} {what}: check that its task is "
            f"zero-shot-image-classification"
        )

    def ask_all(self, labels: Sequence[str], template: str, images: _Files) -> np.ndarray:
        """(N, C) probabilities; of images that are the same only one is asked about.

        Raises:
            CraftZooError: see :meth:`ask`; or it would cost too much.
        """
        first = {key: place for place, key in reversed(list(enumerate(images.keys)))}
        places = sorted(first.values())
        self.spending.charge(len(places))
        with ThreadPoolExecutor(self._concurrency, "craft-zoo") as pool:
            asked = in_order(
                lambda place: pool.submit(
                    self.ask, file_of(images.sources[place]), labels, template
                ),
                places,
                self._concurrency,
            )
            rows = dict(zip(places, asked, strict=True))
        return np.stack([rows[first[key]] for key in images.keys])


class _Files(ImageSet):
    """Images that are sent with each question."""

    def __init__(
        self, sources: Sequence[ImageSource], owner: VLM, progress: Progress | None
    ) -> None:
        self.sources, self.owner = sources, owner
        self.keys: list[bytes] = []
        for source in sources:
            self.keys.append(hashlib.sha256(file_of(source)).digest())
            if progress:
                progress(len(self.keys), len(sources))

    def __len__(self) -> int:
        return len(self.sources)


class _Endpoint(BlackBox):
    accepts = frozenset({"texts"})

    def __init__(self, owner: HuggingFaceVLM, classnames: Sequence[str], init: str) -> None:
        self._owner = owner
        self.classnames, self.template = tuple(classnames), as_template(init)
        self.initial_context = np.zeros((0, 0), np.float32)

    def logits(self, prompts: Prompts, images: ImageSet) -> Iterator[np.ndarray]:
        """See :meth:`BlackBox.logits`."""
        if not isinstance(images, _Files) or images.owner is not self._owner:
            raise CraftZooError(
                "the images were handed to another model: use this model's images()"
            )
        if isinstance(prompts, np.ndarray):
            raise CraftZooError(f"{self._owner.name} takes words only, no contexts")
        again, answers = Counter(prompts), dict[str | tuple[str, ...], np.ndarray]()
        for prompt in prompts:
            again[prompt] -= 1
            answer = answers.pop(prompt, None)
            if answer is None:
                answer = log_of(self._ask(prompt, images))
            if again[prompt]:
                answers[prompt] = answer
            yield answer.copy()

    def _ask(self, prompt: str | tuple[str, ...], images: _Files) -> np.ndarray:
        if isinstance(prompt, str):
            return self._owner.ask_all(self.classnames, prompt, images)
        # The API knows one template for all classes: whole prompts are labels, too.
        labels = filled_of(prompt, self.classnames)
        if len(set(labels)) < len(labels):
            raise CraftZooError(
                f"{self._owner.name} answers by prompt, and two classes have the same: give each "
                f"its own"
            )
        return self._owner.ask_all(labels, "{}", images)
