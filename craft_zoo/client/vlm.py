"""A model served by ``craft-zoo serve``, behind the common model interface."""

from __future__ import annotations

import json
import math
import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import numpy as np

from craft_zoo.blackbox.base import (
    VLM,
    BlackBox,
    ImageSet,
    Progress,
    Prompts,
    check_given,
    own_images,
)
from craft_zoo.blackbox.cost_limit import CostLimit
from craft_zoo.blackbox.identity import differing
from craft_zoo.blackbox.load import ModelSpec, register_model
from craft_zoo.blackbox.templates import DEFAULT_INIT, as_template, words_before
from craft_zoo.blackbox.usage import Price, Usage
from craft_zoo.client.failures import MISREAD
from craft_zoo.client.http import Answer
from craft_zoo.client.idempotency import QuestionKeys
from craft_zoo.client.images import MAX_REUPLOADS, Part, RemoteImages
from craft_zoo.client.retrying import Damaged, Retrying
from craft_zoo.client.server import ANSWER_BYTES, BYTES, JSON, Refused, Server
from craft_zoo.data.images import ImageSource, as_images
from craft_zoo.errors import CraftZooError
from craft_zoo.printable import sentence
from craft_zoo.protocol import (
    BILLED_HEADER,
    IDEMPOTENCY_HEADER,
    ErrorCode,
    decode_array,
    encode_array,
    paths,
)

if TYPE_CHECKING:
    import httpx

_HEAD_BYTES = 2**12  # of a request body, for everything but the numbers
_FORGOTTEN = (ErrorCode.UNKNOWN_IMAGE_SET, ErrorCode.UNKNOWN_CLASSIFIER)


@dataclass(frozen=True)
class AccountUsage:
    """Usage of an account, as counted by the server.

    Attributes:
        predictions: number of (prompt, image) pairs.
        scores: number of (prompt, image, text) triples.
        requests: number of requests billed.
        quota: predictions that the account may make; None: unlimited.
        remaining: predictions left of the quota; None: unlimited.
    """

    predictions: int
    scores: int
    requests: int
    quota: int | None = None
    remaining: int | None = None


