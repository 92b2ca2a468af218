"""A model served by ``craft-zoo serve``, behind the common model interface."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import numpy as np

from craft_zoo.blackbox.base import VLM, ImageSet, Progress, Prompts, check_given, own_images
from craft_zoo.blackbox.cost_limit import CostLimit
from craft_zoo.blackbox.identity import differing
from craft_zoo.blackbox.load import ModelSpec, register_model
from craft_zoo.blackbox.templates import DEFAULT_INIT
from craft_zoo.blackbox.usage import Price
from craft_zoo.client.failures import MISREAD
from craft_zoo.client.idempotency import QuestionKeys
from craft_zoo.client.remote_classifier import RemoteClassifier
from craft_zoo.client.remote_images import RemoteImages
from craft_zoo.client.remote_server import ANSWER_BYTES, Refused, Server
from craft_zoo.client.retrying import Retrying
from craft_zoo.data.images import ImageSource, as_images
from craft_zoo.errors import CraftZooError
from craft_zoo.protocol import ErrorCode, paths

if TYPE_CHECKING:
    import httpx

_HEAD_BYTES = 2**12  # of a request body, for everything but the numbers


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


def _optional(value: Any) -> int | None:
    return None if value is None else int(value)


@register_model("http://", "https://")
def open_served(spec: ModelSpec) -> RemoteVLM:
    """A model that craft-zoo serve serves, https://HOST."""
    spec.check_no_options()
    return RemoteVLM(
        spec.model, max_predictions=spec.max_predictions, price=spec.price, max_cost=spec.max_cost
    )
