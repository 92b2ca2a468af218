"""Models from Python functions that score prompts on images."""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
import warnings
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from functools import cache
from itertools import islice
from typing import Any, Literal

import numpy as np
from PIL import Image

from craft_zoo.blackbox.base import (
    VLM,
    BlackBox,
    ImageSet,
    Progress,
    Prompts,
    check_given,
    own_images,
)
from craft_zoo.blackbox.templates import DEFAULT_INIT, as_template, filled
from craft_zoo.client.probabilities import decimals_of, log_of
from craft_zoo.counts import checked_whole
from craft_zoo.data.images import ImageSource, as_images, open_image
from craft_zoo.errors import CraftZooError, CraftZooWarning
from craft_zoo.threads import in_order

Answers = Literal["logits", "probabilities"]

_ROUNDING = 1e-3  # tolerance of probabilities outside of [0, 1]
_KEPT_BYTES = 2**28  # of a set's decoded images; further images are decoded for each query
_LOCK = threading.Lock()  # so that threads make one event loop


def from_callable(
    f: Callable[..., Any],
    *,
    name: str = "callable",
    answers: Answers = "logits",
    initial_context: np.ndarray | None = None,
    batch: int = 32,
    concurrency: int = 8,
    image_size: int = 224,
    in_flight: int | None = None,
) -> VLM:
    """Make a model of a function, for example of a service's client::

        def ask(prompts, images):          # "a photo of a cat.", …; RGB images of Pillow
            return client.scores(texts=prompts, pictures=images)

        vlm = from_callable(ask, name="my-service", answers="probabilities")
        tuned = tune(vlm, task, method="craft-hard", budget=500)

    Without ``initial_context``, the model accepts texts: ``f(prompts, images)`` gets one prompt for
    each of C classes and returns (len(images), C). With it, the model accepts contexts instead:
    ``f(contexts, classnames, images)`` gets (P, n_ctx, dim) or (P, C, n_ctx, dim) float32 contexts
    and returns (P, len(images), C). It may return an array, a tensor or nested lists.

    Args:
        f: the function, which may be async.
        name: see :attr:`VLM.name`; :func:`craft_zoo.blackbox.load_vlm` cannot open this name.
        answers: what the function returns. Probabilities are converted to their logarithms.
        initial_context: (n_ctx, dim), the embeddings from which a search of contexts starts.
        batch: maximum number of images in a call.
        concurrency: maximum number of concurrent calls of an async function. A plain function is
            called sequentially.
        image_size: see :attr:`VLM.image_size`.
        in_flight: maximum number of contexts in a call, see :attr:`VLM.in_flight`; None:
            ``concurrency`` if the model accepts texts and ``f`` is async, otherwise 1.

    Raises:
        CraftZooError: an argument is out of range.
    """
    if answers not in ("logits", "probabilities"):
        raise CraftZooError(
            f"{name} cannot answer with {answers!r}: say answers='logits' or 'probabilities'"
        )
    for what, value in (("batch", batch), ("concurrency", concurrency), ("in_flight", in_flight)):
        if value is not None:
            checked_whole(f"{what} of {name}", value, 1)
    if initial_context is not None:
        initial_context = np.asarray(initial_context, dtype=np.float32)
        if initial_context.ndim != 2 or not initial_context.size:
            raise CraftZooError(
                f"the initial context of {name} must have the shape (n_ctx, dim), not "
                f"{initial_context.shape}: give one embedding a word"
            )
    vlm = _CallableVLM(f, answers, initial_context, batch)
    vlm.name, vlm.image_size = name, image_size
    vlm.concurrency = concurrency if vlm.is_async else 1
    vlm.in_flight = in_flight or (vlm.concurrency if initial_context is None else 1)
    vlm.images_in_flight = batch * vlm.concurrency
    return vlm


def _reason(error: BaseException) -> str:
    """An exception's type and the first line of its text."""
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__


def _in_loop(work: Coroutine[Any, Any, Any]) -> Future[Any]:
    """Start work in the event loop of this process."""
    with _LOCK:
        loop = _loop_of(os.getpid())
    return asyncio.run_coroutine_threadsafe(work, loop)


