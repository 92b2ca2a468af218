"""Adapts a Python function that scores prompts on images to the interface of a model."""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from typing import Any, Literal, TypeVar

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
from craft_zoo.data.images import ImageSource, as_images, open_image
from craft_zoo.errors import CraftZooError
from craft_zoo.threads import in_order

Answers = Literal["logits", "probabilities"]

_FLOOR = 1e-12  # lower bound of probabilities, as services round small ones to 0
_ROUNDING = 1e-3  # tolerance of probabilities outside of [0, 1]
_KEPT_BYTES = 2**28  # of decoded images; further images are decoded for each query

Result = TypeVar("Result")


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
        if value is not None and value < 1:
            raise CraftZooError(f"{what} of {name} must be at least 1, not {value}")
    if initial_context is not None:
        initial_context = np.asarray(initial_context, dtype=np.float32)
        if initial_context.ndim != 2 or not initial_context.size:
            raise CraftZooError(
                f"the initial context of {name} must have the shape (n_ctx, dim), not "
                f"{initial_context.shape}: give one embedding a word"
            )
    call = _Call(f, name, answers, concurrency)
    if in_flight is None:
        in_flight = call.concurrency if initial_context is None else 1
    return _CallableVLM(call, initial_context, batch, image_size, in_flight)


def log_of(probabilities: np.ndarray) -> np.ndarray:
    """Natural logarithms of probabilities, float32 and finite (probabilities are >= 1e-12)."""
    floored = np.maximum(np.asarray(probabilities, np.float64), _FLOOR)
    return np.log(floored).astype(np.float32)


class _Call:
    """Calls the function, and turns its exceptions and invalid results into CraftZooErrors."""

    def __init__(
        self, f: Callable[..., Any], name: str, answers: Answers, concurrency: int
    ) -> None:
        self._f, self.name, self._answers = f, name, answers
        method = getattr(f, "__call__", None)  # noqa: B004, an object's method may be async
        self._is_async = inspect.iscoroutinefunction(f) or inspect.iscoroutinefunction(method)
        self.concurrency = concurrency if self._is_async else 1

    def each(
        self, arguments: Iterator[tuple[tuple[Any, ...], tuple[int, ...]]]
    ) -> Iterator[np.ndarray]:
        """Answers in order, one for each pair of a call's arguments and the expected shape."""
        if not self._is_async:
            for these, shape in arguments:
                yield self._checked(self._run(these), shape)
            return
        shapes: list[tuple[int, ...]] = []

        def begin(item: tuple[tuple[Any, ...], tuple[int, ...]]) -> Future[Any]:
            shapes.append(item[1])
            return self._begin(lambda: self._f(*item[0]))

        for answer in self._uncancelled(
            in_order(begin, arguments, self.concurrency, fail_fast=True)
        ):
            yield self._checked(answer, shapes.pop(0))

    def _run(self, arguments: tuple[Any, ...]) -> Any:
        try:
            answer = self._f(*arguments)
        except Exception as error:  # the user's function may raise any exception
            raise self._failed(error) from error
        if not inspect.isawaitable(answer):
            return answer
        # A plain function may return an awaitable.
        [result] = self._uncancelled(in_order(self._begin, [lambda: answer], 1))
        return result

    def _begin(self, call: Callable[[], Awaitable[Any]]) -> Future[Any]:
        return _LOOP.begin(self._await(call))

    async def _await(self, call: Callable[[], Awaitable[Any]]) -> Any:
        try:
            return await call()
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # the latter would end the loop
            raise self._failed(error) from error

    def _uncancelled(self, answers: Iterator[Any]) -> Iterator[Any]:
        """Pass answers on; if the callable cancelled its own task, raise a CraftZooError."""
        try:
            yield from answers
        except CancelledError as error:
            raise self._failed(error) from error

    def _failed(self, error: BaseException) -> CraftZooError:
        if isinstance(error, CraftZooError):
            return error
        text = str(error).strip()
        reason = f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__
        return CraftZooError(
            f"{self.name} failed ({reason}): mend the callable or its service, then ask again"
        )

    def _checked(self, answer: Any, shape: tuple[int, ...]) -> np.ndarray:
        try:
            scores = np.asarray(answer, dtype=np.float64)
        except Exception as error:  # arrays of other libraries may raise any exception
            raise CraftZooError(
                f"{self.name} returned {type(answer).__name__} instead of an array of numbers "
                f"{shape} ({str(error).splitlines()[0] if str(error) else type(error).__name__}): "
                f"return one that numpy can read"
            ) from None
        if scores.shape != shape:
            raise CraftZooError(
                f"{self.name} returned an array of shape {scores.shape} instead of {shape}: return "
                f"a score for each image and prompt"
            )
        if not np.isfinite(scores).all():
            raise CraftZooError(f"{self.name} returned NaN or infinity: return finite scores")
        if self._answers == "logits":
            largest = np.abs(scores).max(initial=0.0)
            if largest > np.finfo(np.float32).max:
                raise CraftZooError(
                    f"{self.name} returned a score of size {largest:g}, which float32 cannot hold: "
                    f"return smaller ones"
                )
            return scores.astype(np.float32)
        if scores.min() < -_ROUNDING or scores.max() > 1 + _ROUNDING:
            wrong = scores.min() if scores.min() < 0 else scores.max()
            raise CraftZooError(
                f"{self.name} returned {wrong:g} as a probability: say answers='logits'"
            )
        return log_of(scores)