class RemoteVLM(VLM):
    """A model served by ``craft-zoo serve``.

    A failed request is retried with the same idempotency key, so that it is answered and billed
    once. Data that the server has dropped are sent again, unless it serves another model by then.
    Images beyond the server's limit are divided into several sets, which are queried in turn.

    Args:
        url: URL of the server, ``https://HOST`` or ``https://HOST:PORT``.
        api_key: API key; None: the environment variable ``CRAFT_ZOO_API_KEY``.
        session: name from which idempotency keys are derived; None: a random one. Equal queries of
            two objects with the same session are billed once.
        max_predictions: see :class:`~craft_zoo.blackbox.CostLimit`.
        price: see :class:`~craft_zoo.blackbox.CostLimit`.
        max_cost: see :class:`~craft_zoo.blackbox.CostLimit`.
        timeout: seconds for a whole exchange, see :class:`~craft_zoo.client.http.Http`.
        retrying: retry policy; None: the default one.
        transport: replaces the network in tests.

    Attributes:
        cost_limit: counts the predictions so far.
        served: the server's description of the model.

    Raises:
        CraftZooError: an argument is invalid, the package httpx is missing, or the server does not
            answer or rejects the key.
    """

    bills = True

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        session: str | None = None,
        max_predictions: int | None = None,
        price: Price | float | None = None,
        max_cost: float | None = None,
        timeout: float = 120.0,
        retrying: Retrying | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.cost_limit = CostLimit(max_predictions, price, max_cost)
        self._server = Server(url, api_key, timeout, retrying or Retrying(), transport)
        self._questions = QuestionKeys(session)
        self._contexts: dict[str, np.ndarray] = {}
        self._lock = threading.Lock()
        self._alive: WeakSet[RemoteImages] = WeakSet()
        self._temporary: set[str] = set()  # ids of sets to delete once no object here uses them
        self.name, self.served = self._server.url, self._server.info()
        self.image_size, self.in_flight = self.served.image_size, self.served.in_flight

    def retry_for(self, seconds: float) -> None:
        """See :meth:`VLM.retry_for`."""
        self._server.retry_for(seconds)

    def next_question(self, name: str) -> None:
        """See :meth:`VLM.next_question`."""
        self._questions.name_next(name)

    def images(
        self, images: Sequence[ImageSource], progress: Progress | None = None, *, keep: bool = True
    ) -> RemoteImages:
        """See :meth:`VLM.images`. Only hashes are sent of images that the server has.

        Sets with ``keep=False`` that are no longer referenced are deleted from the server before
        others are uploaded, as they would otherwise evict sets that are used again.

        Raises:
            CraftZooError: an image is missing or broken, or the server refuses it.
        """
        images = as_images(images)
        with self._lock:
            # Two objects with equal images share their ids.
            gone = self._temporary - {id for handed in self._alive for id in handed.ids}
            self._temporary -= gone
        for id in sorted(gone):
            self._server.send_ignoring_errors("DELETE", paths.IMAGE_SET.format(id=id))
        try:
            handed = RemoteImages(images, self, progress)
        except Refused as refusal:
            if not self._has_other_limits(refusal):
                raise
            handed = RemoteImages(images, self, progress)
        with self._lock:
            self._alive.add(handed)
            if keep:
                self._temporary -= handed.ids
            else:
                self._temporary |= handed.ids
        return handed

    def forget(self, images: ImageSet) -> None:
        """Delete images from the server, to free its memory.

        If the images are queried later, they are uploaded again.
        """
        for id in own_images(images, RemoteImages, self).ids:
            try:
                self._server.ask("DELETE", paths.IMAGE_SET.format(id=id), lambda _: None)
            except Refused as refusal:
                if refusal.code != ErrorCode.UNKNOWN_IMAGE_SET:
                    raise

    def classifier(self, classnames: Sequence[str], init: str = DEFAULT_INIT) -> RemoteClassifier:
        """See :meth:`VLM.classifier`.

        Raises:
            CraftZooError: the server refuses them, or serves another model by now.
        """
        check_given(classnames, "class names")
        self.check_unchanged()
        return RemoteClassifier(self, tuple(classnames), init)

    def description(self) -> dict[str, str]:
        """See :meth:`VLM.description`."""
        return self.served.described

    def check_unchanged(self) -> None:
        """Check that the server still serves the same model, and answers in the same form.

        Raises:
            CraftZooError: it does not.
        """
        if differing(self.served.described, self._server.info().described):
            raise self._other_model()

    def _has_other_limits(self, refusal: Refused) -> bool:
        """Whether a request was too large because the server has other limits by now.

        They are then used from now on.

        Raises:
            CraftZooError: the server serves another model.
        """
        if refusal.code != ErrorCode.TOO_LARGE:
            return False
        self.check_unchanged()
        before, self.served = self.served, self._server.info()
        return before != self.served

    def _other_model(self) -> CraftZooError:
        return CraftZooError(
            f"{self.name} serves another model than the run began with, or answers in another "
            f"form: start a new run, or ask its owner"
        )

    def usage(self) -> AccountUsage:
        """Usage of the key's account, as counted by the server."""
        about = self._server.ask_json("GET", paths.USAGE)
        try:
            return AccountUsage(
                *(int(about[name]) for name in ("predictions", "scores", "requests")),
                *(_optional(about.get(name)) for name in ("quota", "remaining")),
            )
        except MISREAD:
            raise self._server.protocol_error("reports usage in an unexpected form") from None

    def together(self, prompts: Prompts, images: int, texts: int) -> int:
        """Maximum number of the prompts in one request."""
        answer = min(ANSWER_BYTES, self.served.answer_bytes) // (4 * images * texts)
        if isinstance(prompts, np.ndarray):
            body = (self.served.body_bytes - _HEAD_BYTES) // (4 * max(1, prompts[:1].size))
        else:
            body = self.in_flight
        return max(1, min(self.in_flight, self.served.in_flight, answer, body))

    def images_together(self, images: int, texts: int = 0) -> int:
        """Maximum number of the images in one set on the server.

        It depends on ``texts``, C, only if the answer to one prompt would exceed the server's
        limit.

        Raises:
            CraftZooError: the answer for a single image would exceed the limit.
        """
        together = min(images, self.served.images)
        while together and 4 * together * texts > self.served.answer_bytes:
            together //= 2
        if not together:
            raise CraftZooError(
                f"{self.name} answers with at most {self.served.answer_bytes:,} bytes, too few for "
                f"an image's {texts:,} classes: ask with fewer classes, or ask its owner to raise "
                f"the limit answer_bytes"
            )
        return together