@cache
def _loop_of(process: int) -> asyncio.AbstractEventLoop:
    """The event loop of a process, in a daemon thread. A forked process lacks that thread.

    All callables share it, because clients are often bound to the loop in which they were first
    used.
    """
    loop = asyncio.new_event_loop()
    threading.Thread(target=_keep_running, args=(loop,), name="craft-zoo", daemon=True).start()
    return loop


def _keep_running(loop: asyncio.AbstractEventLoop) -> None:
    while True:
        try:
            loop.run_forever()
        except (SystemExit, KeyboardInterrupt):  # raised in a task that the callable created
            continue


class _Opened(ImageSet):
    """Images, the first of which are kept decoded."""

    def __init__(
        self, sources: Sequence[ImageSource], owner: VLM, progress: Progress | None
    ) -> None:
        super().__init__(sources, owner)
        self._decoded: list[Image.Image] = []
        kept = 0
        for place, source in enumerate(sources):
            image = open_image(source)  # all are opened, so that a broken one fails before a query
            size = 3 * image.width * image.height
            if len(self._decoded) == place and kept + size <= _KEPT_BYTES:
                self._decoded.append(image)
                kept += size
            if progress:
                progress(place + 1, len(sources))

    def batches(self, size: int) -> Iterator[list[Image.Image]]:
        for first in range(0, len(self), size):
            yield [self._image(place) for place in range(first, min(first + size, len(self)))]

    def _image(self, place: int) -> Image.Image:
        if place < len(self._decoded):
            return self._decoded[place]
        return open_image(self.sources[place])


class _CallableVLM(VLM):
    """Calls the function, and turns its exceptions and invalid results into CraftZooErrors."""

    def __init__(
        self, f: Callable[..., Any], answers: Answers, context: np.ndarray | None, batch: int
    ) -> None:
        method = getattr(f, "__call__", None)  # noqa: B004, an object's method may be async
        self.is_async = inspect.iscoroutinefunction(f) or inspect.iscoroutinefunction(method)
        self.concurrency = 1
        self._f, self._answers, self.context, self.batch = f, answers, context, batch
        self._warned = False

    def images(
        self, images: Sequence[ImageSource], progress: Progress | None = None, *, keep: bool = True
    ) -> ImageSet:
        return _Opened(as_images(images), self, progress)

    def classifier(self, classnames: Sequence[str], init: str = DEFAULT_INIT) -> BlackBox:
        check_given(classnames, "class names")
        return _CalledBox(self, classnames, init)

    def each(
        self, calls: Iterator[tuple[tuple[Any, ...], tuple[int, ...]]]
    ) -> Iterator[np.ndarray]:
        """Answers in order, one for each pair of a call's arguments and the expected shape."""
        shapes: deque[tuple[int, ...]] = deque()

        def begin(call: tuple[tuple[Any, ...], tuple[int, ...]]) -> Future[Any]:
            shapes.append(call[1])
            return self._begin(call[0])

        try:
            for answer in in_order(begin, calls, self.concurrency, fail_fast=True):
                yield self._checked(answer, shapes.popleft())
        except CancelledError as error:  # the callable cancelled its own task
            raise self._failed(error) from error

    def _begin(self, arguments: tuple[Any, ...]) -> Future[Any]:
        if self.is_async:
            return _in_loop(self._await(lambda: self._f(*arguments)))
        try:
            answer = self._f(*arguments)
        except Exception as error:  # the user's function may raise any exception
            raise self._failed(error) from error
        if inspect.isawaitable(answer):  # a plain function may return one
            return _in_loop(self._await(lambda: answer))
        done: Future[Any] = Future()
        done.set_result(answer)
        return done

    async def _await(self, call: Callable[[], Awaitable[Any]]) -> Any:
        try:
            return await call()
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # the latter would end the loop
            raise self._failed(error) from error

    def _failed(self, error: BaseException) -> CraftZooError:
        if isinstance(error, CraftZooError):
            return error
        return CraftZooError(
            f"{self.name} failed ({_reason(error)}): mend the callable or its service, then ask "
            f"again"
        )

    def _checked(self, answer: Any, shape: tuple[int, ...]) -> np.ndarray:
        try:
            scores = np.asarray(answer, dtype=np.float64)
        except Exception as error:  # arrays of other libraries may raise any exception
            raise CraftZooError(
                f"{self.name} returned {type(answer).__name__} instead of an array of numbers "
                f"{shape} ({_reason(error)}): return one that numpy can read"
            ) from None
        if scores.shape != shape:
            raise CraftZooError(
                f"{self.name} returned an array of shape {scores.shape} instead of {shape}: return "
                f"a score for each image and prompt"
            )
        if not (np.abs(scores) <= np.finfo(np.float32).max).all():
            raise CraftZooError(
                f"{self.name} returned NaN or infinity, or a score that float32 cannot hold: "
                f"return finite, smaller scores"
            )
        if self._answers == "logits":
            self._warn_of_probabilities(scores)
            return scores
        if scores.min() < -_ROUNDING or scores.max() > 1 + _ROUNDING:
            wrong = scores.min() if scores.min() < -_ROUNDING else scores.max()
            raise CraftZooError(
                f"{self.name} returned {wrong:g} as a probability: divide percentages by 100, or "
                f"say answers='logits' of logits and log-probabilities"
            )
        if not self._warned and scores.size and (scores.max(axis=-1) <= 0).any():
            self._warned = True
            warnings.warn(
                f"{self.name} returned probability 0 for every class of an image, which counts as "
                f"equal probabilities: return probabilities that add up to 1",
                CraftZooWarning,
                stacklevel=2,
            )
        return scores

    def logits_of(self, scores: np.ndarray) -> np.ndarray:
        """The logits of a query from its scores, of which several calls may be needed."""
        if self._answers == "logits":
            logits = scores.astype(np.float32)
            # Zeros alone would say that a service refused to answer, see are_refused.
            logits[~logits.any(axis=-1)] = np.finfo(np.float32).tiny
            return logits
        self.note_decimals(decimals_of(scores))
        return log_of(scores, self.decimals)

    def _warn_of_probabilities(self, scores: np.ndarray) -> None:
        """Warn once if all scores of an image are positive and add up to 1 or 100."""
        if self._warned or not scores.size or scores.shape[-1] < 2 or scores.min() < 0:
            return
        sums = scores.sum(axis=-1)
        for whole, kind in ((1, "probabilities"), (100, "percentages")):
            if (np.abs(sums - whole) < 1e-2 * whole).all():
                self._warned = True
                share = " divided by 100" if whole > 1 else ""
                warnings.warn(
                    f"{self.name} returned scores that add up to {whole}, as {kind} do, and they "
                    f"are used as logits: return probabilities{share} and say "
                    f"answers='probabilities'",
                    CraftZooWarning,
                    stacklevel=2,
                )