class _Loop:
    """An event loop in a daemon thread, both created when first needed.

    All callables share one loop, because clients are often bound to the loop in which they were
    first used.
    """

    def __init__(self) -> None:
        self._forget()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        """Reset after a fork, as the child lacks the parent's threads, which may hold the lock."""
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def begin(self, work: Coroutine[Any, Any, Result]) -> Future[Result]:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(
                    target=_keep_running, args=(self._loop,), name="craft-zoo", daemon=True
                ).start()
        return asyncio.run_coroutine_threadsafe(work, self._loop)


def _keep_running(loop: asyncio.AbstractEventLoop) -> None:
    while True:
        try:
            loop.run_forever()
        except (SystemExit, KeyboardInterrupt):  # raised in a task that the callable created
            continue


_LOOP = _Loop()


class _Room:
    """Memory budget of all decoded images of a model, in bytes."""

    def __init__(self) -> None:
        self._free = _KEPT_BYTES

    def take(self, size: int) -> bool:
        """Reserve bytes if they are free, and return whether they were."""
        fits = size <= self._free
        self._free -= size * fits
        return fits

    def give_back(self, size: int) -> None:
        self._free += size


class _Opened(ImageSet):
    """Images, the first of which are kept decoded as far as the memory budget allows."""

    def __init__(
        self, sources: Sequence[ImageSource], owner: VLM, room: _Room, progress: Progress | None
    ) -> None:
        self.sources, self.owner = sources, owner
        self._decoded: list[Image.Image] = []
        kept = 0
        for place, source in enumerate(sources):
            image = open_image(source)  # all are opened, so that a broken one fails before a query
            size = 3 * image.width * image.height
            if len(self._decoded) == place and room.take(size):
                self._decoded.append(image)
                kept += size
            if progress:
                progress(place + 1, len(sources))
        weakref.finalize(self, room.give_back, kept)

    def __len__(self) -> int:
        return len(self.sources)

    def batches(self, size: int) -> Iterator[list[Image.Image]]:
        for first in range(0, len(self), size):
            yield [self._image(place) for place in range(first, min(first + size, len(self)))]

    def _image(self, place: int) -> Image.Image:
        if place < len(self._decoded):
            return self._decoded[place]
        return open_image(self.sources[place])


class _CallableVLM(VLM):
    def __init__(
        self,
        call: _Call,
        initial_context: np.ndarray | None,
        batch: int,
        image_size: int,
        in_flight: int,
    ) -> None:
        self.name, self.image_size, self.in_flight = call.name, image_size, in_flight
        self.images_in_flight = batch * call.concurrency
        self._room = _Room()
        self._call, self._context, self._batch = call, initial_context, batch

    def images(
        self, images: Sequence[ImageSource], progress: Progress | None = None, *, keep: bool = True
    ) -> ImageSet:
        """See :meth:`VLM.images`."""
        images = as_images(images)
        return _Opened(images, self, self._room, progress)

    def classifier(self, classnames: Sequence[str], init: str = DEFAULT_INIT) -> BlackBox:
        """See :meth:`VLM.classifier`."""
        check_given(classnames, "class names")
        kind = _Words if self._context is None else _Contexts
        return kind(self, self._call, self._context, self._batch, classnames, init)


class _CalledBox(BlackBox):
    """Base class of both kinds of prompts."""

    def __init__(
        self,
        owner: _CallableVLM,
        call: _Call,
        initial_context: np.ndarray | None,
        batch: int,
        classnames: Sequence[str],
        init: str,
    ) -> None:
        self._owner, self._call, self._batch = owner, call, batch
        self.classnames, self.template = tuple(classnames), as_template(init)
        empty = np.zeros((0, 0), np.float32)
        self.initial_context = empty if initial_context is None else initial_context.copy()

    def _joined(
        self, pieces: Iterator[np.ndarray], n_images: int, axis: int
    ) -> Iterator[np.ndarray]:
        """Concatenate the answers on consecutive batches of images to answers on all images."""
        n_batches = -(-n_images // self._batch)
        while some := [piece for _, piece in zip(range(n_batches), pieces, strict=False)]:
            yield np.concatenate(some, axis)


class _Words(_CalledBox):
    accepts = frozenset({"texts"})

    def logits(self, prompts: Prompts, images: ImageSet) -> Iterator[np.ndarray]:
        """See :meth:`BlackBox.logits`."""
        mine = own_images(images, _Opened, self._owner)
        if isinstance(prompts, np.ndarray):
            raise CraftZooError(f"{self._owner.name} takes words only, no contexts")
        questions = (
            ((filled(template, self.classnames), batch), (len(batch), len(self.classnames)))
            for template in prompts
            for batch in mine.batches(self._batch)
        )
        yield from self._joined(self._call.each(questions), len(mine), 0)


class _Contexts(_CalledBox):
    accepts = frozenset({"contexts"})

    def logits(self, prompts: Prompts, images: ImageSet) -> Iterator[np.ndarray]:
        """See :meth:`BlackBox.logits`."""
        mine = own_images(images, _Opened, self._owner)
        if not isinstance(prompts, np.ndarray):
            raise CraftZooError(f"{self._owner.name} takes contexts only, no words")
        contexts, together = np.asarray(prompts, np.float32), self._owner.in_flight
        parts = [contexts[at : at + together] for at in range(0, len(contexts), together)]
        names = list(self.classnames)
        questions = (
            ((part, names, batch), (len(part), len(batch), len(names)))
            for part in parts
            for batch in mine.batches(self._batch)
        )
        for answers in self._joined(self._call.each(questions), len(mine), 1):
            yield from answers
