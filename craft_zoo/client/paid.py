"""Base of clients of services that bill requests: limits of the cost, retries and usage."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypedDict, TypeVar

from craft_zoo.blackbox.base import VLM, Progress
from craft_zoo.blackbox.cost_limit import CostLimit
from craft_zoo.blackbox.usage import Usage
from craft_zoo.client.failures import RejectedError
from craft_zoo.client.files import ImageFiles, file_of, size_of, upright_file_of
from craft_zoo.client.idempotency import QuestionKeys
from craft_zoo.client.response_log import ResponseLog
from craft_zoo.client.retrying import Retrying, Transient
from craft_zoo.data.images import ImageSource, as_images
from craft_zoo.errors import CraftZooError

SAMPLE = 4  # images from which the usage of all is estimated
_LOOKED_AT = 64  # maximum number of images from which these are chosen
TOGETHER = 64  # maximum number of prompts in one query
_LOG = logging.getLogger("craft_zoo.blackbox")
_UNKNOWN_RATIO = 2.0  # real to estimated tokens, before the first answer
_MARGIN = 1.05  # between the largest ratio so far and the next one


class Billed(Protocol):
    """An answer that says what was billed for it."""

    @property
    def usage(self) -> Usage:
        """Usage that the service bills for the request."""


Answer = TypeVar("Answer", bound=Billed)


class PaidSettings(TypedDict, total=False):
    """Keyword arguments of every :class:`PaidVLM`.

    Attributes:
        concurrency: maximum number of concurrent requests; default 8.
        cost_limit: limits of predictions and cost; None: unlimited.
        session: name from which idempotency keys are derived; None: a random one.
        retrying: retry policy; None: the default one.
        max_side: see :func:`upright_file_of`.
    """

    concurrency: int
    cost_limit: CostLimit | None
    session: str | None
    retrying: Retrying | None
    max_side: int | None


class PaidClient:
    """A client of a service that bills its answers: it retries, and pays within a limit.

    Args:
        name: name of the service.
        cost_limit: see :class:`PaidSettings`, also for the other arguments.

    Attributes:
        name: as given.
        cost_limit: counts what was billed so far.
    """

    def __init__(
        self,
        name: str,
        *,
        cost_limit: CostLimit | None = None,
        session: str | None = None,
        retrying: Retrying | None = None,
    ) -> None:
        self.name = name
        self.cost_limit = cost_limit or CostLimit()
        self._ratio: float | None = None
        self._retrying = retrying or Retrying()
        self._keys = QuestionKeys(session)

    def retry_for(self, seconds: float) -> None:
        """See :meth:`VLM.retry_for`."""
        self._retrying = replace(self._retrying, seconds=seconds)

    def _counted(self, usage: Usage) -> Usage:
        """The usage of requests in the units under which it is counted and has its price."""
        return usage

    def _pay(
        self,
        send: Callable[[], Answer],
        estimate: Usage,
        stop: threading.Event,
        *,
        predictions: int = 0,
    ) -> Answer:
        """The answer to a request, which is sent until it succeeds and counted by its real usage.

        Args:
            send: sends the request once.
            estimate: of what the service will bill.
            stop: set when the answer is no longer needed.
            predictions: number of predictions, which are counted in addition.

        Raises:
            CraftZooError: a limit would be exceeded, or the service gives no usable answer.
        """
        own = Usage(predictions=predictions)
        expected = self.cost_limit.reserve(lambda: own + self._counted(self._reserved(estimate)))
        beyond = Usage() - expected  # what was billed beyond the expected; nothing is sent yet
        charged = expected  # for the present attempt
        is_billed = False  # whether the attempt before it may have been billed

        def attempt() -> Answer:
            nonlocal beyond, charged, is_billed
            if is_billed:
                charged = expected - own
                self.cost_limit.charge(charged)
            beyond = Usage()
            try:
                return send()
            except (Transient, RejectedError) as failure:
                is_billed = failure.billed
                if not is_billed:
                    beyond = Usage() - charged
                raise

        try:
            answer = self._retrying(attempt, self.name, stop)
            beyond = own + self._counted(answer.usage) - expected
            ratio = answer.usage.input_tokens / max(1, estimate.input_tokens)
            self._ratio = max(self._ratio or 0.0, ratio)
        finally:
            self.cost_limit.settle(beyond)
        return answer

    def _reserved(self, estimate: Usage) -> Usage:
        """The usage that is charged until the real one is known, so that no limit is passed.

        Tokens are scaled by the largest ratio of real to estimated tokens so far.
        """
        ratio = _UNKNOWN_RATIO if self._ratio is None else _MARGIN * self._ratio
        return replace(estimate, input_tokens=math.ceil(ratio * estimate.input_tokens))


class Reply(NamedTuple):
    """A service's reply to the questions of a request about an image.

    Attributes:
        answers: for each question the probability of each option, or [p] that the statement is
            true; None where the service refused to answer.
        usage: what the service bills for the request.
        source: what the probabilities are made of, if the service does not state them.
        said: what it said instead of an answer, if that is known.
        mend: how to get an answer, if that is known.
    """

    answers: list[list[float] | None]
    usage: Usage
    source: str = ""
    said: str = ""
    mend: str = ""


class PaidVLM(PaidClient, VLM):
    """A service that bills its answers, and to which images are sent with queries.

    Args:
        name: see :attr:`VLM.name`.
        concurrency: see :class:`PaidSettings`, also for the other arguments.

    Attributes:
        cost_limit: counts what was billed so far.

    Raises:
        CraftZooError: an argument is out of range.
    """

    bills = counts_usage = True

    def __init__(
        self,
        name: str,
        *,
        concurrency: int = 8,
        cost_limit: CostLimit | None = None,
        session: str | None = None,
        retrying: Retrying | None = None,
        max_side: int | None = None,
    ) -> None:
        if concurrency < 1:
            raise CraftZooError(f"concurrency of {name} must be at least 1, not {concurrency}")
        super().__init__(name, cost_limit=cost_limit, session=session, retrying=retrying)
        self._concurrency, self._log = concurrency, ResponseLog()
        self._side = max_side
        self._said, self._saying = False, threading.Lock()

    @property
    def image_bytes(self) -> int | None:
        """Maximum size of an image file; None: unlimited."""
        return None

    def images(
        self, images: Sequence[ImageSource], progress: Progress | None = None, *, keep: bool = True
    ) -> ImageFiles:
        """See :meth:`VLM.images`. Images are only sent with queries.

        Raises:
            BrokenImageError: an image cannot be read.
            CraftZooError: an image file is larger than :attr:`image_bytes`.
        """
        return ImageFiles(as_images(images), self, progress, self.image_bytes, self._side)

    def _sample(self, images: Sequence[ImageSource]) -> list[bytes]:
        """The files of 4 images, from whose sizes the usage of all is estimated.

        Up to 64 of the images are sorted by their number of pixels and divided into 4 equal groups;
        the image in the middle of each group is taken.
        """
        count = min(_LOOKED_AT, len(images))
        looked_at = [images[at * len(images) // count] for at in range(count)]
        looked_at.sort(key=lambda image: math.prod(size_of(file_of(image))))
        chosen = (looked_at[(2 * at + 1) * count // (2 * SAMPLE)] for at in range(SAMPLE))
        return [upright_file_of(image, self._side) for image in chosen]

    @property
    def billed(self) -> Usage:
        """Usage that the service has billed so far."""
        return self.cost_limit.usage

    def keep_responses(self, path: Path) -> None:
        """See :meth:`VLM.keep_responses`."""
        self._log = ResponseLog(path)

    def next_question(self, name: str) -> None:
        """See :meth:`VLM.next_question`."""
        self._keys.name_next(name)

    def _pay_once(
        self,
        key: str,
        send: Callable[[], Reply],
        estimate: Usage,
        stop: threading.Event,
        *,
        predictions: int = 0,
    ) -> Reply:
        """As :meth:`_pay`, unless an earlier process has the reply of this query under the key."""
        known = self._log.get(key)
        if known is not None:
            answers, usage, *others = known
            self.cost_limit.record(Usage(predictions=predictions) + Usage(*usage))
            return Reply(answers, Usage(*usage), *others)
        reply = self._pay(send, estimate, stop, predictions=predictions)
        self._log.put(key, [reply.answers, astuple(reply.usage), *reply[2:]])
        return reply

    def _say(self, what: str) -> None:
        """Log what the service does, in one line, unless this was done before."""
        with self._saying:
            if not self._said:
                _LOG.warning("%s %s", self.name, what)
            self._said = True


def token_count(value: Any) -> int:
    """A number of billed tokens in a response.

    Raises:
        TypeError, ValueError: it is no number, or not between 0 and 2^53: it would undo what the
            cost limit has counted, or could not be counted.
    """
    count = float(value)
    if not 0 <= count < 2**53:
        raise ValueError(f"it bills {count:g} tokens")
    return int(count)


def prompt_for(names: Sequence[str], prompt: str | tuple[str, ...]) -> str | tuple[str, ...]:
    """A prompt with a template for each of C names, from one for other names."""
    if isinstance(prompt, str):
        return prompt
    return tuple(prompt[place % len(prompt)] for place in range(len(names)))
