"""A model behind a server, seen as any other."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from craft_zoo.blackbox.base import VLM, BlackBox, ImageSet, Progress, Prompts, check_given
from craft_zoo.blackbox.remote.http import Answer
from craft_zoo.blackbox.remote.images import TURNS, RemoteImages, forgetful
from craft_zoo.blackbox.remote.questions import Questions
from craft_zoo.blackbox.remote.retrying import Retrying, Transient
from craft_zoo.blackbox.remote.server import JSON, Refused, Server
from craft_zoo.blackbox.remote.spending import Spending
from craft_zoo.blackbox.templates import DEFAULT_INIT
from craft_zoo.data.images import ImageSource
from craft_zoo.errors import CraftZooError
from craft_zoo.wire import (
    BILLED_HEADER,
    IDEMPOTENCY_HEADER,
    ErrorCode,
    decode_array,
    encode_array,
    paths,
)

if TYPE_CHECKING:
    import httpx

_ARRAY = "application/octet-stream"
_ANSWER_BYTES = 2**26  # that one request may bring
_BODY_BYTES = 2**25  # of one request
_HEAD_BYTES = 2**12  # of these, for what is beside the numbers
_FORGOTTEN = (ErrorCode.UNKNOWN_IMAGE_SET, ErrorCode.UNKNOWN_CLASSIFIER)
_ACCEPTS = frozenset({"contexts", "texts"})


@dataclass(frozen=True)
class Usage:
    """What a server has counted for an account.

    Attributes:
        predictions: (prompt, image) pairs.
        scores: (prompt, image, text) triples.
        requests: that were billed.
        quota: predictions that the account may make; None: any number.
        remaining: of these; None likewise.
    """

    predictions: int
    scores: int
    requests: int
    quota: int | None = None
    remaining: int | None = None


class RemoteVLM(VLM):
    """A model that somebody serves with ``craft-zoo serve``.

    What fails on its way is sent again, under one name, so that the server answers and bills it
    once. What the server has forgotten is handed over again.

    Args:
        url: ``https://HOST`` or ``https://HOST:PORT``, where the server is.
        api_key: None: the environment's ``CRAFT_ZOO_API_KEY``.
        session: a name for what is asked with this object; None: a random one. Two that have the
            same name and ask the same are billed once.
        max_predictions: see :class:`~craft_zoo.blackbox.remote.Spending`.
        price: likewise, of one prediction.
        max_cost: likewise.
        timeout: seconds that an answer may take.
        retrying: how long a request is tried.
        transport: stands in for the network.

    Attributes:
        spending: what was asked for so far.

    Raises:
        CraftZooError: an argument is wrong, the package httpx is missing, or the server does not
            answer or know the key.
    """

    bills = True

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        session: str | None = None,
        max_predictions: int | None = None,
        price: float | None = None,
        max_cost: float | None = None,
        timeout: float = 120.0,
        retrying: Retrying | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.spending = Spending(max_predictions, price, max_cost)
        self._server = Server(url, api_key, timeout, retrying or Retrying(), transport)
        self._questions = Questions(session)
        self._contexts: dict[str, np.ndarray] = {}
        self.name = self._server.url
        about = self._server.ask_json("GET", paths.MODEL)
        try:
            self.image_size, self.in_flight = int(about["image_size"]), int(about["in_flight"])
            self._accepts = frozenset(about["accepts"]) & _ACCEPTS
            self.served = str(about["name"])
            limits = about.get("limits") or {}
            self.in_flight = min(self.in_flight, int(limits.get("contexts", self.in_flight)))
            self._answer_bytes = min(_ANSWER_BYTES, int(limits.get("answer_bytes", _ANSWER_BYTES)))
            self._body_bytes = min(_BODY_BYTES, int(limits.get("body_bytes", _BODY_BYTES)))
        except (KeyError, TypeError, ValueError, AttributeError):
            raise self._strange("says of its model what cannot be understood") from None
        if self.in_flight < 1 or self.image_size < 1 or not self._accepts:
            raise self._strange("says that its model cannot be asked")

    def next_question(self, name: str) -> None:
        """See :meth:`VLM.next_question`."""
        self._questions.name_next(name)

    def images(
        self,
        images: Sequence[ImageSource],
        progress: Progress | None = None,
        *,
        keep: bool = True,
    ) -> RemoteImages:
        """See :meth:`VLM.images`; of images that the server knows, hashes are sent alone.

        Raises:
            CraftZooError: an image is missing or broken, or the server does not take it.
        """
        check_given(images, "images")
        return RemoteImages(images, self, self._server, progress, most=self._body_bytes)

    def forget(self, images: ImageSet) -> None:
        """Have the server forget images, which makes room there."""
        try:
            path = paths.IMAGE_SET.format(id=self._mine(images).id)
            self._server.ask("DELETE", path, lambda _: None)
        except Refused as refusal:
            if refusal.code != ErrorCode.UNKNOWN_IMAGE_SET:
                raise

    def classifier(self, classnames: Sequence[str], init: str = DEFAULT_INIT) -> RemoteClassifier:
        """See :meth:`VLM.classifier`."""
        check_given(classnames, "class names")
        return RemoteClassifier(self, tuple(classnames), init, self._accepts)

    def usage(self) -> Usage:
        """What the server has counted for the account of the key."""
        about = self._server.ask_json("GET", paths.USAGE)
        try:
            return Usage(
                *(int(about[name]) for name in ("predictions", "scores", "requests")),
                *(_optional(about.get(name)) for name in ("quota", "remaining")),
            )
        except (KeyError, TypeError, ValueError):
            raise self._strange("counts in a way that cannot be understood") from None

    def together(self, prompts: Prompts, images: ImageSet, texts: int) -> int:
        """How many of the prompts one request may hold."""
        answer = self._answer_bytes // (4 * len(images) * texts)
        if isinstance(prompts, np.ndarray):
            body = (self._body_bytes - _HEAD_BYTES) // (4 * max(1, prompts[:1].size))
        else:
            body = self.in_flight
        return max(1, min(self.in_flight, answer, body))

    def _strange(self, what: str) -> CraftZooError:
        return CraftZooError(f"{self.name} {what}: check its version, or ask its owner")

    def _mine(self, images: ImageSet) -> RemoteImages:
        if not isinstance(images, RemoteImages) or images.owner is not self:
            raise CraftZooError(
                "the images were handed to another model: use this model's images()"
            )
        return images


class RemoteClassifier(BlackBox):
    """The model opened on class names, over there.

    Attributes:
        id: what the server calls it.
    """

    id: str

    def __init__(
        self, owner: RemoteVLM, classnames: tuple[str, ...], init: str, accepts: frozenset[str]
    ) -> None:
        self._owner, self._server, self._init = owner, owner._server, init
        self.classnames, self.accepts = classnames, accepts
        for _ in range(TURNS):
            self._shape = self._open()
            try:
                self.initial_context = self._initial_context()
                return
            except Refused as refusal:
                if refusal.code != ErrorCode.UNKNOWN_CLASSIFIER:
                    raise
        raise forgetful(self._server.url)

    def _open(self) -> tuple[int, ...]:
        """Have the server open it; the shape of a context."""
        about = {"classnames": list(self.classnames), "init": self._init}
        most = 100 + 10 * sum(len(name) for name in self.classnames)
        answer = self._server.ask_json("POST", paths.CLASSIFIERS, about, most=most)
        try:
            self.id, self.template = str(answer["id"]), str(answer["template"])
            names, shape = tuple(answer["classnames"]), tuple(int(n) for n in answer["shape"])
        except (KeyError, TypeError, ValueError):
            raise self._owner._strange("opens class names in a way of its own") from None
        if names != self.classnames:
            raise self._owner._strange("has opened other class names than it was asked to")
        if len(shape) != 2:
            raise self._owner._strange(f"has contexts of the shape {shape}")
        return shape

    def _initial_context(self) -> np.ndarray:
        if "contexts" not in self.accepts:
            return np.zeros((0, 0), np.float32)
        known = self._owner._contexts
        if self.id not in known:
            shape = self._shape
            known[self.id] = self._server.ask(
                "GET",
                paths.INITIAL_CONTEXT.format(id=self.id),
                lambda answer: self._array(answer, shape),
                most=4 * shape[0] * shape[1],
            )
        return known[self.id].copy()

    def logits(self, prompts: Prompts, images: ImageSet) -> Iterator[np.ndarray]:
        """See :meth:`BlackBox.logits`.

        Raises:
            CraftZooError: it would cost more than it may, then nothing is asked; or the server does
                not answer, or with what cannot be used.
        """
        mine = self._owner._mine(images)
        name = self._owner._questions.take_name()
        return self._ask_all(prompts, mine, name)

    def _ask_all(
        self, prompts: Prompts, images: RemoteImages, name: str | None
    ) -> Iterator[np.ndarray]:
        self._owner.spending.check(len(prompts) * len(images))
        together = self._owner.together(prompts, images, len(self.classnames))
        for first in range(0, len(prompts), together):
            some = prompts[first : first + together]
            yield from self._ask(some, images, name and f"{name}/{first}")

    def _ask(self, prompts: Prompts, images: RemoteImages, name: str | None) -> np.ndarray:
        if isinstance(prompts, np.ndarray):
            kind, body = _ARRAY, encode_array(np.ascontiguousarray(prompts, dtype=np.float32))
        else:
            kind, body = JSON, json.dumps({"templates": list(prompts)}).encode()
        # The ids are hashes of what they stand for, so they say what is asked about.
        about = json.dumps([self.id, images.id, kind]).encode()
        key = self._owner._questions.key(about + b"\0" + body, name)
        self._owner.spending.charge(len(prompts) * len(images))
        shape = len(prompts), len(images), len(self.classnames)
        for _ in range(TURNS):
            try:
                return self._server.ask(
                    "POST",
                    f"{paths.SCORES.format(id=self.id)}?images={images.id}",
                    lambda answer: self._scores(answer, shape, key),
                    body=body,
                    kind=kind,
                    headers={IDEMPOTENCY_HEADER: key},
                    most=4 * shape[0] * shape[1] * shape[2],
                )
            except Refused as refusal:
                if refusal.code not in _FORGOTTEN:
                    raise
                self._open()  # who has forgotten one has most likely forgotten both
                images.hand_over()
        raise forgetful(self._server.url)

    def _scores(self, answer: Answer, shape: tuple[int, ...], key: str) -> np.ndarray:
        echoed = answer.headers.get(IDEMPOTENCY_HEADER.lower(), key)
        if echoed != key:
            raise Transient("it answered another question")
        scores = self._array(answer, shape)
        billed = answer.headers.get(BILLED_HEADER.lower())
        if billed != str(shape[0] * shape[1]):
            warnings.warn(
                f"{self._server.url} billed {billed or 'an unknown number of'} predictions instead "
                f"of {shape[0] * shape[1]}: compare its usage with your own count",
                stacklevel=2,
            )
        return scores

    def _array(self, answer: Answer, shape: tuple[int, ...]) -> np.ndarray:
        try:
            array = decode_array(answer.body)
        except CraftZooError as error:
            raise self._owner._strange(f"answered with no array ({error})") from None
        if array.shape != shape or array.dtype != np.float32:
            raise self._owner._strange(
                f"answered with {array.dtype} of shape {array.shape} instead of float32 {shape}"
            )
        if not np.isfinite(array).all():
            raise self._owner._strange("answered with NaN or infinity")
        return array


def _optional(value: Any) -> int | None:
    return None if value is None else int(value)