class _CalledBox(BlackBox):
    """The function, opened on class names. It accepts either texts or contexts."""

    def __init__(self, owner: _CallableVLM, classnames: Sequence[str], init: str) -> None:
        self._owner, self._in_words = owner, owner.context is None
        self.accepts = frozenset({"texts" if self._in_words else "contexts"})
        self.classnames, self.template = tuple(classnames), as_template(init)
        if owner.context is not None:
            self.initial_context = owner.context.copy()

    def logits(self, prompts: Prompts, images: ImageSet) -> Iterator[np.ndarray]:
        mine, size = own_images(images, _Opened, self._owner), self._owner.batch
        calls = (
            ((*asked, batch), (*shape, len(batch), len(self.classnames)))
            for asked, shape in self._asked(prompts)
            for batch in mine.batches(size)
        )
        answers = self._owner.each(calls)
        while batches := list(islice(answers, -(-len(mine) // size))):
            joined = self._owner.logits_of(np.concatenate(batches, axis=-2))
            yield from joined.reshape(-1, *joined.shape[-2:])

    def _asked(self, prompts: Prompts) -> Iterator[tuple[tuple[Any, ...], tuple[int, ...]]]:
        """For each call, the arguments before the images and the first axes of the answer."""
        names = list(self.classnames)
        if self._in_words:
            if isinstance(prompts, np.ndarray):
                raise CraftZooError(f"{self._owner.name} takes words only, no contexts")
            for template in prompts:
                yield (filled(template, names),), ()
            return
        if not isinstance(prompts, np.ndarray):
            raise CraftZooError(f"{self._owner.name} takes contexts only, no words")
        together = self._owner.in_flight
        for first in range(0, len(prompts), together):
            part = np.asarray(prompts[first : first + together], np.float32)
            yield (part, names), (len(part),)