class RemoteClassifier(BlackBox):
    """The served model, opened on class names.

    Attributes:
        id: the server's id of the classifier.
    """

    def __init__(self, owner: RemoteVLM, classnames: tuple[str, ...], init: str) -> None:
        self._owner, self._server, self._init = owner, owner._server, init
        self.classnames, self.accepts = classnames, owner.served.accepts
        self.id, self.template, self._start = self._open(owner._contexts)
        self.initial_context = self._start.copy()

    def _open(self, known: dict[str, np.ndarray]) -> tuple[str, str, np.ndarray]:
        """Open the model on the server; return the id, the template and the initial context.

        Args:
            known: initial contexts by id; fetched ones are added.
        """
        for _ in range(MAX_REUPLOADS):
            id, template, shape = self._announce(self._init)
            try:
                if "contexts" not in self.accepts:
                    known[id] = np.zeros((0, 0), np.float32)
                elif id not in known:
                    known[id] = self._server.ask(
                        "GET",
                        paths.INITIAL_CONTEXT.format(id=id),
                        partial(self._array, shape=shape),
                        most=4 * math.prod(shape),
                    )
                return id, template, known[id]
            except Refused as refusal:
                if refusal.code != ErrorCode.UNKNOWN_CLASSIFIER:
                    raise
        raise self._server.eviction_error()

    def _open_again(self) -> None:
        """Open the model on the server again, after the server has dropped data.

        Raises:
            CraftZooError: the server serves another model now.
        """
        self._owner.check_unchanged()
        self.id, template, start = self._open({})
        if template != self.template or not np.array_equal(start, self._start):
            raise self._owner._other_model()

    def _announce(self, init: str) -> tuple[str, str, tuple[int, ...]]:
        """Send the class names; return the id, the template and the shape of a context."""
        about = {"classnames": list(self.classnames), "init": init}
        most = 100 + 10 * sum(len(name) for name in self.classnames)
        answer = self._server.ask_json("POST", paths.CLASSIFIERS, about, most=most)
        try:
            id, template = str(answer["id"]), str(answer["template"])
            names, shape = tuple(answer["classnames"]), tuple(int(n) for n in answer["shape"])
        except MISREAD:
            raise self._server.protocol_error("answers class names in an unexpected form") from None
        if names != self.classnames:
            raise self._server.protocol_error("opened other class names than those sent")
        if len(shape) != 2 or min(shape) < 0 or 4 * math.prod(shape) > ANSWER_BYTES:
            raise self._server.protocol_error(f"has contexts of the shape {shape}")
        return id, template, shape

    def fits(self, prompt: str) -> bool:
        """See :meth:`BlackBox.fits`. The model is opened with the template, which bills nothing."""
        # A model that takes contexts is opened with templates that have words before {} only.
        init = prompt if words_before(as_template(prompt)) else f"a {prompt}"
        try:
            self._announce(init)
        except Refused as refusal:
            if refusal.code != ErrorCode.BAD_REQUEST:
                raise
            return False
        return True

    def logits(self, prompts: Prompts, images: ImageSet) -> Iterator[np.ndarray]:
        """See :meth:`BlackBox.logits`.

        Raises:
            CraftZooError: the cost limit would be exceeded, and nothing is sent; or the server does
                not answer, or its answer is invalid.
        """
        mine = own_images(images, RemoteImages, self._owner)
        return self._answers(prompts, mine, self._owner._questions.take_name())

    def _answers(
        self, prompts: Prompts, images: RemoteImages | Part, name: str | None
    ) -> Iterator[np.ndarray]:
        self._owner.cost_limit.check(Usage(len(prompts) * len(images)))
        texts = len(self.classnames)
        parts = images.parts(self._owner.images_together(len(images), texts))
        together = self._owner.together(prompts, len(images), texts)
        for first in range(0, len(prompts), together):
            some, named = prompts[first : first + together], name and f"{name}/{first}"
            if len(parts) == 1:
                yield from self._ask(some, parts[0], named)
                continue
            yield from np.concatenate(
                [self._ask(some, part, named and f"{named}/{part.start}") for part in parts],
                axis=1,
            )

    def _ask(self, prompts: Prompts, part: Part, name: str | None) -> np.ndarray:
        """(P, n, C) scores of the prompts on the n images of a part.

        If the server was restarted with lower limits, the question is divided by these.
        """
        usage = Usage(len(prompts) * len(part))
        self._owner.cost_limit.charge(usage)
        try:
            return self._ask_at_once(prompts, part, name)
        except Refused as refusal:
            self._owner.cost_limit.record(Usage() - usage)
            if not self._owner._has_other_limits(refusal):
                raise
        return np.stack(list(self._answers(prompts, part, name)))

    def _ask_at_once(self, prompts: Prompts, part: Part, name: str | None) -> np.ndarray:
        if isinstance(prompts, np.ndarray):
            kind, body = BYTES, encode_array(prompts)
        else:
            kind, body = JSON, json.dumps({"templates": list(prompts)}).encode()
        # The ids are content hashes, so they identify the classes and images of the query.
        about = json.dumps([self.id, part.id, kind]).encode()
        key = self._owner._questions.key(about + b"\0" + body, name)
        shape = len(prompts), len(part), len(self.classnames)
        for _ in range(MAX_REUPLOADS):
            try:
                return self._server.ask(
                    "POST",
                    f"{paths.SCORES.format(id=self.id)}?images={part.id}",
                    lambda answer: self._scores(answer, shape, key),
                    body=body,
                    kind=kind,
                    headers={IDEMPOTENCY_HEADER: key},
                    most=4 * math.prod(shape),
                )
            except Refused as refusal:
                if refusal.code == ErrorCode.CONFLICT:  # another model may have been asked before
                    self._owner.check_unchanged()
                if refusal.code not in _FORGOTTEN:
                    raise
                self._open_again()  # a server that has dropped one has likely dropped both
                part.hand_over()
        raise self._server.eviction_error()

    def _scores(self, answer: Answer, shape: tuple[int, ...], key: str) -> np.ndarray:
        echoed = answer.headers.get(IDEMPOTENCY_HEADER.lower(), key)
        if echoed != key:
            raise Damaged("it answered another request")
        scores = self._array(answer, shape)
        billed = answer.headers.get(BILLED_HEADER.lower())
        if billed != str(shape[0] * shape[1]):
            said = sentence(billed or "an unknown number of", 40)
            warnings.warn(
                f"{self._server.url} billed {said} predictions instead "
                f"of {shape[0] * shape[1]}: compare its usage with your own count",
                stacklevel=2,
            )
        return scores

    def _array(self, answer: Answer, shape: tuple[int, ...]) -> np.ndarray:
        try:
            array = decode_array(answer.body)
        except CraftZooError as error:
            raise self._server.protocol_error(f"did not answer with an array ({error})") from None
        if array.shape != shape:
            raise self._server.protocol_error(
                f"answered with an array of shape {array.shape} instead of {shape}"
            )
        if not np.isfinite(array).all():
            raise self._server.protocol_error("answered with NaN or infinity")
        return array


def _optional(value: Any) -> int | None:
    return None if value is None else int(value)


@register_model("http://", "https://")
def open_served(spec: ModelSpec) -> RemoteVLM:
    """A model that craft-zoo serve serves, https://HOST."""
    spec.check_no_options()
    return RemoteVLM(
        spec.model, max_predictions=spec.max_predictions, price=spec.price, max_cost=spec.max_cost
    )
