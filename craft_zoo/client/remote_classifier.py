"""A model served by ``craft-zoo serve``, opened on class names."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from craft_zoo.blackbox.base import BlackBox, ImageSet, Prompts, own_images
from craft_zoo.blackbox.templates import as_template, words_before
from craft_zoo.blackbox.usage import Usage
from craft_zoo.client.failures import MISREAD
from craft_zoo.client.http import Answer
from craft_zoo.client.remote_images import MAX_REUPLOADS, Part, RemoteImages
from craft_zoo.client.remote_server import ANSWER_BYTES, BYTES, JSON, Refused
from craft_zoo.client.retrying import Damaged
from craft_zoo.errors import CraftZooError, UnavailableError
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
    from craft_zoo.client.remote_vlm import RemoteVLM

_FORGOTTEN = (ErrorCode.UNKNOWN_IMAGE_SET, ErrorCode.UNKNOWN_CLASSIFIER)


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
        except UnavailableError as failure:
            if not failure.billed:
                self._owner.cost_limit.record(Usage() - usage)
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
